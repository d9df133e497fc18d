"""What a backup has of directories back onto a disk: modes, owners, times, links, holes, attributes. No rules of what may be where.

No symbolic link is ever followed, and every place is reached from the directory that is restored into. What this disk cannot hold
though another could (a name too long, a file too large, an attribute too big) is left out and named.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from opencph.backup import BackupError
from opencph.backup.archive import Contents
from opencph.backup.members import Member
from opencph.backup.places import below, names_no_file, twice
from opencph.backup.trees import DIRECTORY, Leavings, Left

_HERE_NOT = (errno.EFBIG, errno.ENAMETOOLONG, errno.EMLINK, errno.EOPNOTSUPP)
_ATTRIBUTE_HERE_NOT = (*_HERE_NOT, errno.E2BIG, errno.ENOSPC, errno.EDQUOT, errno.ERANGE)
_BLOCK_BYTES = 4096
_ZEROS = bytes(_BLOCK_BYTES)


class TreeWriter:
    """Makes what a backup has below one directory. `left` is what this disk cannot hold."""

    def __init__(self, root: str) -> None:
        self._left = Leavings()
        self._missing: set[str] = set()
        self._root = os.open(root, DIRECTORY)
        self._gives_away = os.geteuid() == 0

    @property
    def left(self) -> list[Left]:
        """What was left out."""
        return self._left.named

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._root)

    def make(self, member: Member, places: list[str], link: list[str], contents: Contents) -> None:
        """Make a member at `places`; `link` are those of a hard link's first name. Raises BackupError, OSError."""
        parent = self._parent(places)
        try:
            self._make(parent, member, places[-1], link, contents)
        except FileExistsError as error:
            raise twice(member.name) from error
        except OSError as error:
            if error.errno not in _HERE_NOT:
                raise
            self._missing.add(member.name)
            self._left.add(member.name, str(error.strerror))
        finally:
            os.close(parent)

    def _parent(self, places: list[str]) -> int:
        descriptor = os.dup(self._root)
        for place in places[:-1]:
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place, 0o700, dir_fd=descriptor)
                following = os.open(place, DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                raise below(place) from error
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
            if member.link in self._missing:
                raise OSError(errno.EOPNOTSUPP, f"another name of {member.link!r}, which was left out")
            first = self._parent(link)
            try:
                if not stat.S_ISREG(os.stat(link[-1], dir_fd=first, follow_symlinks=False).st_mode):
                    raise names_no_file(member.name)
                os.link(link[-1], name, src_dir_fd=first, dst_dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError as error:
                raise names_no_file(member.name) from error
            finally:
                os.close(first)
            return
        if member.kind == "fifo":
            os.mkfifo(name, 0o600, dir_fd=parent)
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        elif member.kind == "directory":
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            descriptor = os.open(name, DIRECTORY, dir_fd=parent)
        else:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            if member.kind == "file":
                try:
                    _fill(descriptor, member, contents)
                except OSError:
                    os.unlink(name, dir_fd=parent)
                    raise
            self._set_attributes(descriptor, member)
            self._own(parent, name, member)  # before the mode: it takes the set-uid bit away
            os.fchmod(descriptor, member.mode)
            os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(descriptor)

    def _set_attributes(self, descriptor: int, member: Member) -> None:
        for key, value in member.xattrs.items():
            if not key.startswith("user."):
                raise BackupError(f"the backup has an attribute {key!r} of {member.name!r}: no backup is made so")
            try:
                os.setxattr(descriptor, key, value)
            except OSError as error:
                if error.errno not in _ATTRIBUTE_HERE_NOT:
                    raise
                self._left.add(member.name, f"its attribute {key!r}: {error.strerror}")

    def _own(self, parent: int, name: str, member: Member) -> None:
        if self._gives_away:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)


def _fill(descriptor: int, member: Member, contents: Contents) -> None:
    """Write the contents where they belong. Blocks of zeros are not written: they are holes, as what was never written is."""
    segments = iter(((0, member.size),) if member.segments is None else member.segments)
    offset = length = 0
    os.ftruncate(descriptor, member.size)
    for whole in contents():
        place = 0
        while place < len(whole):
            while not length:
                offset, length = next(segments)
            count = min(length, len(whole) - place)
            for start, end in _written(whole[place : place + count], offset):
                _write(descriptor, whole[place + start : place + end], offset + start)
            place, offset, length = place + count, offset + count, length - count


def _written(piece: bytes, offset: int) -> Iterator[tuple[int, int]]:
    """From where to where a piece that belongs at `offset` has blocks of the disk that are not zeros."""
    begin: int | None = None
    place = 0
    while place < len(piece):
        end = min(len(piece), place + _BLOCK_BYTES - (offset + place) % _BLOCK_BYTES)
        if piece[place:end] == _ZEROS[: end - place]:
            if begin is not None:
                yield begin, place
            begin = None
        elif begin is None:
            begin = place
        place = end
    if begin is not None:
        yield begin, place


def _write(descriptor: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(descriptor, left, offset)
        left, offset = left[done:], offset + done
