"""What a phone is told about itself, and the error it raises. What it does with it lives in `phone.py`."""

from __future__ import annotations

from pathlib import Path

import msgspec

ADB_PORT = 5555

PHONE_NETWORKS = ("off", "internet")

GIB = 1024**3
MIB = 1024**2


class HandsetError(OSError):
    """A phone cannot do what was asked. The message names the cause and what to do about it."""

    def __str__(self) -> str:
        return str(self.strerror or super().__str__())


class PhoneConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All a phone knows about itself. Sizes in bytes, screen in pixels."""

    phone_id: str
    name: str
    ip: str
    ipv6: str | None = None
    adb_port: int = ADB_PORT
    imei: str = ""
    image_version: str = "AOSP 11.0"
    model_name: str = "handset"
    cpu: int = 1
    memory_bytes: int = 1 * GIB
    data_bytes: int = 1 * GIB
    width: int = 720
    height: int = 1280
    dpi: int = 320
    listen_ports: tuple[int, ...] = ()
    properties: dict[str, str] = msgspec.field(default_factory=dict)  # the API's `property` keys, values as text
    shares: dict[str, str] = msgspec.field(default_factory=dict)  # path in /mnt/sfs_turbo -> directory of this machine
    network: str = "off"  # for the phone's programs: "off" (loopback only) or "internet" (public addresses too)
    directory: Path  # the phone's own: data/, cache/ and its state; made when first needed

    def real_shares(self) -> dict[str, str]:
        """The shared directories that are where they claim to be: one that a link stands in for is left out."""
        return {name: path for name, path in self.shares.items() if str(Path(path).resolve()) == path}
