"""Whole directory trees that a phone's user made, and may have made to hurt: their size and their removal. No link is followed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

BLOCK_BYTES = 4096  # every file and directory takes whole blocks, and at least one
DEPTH_MAX = 256  # deeper trees count as a full disk
_SLICE = 500  # entries between two breaths
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooDeepError(Exception):
    """A tree has more than DEPTH_MAX levels."""


def blocks(size: int) -> int:
    """Bytes that a file of `size` bytes takes."""
    return max(BLOCK_BYTES, (size + BLOCK_BYTES - 1) // BLOCK_BYTES * BLOCK_BYTES)


class Usage:
    """What a tree takes: `used` bytes in whole blocks, and the size of its `largest` file."""

    __slots__ = ("_linked", "largest", "used")

    def __init__(self) -> None:
        self.used = 0
        self.largest = 0
        self._linked: set[tuple[int, int]] = set()

    def count(self, info: os.stat_result) -> None:
        """Add one entry; a file with several names counts once."""
        if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            key = (info.st_dev, info.st_ino)
            if key in self._linked:
                return
            self._linked.add(key)
        if stat.S_ISREG(info.st_mode):
            self.used += blocks(info.st_size)
            self.largest = max(self.largest, info.st_size)
        else:
            self.used += BLOCK_BYTES


def measure(roots: list[Path], usage: Usage) -> Iterator[None]:
    """Fill `usage` in steps: run the iterator to its end. Missing roots take nothing. Raises TooDeepError."""
    entries = 0
    for root in roots:
        try:
            fd = os.open(root, _DIRECTORY)
        except FileNotFoundError:
            continue
        stack: list[tuple[int, Iterator[str]]] = [(fd, _names(fd))]
        try:
            while stack:
                fd, names = stack[-1]
                name = next(names, None)
                if name is None:
                    os.close(stack.pop()[0])
                    continue
                entries += 1
                if not entries % _SLICE:
                    yield
                try:
                    info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    usage.count(info)
                    if stat.S_ISDIR(info.st_mode):
                        if len(stack) >= DEPTH_MAX:
                            raise TooDeepError
                        child = os.open(name, _DIRECTORY, dir_fd=fd)
                        stack.append((child, _names(child)))
                except OSError:  # vanished, or closed to us: what cannot be read is not counted
                    continue
        finally:
            for fd, _ in stack:
                os.close(fd)


def _names(fd: int) -> Iterator[str]:
    with os.scandir(fd) as entries:
        return iter([entry.name for entry in entries])


def remove_tree(path: Path) -> None:
    """Delete a directory with all it holds; a missing one is deleted already. Raises OSError when the disk refuses.

    Works on trees of any depth and on directories without permissions: each directory is first moved to the top.
    """
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    except PermissionError:
        path.chmod(0o700)
        top = os.open(path, _DIRECTORY)
    try:
        serial, token = 0, os.urandom(8).hex()
        queue = [""]
        while queue:
            name = queue.pop()
            fd = os.dup(top) if not name else _open_to_empty(name, top)
            try:
                with contextlib.suppress(PermissionError):
                    os.fchmod(fd, 0o700)
                with os.scandir(fd) as entries:
                    found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
                for child, is_directory in found:
                    if not is_directory:
                        os.unlink(child, dir_fd=fd)
                    elif name:
                        serial += 1
                        moved = f".{token}.{serial}"
                        _make_movable(child, fd)
                        os.rename(child, moved, src_dir_fd=fd, dst_dir_fd=top)
                        queue.append(moved)
                    else:
                        queue.append(child)
            finally:
                os.close(fd)
            if name:
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    path.rmdir()


def _open_to_empty(name: str, top: int) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=top)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=top)  # ours alone by now: nobody else can put a link here
        return os.open(name, _DIRECTORY, dir_fd=top)


def _make_movable(name: str, fd: int) -> None:
    """Moving a directory rewrites its "..": that takes the right to write into it."""
    if os.geteuid() != 0:
        with contextlib.suppress(OSError):
            os.chmod(name, 0o700, dir_fd=fd)
