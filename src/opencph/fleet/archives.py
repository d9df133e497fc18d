"""tar archives from outside, looked through before anything of them is used; and those that exports write. No phones in here.

What is refused: compressed or broken archives, `..` in names, links that lead out of the phone's data, devices, pipes and sparse
files, and whatever is larger, deeper or more than a limit. Owners are not kept: every file of a phone is its own user's.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any, NamedTuple

from opencph.adb.sync_protocol import PATH_MAX

ENTRIES_MAX = 100_000
DEPTH_MAX = 64
NAME_BYTES_MAX = 255  # as file systems have it
LINK_BYTES_MAX = 1024
HEADER_BYTES_MAX = 1 << 20  # an extended header is read at once
PIECE_BYTES = 1 << 20
DATA_ROOTS = ("data", "cache")
IMAGE_VERSION = "OPENCPH.image_version"  # in the global header of an export


class ArchiveError(Exception):
    """The archive is not used. The message names the entry, what is wrong with it and the limit."""


class Entry(NamedTuple):
    """One thing to make: a directory, a file with `size` bytes, or a symbolic link to `target`. `path` is absolute."""

    path: str
    mode: int  # with the type bits
    mtime: int  # seconds since the epoch
    size: int
    target: str
    data: IO[bytes] | None

    def pieces(self) -> Iterator[bytes]:
        """The contents of a file, or the target of a link."""
        if self.data is None:
            yield self.target.encode("utf-8", "surrogateescape")
            return
        while piece := self.data.read(PIECE_BYTES):
            yield piece


class _Bounded:
    """A file that refuses to be read in pieces larger than any header may be: tarfile takes a header's word for its size."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= HEADER_BYTES_MAX:
            raise ArchiveError(f"an extended header of the tar archive has {count} bytes: at most {HEADER_BYTES_MAX}")
        return self._file.read(count)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()


def check(file: IO[bytes], bytes_max: int, roots: tuple[str, ...] = ()) -> int:
    """Look through a whole archive; returns how many bytes its files have. Raises ArchiveError for the first fault.

    `roots` are the top directories that entries may lie in; () is any.
    """
    total = 0
    kinds: dict[str, bool] = {}  # path -> whether it is a directory
    for number, entry in enumerate(entries(file)):
        if number >= ENTRIES_MAX:
            raise ArchiveError(f"the archive has more than {ENTRIES_MAX} entries")
        total += entry.size
        if total > bytes_max:
            raise ArchiveError(f"the archive unpacks to more than {bytes_max} bytes, which is what there is room for")
        top = entry.path.split("/")[1]
        if roots and top not in roots:
            raise ArchiveError(f"{entry.path!r} is not below /{' or /'.join(roots)}")
        directory = stat.S_ISDIR(entry.mode)
        if kinds.setdefault(entry.path, directory) != directory:
            raise ArchiveError(f"{_shown(entry.path)} is a directory and also a file or a link in the same archive")
        parent = posixpath.dirname(entry.path)
        while parent != "/":
            if not kinds.setdefault(parent, True):
                raise ArchiveError(f"{entry.path!r} lies below {parent!r}, which is a file or a link in the same archive")
            parent = posixpath.dirname(parent)
    if not kinds:
        raise ArchiveError("the archive is empty")
    return total


def entries(file: IO[bytes]) -> Iterator[Entry]:
    """The entries, one after the other; `data` of one is to be read before the next is taken. Raises ArchiveError."""
    file.seek(0)
    bounded: Any = _Bounded(file)
    try:
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # they are kept otherwise, however many there are
                path = _path(member.name)
                if path != "/":
                    yield _entry(archive, member, path)
    except tarfile.ReadError as error:
        raise ArchiveError(f"the object is no tar archive that can be read (it must not be compressed): {error}") from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError, UnicodeError, RecursionError) as error:
        raise ArchiveError(f"the tar archive is damaged: {error}") from error


def _path(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveError(f"{_shown(name)} has '..' in its path")
    if any("\0" in part or "\n" in part for part in parts):
        raise ArchiveError(f"{_shown(name)} has a character that no path may have")
    if any(len(part.encode("utf-8", "surrogateescape")) > NAME_BYTES_MAX for part in parts):
        raise ArchiveError(f"{_shown(name)} has a name of more than {NAME_BYTES_MAX} bytes in its path")
    path = "/" + "/".join(parts)
    if len(path.encode("utf-8", "surrogateescape")) > PATH_MAX - 16:
        raise ArchiveError(f"the path {_shown(name)} has more than {PATH_MAX - 16} bytes")
    if len(parts) > DEPTH_MAX:
        raise ArchiveError(f"{_shown(name)} lies more than {DEPTH_MAX} directories deep")
    return path


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Entry:
    mode, mtime = stat.S_IMODE(member.mode) & 0o777, max(0, int(member.mtime))
    if member.isdir():
        return Entry(path, stat.S_IFDIR | mode, mtime, 0, "", None)
    if member.issym():
        return Entry(path, stat.S_IFLNK | 0o777, mtime, 0, _target(path, member.linkname), None)
    if member.islnk():
        raise ArchiveError(f"{_shown(path)} is a hard link; make the archive with --hard-dereference")
    if member.issparse():
        raise ArchiveError(f"{_shown(path)} is a sparse file; make the archive without --sparse")
    if not member.isreg():
        raise ArchiveError(f"{_shown(path)} is a device or a pipe; only files, directories and links are unpacked")
    return Entry(path, stat.S_IFREG | mode, mtime, member.size, "", archive.extractfile(member))


def _target(path: str, target: str) -> str:
    """A link's target, if it stays within the top directory of the link's own path: no absolute ones, none that climb out."""
    if target.startswith("/") or not target or len(target.encode("utf-8", "surrogateescape")) > LINK_BYTES_MAX:
        raise ArchiveError(
            f"{_shown(path)} is a link to {_shown(target)}; only relative links of at most {LINK_BYTES_MAX} bytes are unpacked"
        )
    depth = len(path.split("/")) - 3  # directories below the top one that the link may climb
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            raise ArchiveError(f"{_shown(path)} is a link to {_shown(target)}, which leads out of its directory")
    return target


def relative_target(path: str, target: str) -> str:
    """A link as an export keeps it: absolute targets made relative, so that the archive can be unpacked again."""
    return posixpath.relpath(target, posixpath.dirname(path)) if target.startswith("/") else target


def refusal(path: str, target: str = "") -> str:
    """Why an archive with this path, or this link to `target`, would not be used; "" when it would."""
    try:
        _path(path)
        if target:
            _target(path, target)
    except ArchiveError as error:
        return str(error)
    return ""


def image_version(file: IO[bytes]) -> str:
    """`AOSP 11.0`: what the phone ran that an archive was exported from; "" for archives of other origin."""
    file.seek(0)
    bounded: Any = _Bounded(file)
    with suppress(tarfile.TarError, ValueError, EOFError, ArchiveError), tarfile.open(fileobj=bounded, mode="r:") as archive:
        return str(archive.pax_headers.get(IMAGE_VERSION, ""))[:64]
    return ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:97]}...")


class ArchiveWriter:
    """Writes a tar archive (pax) into a file, one entry after the other; `close` ends it."""

    def __init__(self, file: IO[bytes], image_version: str = "") -> None:
        self._file = file
        if image_version:
            file.write(tarfile.TarInfo.create_pax_global_header({IMAGE_VERSION: image_version}))

    def head(self, path: str, mode: int, mtime: int, size: int = 0, target: str = "") -> None:
        """Begin an entry. The contents of a file follow by `write`, `size` bytes of them, and then `pad`."""
        info = tarfile.TarInfo(path.lstrip("/"))
        info.mode, info.mtime, info.size = stat.S_IMODE(mode), mtime, size
        info.uid = info.gid = 2000
        info.uname = info.gname = "shell"
        if stat.S_ISDIR(mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(mode):
            info.type, info.linkname = tarfile.SYMTYPE, target
        self._file.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def write(self, data: bytes) -> None:
        """A piece of the contents."""
        self._file.write(data)

    def pad(self, size: int) -> None:
        """Fill up behind `size` bytes of contents."""
        self._file.write(b"\0" * (-size % tarfile.BLOCKSIZE))

    def close(self) -> None:
        """The end of the archive."""
        self._file.write(b"\0" * (2 * tarfile.BLOCKSIZE))
        self._file.flush()
