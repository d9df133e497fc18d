"""The process beside a host that makes sandboxes and starts processes in them; it holds nothing but namespaces. `link.py` asks it.

Why a process of its own: entering a user namespace is a one-way street, and forking it is cheaper than forking a host of phones.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import msgspec

from opencph.handset.sandbox import linux

MESSAGE_BYTES = 192 * 1024
FDS_MAX = 8
STAGES = ("/mnt", "/tmp", "/run")  # noqa: S108 - only mounted over, in a namespace of our own


class Bind(msgspec.Struct, array_like=True):
    """One line of a sandbox's file system, in order. `source` is a path of this machine for `bind` and `ro-bind`."""

    kind: str  # bind, ro-bind, data, symlink, dir, other: arguments of bwrap as they are
    target: str
    source: str = ""
    data: bytes = b""
    mode: int = 0o644


class Create(msgspec.Struct, tag=True):
    """Make a sandbox."""

    box: int
    bwrap: str
    arguments: list[str]
    binds: list[Bind]
    init: list[str]
    owner: int | None
    groups: list[str] = []  # files by which a process joins the control groups of the sandbox


class Spawn(msgspec.Struct, tag=True):
    """Start a process in a sandbox. Its stdin, stdout and stderr come with the message, unless it gets a terminal."""

    box: int
    id: int
    argv: list[str]
    environment: dict[str, str]
    terminal: bool
    limits: dict[int, int]


class Sockets(msgspec.Struct, tag=True):
    """Make a socket in the sandbox's network: "unix" or "tcp", or "listen" (abstract, by name) or "listen-tcp" (port in `name`)."""

    box: int
    id: int
    kind: str
    name: str = ""


class Destroy(msgspec.Struct, tag=True):
    """Kill everything in a sandbox."""

    box: int


Request = Create | Spawn | Sockets | Destroy


class Event(msgspec.Struct):
    """What happened: created, failed, started, exited, sockets (with a file descriptor), gone."""

    what: str
    box: int
    id: int = 0
    number: int = 0  # a pid of this machine, or an exit code
    text: str = ""


_decoder = msgspec.msgpack.Decoder(Request)
_encoder = msgspec.msgpack.Encoder()


class _Box:
    """A sandbox, held by its namespaces."""

    def __init__(self, owner: int | None, groups: list[str]) -> None:
        self.owner = owner
        self.groups = groups
        self.ready = -1  # pipe: a byte comes when the file system is made
        self.errors = -1  # what bwrap says
        self.info = -1  # pipe: bwrap's JSON with the pid of the first process inside
        self.hold = -1  # closing it ends the first process
        self.bwrap = 0
        self.pid = 0
        self.pidfd = -1
        self.namespaces: dict[int, int] = {}
        self.outer_user = -1
        self.inner_user = -1

    def fds(self) -> list[int]:
        pipes = [self.ready, self.errors, self.info, self.hold]
        every = [*pipes, self.pidfd, self.outer_user, self.inner_user, *self.namespaces.values()]
        return [fd for fd in every if fd >= 0]


class _Server:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._boxes: dict[int, _Box] = {}
        self._poll = select.poll()
        self._watched: dict[int, tuple[str, int]] = {}

    def run(self) -> None:
        self._poll.register(self._sock, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._sock.fileno():
                    if not self._receive():
                        return
                elif fd in self._watched:
                    what, number = self._watched[fd]
                    box = self._boxes.get(number)
                    if box is not None:
                        self._born(number, box) if what == "ready" else self._died(number, box)

    def _watch(self, fd: int, what: str, number: int) -> None:
        self._watched[fd] = (what, number)
        self._poll.register(fd, select.POLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _receive(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._sock, MESSAGE_BYTES, FDS_MAX)
        if not data:
            return False
        try:
            request = _decoder.decode(data)
            if isinstance(request, Create):
                try:
                    self._create(request)
                except OSError as error:
                    self._tell(Event("failed", request.box, text=str(error)))
                return True
            box = self._boxes.get(request.box)
            if isinstance(request, Destroy):
                if box is not None:
                    self._kill(box)
            elif box is None or not box.namespaces:
                self._tell(Event("failed", request.box, request.id, text="the sandbox has ended"))
            else:
                try:
                    pid = os.fork()
                except OSError as error:
                    self._tell(Event("failed", request.box, request.id, text=f"cannot start a process: {error.strerror}"))
                    return True
                if not pid:
                    self._in_child(request, box, fds)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _tell(self, event: Event, fds: list[int] | None = None) -> None:
        socket.send_fds(self._sock, [_encoder.encode(event)], fds or [])

    # sandboxes

    def _create(self, request: Create) -> None:
        box = _Box(request.owner, request.groups)
        ready, ready_in = os.pipe()
        errors, errors_in = os.pipe()
        info, info_in = os.pipe()
        hold_out, hold = os.pipe()
        box.ready, box.errors, box.info, box.hold = ready, errors, info, hold
        pid = os.fork()
        if not pid:
            try:
                _join([_open_group(path) for path in request.groups])
                _exec_bwrap(request, hold_out, ready_in, errors_in, info_in)
            except BaseException as error:
                os.write(errors_in, str(error).encode())
            os._exit(1)
        for fd in (ready_in, errors_in, info_in, hold_out):
            os.close(fd)
        box.bwrap = pid
        self._boxes[request.box] = box
        self._watch(ready, "ready", request.box)

    def _born(self, number: int, box: _Box) -> None:
        self._unwatch(box.ready)
        try:
            if not os.read(box.ready, 1):
                text = os.read(box.errors, 4096).decode("utf-8", "replace").strip()
                raise OSError(text or "bwrap ended without a word")
            box.pid = int(json.loads(os.read(box.info, 4096))["child-pid"])
            box.pidfd = os.pidfd_open(box.pid)
            self._open_namespaces(box)
        except (OSError, ValueError, KeyError) as error:
            self._kill(box)
            self._forget(number, box)
            self._tell(Event("failed", number, text=str(error)))
            return
        for fd in (box.ready, box.info, box.errors):
            os.close(fd)
        box.ready = box.info = box.errors = -1
        self._watch(box.pidfd, "gone", number)
        self._tell(Event("created", number, number=box.pid))

    def _open_namespaces(self, box: _Box) -> None:
        base = f"/proc/{box.pid}/ns"
        flags = os.O_RDONLY | os.O_CLOEXEC
        kinds = {"ipc": linux.CLONE_NEWIPC, "uts": linux.CLONE_NEWUTS, "net": linux.CLONE_NEWNET, "pid": linux.CLONE_NEWPID}
        for name, kind in (*kinds.items(), ("mnt", linux.CLONE_NEWNS)):
            if Path(base, name).stat().st_ino == Path("/proc/self/ns", name).stat().st_ino:
                raise OSError(f"bwrap left the {name} namespace shared")
            box.namespaces[kind] = os.open(f"{base}/{name}", flags)
        box.inner_user = os.open(f"{base}/user", flags)
        box.outer_user = fcntl.ioctl(box.namespaces[linux.CLONE_NEWNET], linux.NS_GET_USERNS)
        if os.fstat(box.outer_user).st_ino == Path("/proc/self/ns/user").stat().st_ino:
            raise OSError("bwrap left the user namespace shared")
        if select.select([box.pidfd], [], [], 0)[0]:
            raise OSError("the sandbox ended at once")

    def _kill(self, box: _Box) -> None:
        if box.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(box.pidfd, signal.SIGKILL)
        elif box.ready >= 0:  # not born yet: bwrap's child waits for bwrap, and would wait for ever
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{box.bwrap}/task/{box.bwrap}/children").read_text().split()
                for pid in (*map(int, children), box.bwrap):
                    os.kill(pid, signal.SIGKILL)
        if box.hold >= 0:
            os.close(box.hold)
            box.hold = -1

    def _died(self, number: int, box: _Box) -> None:
        self._forget(number, box)
        self._tell(Event("gone", number))

    def _forget(self, number: int, box: _Box) -> None:
        for fd in box.fds():
            self._unwatch(fd)
            os.close(fd)
        del self._boxes[number]

    # processes; everything below runs in a child of its own and never returns

    def _in_child(self, request: Spawn | Sockets, box: _Box, fds: list[int]) -> NoReturn:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if isinstance(request, Sockets):
                self._make_socket(request, box)
            else:
                self._start(request, box, fds)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._tell(Event("failed", request.box, request.id, text=str(error)))
        except BaseException:
            traceback.print_exc()
        os._exit(0)

    def _enter(self, box: _Box, kinds: int) -> None:
        _become(box.owner)
        linux.setns(box.outer_user, linux.CLONE_NEWUSER)
        for kind, fd in box.namespaces.items():
            if kind & kinds:
                linux.setns(fd, kind)
        if os.fstat(box.inner_user).st_ino != os.fstat(box.outer_user).st_ino:
            linux.setns(box.inner_user, linux.CLONE_NEWUSER)

    def _make_socket(self, request: Sockets, box: _Box) -> None:
        self._enter(box, linux.CLONE_NEWNET)
        family = socket.AF_INET if request.kind in ("tcp", "listen-tcp") else socket.AF_UNIX
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            if request.kind == "listen":
                sock.bind(f"\0{request.name}")
                sock.listen(16)
            elif request.kind == "listen-tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("127.0.0.1", int(request.name)))
                sock.listen(16)
            self._tell(Event("sockets", request.box, request.id), [sock.fileno()])

    def _start(self, request: Spawn, box: _Box, fds: list[int]) -> None:
        groups = [_open_group(path) for path in box.groups]  # opened before this machine's files are out of sight
        self._enter(box, linux.CLONE_NEW_ANY)
        master = -1
        if request.terminal:
            master, slave = _open_terminal()
            fds = [slave, slave, slave]
        pid = os.fork()
        if not pid:
            try:
                _join(groups)
                _exec(request, fds)
            except BaseException as error:
                os.write(2, f"{request.argv[0]}: {error}\n".encode())
            os._exit(127)
        self._tell(Event("started", request.box, request.id, pid), [master] if master >= 0 else [])
        mine = self._sock.fileno()
        for fd in (*fds, *((master,) if master >= 0 else ()), *(fd for each in self._boxes.values() for fd in each.fds())):
            if fd != mine:
                with contextlib.suppress(OSError):
                    os.close(fd)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._tell(Event("exited", request.box, request.id, code if code >= 0 else 128 - code))


def _open_group(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CLOEXEC)


def _join(groups: list[int]) -> None:
    for fd in groups:
        os.write(fd, b"0")
        os.close(fd)


def _become(owner: int | None) -> None:
    if owner is not None:
        os.setgroups([])
        os.setresgid(owner, owner, owner)
        os.setresuid(owner, owner, owner)


def _open_terminal() -> tuple[int, int]:
    """A terminal of the sandbox's own devpts: (master, slave)."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, linux.TIOCSPTLCK, struct.pack("i", 0))
    number = struct.unpack("i", fcntl.ioctl(master, linux.TIOCGPTN, b"\0\0\0\0"))[0]
    return master, os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)


def _exec(request: Spawn, fds: list[int]) -> NoReturn:
    import termios

    os.setsid()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in fds]
    for target, fd in enumerate(high):
        os.dup2(fd, target)
    os.closerange(3, 65536)
    if request.terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.umask(0o022)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full disk is an error that programs report, not their death
    os.chdir("/")
    for limit, value in request.limits.items():
        _, hard = resource.getrlimit(limit)
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        keep_hard = limit == resource.RLIMIT_FSIZE  # raised again by the host when space is freed
        resource.setrlimit(limit, (soft, hard if keep_hard else soft))
    linux.drop_capabilities()
    linux.confine()
    os.execve(request.argv[0], request.argv, request.environment)  # noqa: S606 - the point of it all


def _exec_bwrap(request: Create, stdin: int, stdout: int, stderr: int, info: int) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    stage = _stage() if request.owner is not None else ""
    keep: list[int] = [info]
    words = list(request.arguments)
    for number, bind in enumerate(request.binds):
        if bind.kind in ("bind", "ro-bind"):
            source = _stage_one(stage, number, bind.source) if stage else bind.source
            words += [f"--{bind.kind}", source, bind.target]
        elif bind.kind == "data":
            fd = _memory_file(bind.data)
            keep.append(fd)
            words += ["--perms", f"{bind.mode:04o}", "--ro-bind-data", str(fd), bind.target]
        elif bind.kind == "symlink":
            words += ["--symlink", bind.source, bind.target]
        elif bind.kind == "dir":
            words += ["--perms", f"{bind.mode:04o}", "--dir", bind.target]
        else:
            words += [f"--{bind.kind}", bind.target]
    filters = linux.seccomp_program()
    if filters:
        fd = _memory_file(filters)
        keep.append(fd)
        words += ["--seccomp", str(fd)]
    words += ["--info-fd", str(info)]
    listing = _memory_file(b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words))
    keep.append(listing)
    for target, fd in ((0, stdin), (1, stdout), (2, stderr)):
        os.dup2(fd, target)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _become(request.owner)
    for fd in keep:
        os.set_inheritable(fd, True)
    # the name is what `ps` shows in the phone
    os.execve(request.bwrap, ["/init", "--args", str(listing), "--", *request.init], {"PATH": "/system/bin"})  # noqa: S606


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("handset")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _stage() -> str:
    """A place in a mount namespace of our own where another user can reach what we show him, whatever the paths above it allow."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    for stage in STAGES:
        if Path(stage).is_dir():
            linux.mount("tmpfs", stage, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=1m")
            return stage
    raise OSError(f"none of {', '.join(STAGES)} exists on this machine")


def _stage_one(stage: str, number: int, source: str) -> str:
    target = f"{stage}/{number}"
    if Path(source).is_dir():
        Path(target).mkdir()
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    linux.mount(source, target, "", linux.MS_BIND)
    return target


def serve(sock: socket.socket) -> NoReturn:
    """The life of the process, just forked. Never returns."""
    code = 0
    try:
        gc.disable()  # a collection would copy the memory that is shared with the host
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C in a terminal is for the host, which then ends us
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children report for themselves
        keep = sock.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, 1 << 20)
        _silence()
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        _Server(sock).run()
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _silence() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    if null > 2:
        os.close(null)
