"""The port to whatever runs phones. A runtime knows nothing of HTTP, projects or the database.

One file or folder per runtime: `builtin` (light phones, this machine), later `docker` and `kubernetes`. A runtime only makes,
starts, stops, resets, resizes and removes phones, and connects to ports that `PhoneSpec.ip` does not carry; everything else goes
through ADB at `PhoneSpec.ip:5555`.

Every method is idempotent: called again after a crash it finishes what is missing and changes nothing that is there.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

ADB_PORT = 5555

PhoneState = Literal["absent", "stopped", "booting", "running"]


class RuntimeFaultError(Exception):
    """The runtime could not do it. The message says what happened and what to do, in words for the job's error_msg."""


class PhoneSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One phone as the runtime must make it. Sizes in bytes, screen in pixels."""

    phone_id: str
    name: str
    number: int  # 1, 2, ... within the generation
    ip: str
    ipv6: str | None
    imei: str
    image_id: str
    image_version: str  # "AOSP 11.0"
    model_name: str
    cpu: int
    memory_bytes: int
    data_bytes: int
    width: int
    height: int
    dpi: int
    listen_ports: tuple[int, ...]  # declared application ports, adb not included
    properties: dict[str, str]  # the API's `property` keys, values as text
    shares: dict[str, str] = {}  # shared file systems: name below /mnt/sfs_turbo -> directory of the machine


class GenerationSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A server's incarnation: the unit a runtime makes and removes."""

    generation_id: str
    server_id: str
    host_id: str
    phones: tuple[PhoneSpec, ...]


class GenerationInventory(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime really has of a generation, labelled with our ids."""

    generation_id: str
    server_id: str
    alive: bool  # the process or pod that carries the phones is there
    phones: dict[str, PhoneState]


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """Something among the phones' data that nobody accounts for, in words for operators."""

    what: str
    place: str  # where it is now; "" when it is where it was
    cause: str = ""  # why it is


class Runtime(Protocol):
    """What the worker asks of a runtime. Every method raises RuntimeFaultError when nothing of it could be done."""

    name: str

    async def warm(self) -> None:
        """Get ready, so that the first server need not wait for it. Nothing depends on it having been called."""
        ...

    async def create(self, spec: GenerationSpec) -> None:
        """Make the generation's home: data volumes, addresses. Nothing boots yet."""
        ...

    async def start(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        """Boot phones and return when they are up or failed: {phone_id: cause} of those that did not boot."""
        ...

    async def stop(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        """Power phones off; data is kept. Returns the causes of those that did not stop."""
        ...

    async def reset(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        """Wipe the data of phones that are stopped. Returns the causes of those that failed."""
        ...

    async def update(self, generation_id: str, phones: Sequence[PhoneSpec]) -> None:
        """New properties, name, image or disk size. Acts at once where a phone can (name, size), else at its next boot."""
        ...

    async def connect(self, generation_id: str, ip: str, port: int) -> socket.socket:
        """A connection to what listens on `port` inside the phone of this address, for ports that the address does not carry.

        A TCP socket that does not block; it is reset when the phone stops. Raises OSError as connect() would.
        """
        ...

    async def power_off(self, generation_id: str) -> None:
        """Stop everything of the generation, the process or pod that carries it included; data is kept. `create` makes it anew."""
        ...

    async def remove(self, generation_id: str) -> None:
        """Stop everything of the generation and delete its data. Unknown generations are removed already."""
        ...

    async def set_aside(self, generation_id: str) -> str:
        """Stop everything of the generation and put its data where it is in nobody's way, also not in `inventory`'s; says where."""
        ...

    async def set_strays_aside(self) -> Sequence[Stray]:
        """Put what lies among the phones' data, and is neither a generation nor a phone of one, where it is in nobody's way."""
        ...

    async def inventory(self) -> Sequence[GenerationInventory]:
        """Everything this runtime has, asked from reality and not from memory."""
        ...

    async def shutdown(self) -> None:
        """End all phones for good service: `opencph up` is stopping. Data is kept; the next start boots them again."""
        ...

    async def close(self) -> None:
        """Let go of connections. Phones go on running."""
        ...
