"""What a phone's file tree is made of beside its disk, and where which part of it hangs. How paths are walked is in `files`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from opencph.adb.sync_protocol import FileStat


class Link(NamedTuple):
    """A symbolic link of the read-only part."""

    target: str


class Disk(NamedTuple):
    """A directory that lives on the phone's disk, or, with an absolute name, elsewhere on this machine."""

    name: str


class Blob(NamedTuple):
    """A read-only file whose contents the phone makes."""

    read: Callable[[], bytes]


class HostFile(NamedTuple):
    """A read-only file of the system image."""

    path: Path


class Null(NamedTuple):
    """/dev/null."""


class Made(Mapping[str, "Node"]):
    """A read-only directory that is made anew whenever somebody looks."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Mapping[str, Node]]) -> None:
        self._make = make

    def __getitem__(self, name: str) -> Node:
        return self._make()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._make())

    def __len__(self) -> int:
        return len(self._make())


Node = Mapping[str, "Node"] | Link | Disk | Blob | HostFile | Null


def layout(system: Mapping[str, Node], shares: Mapping[str, Node], proc: Mapping[str, Node]) -> Mapping[str, Node]:
    """The root of a phone: what is on its disk, what is read-only, and the file systems that phones share."""
    return {
        "cache": Disk("cache"),
        "data": Disk("data"),
        "dev": {"null": Null()},
        "etc": Link("/system/etc"),
        "mnt": {"sdcard": Link("/sdcard"), **({"sfs_turbo": shares} if shares else {})},
        "proc": proc,
        "sdcard": Link("/storage/emulated/0"),
        "storage": {"emulated": {"0": Link("/data/media/0")}, "self": {"primary": Link("/storage/emulated/0")}},
        "system": system,
    }


def open_node(node: Node | None) -> int:
    """A descriptor to read its contents from. Raises OSError for what has none."""
    if isinstance(node, HostFile):
        return os.open(node.path, os.O_RDONLY | os.O_CLOEXEC)
    if isinstance(node, Blob | Null):
        fd = os.memfd_create("blob")
        os.write(fd, b"" if isinstance(node, Null) else node.read())
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
    code = errno.ENOENT if node is None else errno.EISDIR
    raise OSError(code, os.strerror(code))


def node_stat(node: Node) -> FileStat:
    """What ADB is told of it; a failure is in `error`."""
    if isinstance(node, Link):
        return FileStat(mode=stat.S_IFLNK | 0o777, nlink=1, size=len(node.target))
    if isinstance(node, Blob):
        return FileStat(mode=stat.S_IFREG | 0o644, nlink=1, size=len(node.read()))
    if isinstance(node, Null):
        return FileStat(mode=stat.S_IFCHR | 0o666, nlink=1)
    if isinstance(node, HostFile):
        try:
            info = node.path.stat()
        except OSError as error:
            return FileStat(error=error.errno or errno.EIO)
        return FileStat(mode=stat.S_IFREG | 0o755, nlink=1, size=info.st_size, mtime=int(info.st_mtime))
    return FileStat(mode=stat.S_IFDIR | 0o755, nlink=2)
