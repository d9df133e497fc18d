"""The file of a backup: members one after the other, in and out, with a checksum of every part. Nothing of what is in it.

Both directions stream; what is held at a time is one header and one piece. A hostile archive gets nothing but what its reader asks
for: headers are bounded, and a map of holes needs no more memory than `members` says.
"""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from opencph.backup import FILES, PIECE_BYTES, BackupError, Part, cause_of
from opencph.backup.headers import BLOCK, decode, encode
from opencph.backup.members import Member

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Contents", "Tally", "Writer", "part_of", "read", "zstd"]

LEVEL = 3
#: zeros that may come after the last member
END_BYTES_MAX = 1 << 20


def part_of(name: str) -> str:
    """The part of a backup that a member belongs to: a table, a generation, or a top directory of files."""
    places = name.split("/")
    if places[0] == FILES and places[1:2] == ["builtin"]:
        return "/".join(places[:3])
    return "/".join(places[:2])


class Tally:
    """The checksums of the parts, as members go by."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Any]] = {}

    def open(self, member: Member) -> Callable[[bytes], None]:
        """Count a member in; returns what its contents are to be told."""
        found = self._parts.setdefault(part_of(member.name), [0, 0, hashlib.sha256()])
        found[0] += 1
        found[1] += member.data_bytes
        fields = (
            member.name,
            member.kind,
            member.size if member.kind == "file" else 0,
            member.mode,
            member.uid,
            member.gid,
            member.mtime_ns,
            member.link,
            sorted(member.xattrs.items()),
        )
        update: Callable[[bytes], None] = found[2].update
        update(f"{repr(fields)[:-1]}, ".encode())
        for text in ("None",) if member.segments is None else member.segments.texts():
            update(text.encode())
        update(b")")
        return update

    def parts(self) -> dict[str, Part]:
        """What went by so far."""
        return {name: Part(members=n, bytes=size, sha256=digest.hexdigest()) for name, (n, size, digest) in self._parts.items()}


class Writer:
    """Writes members to a file, every byte at once: it needs no flush and no close. The file is whole after `close()`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._packer = zstd.ZstdCompressor(
            options={
                zstd.CompressionParameter.compression_level: LEVEL,
                zstd.CompressionParameter.checksum_flag: 1,
            },
        )
        self.tally = Tally()

    def add(self, member: Member, pieces: Iterable[bytes] = ()) -> None:
        """Write a member. What `pieces` lack of its size are zeros, and what is too much is left out. Raises BackupError."""
        note = self.tally.open(member)
        for block in encode(member):
            self._put(block)
        size = left = member.data_bytes if member.kind == "file" else 0
        for piece in pieces:
            piece = piece[:left]
            note(piece)
            self._put(piece)
            left -= len(piece)
            if not left:
                break
        while left:
            piece = bytes(min(left, PIECE_BYTES))
            note(piece)
            self._put(piece)
            left -= len(piece)
        self._put(bytes(-size % BLOCK))

    def add_bytes(self, name: str, data: bytes) -> None:
        """Write a member that is in memory."""
        self.add(Member(name=name, size=len(data)), (data,))

    def close(self) -> None:
        """End the archive."""
        self._put(bytes(2 * BLOCK))
        self._write(self._packer.flush())

    def _put(self, data: bytes) -> None:
        self._write(self._packer.compress(data))

    def _write(self, packed: bytes) -> None:
        left = memoryview(packed)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            # It must not be taken for one of the file that is read: what was begun cannot be gone on with.
            raise BackupError(f"the backup cannot be written: {cause_of(error)}") from error


Contents = Callable[[], Iterator[bytes]]


def read(file: IO[bytes], tally: Tally) -> Iterator[tuple[Member, Contents]]:
    """The members of a backup and, to be read before the next is taken, their contents. Raises BackupError."""
    unpacked: Any = zstd.ZstdFile(file, "r", options={zstd.DecompressionParameter.window_log_max: 27})

    def take(count: int, least: int | None = None) -> bytes:
        try:
            data: bytes = unpacked.read(count)
        except (EOFError, zstd.ZstdError) as error:
            raise _early() if isinstance(error, EOFError) else _damaged(error) from error
        if len(data) < (count if least is None else least):
            raise _early()
        return data

    count = 0
    try:
        while (member := decode(take)) is not None:
            count += 1
            taken = _contents(take, member, tally.open(member))
            yield member, lambda taken=taken: taken  # type: ignore[misc]
            for _ in taken:  # what was not asked for is still to be checked
                pass
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise _damaged(error) from error
    if not count:
        raise BackupError("the backup is damaged, or is none: nothing is in it; take another one")
    end = take(END_BYTES_MAX + 1, 0)
    if len(end) > END_BYTES_MAX or any(end):
        raise BackupError("the backup is damaged: it goes on after its end; take another one")


def _early() -> BackupError:
    return BackupError("the backup is not whole: its file ends early; take another one")


def _damaged(error: Exception) -> BackupError:
    return BackupError(f"the backup is damaged, or is none: {error}; take another one")


def _contents(take: Callable[[int], bytes], member: Member, note: Callable[[bytes], None]) -> Iterator[bytes]:
    left = member.data_bytes
    while left:
        piece = take(min(left, PIECE_BYTES))
        left -= len(piece)
        note(piece)
        yield piece
    take(-member.data_bytes % BLOCK)
