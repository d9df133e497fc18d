"""What one member of a backup is, and where a file with holes has data. How it is written is in `headers`."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

#: a file with more pieces of data between holes is not taken; they need 128 MiB of memory then
SEGMENTS_MAX = 1 << 23
Kind = Literal["file", "directory", "symlink", "hardlink", "fifo"]


class Segments:
    """The (offset, length) that have data, in order; 16 bytes for each, for who writes a file decides how many there are."""

    __slots__ = ("_flat", "data_bytes", "end")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._flat = array("q")
        self.data_bytes = self.end = 0
        for offset, length in pairs:
            self.add(offset, length)

    def add(self, offset: int, length: int) -> None:
        """One more, behind the last. Raises ValueError, OverflowError."""
        if offset < self.end or length < 0:
            raise ValueError("pieces of a file out of order")
        self._flat.extend((offset, length))
        self.data_bytes += length
        self.end = offset + length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        numbers = iter(self._flat)
        return zip(numbers, numbers, strict=True)

    def __len__(self) -> int:
        return len(self._flat) // 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Segments) and self._flat == other._flat

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "".join(self.texts())

    def texts(self) -> Iterator[str]:
        """The text of a tuple of pairs, bit by bit."""
        yield "("
        for number, pair in enumerate(self):
            yield f", {pair}" if number else f"{pair}"
        yield ",)" if len(self) == 1 else ")"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member. Sizes in bytes; `segments` is where it has data, when there are holes."""

    name: str
    kind: Kind = "file"
    size: int = 0
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    link: str = ""  # of a symbolic link its text; of a hard link the name of an earlier member
    xattrs: dict[str, bytes] = {}
    segments: Segments | None = None

    @property
    def data_bytes(self) -> int:
        """How many bytes its contents have in the archive."""
        return self.size if self.segments is None else self.segments.data_bytes
