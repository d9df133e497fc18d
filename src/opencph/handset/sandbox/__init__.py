"""A phone's processes, shut in with bubblewrap: own users, processes, network and files; of the machine only programs, read-only.

One sandbox per phone, made for the first command that needs it, removed some seconds after its last process ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from opencph.handset.config import HandsetError
from opencph.handset.owner import with_real_uid
from opencph.handset.sandbox import cgroups, facts, link
from opencph.handset.sandbox.bridge import BRIDGE_NAME, Bridge
from opencph.handset.sandbox.image import find, system_image
from opencph.handset.sandbox.layout import INIT, arguments, binds, clocks, environment, writable
from opencph.handset.sandbox.layout import refused as no_way_out
from opencph.handset.sandbox.messages import Create, Sockets, Spawn
from opencph.handset.sandbox.writers import Writers
from opencph.handset.trees import TooDeepError, Usage, measure

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

log = logging.getLogger(__name__)

PROCESSES_MAX = 512
OPEN_FILES_MAX = 1024
PIPE_BYTES = 256 * 1024
WATCH_SECONDS = 0.25
WATCH_SCARCE_SECONDS = 0.05  # while something runs and the disk is nearly full
SCARCE_BYTES = 1024 * 1024 * 1024
FACTS_SECONDS = 1.0  # how old /proc/meminfo may be while something runs
CREATE_SECONDS = 20.0

__all__ = ["Process", "Sandbox", "missing"]


@cache
def _try_bwrap(bwrap: str) -> str:
    """Why bubblewrap cannot make a sandbox here; empty when it can."""
    words = [bwrap, "--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if not done.returncode else (done.stderr.strip() or f"exit code {done.returncode}")


def missing() -> list[str]:
    """What this machine lacks for a shell in the phones, each with the command that mends it. Empty: nothing."""
    lacks = []
    bwrap = find("bwrap")
    if bwrap is None:
        lacks.append("bubblewrap is not installed, so phones have no shell: `sudo apt-get install bubblewrap`")
    elif why := _try_bwrap(str(bwrap)):
        fix = _namespace_fix()
        lacks.append(f"bubblewrap cannot make a sandbox here ({why}), so phones have no shell: {fix}")
    if not system_image().programs.get("sh") and "sh" not in system_image().links:
        lacks.append("there is no shell for the phones: `sudo apt-get install mksh`")
    return lacks


def _namespace_fix() -> str:
    for name, wanted in (
        ("kernel/unprivileged_userns_clone", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "0"),
    ):
        with contextlib.suppress(OSError):
            if Path("/proc/sys", name).read_text().strip() != wanted:
                return f"`sudo sysctl -w {name.replace('/', '.')}={wanted}`"
    with contextlib.suppress(OSError):
        if Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
            return "`sudo sysctl -w user.max_user_namespaces=15000`"
    return (
        "in a container, start it with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined --cap-add SYS_ADMIN`"
    )


class Process:
    """A process in a sandbox, and our ends of its input and output."""

    def __init__(self, sandbox: Sandbox, pid: int, exited: asyncio.Future[int], stdin: int, outputs: list[tuple[int, int]]) -> None:
        self._sandbox = sandbox
        self.pid = pid
        self._exited = exited
        self.stdin = stdin
        self.outputs = outputs  # (descriptor, 1 for stdout or 2 for stderr)
        self.terminal = -1

    async def wait(self) -> int:
        """Its exit code; 128 and the signal's number when a signal ended it."""
        return await asyncio.shield(self._exited)

    def close_stdin(self) -> None:
        """No more input."""
        if self.stdin >= 0 and self.terminal < 0:
            os.close(self.stdin)
            self.stdin = -1

    def close_output(self, fd: int) -> None:
        """Nobody reads this any more: its next write ends the process, as in any pipe."""
        self.outputs = [(each, kind) for each, kind in self.outputs if each != fd]
        if fd not in (self.stdin, self.terminal):
            os.close(fd)

    def hang_up(self) -> None:
        """Its user is gone: SIGHUP to the process and those it started."""
        if not self._exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGHUP)

    def close(self) -> None:
        """Let go of it, running or not."""
        self.hang_up()
        for fd in {self.stdin, self.terminal, *(fd for fd, _ in self.outputs)}:
            if fd >= 0:
                os.close(fd)
        self.stdin = self.terminal = -1
        self.outputs = []
        self._sandbox.forget(self)


class Sandbox:
    """The sandbox of one phone."""

    def __init__(self, phone: Phone, root: bool, idle_seconds: float) -> None:
        self._phone = phone
        self.root = root
        self._idle_seconds = idle_seconds
        self._link = link.take(self)
        self._number = self._link.number()
        self._ended = asyncio.get_running_loop().create_future()
        self._leaving = False  # it was idle, and is told to end
        self._used = 0.0  # when somebody last got it, in loop time
        self.init_pid = 0
        self._processes: set[Process] = set()
        self._starting = 0
        self.keepers: set[object] = set()  # what needs it though no process runs
        self._bridge: Bridge | None = None
        self._group: cgroups.Group | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._writers = Writers()
        self._look_soon = asyncio.Event()

    @classmethod
    async def make(cls, phone: Phone, root: bool, idle_seconds: float) -> Sandbox:
        """A new one. Raises HandsetError that says what is missing and how to mend it."""
        bwrap = find("bwrap")
        image = system_image()
        if bwrap is None or ("sh" not in image.programs and "sh" not in image.links):
            raise HandsetError(errno.ENOSYS, f"no shell on this phone: {missing()[0]}")
        if root:
            phone.files.ensure()
        else:
            phone.files.keep_keys()
        sandbox = cls(phone, root, idle_seconds)
        try:
            sandbox._group = cgroups.make(facts.memory_bytes(phone), PROCESSES_MAX)
            groups = sandbox._group.procs if sandbox._group is not None else []
            facts.write_first(phone, sandbox._group)
            refused = no_way_out(phone)
            request = Create(
                sandbox._number,
                str(bwrap),
                arguments(root),
                binds(phone),
                INIT,
                phone.files.owner,
                groups,
                clocks(phone),
                outgoing=phone.config.network == "internet" and not refused,
            )
            async with asyncio.timeout(CREATE_SECONDS):
                sandbox.init_pid, failed = await sandbox._link.create(request, sandbox._on_gone)
                listening = await sandbox.listen(f"localabstract:{BRIDGE_NAME}")
        except BaseException as error:
            sandbox._link.destroy(sandbox._number)
            link.release(sandbox)
            sandbox._drop_group()
            facts.remove(phone)
            if isinstance(error, TimeoutError):
                raise HandsetError(errno.ETIMEDOUT, f"no shell on this phone: no sandbox within {CREATE_SECONDS:g} s") from None
            if isinstance(error, HandsetError):
                _try_bwrap.cache_clear()
                reason = next(iter(missing()), str(error.strerror))
                raise HandsetError(errno.ENOSYS, f"no shell on this phone: {reason}") from None
            raise
        sandbox._bridge = Bridge(phone, listening)
        if refused or failed:
            phone.note("netd", f"no outgoing network on this phone: {refused or failed}", "W")
        phone.disk.others_write = True
        sandbox._apply_size_limits()
        sandbox._watcher = asyncio.get_running_loop().create_task(sandbox._watch())
        return sandbox

    @property
    def alive(self) -> bool:
        """Whether processes can be started in it: one that was told to end would take them along."""
        return not self._ended.done() and not self._leaving

    def use(self) -> None:
        """Somebody got it, and will start something in it: it does not count as idle."""
        self._used = asyncio.get_running_loop().time()

    def _on_gone(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
        self._phone.disk.others_write = False
        self._phone.disk.forget()
        if self._bridge is not None:
            self._bridge.close()
            self._bridge = None
        if self._watcher is not None and self._watcher is not asyncio.current_task():
            self._watcher.cancel()
        link.release(self)
        self._drop_group()
        facts.remove(self._phone)

    def _drop_group(self) -> None:
        group, self._group = self._group, None
        if group is not None:  # the kernel needs a moment: not on the event loop
            asyncio.get_running_loop().run_in_executor(None, group.remove)

    async def close(self) -> None:
        """Kill everything in it and wait until it is gone."""
        if not self._ended.done():
            self._link.destroy(self._number)
            await asyncio.shield(self._ended)

    # processes

    async def spawn(
        self,
        argv: list[str],
        *,
        pty: bool = False,
        term: str = "dumb",
        merge: bool = False,
        window: tuple[int, int, int, int] | None = None,
    ) -> Process:
        """Start a process; `merge` sends its stderr where stdout goes, `window` is a terminal's size. Raises HandsetError."""
        number, limits = self._link.number(), self._limits()
        request = Spawn(
            self._number,
            number,
            [os.fsencode(word) for word in argv],
            environment(self._phone, self.root, term),
            pty,
            limits,
            writable(self._phone),
            window,
        )
        ours: list[int] = []
        theirs: list[int] = []
        if not pty:
            for index in range(2 if merge else 3):
                reading, writing = os.pipe2(os.O_CLOEXEC)
                ours.append(reading if index else writing)
                theirs.append(writing if index else reading)
                if index:
                    with contextlib.suppress(OSError):
                        _set_pipe_size(writing)
            if merge:
                theirs.append(theirs[1])
            for fd in ours:
                os.set_blocking(fd, False)
        if self._phone.disk.remaining() < SCARCE_BYTES:
            self._look_soon.set()
        self._starting += 1
        try:
            pid, exited, terminal = await self._link.spawn(request, theirs)
        except BaseException:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            self._starting -= 1
            for fd in set(theirs):
                os.close(fd)
        if pty:
            os.set_blocking(terminal, False)
            process = Process(self, pid, exited, terminal, [(terminal, 1)])
            process.terminal = terminal
        else:
            process = Process(self, pid, exited, ours[0], [(fd, kind) for kind, fd in enumerate(ours[1:], 1)])
        self._processes.add(process)
        return process

    def forget(self, process: Process) -> None:
        """The process is nobody's any more."""
        self._processes.discard(process)

    def _limits(self) -> dict[int, int]:
        return {
            resource.RLIMIT_FSIZE: self._phone.disk.file_size_limit(),
            resource.RLIMIT_NPROC: PROCESSES_MAX,
            resource.RLIMIT_AS: facts.memory_bytes(self._phone),
            resource.RLIMIT_NOFILE: OPEN_FILES_MAX,
            resource.RLIMIT_CORE: 0,
        }

    async def connect(self, target: str) -> socket.socket:
        """A connection to `tcp:PORT` or `localabstract:NAME` inside. Raises OSError when nothing listens there."""
        kind, name = _place(target, 1)
        address: tuple[str, int] | str = ("127.0.0.1", int(name)) if kind == "tcp" else f"\0{name}"
        sock = await self._link.socket(Sockets(self._number, self._link.number(), "tcp" if kind == "tcp" else "unix"))
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    async def listen(self, target: str) -> socket.socket:
        """A listening socket on `tcp:PORT` (0: any) or `localabstract:NAME` inside. Raises OSError when the place is taken."""
        kind, name = _place(target, 0)
        return await self._link.socket(
            Sockets(self._number, self._link.number(), "listen-tcp" if kind == "tcp" else "listen", os.fsencode(name))
        )

    def host_pids(self) -> list[int]:
        """The machine's numbers of every process inside."""
        return list(self._pids())

    # watching the disk and the idle time

    def _pids(self) -> Iterator[int]:
        """Every process inside, as far as /proc tells; those that come while we look inherit their parent's limit."""
        queue = [self.init_pid, *(process.pid for process in self._processes)]
        seen = set()
        while queue:
            pid = queue.pop()
            if pid in seen:
                continue
            seen.add(pid)
            yield pid
            queue += _children(pid)

    def _busy(self) -> bool:
        """Whether anything but the first two processes lives inside."""
        if self._starting or self.keepers or any(not process._exited.done() for process in self._processes):
            return True
        children = _children(self.init_pid)
        return len(children) > 1 or any(_children(child) for child in children)

    def _apply_size_limits(self) -> None:
        disk = self._phone.disk
        alone = disk.file_size_limit()
        device = disk.roots[0].stat().st_dev
        limits = self._writers.limits(self._pids(), device, disk.remaining(), disk.largest, alone)
        with with_real_uid(self._phone.files.owner):
            for pid, limit in limits.items():
                with contextlib.suppress(ProcessLookupError):
                    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))

    async def _watch(self) -> None:
        """Until it is idle: keep the limit on file sizes at what the disk has left."""
        loop = asyncio.get_running_loop()
        disk = self._phone.disk
        last_busy = loop.time()
        told = 0.0
        pause, rest = WATCH_SECONDS, WATCH_SCARCE_SECONDS
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause - rest):
                    await self._look_soon.wait()
            self._look_soon.clear()
            await asyncio.sleep(rest)
            busy = self._busy()
            if busy:
                last_busy = loop.time()
            elif loop.time() - max(last_busy, self._used) >= self._idle_seconds:
                break
            began = time.thread_time()
            usage = Usage()
            try:
                for _ in measure(disk.roots, usage):
                    await asyncio.sleep(0)
            except TooDeepError:
                usage.used = max(usage.used, disk.limit)
            disk.counted(usage)
            try:
                self._apply_size_limits()
                if loop.time() - told >= FACTS_SECONDS:
                    told = loop.time()
                    facts.write(self._phone, self._group, self._pids())
            except OSError as error:
                log.warning(
                    "phone %s: cannot keep its processes to the disk's size, or tell its memory: %s",
                    self._phone.config.phone_id,
                    error,
                )
            scarce = busy and disk.remaining() < SCARCE_BYTES
            # the processor's time, not the clock's: looks become no rarer because others keep the machine busy
            rest = max(WATCH_SCARCE_SECONDS, 8 * (time.thread_time() - began))
            pause = rest if scarce else max(WATCH_SECONDS, rest)
        self._leaving = True
        self._link.destroy(self._number)


def _place(target: str, lowest: int) -> tuple[str, str]:
    """`tcp:PORT` or `localabstract:NAME` as its two parts. Raises HandsetError when it is no port from the lowest on."""
    kind, _, name = target.partition(":")
    if kind == "tcp" and not (name.isascii() and name.isdecimal() and len(name) < 6 and lowest <= int(name) < 65536):
        raise HandsetError(errno.EINVAL, f"{name[:64]!r} is no TCP port")
    return kind, name


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _set_pipe_size(fd: int) -> None:
    import fcntl

    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
