"""Framing of the shell protocol (`shell,v2:`): one byte of id, four of length, data. No I/O.

Source: AOSP `packages/modules/adb/shell_protocol.h`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

STDIN = 0
STDOUT = 1
STDERR = 2
EXIT = 3
CLOSE_STDIN = 4
WINDOW_SIZE = 5  # text "ROWSxCOLUMNS,XPIXELSxYPIXELS"

HEADER = struct.Struct("<BI")
HEADER_BYTES = HEADER.size


def packet(kind: int, data: bytes = b"") -> bytes:
    """One packet."""
    return HEADER.pack(kind, len(data)) + data


class PacketReader:
    """Cuts a byte stream into packets. Data of a packet may come in several pieces: a piece is handed on when it is there.

    Kinds in `whole` are handed on only when complete, up to 64 KiB (their data is text that must not be cut).
    """

    __slots__ = ("_header", "_kind", "_left", "_whole", "_wholes")

    def __init__(self, whole: frozenset[int] = frozenset((EXIT, WINDOW_SIZE))) -> None:
        self._header = b""
        self._kind = -1
        self._left = 0
        self._whole = b""
        self._wholes = whole

    def feed(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yield (kind, piece) for what `data` completes. Raises ValueError for a whole packet over 64 KiB."""
        at, end = 0, len(data)
        while at < end or (self._kind >= 0 and not self._left):
            if self._kind < 0:
                take = min(HEADER_BYTES - len(self._header), end - at)
                self._header += data[at : at + take]
                at += take
                if len(self._header) < HEADER_BYTES:
                    return
                self._kind, self._left = HEADER.unpack(self._header)
                self._header = b""
                if self._kind in self._wholes and self._left > 65536:
                    raise ValueError(f"shell packet {self._kind} of {self._left} bytes is over 65536")
            take = min(self._left, end - at)
            piece = data[at : at + take]
            at += take
            self._left -= take
            kind = self._kind
            if not self._left:
                self._kind = -1
            if kind in self._wholes:
                self._whole += piece
                if not self._left:
                    whole, self._whole = memoryview(self._whole), b""
                    yield kind, whole
            elif take or not self._left:
                yield kind, piece
