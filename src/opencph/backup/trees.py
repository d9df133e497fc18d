"""Directories into a backup: modes, owners, times, links, holes, attributes. No rules of what is taken; `planting` is the way back.

What phones may write is hostile: no symbolic link is ever followed, whoever swaps what meanwhile, and nothing in a file or of its
attributes keeps the rest from being read. Of a file that is being written the backup has what a crash would leave. Sockets and
devices are left out; who is not root reads what its own phones have locked by lending itself the right: to a file for the moment of
opening, to a directory while it is walked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from opencph.backup import PIECE_BYTES
from opencph.backup.archive import Writer
from opencph.backup.members import SEGMENTS_MAX, Member, Segments

DEPTH_MAX = 500
LEFT_MAX = 200
#: of one file, names and values; ext4 keeps less, XFS may keep hundreds of megabytes
XATTRS_BYTES_MAX = 1 << 20
_GET_VERSION = 0x80087601  # FS_IOC_GETVERSION of ioctl_iflags(2)
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Left(NamedTuple):
    """What is not in the backup, and why."""

    name: str
    why: str


class Leavings:
    """What is left out, of each tree LEFT_MAX at most: a phone may have any number of files that cannot be taken."""

    def __init__(self) -> None:
        self.named: list[Left] = []
        self._room = LEFT_MAX

    def begin(self) -> None:
        """Another tree."""
        self._room = LEFT_MAX

    def add(self, name: str, why: str) -> None:
        """One more."""
        self._room -= 1
        if self._room >= 0:
            self.named.append(Left(name, why))
        elif self._room == -1:
            self.named.append(Left(name.rpartition("/")[0], f"and others; the first {LEFT_MAX} are named"))


def open_at(name: str, parent: int, flags: int) -> int:
    """Open what is there, though its mode forbids its owner. Raises OSError."""
    try:
        return os.open(name, flags, dir_fd=parent)
    except PermissionError:
        handle = os.open(name, _PATH, dir_fd=parent)
        try:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            again = f"/proc/self/fd/{handle}"
            os.chmod(again, mode | (0o700 if flags & os.O_DIRECTORY else 0o400))  # noqa: PTH101 (a file descriptor)
            try:
                # The link of /proc is one too; what it leads to was opened without following any.
                return os.open(again, flags & ~os.O_NOFOLLOW)
            finally:
                os.chmod(again, mode)  # noqa: PTH101
        finally:
            os.close(handle)


def _xattrs(descriptor: int) -> tuple[dict[str, bytes], str]:
    """Those of users, XATTRS_BYTES_MAX together, and why others are left out; "" when none are."""
    found: dict[str, bytes] = {}
    why, left = "", XATTRS_BYTES_MAX
    try:
        names = [name for name in os.listxattr(descriptor) if name.startswith("user.")]
    except OSError as error:
        return {}, "" if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS) else f"its attributes: {error.strerror}"
    for name in names:
        try:
            value = os.getxattr(descriptor, name)
        except OSError as error:
            if error.errno != errno.ENODATA:  # it went meanwhile
                why = f"its attribute {name!r}: {error.strerror}"
            continue
        left -= len(os.fsencode(name)) + len(value)
        if left < 0:
            return found, f"its attributes of more than {XATTRS_BYTES_MAX} bytes"
        found[name] = value
    return found, why


class _TooManyPiecesError(Exception):
    """A file that cannot be told from one made to fill the memory."""


def _segments(descriptor: int, size: int) -> Segments | None:
    """Where a file with holes has data; None when it has none, or its file system does not tell. Raises _TooManyPiecesError."""
    found = Segments()
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
            if start >= size:
                break
            end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                return None
            break  # nothing but a hole from here, or it was cut meanwhile
        if len(found) == SEGMENTS_MAX:
            raise _TooManyPiecesError
        found.add(start, end - start)
        position = end
    return found if found.data_bytes < size else None


def _which(descriptor: int, info: os.stat_result) -> tuple[int, int, bytes | int]:
    """What tells a file from all others, and from a later one that got its number: the inode's generation, or its last change."""
    try:
        return info.st_dev, info.st_ino, fcntl.ioctl(descriptor, _GET_VERSION, bytes(8))
    except OSError:  # a file system without them
        return info.st_dev, info.st_ino, info.st_ctime_ns


def _member(name: str, info: os.stat_result, xattrs: dict[str, bytes]) -> Member:
    return Member(
        name=name,
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        mtime_ns=max(0, info.st_mtime_ns),
        xattrs=xattrs,
    )


class TreeReader:
    """Adds directories and files to a backup. `left` is what could not be read."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._links: dict[tuple[int, int, bytes | int], str] = {}
        self._left = Leavings()

    @property
    def left(self) -> list[Left]:
        """What is not in the backup."""
        return self._left.named

    def add_file(self, descriptor: int, name: str) -> bool:
        """Add an open regular file; False when it is left out. Raises BackupError."""
        info = os.fstat(descriptor)
        try:
            segments = _segments(descriptor, info.st_size)
        except _TooManyPiecesError:
            self._left.add(name, f"more than {SEGMENTS_MAX} pieces between holes")
            return False
        member = _with(_member(name, info, self._attributes(descriptor, name)), size=info.st_size, segments=segments)
        whole = Segments(((0, info.st_size),)) if segments is None else segments
        self._writer.add(member, self._pieces(descriptor, name, whole))
        return True

    def _add_name(self, descriptor: int, info: os.stat_result, name: str) -> None:
        """Add an open regular file of a tree, as another name of one that is in it already if it is that."""
        if info.st_nlink == 1:
            self.add_file(descriptor, name)
            return
        which = _which(descriptor, info)
        if which in self._links:
            self._writer.add(_with(_member(name, info, {}), kind="hardlink", link=self._links[which]))
        elif self.add_file(descriptor, name):  # only now is there something that others can be names of
            self._links[which] = name

    def _attributes(self, descriptor: int, name: str) -> dict[str, bytes]:
        found, why = _xattrs(descriptor)
        if why:
            self._left.add(name, why)
        return found

    def _pieces(self, descriptor: int, name: str, segments: Segments) -> Iterator[bytes]:
        """The contents, as far as they can be read: what is short of them becomes zeros."""
        for offset, length in segments:
            done = 0
            while done < length:
                try:
                    piece = os.pread(descriptor, min(PIECE_BYTES, length - done), offset + done)
                except OSError as error:
                    self._left.add(name, f"what it has from byte {offset + done}: {error.strerror}")
                    return
                if not piece:  # shorter by now: the rest is a hole
                    piece = bytes(min(PIECE_BYTES, length - done))
                done += len(piece)
                yield piece

    def add_tree(self, descriptor: int, name: str, skip: Callable[[str], bool] = lambda path: False) -> None:
        """Add an open directory and all below it: what is in it first, then itself. `skip` is asked with the paths in it."""
        self._links.clear()
        self._left.begin()
        walk = [_Level(descriptor, name, "")]
        try:
            while walk:
                level = walk[-1]
                parent, place, path = level.descriptor, level.name, level.path
                found = next(level.names, None)
                if found is None:
                    attributes = self._attributes(parent, place)
                    level.give_back()
                    self._writer.add(_with(_member(place, os.fstat(parent), attributes), kind="directory"))
                    walk.pop()
                    if walk:
                        os.close(parent)
                    continue
                below = f"{path}/{found}".lstrip("/")
                if skip(below):
                    continue
                try:
                    directory = self._add(parent, found, f"{place}/{found}")
                    if directory is not None and len(walk) >= DEPTH_MAX:
                        os.close(directory)
                        self._left.add(f"{place}/{found}", f"more than {DEPTH_MAX} directories deep")
                    elif directory is not None:
                        walk.append(_entered(directory, f"{place}/{found}", below))
                except FileNotFoundError:
                    continue  # deleted meanwhile
                except OSError as error:
                    self._left.add(f"{place}/{found}", error.strerror or str(error))
        finally:
            for number, level in enumerate(walk):
                level.give_back()
                if number:
                    os.close(level.descriptor)

    def _add(self, parent: int, name: str, place: str) -> int | None:
        """Add what is no directory; of a directory, returns it open."""
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            return open_at(name, parent, DIRECTORY)
        if stat.S_ISLNK(info.st_mode):
            handle = os.open(name, _PATH, dir_fd=parent)
            try:
                opened = os.fstat(handle)
                if stat.S_ISLNK(opened.st_mode):  # the name may be another file's since we looked
                    self._writer.add(_with(_member(place, opened, {}), kind="symlink", link=os.readlink("", dir_fd=handle)))
            finally:
                os.close(handle)
        elif stat.S_ISFIFO(info.st_mode):
            self._writer.add(_with(_member(place, info, {}), kind="fifo"))
        elif stat.S_ISREG(info.st_mode):
            descriptor = open_at(name, parent, _FILE)
            try:
                opened = os.fstat(descriptor)
                if stat.S_ISREG(opened.st_mode):
                    self._add_name(descriptor, opened, place)
            finally:
                os.close(descriptor)
        return None


def _with(member: Member, **fields: object) -> Member:
    return msgspec.structs.replace(member, **fields)


class _Level:
    """A directory that is walked. One that its owner may not list or enter is lent the rights until `give_back`."""

    def __init__(self, descriptor: int, name: str, path: str) -> None:
        self.descriptor, self.name, self.path = descriptor, name, path
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        self._lent = mode if mode & 0o500 != 0o500 and os.geteuid() != 0 else None
        if self._lent is not None:
            os.fchmod(descriptor, mode | 0o500)
        try:
            self.names = iter(_names(descriptor))
        except OSError:
            self.give_back()
            raise

    def give_back(self) -> None:
        """The mode is what it was."""
        if self._lent is not None:
            os.fchmod(self.descriptor, self._lent)
            self._lent = None


def _entered(descriptor: int, name: str, path: str) -> _Level:
    try:
        return _Level(descriptor, name, path)
    except OSError:
        os.close(descriptor)
        raise


def _names(descriptor: int) -> list[str]:
    try:
        return sorted(os.listdir(descriptor))
    except FileNotFoundError:
        return []
