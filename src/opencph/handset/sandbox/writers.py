"""Which files the processes of a phone are writing: what is left of its disk is shared among those that grow. Changes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class FileId(NamedTuple):
    """A file, by whatever name."""

    device: int
    inode: int


class Writers:
    """What was being written at the last look, to tell the files that grow from those that are only open."""

    def __init__(self) -> None:
        self._sizes: dict[FileId, int] = {}

    def limits(self, pids: Iterable[int], device: int, remaining: int, largest: int, alone: int) -> dict[int, int]:
        """RLIMIT_FSIZE for each process: `alone`, unless it writes a file on `device` that grows.

        The `largest` file of the disk may take all the `remaining` bytes when no other grows. Of several files each may grow by an
        equal share until the next look, so that all together stop in time.
        """
        written = {pid: _written(pid, device) for pid in pids}
        sizes = {file: size for files in written.values() for file, size in files.items()}
        growing = {file for file, size in sizes.items() if size > self._sizes.get(file, -1)}
        self._sizes = sizes
        if len(growing) < 2:
            sole = next(iter(growing), None)
            if sole is None or sizes[sole] < largest:
                return dict.fromkeys(written, alone)
            return {pid: max(alone, largest + remaining) if sole in files else alone for pid, files in written.items()}
        share = remaining // len(growing)
        return {
            pid: max(files[file] for file in files.keys() & growing) + share if files.keys() & growing else alone
            for pid, files in written.items()
        }


def _written(pid: int, device: int) -> dict[FileId, int]:
    """The files on a device that a process has open for writing, with their sizes. Empty when it is gone or closed to us."""
    found: dict[FileId, int] = {}
    base = f"/proc/{pid}/fd"
    try:
        names = [each.name for each in Path(base).iterdir()]
    except OSError:
        return found
    for name in names:
        path = f"{base}/{name}"
        try:
            if os.lstat(path).st_mode & stat.S_IWUSR:  # how it was opened
                info = Path(path).stat()
                if stat.S_ISREG(info.st_mode) and info.st_dev == device:
                    found[FileId(info.st_dev, info.st_ino)] = info.st_size
        except OSError:  # closed meanwhile
            continue
    return found
