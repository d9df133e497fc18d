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
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import msgspec

from opencph.handset.sandbox import bubblewrap, entering, linux, outgoing
from opencph.handset.sandbox.messages import FDS_MAX, MESSAGE_BYTES, Create, Destroy, Event, Request, Sockets, Spawn

_decoder = msgspec.msgpack.Decoder(Request)
_encoder = msgspec.msgpack.Encoder()


class _Box:
    """A sandbox, held by its namespaces."""

    def __init__(self, request: Create) -> None:
        self.owner = request.owner
        self.groups = request.groups
        self.clocks = request.clocks
        self.outgoing = request.outgoing
        self.ready = -1  # pipe: a byte comes when the file system is made
        self.errors = -1  # what bwrap says
        self.info = -1  # pipe: bwrap's JSON with the pid of the first process inside
        self.hold = -1  # closing it ends the first process
        self.bwrap = 0
        self.pid = 0
        self.pidfd = -1
        self.online = -1  # pipe: a byte comes when there is a way out
        self.leash = -1  # closing it ends slirp4netns
        self.slirp = -1  # its pidfd
        self.slirp_errors = -1  # the file with what it says
        self.namespaces: dict[int, int] = {}
        self.outer_user = -1
        self.inner_user = -1

    def fds(self) -> list[int]:
        pipes = [self.ready, self.errors, self.info, self.hold]
        pipes += [self.online, self.leash, self.slirp, self.slirp_errors]
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
                        {"ready": self._born, "online": self._online, "gone": self._died}[what](number, box)

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
        box = _Box(request)
        ready, ready_in = os.pipe()
        errors, errors_in = os.pipe()
        info, info_in = os.pipe()
        hold_out, hold = os.pipe()
        box.ready, box.errors, box.info, box.hold = ready, errors, info, hold
        pid = os.fork()
        if not pid:
            try:
                entering.join([entering.open_group(path) for path in request.groups])
                bubblewrap.execute(request, hold_out, ready_in, errors_in, info_in)
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
        text = ""
        if box.outgoing:
            try:
                self._go_out(number, box)
            except OSError as error:
                text = str(error)
            else:
                return
        self._tell(Event("created", number, number=box.pid, text=text))

    def _go_out(self, number: int, box: _Box) -> None:
        box.slirp_errors = os.memfd_create("slirp4netns")
        box.online, ready = os.pipe()
        end, box.leash = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                entering.join([entering.open_group(path) for path in box.groups])
                network = box.namespaces[linux.CLONE_NEWNET]
                outgoing.execute(box.owner, box.outer_user, network, ready, end, box.slirp_errors)
            except BaseException as error:
                os.write(box.slirp_errors, str(getattr(error, "strerror", None) or error).encode())
            os._exit(1)
        with contextlib.suppress(ProcessLookupError):  # it failed already: the pipe tells
            box.slirp = os.pidfd_open(pid)
        os.close(ready)
        os.close(end)
        self._watch(box.online, "online", number)

    def _online(self, number: int, box: _Box) -> None:
        self._unwatch(box.online)
        text = ""
        if not os.read(box.online, 1):
            said = os.pread(box.slirp_errors, outgoing.LOG_BYTES, 0).decode("utf-8", "replace").strip()
            text = said.splitlines()[-1] if said else "slirp4netns ended without a word"
        os.close(box.online)
        box.online = -1
        self._tell(Event("created", number, number=box.pid, text=text))

    def _open_namespaces(self, box: _Box) -> None:
        base = f"/proc/{box.pid}/ns"
        flags = os.O_RDONLY | os.O_CLOEXEC
        kinds = {"ipc": linux.CLONE_NEWIPC, "uts": linux.CLONE_NEWUTS, "net": linux.CLONE_NEWNET, "pid": linux.CLONE_NEWPID}
        if _shared(base, "cgroup") is False:  # without it a phone would see where in this machine's groups it is
            kinds["cgroup"] = linux.CLONE_NEWCGROUP
        for name, kind in (*kinds.items(), ("mnt", linux.CLONE_NEWNS)):
            if _shared(base, name):
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
        if box.slirp >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(box.slirp, signal.SIGKILL)
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
        clocks = entering.open_time_offsets() if kinds == linux.CLONE_NEW_ANY else -1
        entering.become(box.owner)
        linux.setns(box.outer_user, linux.CLONE_NEWUSER)
        entering.set_clocks(clocks, box.clocks)
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
                sock.bind(b"\0" + request.name)
                sock.listen(16)
            elif request.kind == "listen-tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("127.0.0.1", int(request.name)))
                sock.listen(16)
            self._tell(Event("sockets", request.box, request.id), [sock.fileno()])

    def _start(self, request: Spawn, box: _Box, fds: list[int]) -> None:
        groups = [entering.open_group(path) for path in box.groups]  # opened before this machine's files are out of sight
        self._enter(box, linux.CLONE_NEW_ANY)
        master = -1
        if request.terminal:
            master, slave = entering.open_terminal(request.window)
            fds = [slave, slave, slave]
        pid = os.fork()
        if not pid:
            try:
                entering.join(groups)
                entering.execute(request, fds)
            except BaseException as error:
                os.write(2, request.argv[0] + f": {error}\n".encode("utf-8", "replace"))
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


def _shared(base: str, name: str) -> bool | None:
    """Whether a process has a namespace together with us; None where this kernel has none of the kind."""
    try:
        return Path(base, name).stat().st_ino == Path("/proc/self/ns", name).stat().st_ino
    except FileNotFoundError:
        return None


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
