"""The phone's file tree as ADB sees it: paths are walked step by step, so that neither `..` nor a link ever leaves the phone."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from opencph.adb.sync_protocol import FileStat
from opencph.handset.nodes import Blob, Disk, HostFile, Link, Node, Null, node_stat, open_node

LINKS_MAX = 40
KEYS = "data/misc/adb"  # where adbd's keys are: only the phone's root changes anything there
KEYS_FILE = f"/{KEYS}/adb_keys"
SKELETON = (
    "data/app",
    "data/data",
    "data/local/tmp",
    KEYS,
    *(f"data/media/0/{name}" for name in ("Android", "DCIM", "Download", "Movies", "Music", "Pictures")),
    "cache",
)
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SHELL_UID = 2000


class Place:
    """Where a path ends: an entry of a directory on disk (`fd`, `name`), or a node of the read-only part.

    `name` is empty when the path is the directory itself. Close it, or use it as a context manager.
    """

    __slots__ = ("fd", "name", "node")

    def __init__(self, fd: int, name: str, node: Node | None) -> None:
        self.fd = fd
        self.name = name
        self.node = node

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def writable(self) -> None:
        """Raises OSError (EROFS) outside of the phone's disk."""
        if self.fd < 0:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not self.name:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))

    def lstat(self) -> os.stat_result:
        """What is there. Only for places on disk."""
        return os.stat(self.name, dir_fd=self.fd, follow_symlinks=False) if self.name else os.fstat(self.fd)


class Files:
    """The files of one phone. `owner` is the uid that its processes have on this machine; None: that of this process."""

    __slots__ = ("_root", "directory", "keys_kept", "owner")

    def __init__(self, directory: Path, owner: int | None, root: Mapping[str, Node]) -> None:
        self.directory = directory
        self.owner = owner
        self._root = root
        self.keys_kept = True  # nobody changes what is in KEYS

    def ensure(self) -> None:
        """Make the directories that every phone has. Cheap when they are there."""
        try:
            there = (self.directory / "cache").stat()
        except FileNotFoundError:
            for name in SKELETON:
                (self.directory / name).mkdir(mode=0o771, parents=True, exist_ok=True)
            there = (self.directory / "cache").stat()
        if self.owner is not None and there.st_uid != self.owner:  # new, or the phone has another address than before
            for root in ("data", "cache"):
                _give_away(self.directory / root, self.owner)

    def keep_keys(self) -> None:
        """Make KEYS real directories: what the phone's root left in their places instead goes. Raises OSError."""
        self.ensure()
        fd = os.open(self.directory / "data", _STEP)
        try:
            for name in Path(KEYS).parts[1:]:
                if os.fstat(fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:  # closed by who has it
                    Path(f"/proc/self/fd/{fd}").chmod(0o771)
                try:
                    inner = os.open(name, _STEP, dir_fd=fd)
                except OSError as error:
                    if error.errno != errno.ENOENT:
                        os.unlink(name, dir_fd=fd)
                    os.mkdir(name, 0o771, dir_fd=fd)
                    if self.owner is not None:
                        os.chown(name, self.owner, self.owner, dir_fd=fd, follow_symlinks=False)
                    inner = os.open(name, _STEP, dir_fd=fd)
                os.close(fd)
                fd = inner
        finally:
            os.close(fd)

    def own(self, fd: int) -> None:
        """Give an open file to the phone's user."""
        if self.owner is not None:
            os.fchown(fd, self.owner, self.owner)

    # walking

    def resolve(self, path: str, follow: bool = True) -> Place:
        """Walk to `path`. The last part may be missing. Raises OSError as the kernel would (ENOENT, ENOTDIR, ELOOP)."""
        if "\0" in path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        todo = deque(part for part in path.split("/") if part not in ("", "."))
        directory_wanted = path.endswith(("/", "/."))
        stack: list[Mapping[str, Node] | int] = [self._root]
        links = 0
        try:
            while todo:
                name = todo.popleft()
                here = stack[-1]
                if name == ".":
                    continue
                if name == "..":
                    if len(stack) > 1:
                        _drop(stack.pop())
                    continue
                last = not todo
                target = None
                if isinstance(here, int):
                    if last and not (follow or directory_wanted):
                        return Place(os.dup(here), name, None)
                    target, child = self._step(here, name, last)
                    if child is None and target is None:
                        return Place(os.dup(here), name, None)
                    if child is not None:
                        stack.append(child)
                else:
                    node = here.get(name)
                    if node is None:
                        if last:
                            return Place(-1, name, None)
                        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
                    if isinstance(node, Link):
                        if last and not (follow or directory_wanted):
                            return Place(-1, name, node)
                        target = node.target
                    elif isinstance(node, Disk):
                        self.ensure()
                        stack.append(os.open(self.directory / node.name, _STEP))
                    elif isinstance(node, Blob | HostFile | Null):
                        if last:
                            return Place(-1, name, node)
                        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                    else:
                        stack.append(node)
                if target is not None:
                    links += 1
                    if links > LINKS_MAX:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    todo.extendleft(reversed([part for part in target.split("/") if part]))
                    if target.startswith("/"):
                        while len(stack) > 1:
                            _drop(stack.pop())
            end = stack[-1]
            if isinstance(end, int):
                return Place(os.dup(end), "", None)
            return Place(-1, "", end)
        finally:
            for item in stack:
                _drop(item)

    def _step(self, fd: int, name: str, last: bool) -> tuple[str | None, int | None]:
        """One step on disk: (link target, None), (None, directory), or (None, None) for a last part that is neither."""
        try:
            return None, os.open(name, _STEP, dir_fd=fd)
        except FileNotFoundError:
            if last:
                return None, None
            raise
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
        try:
            return os.readlink(name, dir_fd=fd), None
        except OSError:
            if last:
                return None, None
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None

    # asking

    def stat(self, path: str, follow: bool = True) -> FileStat:
        """What is at `path`; a failure is in `error`."""
        try:
            with self.resolve(path, follow) as place:
                return self._stat(place)
        except OSError as error:
            return FileStat(error=error.errno or errno.EIO)

    def _stat(self, place: Place) -> FileStat:
        if place.fd >= 0:
            return self._translate(place.lstat())
        if place.node is None:
            return FileStat(error=errno.ENOENT)
        return node_stat(place.node)

    def _translate(self, info: os.stat_result) -> FileStat:
        mine = os.geteuid() if self.owner is None else self.owner
        uid = SHELL_UID if info.st_uid == mine else 0
        return FileStat(
            0,
            info.st_dev,
            info.st_ino,
            info.st_mode,
            info.st_nlink,
            uid,
            uid,
            info.st_size,
            int(info.st_atime),
            int(info.st_mtime),
            int(info.st_ctime),
        )

    def is_null(self, path: str) -> bool:
        """Whether what is written there goes nowhere."""
        try:
            with self.resolve(path) as place:
                return isinstance(place.node, Null)
        except OSError:
            return False

    def list(self, path: str) -> Iterator[tuple[bytes, FileStat]]:
        """The entries of a directory, "." and ".." first as readdir gives them. Raises OSError."""
        with self.resolve(path) as place:
            if place.fd < 0:
                if not isinstance(place.node, Mapping):
                    missing = errno.ENOENT if place.node is None else errno.ENOTDIR
                    raise OSError(missing, os.strerror(missing))
                own = node_stat(place.node)
                yield from ((b".", own), (b"..", own))
                for name, node in place.node.items():
                    yield name.encode(), node_stat(node)
                return
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(place.name or ".", flags, dir_fd=place.fd)
        try:
            own = self._translate(os.fstat(fd))
            yield from ((b".", own), (b"..", own))
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        info = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                    except OSError as error:
                        yield os.fsencode(entry.name), FileStat(error=error.errno or errno.EIO)
                    else:
                        yield os.fsencode(entry.name), self._translate(info)
        finally:
            os.close(fd)

    def open_read(self, path: str) -> int:
        """A file descriptor of a regular file. Raises OSError."""
        with self.resolve(path) as place:
            if place.fd < 0:
                return open_node(place.node)
            if not place.name:
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
            fd = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place.fd)
            return _regular(fd)

    # changing; what it costs on the disk is the caller's to count

    def writable(self, place: Place) -> None:
        """Raises OSError: EROFS outside of the phone's disk, EACCES where only its root may change something."""
        place.writable()
        if self.keys_kept:
            top = os.path.realpath(self.directory)
            path = os.path.relpath(Path(f"/proc/self/fd/{place.fd}").readlink() / place.name, top)
            if f"{path}/".startswith(f"{KEYS}/") or f"{KEYS}/".startswith(f"{path}/"):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def make_parents(self, path: str, before: Callable[[], None]) -> None:
        """Make the directories above `path` that are missing; `before` each one, room is asked for. Raises OSError."""
        parts = [part for part in path.split("/")[:-1] if part]
        for count in range(1, len(parts) + 1):
            with self.resolve("/" + "/".join(parts[:count])) as place:
                if not place.name:
                    continue
                if place.fd < 0:
                    if place.node is None:
                        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
                    continue
                self.writable(place)
                before()
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place.name, 0o771, dir_fd=place.fd)
                fd = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
                try:
                    self.own(fd)
                finally:
                    os.close(fd)

    def create(self, place: Place, append: bool = False) -> tuple[int, int]:
        """Open a regular file for writing, emptied or at its end: (descriptor, size it had; -1 when it is new). Raises OSError."""
        self.writable(place)
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_APPEND if append else 0)
        try:
            fd = os.open(place.name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place.fd)
        except FileExistsError:
            fd = _regular(os.open(place.name, flags, dir_fd=place.fd))
            size = os.fstat(fd).st_size
            if not append:
                os.ftruncate(fd, 0)
            return fd, size
        try:
            self.own(fd)
        except OSError:
            os.close(fd)
            raise
        return fd, -1


def _give_away(root: Path, owner: int) -> None:
    """The top goes last: it says that all the rest is done."""
    for _, _, names, fd in os.fwalk(root, topdown=False):
        for name in names:
            with contextlib.suppress(OSError):
                os.chown(name, owner, owner, dir_fd=fd, follow_symlinks=False)
        os.fchown(fd, owner, owner)


def _drop(item: Mapping[str, Node] | int) -> None:
    if isinstance(item, int):
        os.close(item)


def _regular(fd: int) -> int:
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EPERM
        raise OSError(code, os.strerror(code))
    return fd
