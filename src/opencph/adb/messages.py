"""One ADB message: the 24-byte header, its commands and limits, the connection banner. No I/O.

Source of the wire format: AOSP `packages/modules/adb/protocol.txt`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

CNXN = 0x4E584E43
AUTH = 0x48545541
STLS = 0x534C5453
OPEN = 0x4E45504F
OKAY = 0x59414B4F
WRTE = 0x45545257
CLSE = 0x45534C43
COMMANDS = frozenset((CNXN, AUTH, STLS, OPEN, OKAY, WRTE, CLSE))

AUTH_TOKEN = 1
AUTH_SIGNATURE = 2
AUTH_RSAPUBLICKEY = 3

VERSION_CHECKSUMS = 0x01000000  # peers of this version check the sum of every payload
VERSION = 0x01000001  # from here on the sum is not looked at
MAX_PAYLOAD = 1024 * 1024  # bytes
DELAYED_ACK = "delayed_ack"  # the feature by which peers acknowledge bytes instead of messages
MAX_PAYLOAD_V1 = 4 * 1024  # bytes; what the oldest peers take

HEADER = struct.Struct("<6I")
HEADER_BYTES = HEADER.size


class ProtocolError(Exception):
    """The peer does not speak ADB, or broke its rules. The connection must end."""


class Message(NamedTuple):
    """A header, taken apart; `length` bytes of payload follow it on the wire."""

    command: int
    arg0: int
    arg1: int
    length: int
    checksum: int


def checksum(payload: bytes | bytearray | memoryview) -> int:
    """The sum of all bytes, modulo 2**32."""
    return sum(payload) & 0xFFFFFFFF


def header(command: int, arg0: int, arg1: int, length: int = 0, check: int = 0) -> bytes:
    """The 24 bytes that come before a payload of `length` bytes."""
    return HEADER.pack(command, arg0, arg1, length, check, command ^ 0xFFFFFFFF)


def message(command: int, arg0: int, arg1: int, payload: bytes = b"") -> bytes:
    """A whole message with its checksum, for the rare ones (CNXN, AUTH, OPEN) where the sum costs nothing."""
    return header(command, arg0, arg1, len(payload), checksum(payload)) + payload


def parse_header(data: bytes | bytearray | memoryview, max_payload: int = MAX_PAYLOAD) -> Message:
    """Take a header apart. Raises ProtocolError for a bad magic, an unknown command or a payload over `max_payload`."""
    command, arg0, arg1, length, check, magic = HEADER.unpack(data)
    if magic != command ^ 0xFFFFFFFF:
        raise ProtocolError(f"not an ADB header: magic {magic:#010x} does not fit command {command:#010x}")
    if command not in COMMANDS:
        raise ProtocolError(f"unknown ADB command {command:#010x}")
    if length > max_payload:
        raise ProtocolError(f"ADB payload of {length} bytes is over the limit of {max_payload}")
    return Message(command, arg0, arg1, length, check)


class Banner(NamedTuple):
    """What a CNXN says of its sender: `device::ro.product.name=...;features=shell_v2,...` or `host::features=...`."""

    kind: str
    properties: dict[str, str]
    features: frozenset[str]


def parse_banner(payload: bytes | bytearray | memoryview) -> Banner:
    """Take a CNXN payload apart; what is missing is empty."""
    text = bytes(payload).rstrip(b"\0").decode("utf-8", "replace")
    kind, _, rest = text.partition(":")
    pairs = rest.partition(":")[2]
    properties = dict(pair.partition("=")[::2] for pair in pairs.split(";") if "=" in pair)
    features = frozenset(name for name in properties.pop("features", "").split(",") if name)
    return Banner(kind, properties, features)


def make_banner(kind: str, properties: dict[str, str], features: tuple[str, ...]) -> bytes:
    """The payload of a CNXN."""
    pairs = [f"{name}={value}" for name, value in properties.items()]
    pairs.append("features=" + ",".join(features))
    return f"{kind}::{';'.join(pairs)}".encode()
