"""Directories into a backup and out of it again: modes, owners, times, links, holes, attributes. No rules of what is taken.

What phones may write is hostile: no symbolic link is ever followed, in neither direction, whoever swaps what meanwhile. Of a file
that is being written the backup has what a crash would leave. Sockets and devices are left out; who is not root reads what its
own phones have locked by lending itself the right: to a file for the moment of opening, to a directory while it is walked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from opencph.backup import PIECE_BYTES, BackupError
from opencph.backup.archive import SEGMENTS_MAX, SPARSE_BYTES_MAX, Contents, Member, Writer

DEPTH_MAX = 500
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Left(NamedTuple):
    """What is not in the backup, and why."""

    name: str
    why: str


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


def _xattrs(descriptor: int) -> dict[str, bytes]:
    found = {}
    try:
        for name in os.listxattr(descriptor):
            if name.startswith("user."):
                found[name] = os.getxattr(descriptor, name)
    except OSError:  # a file system without them, or one that went
        return found
    return found


def _segments(descriptor: int, size: int) -> tuple[tuple[int, int], ...] | None:
    """Where a file with holes has data; None when it has none, or too many."""
    if os.fstat(descriptor).st_blocks * 512 >= size:
        return None
    found: list[tuple[int, int]] = []
    position = total = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # nothing but a hole from here
            break
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        if start >= size:
            break
        found.append((start, end - start))
        total += end - start
        position = end
        if len(found) > SEGMENTS_MAX or total > SPARSE_BYTES_MAX:
            return None
    return tuple(found) if total < size else None


def _pieces(descriptor: int, segments: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
    for offset, length in segments:
        done = 0
        while done < length:
            piece = os.pread(descriptor, min(PIECE_BYTES, length - done), offset + done)
            if not piece:  # shorter by now: the rest is a hole
                piece = bytes(min(PIECE_BYTES, length - done))
            done += len(piece)
            yield piece


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
        self._links: dict[tuple[int, int], str] = {}
        self.left: list[Left] = []

    def add_file(self, descriptor: int, name: str) -> None:
        """Add an open regular file."""
        info = os.fstat(descriptor)
        member = _member(name, info, _xattrs(descriptor))
        segments = _segments(descriptor, info.st_size)
        member = _with(member, size=info.st_size, segments=segments)
        self._writer.add(member, _pieces(descriptor, ((0, info.st_size),) if segments is None else segments))

    def add_tree(self, descriptor: int, name: str, skip: Callable[[str], bool] = lambda path: False) -> None:
        """Add an open directory and all below it: what is in it first, then itself. `skip` is asked with the paths in it."""
        self._links.clear()
        walk = [_Level(descriptor, name, "")]
        try:
            while walk:
                level = walk[-1]
                parent, place, path = level.descriptor, level.name, level.path
                found = next(level.names, None)
                if found is None:
                    level.give_back()
                    self._writer.add(_with(_member(place, os.fstat(parent), _xattrs(parent)), kind="directory"))
                    walk.pop()
                    if walk:
                        os.close(parent)
                    continue
                below = f"{path}/{found}".lstrip("/")
                if skip(below):
                    continue
                try:
                    directory = self._add(parent, found, f"{place}/{found}")
                except FileNotFoundError:
                    continue  # deleted meanwhile
                except OSError as error:
                    self.left.append(Left(f"{place}/{found}", error.strerror or str(error)))
                    continue
                if directory is not None and len(walk) >= DEPTH_MAX:
                    os.close(directory)
                    self.left.append(Left(f"{place}/{found}", f"more than {DEPTH_MAX} directories deep"))
                elif directory is not None:
                    walk.append(_Level(directory, f"{place}/{found}", below))
        finally:
            for number, level in enumerate(walk):
                level.give_back()
                if number:
                    os.close(level.descriptor)

    def _add(self, parent: int, name: str, place: str) -> int | None:
        """Add what is no directory; of a directory, returns it open."""
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            return open_at(name, parent, _DIRECTORY)
        if stat.S_ISLNK(info.st_mode):
            self._writer.add(_with(_member(place, info, {}), kind="symlink", link=os.readlink(name, dir_fd=parent)))
        elif stat.S_ISFIFO(info.st_mode):
            self._writer.add(_with(_member(place, info, {}), kind="fifo"))
        elif stat.S_ISREG(info.st_mode):
            if info.st_nlink > 1:
                first = self._links.setdefault((info.st_dev, info.st_ino), place)
                if first != place:
                    self._writer.add(_with(_member(place, info, {}), kind="hardlink", link=first))
                    return None
            descriptor = open_at(name, parent, _FILE)
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    self.add_file(descriptor, place)
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
        self.names = iter(_names(descriptor))

    def give_back(self) -> None:
        """The mode is what it was."""
        if self._lent is not None:
            os.fchmod(self.descriptor, self._lent)
            self._lent = None


def _names(descriptor: int) -> list[str]:
    try:
        return sorted(os.listdir(descriptor))
    except FileNotFoundError:
        return []


class TreeWriter:
    """Makes what a backup has below one directory. Every place is reached from it without following a link."""

    def __init__(self, root: str) -> None:
        self._root = os.open(root, _DIRECTORY)
        self._gives_away = os.geteuid() == 0

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._root)

    def make(self, member: Member, places: list[str], link: list[str], contents: Contents) -> None:
        """Make a member at `places`; `link` are those of a hard link's first name. Raises BackupError, OSError."""
        parent = self._parent(places)
        try:
            self._make(parent, member, places[-1], link, contents)
        except FileExistsError as error:
            raise BackupError(f"the backup is damaged: it has {member.name!r} twice") from error
        finally:
            os.close(parent)

    def _parent(self, places: list[str]) -> int:
        descriptor = os.dup(self._root)
        for place in places[:-1]:
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place, 0o700, dir_fd=descriptor)
                following = os.open(place, _DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                raise BackupError(
                    f"the backup has a member below {place!r}, which is a link or a file in it: no backup is made so"
                ) from error
            finally:
                os.close(descriptor)
            descriptor = following
        return descriptor

    def _make(self, parent: int, member: Member, name: str, link: list[str], contents: Contents) -> None:
        if member.kind == "symlink":
            os.symlink(member.link, name, dir_fd=parent)
            self._own(parent, name, member)
            os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=parent, follow_symlinks=False)
            return
        if member.kind == "hardlink":
            first = self._parent(link)
            try:
                if not stat.S_ISREG(os.stat(link[-1], dir_fd=first, follow_symlinks=False).st_mode):
                    raise BackupError(f"the backup has {member.name!r} as another name of what is no file")
                os.link(link[-1], name, src_dir_fd=first, dst_dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError as error:
                raise BackupError(f"the backup has {member.name!r} as another name of what is not in it") from error
            finally:
                os.close(first)
            return
        if member.kind == "fifo":
            os.mkfifo(name, 0o600, dir_fd=parent)
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        elif member.kind == "directory":
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
        else:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            if member.kind == "file":
                _fill(descriptor, member, contents)
            for key, value in member.xattrs.items():
                if not key.startswith("user."):
                    raise BackupError(f"the backup has an attribute {key!r} of {member.name!r}: no backup is made so")
                os.setxattr(descriptor, key, value)
            self._own(parent, name, member)  # before the mode: it takes the set-uid bit away
            os.fchmod(descriptor, member.mode)
            os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(descriptor)

    def _own(self, parent: int, name: str, member: Member) -> None:
        if self._gives_away:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)


def _fill(descriptor: int, member: Member, contents: Contents) -> None:
    segments = iter(((0, member.size),) if member.segments is None else member.segments)
    offset = length = 0
    for whole in contents():
        piece = memoryview(whole)
        while piece:
            while not length:
                offset, length = next(segments)
            done = os.pwrite(descriptor, piece[:length], offset)
            piece, offset, length = piece[done:], offset + done, length - done
    os.ftruncate(descriptor, member.size)
