"""The file of a backup: members one after the other, in and out, with a checksum of every part. Nothing of what is in it.

Both directions stream; what is held at a time is one header and one piece. Holes of files are kept as GNU tar keeps them (PAX
format 1.0, https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html), extended attributes as it does too
(`SCHILY.xattr.`). Headers of a hostile archive are bounded, and nothing is taken from it but what its reader asks for.
"""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Literal

import msgspec

from opencph.backup import FILES, PIECE_BYTES, BackupError, Part

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Contents", "Member", "Tally", "Writer", "part_of", "read", "zstd"]

LEVEL = 3
#: what tarfile may read for one member's headers, with what it reads ahead
HEADER_BYTES_MAX = 16 << 20
#: a file in more pieces than that, or with more data, is written without its holes
SEGMENTS_MAX = 10_000
SPARSE_BYTES_MAX = 1 << 33
_XATTR = "SCHILY.xattr."
_TYPES: dict[bytes, str] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
}
Kind = Literal["file", "directory", "symlink", "hardlink", "fifo"]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member. Sizes in bytes; `segments` are the (offset, length) that have data, in order, when there are holes."""

    name: str
    kind: Kind = "file"
    size: int = 0
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    link: str = ""  # of a symbolic link its text; of a hard link the name of an earlier member
    xattrs: dict[str, bytes] = {}
    segments: tuple[tuple[int, int], ...] | None = None

    @property
    def data_bytes(self) -> int:
        """How many bytes its contents have in the archive."""
        return self.size if self.segments is None else sum(length for _, length in self.segments)


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
            member.segments,
        )
        found[2].update(repr(fields).encode())
        update: Callable[[bytes], None] = found[2].update
        return update

    def parts(self) -> dict[str, Part]:
        """What went by so far."""
        return {name: Part(members=n, bytes=size, sha256=digest.hexdigest()) for name, (n, size, digest) in self._parts.items()}


class Writer:
    """Writes members to a file. The file is whole after `close()`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = zstd.ZstdFile(
            file,
            "w",
            options={
                zstd.CompressionParameter.compression_level: LEVEL,
                zstd.CompressionParameter.checksum_flag: 1,
            },
        )
        self.tally = Tally()

    def add(self, member: Member, pieces: Iterable[bytes] = ()) -> None:
        """Write a member. What `pieces` lack of its size is filled with zeros, and what is too much is left out."""
        segments = member.segments
        if segments is not None and (len(segments) > SEGMENTS_MAX or member.data_bytes > SPARSE_BYTES_MAX):
            raise ValueError("too much for a file with holes; write it without")
        note = self.tally.open(member)
        before = b"" if segments is None else _map_of((*segments, (member.size, 0)))
        self._file.write(_header(member, len(before)) + before)
        left = member.data_bytes if member.kind == "file" else 0
        for piece in pieces:
            piece = piece[:left]
            note(piece)
            self._file.write(piece)
            left -= len(piece)
            if not left:
                break
        while left:
            piece = bytes(min(left, PIECE_BYTES))
            note(piece)
            self._file.write(piece)
            left -= len(piece)
        size = member.data_bytes if member.kind == "file" else 0
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))

    def add_bytes(self, name: str, data: bytes) -> None:
        """Write a member that is in memory."""
        self.add(Member(name=name, size=len(data)), (data,))

    def close(self) -> None:
        """End the archive."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.close()


def _map_of(segments: tuple[tuple[int, int], ...]) -> bytes:
    text = "".join(f"{number}\n" for number in (len(segments), *(n for segment in segments for n in segment))).encode()
    return text + bytes(-len(text) % tarfile.BLOCKSIZE)


def _header(member: Member, map_bytes: int) -> bytes:
    info = tarfile.TarInfo(member.name)
    info.type = next(code for code, kind in _TYPES.items() if kind == member.kind)
    info.size = map_bytes + member.data_bytes if member.kind == "file" else 0
    info.mode, info.uid, info.gid, info.linkname = member.mode, member.uid, member.gid, member.link
    info.mtime = max(0, member.mtime_ns // 10**9)
    info.pax_headers = {"mtime": f"{member.mtime_ns // 10**9}.{member.mtime_ns % 10**9:09d}"}
    for name, value in member.xattrs.items():
        escaped = name.replace("%", "%25").replace("=", "%3D")
        info.pax_headers[_XATTR + escaped] = value.decode("utf-8", "surrogateescape")
    if map_bytes:
        info.name = f"GNUSparseFile.0/{member.name.rpartition('/')[2]}"
        info.pax_headers |= {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": member.name,
            "GNU.sparse.realsize": str(member.size),
        }
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class _Bounded:
    """The unpacked bytes, of which tarfile may take only so many for headers: it takes a header's word for its size."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.left: int | None = HEADER_BYTES_MAX  # None: contents are being read

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0:
                raise BackupError(f"the backup is damaged: a header of more than {HEADER_BYTES_MAX} bytes")
        return data


Contents = Callable[[], Iterator[bytes]]


def read(file: IO[bytes], tally: Tally) -> Iterator[tuple[Member, Contents]]:
    """The members of a backup and, to be read before the next is taken, their contents. Raises BackupError."""
    try:
        unpacked: Any = zstd.ZstdFile(file, "r", options={zstd.DecompressionParameter.window_log_max: 27})
        bounded: Any = _Bounded(unpacked)
        count = 0
        with tarfile.open(fileobj=bounded, mode="r|", bufsize=PIECE_BYTES) as archive:
            while True:
                bounded.left = HEADER_BYTES_MAX
                info = archive.next()
                if info is None and not count:
                    raise BackupError("the backup is damaged, or is none: nothing is in it; take another one")
                if info is None:
                    return
                count += 1
                archive.members = []  # type: ignore[attr-defined]  # they are kept otherwise, however many there are
                member = _member(info)
                note = tally.open(member)
                bounded.left = None
                taken = _contents(archive, info, member, note)
                yield member, lambda taken=taken: taken  # type: ignore[misc]
                for _ in taken:  # what was not asked for is still to be checked
                    pass
    except EOFError as error:
        raise BackupError("the backup is not whole: its file ends early; take another one") from error
    except (tarfile.TarError, zstd.ZstdError, ValueError, OverflowError, RecursionError, LookupError) as error:
        raise BackupError(f"the backup is damaged, or is none: {error}; take another one") from error


def _member(info: tarfile.TarInfo) -> Member:
    kind: Any = _TYPES.get(info.type)
    if kind is None:
        raise BackupError(f"the backup has a member that no backup has: {info.name!r} is a device or of an unknown kind")
    seconds, _, fraction = info.pax_headers.get("mtime", str(int(info.mtime))).partition(".")
    sparse: Any = info.sparse
    segments = None if sparse is None else tuple((offset, length) for offset, length in sparse if length)
    if info.size < 0 or (segments is not None and not _in_order(segments, info.size)):
        raise BackupError(f"the backup is damaged: the size of {info.name!r}")
    return Member(
        name=info.name,
        kind=kind,
        size=info.size if kind == "file" else 0,
        mode=info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        mtime_ns=int(seconds) * 10**9 + int((fraction or "0")[:9].ljust(9, "0")),
        link=info.linkname,
        xattrs={
            name.removeprefix(_XATTR).replace("%3D", "=").replace("%25", "%"): value.encode("utf-8", "surrogateescape")
            for name, value in info.pax_headers.items()
            if name.startswith(_XATTR)
        },
        segments=segments,
    )


def _in_order(segments: tuple[tuple[int, int], ...], size: int) -> bool:
    end = 0
    for offset, length in segments:
        if length < 0 or offset < end:
            return False
        end = offset + length
    return end <= size


def _contents(archive: tarfile.TarFile, info: tarfile.TarInfo, member: Member, note: Callable[[bytes], None]) -> Iterator[bytes]:
    stream: Any = archive.fileobj
    left = member.data_bytes
    if left:
        stream.seek(info.offset_data)
    while left:
        piece = stream.read(min(left, PIECE_BYTES))
        if not piece:
            raise BackupError("the backup is not whole: its file ends early; take another one")
        left -= len(piece)
        note(piece)
        yield piece
