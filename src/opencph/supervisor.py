"""`opencph up`: prepares, forks api, worker and gateway, heals them, and ends them. Knows how parts live, not what they do.

The parent stays single-threaded and never opens the database, so that it may fork at any time; what needs the database
before the parts run is done in a short-lived child while the parent imports what the parts share.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import msgspec
import structlog

import opencph
from opencph import log
from opencph.network_claim import NetworkTakenError, claim
from opencph.preparation import (
    OnlyOne,
    StartError,
    check_port_is_free,
    prepare_database,
    prepare_directories,
    write_credentials,
)
from opencph.settings import Settings

STOP_SECONDS = 10.0
BACK_OFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
STEADY_SECONDS = 60.0  # a part that lived so long starts its back-off anew
UPKEEP_SECONDS = 60.0

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15

#: name -> module and function. Each runs until SIGTERM and calls `ready` once it serves.
PARTS = {
    "worker": ("opencph.worker", "run_worker"),
    "gateway": ("opencph.gateway.process", "run_gateway"),
    "api": ("opencph.api.process", "run_api"),
}

Ready = Callable[..., None]
_libc = ctypes.CDLL(None, use_errno=True)
_logger = structlog.get_logger("opencph.supervisor")


def run_part(name: str, settings: Settings, ready: Ready) -> None:
    """Run one part in this process until it is told to stop."""
    module, function = PARTS[name]
    getattr(import_module(module), function)(settings, ready)


@dataclass
class _Child:
    """A forked process and the pipe on which it says that it is ready, or why it cannot run."""

    name: str
    pid: int
    pidfd: int
    pipe: int
    start: float
    text: bytes = b""
    ready: bool = False
    endpoint: str = ""
    error: str = ""

    def listen(self) -> bool:
        """Take what the child has said. False when its end of the pipe is closed."""
        try:
            piece = os.read(self.pipe, 65536)
        except BlockingIOError:
            return True
        self.text += piece
        *lines, self.text = self.text.split(b"\n")
        for line in lines:
            said = json.loads(line)
            self.ready = self.ready or "ready" in said
            self.endpoint = said.get("ready") or self.endpoint
            self.error = said.get("error") or self.error
        return bool(piece)

    def close(self) -> None:
        os.close(self.pidfd)
        os.close(self.pipe)


def _sentence(error: BaseException) -> str:
    """An exception as one line for people; what we do not know keeps its type, and its traceback goes to the log."""
    if type(error).__module__.startswith("opencph."):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _fork(name: str, work: Callable[[Ready], None], close: list[int]) -> _Child:
    """Fork a child that runs `work(ready)` and dies with this process."""
    parent = os.getpid()
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        os.set_blocking(reading, False)
        return _Child(name, pid, os.pidfd_open(pid), reading, time.monotonic())
    status = 1

    def say(**words: str) -> None:
        with suppress(OSError):
            os.write(writing, json.dumps(words).encode() + b"\n")

    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for fd in (reading, *close):
            os.close(fd)
        os.setpgid(0, 0)  # Ctrl-C is for the parent, which stops the parts in order
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _libc.prctl(PR_SET_NAME, f"opencph-{name}".encode(), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        work(lambda endpoint="": say(ready=endpoint))
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        status = 0
    except BaseException as error:
        if not isinstance(error, StartError) and not type(error).__module__.startswith("opencph."):
            _logger.error(f"{name} failed", exception=traceback.format_exc())
        say(error=_sentence(error))
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


class _Ended(NamedTuple):
    """A part that is no more."""

    name: str
    error: str
    status: int  # as waitpid gives it
    lived_seconds: float


class Supervisor:
    """The parts of one `opencph up`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.children: dict[str, _Child] = {}
        self.restarts: dict[str, int] = {}
        self.due: dict[str, float] = {}  # part -> when it is started again
        self.stop_signals = 0
        self.worker_ran = False
        self._selector = selectors.EpollSelector()
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.stop_signals += 1

    def start(self, name: str) -> None:
        """Fork one part."""
        settings = self.settings

        def work(ready: Ready) -> None:
            log.configure(settings.log_level, process=name, directory=settings.log_directory)
            run_part(name, settings, ready)

        self.worker_ran = self.worker_ran or name == "worker"
        self._add(_fork(name, work, self._descriptors()))

    def in_child(self, name: str, work: Callable[[], None], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Do `work` in a child and wait for it, doing `meanwhile` here. Raises StartError with the child's error."""
        child = _fork(name, lambda ready: work(), self._descriptors())
        try:
            meanwhile()
            while True:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    break
                with selectors.DefaultSelector() as waiting:
                    waiting.register(child.pidfd, selectors.EVENT_READ)
                    waiting.register(self._wake_read, selectors.EVENT_READ)
                    waiting.select()
                if self.stop_signals:
                    os.kill(child.pid, signal.SIGKILL)
                    os.waitpid(child.pid, 0)
                    return
            child.listen()
            if status:
                raise StartError(child.error or f"{name} {_how_it_ended(status)}")
        finally:
            child.close()

    def wait_until_ready(self) -> str:
        """The endpoint, once all parts answer; empty when told to stop before. Raises StartError."""
        deadline = time.monotonic() + self.settings.ready_timeout_seconds
        while not self.stop_signals:
            for ended in self._turn(max(0.0, deadline - time.monotonic())):
                why = ended.error or f"{_how_it_ended(ended.status)}; see {self.settings.log_directory}"
                raise StartError(f"the {ended.name}: {why}")
            if all(child.ready for child in self.children.values()):
                endpoint = self.children["api"].endpoint
                # an api that is started again must be found where the first one was
                self.settings = msgspec.structs.replace(self.settings, listen=endpoint.removeprefix("http://"))
                return endpoint
            if time.monotonic() >= deadline:
                late = ", ".join(child.name for child in self.children.values() if not child.ready)
                raise StartError(
                    f"{late} not ready within {self.settings.ready_timeout_seconds} s; see {self.settings.log_directory}, "
                    "or allow more with OPENCPH_READY_TIMEOUT_SECONDS"
                )
        return ""

    def watch(self) -> None:
        """Restart what dies until told to stop."""
        upkeep = time.monotonic() + UPKEEP_SECONDS
        while not self.stop_signals:
            now = time.monotonic()
            for ended in self._turn(max(0.0, min([upkeep, *self.due.values()]) - now)):
                steady = ended.lived_seconds > STEADY_SECONDS
                count = self.restarts[ended.name] = 0 if steady else self.restarts.get(ended.name, -1) + 1
                pause = BACK_OFF_SECONDS[min(count, len(BACK_OFF_SECONDS) - 1)]
                self.due[ended.name] = time.monotonic() + pause
                why = f" ({ended.error})" if ended.error else ""
                when = f" in {pause:g} s" if pause else ""
                _logger.warning(f"the {ended.name} {_how_it_ended(ended.status)}{why}; starting it again{when}")
            now = time.monotonic()
            for name in [name for name, when in self.due.items() if when <= now]:
                del self.due[name]
                self.start(name)
            if now >= upkeep:
                upkeep = now + UPKEEP_SECONDS
                with suppress(OSError):
                    log.rotate(self.settings.log_directory)

    def stop(self) -> None:
        """End every part, and then the phones. Bounded: after STOP_SECONDS, or a second signal, parts are killed."""
        self.due.clear()
        signals, deadline = self.stop_signals, time.monotonic() + STOP_SECONDS
        for child in self.children.values():
            _kill(child.pid, signal.SIGTERM)
        while self.children:
            left = deadline - time.monotonic()
            if left <= 0 or self.stop_signals > max(signals, 1):
                for child in self.children.values():
                    _kill(child.pid, signal.SIGKILL)
                    _logger.warning(f"the {child.name} did not stop; killed", pid=child.pid)
                left, deadline = 1.0, time.monotonic() + 1.0
            self._turn(left)
        if self.worker_ran and self.settings.runtime == "builtin":
            from opencph.runtimes.builtin import end_all

            end_all(self.settings.data)

    # --- events ---

    def _descriptors(self) -> list[int]:
        return [
            self._wake_read,
            self._wake_write,
            self._selector.fileno(),
            *(fd for child in self.children.values() for fd in (child.pidfd, child.pipe)),
        ]

    def _add(self, child: _Child) -> None:
        self.children[child.name] = child
        for fd in (child.pidfd, child.pipe):
            self._selector.register(fd, selectors.EVENT_READ, child)

    def _turn(self, seconds: float) -> list[_Ended]:
        """Wait for events, at most so long. Returns the parts that ended."""
        ended = []
        for key, _ in self._selector.select(seconds):
            child: _Child | None = key.data
            if child is None:
                with suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            elif key.fd == child.pipe:
                was_ready = child.ready
                if not child.listen():
                    self._selector.unregister(child.pipe)
                if child.ready and not was_ready:
                    tell = _logger.warning if child.name in self.restarts else _logger.info
                    tell(f"the {child.name} is ready", part_pid=child.pid)
            else:
                _, status = os.waitpid(child.pid, 0)
                child.listen()
                for fd in (child.pidfd, child.pipe):
                    with suppress(KeyError):
                        self._selector.unregister(fd)
                child.close()
                self.children.pop(child.name, None)
                ended.append(_Ended(child.name, child.error, status, time.monotonic() - child.start))
        return ended


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _how_it_ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by signal {os.WTERMSIG(status)}"
    return f"ended with status {os.WEXITSTATUS(status)}"


def _import_parts(settings: Settings) -> None:
    """What the parts share is imported once, before they are forked."""
    for module, _ in PARTS.values():
        import_module(module)
    if settings.database_url.startswith("postgres"):
        with suppress(ImportError):  # the child that opens the database says what is missing
            import_module("opencph.store.postgresql")


def up(settings: Settings) -> int:
    """Run everything until SIGINT or SIGTERM. Returns the exit status; says in one sentence why it could not start."""
    supervisor: Supervisor | None = None
    try:
        if not settings.run_directory.exists():
            check_port_is_free(settings)  # before anything is made; later `OnlyOne` knows better why a port is taken
        prepare_directories(settings)
        log.configure(settings.log_level, process="up", directory=settings.log_directory)
        log.rotate(settings.log_directory)
        OnlyOne(settings)
        check_port_is_free(settings)
        network = claim(settings)  # until this process and its parts have ended
        supervisor = Supervisor(settings)
        supervisor.in_child("prepare", lambda: prepare_database(settings), meanwhile=lambda: _import_parts(settings))
        gc.collect()
        gc.freeze()  # the pages of what was imported stay shared
        if not supervisor.stop_signals:
            for name in PARTS:
                supervisor.start(name)
        endpoint = supervisor.wait_until_ready()
        if endpoint:
            supervisor.in_child("credentials", lambda: write_credentials(settings, endpoint))
        if not supervisor.stop_signals:
            _announce(settings, endpoint)
        supervisor.watch()
        supervisor.stop()
        network.close()
    except (StartError, NetworkTakenError, OSError) as error:
        print(f"opencph cannot start: {_sentence(error)}", file=sys.stderr)
        if supervisor is not None:
            supervisor.stop()
        return 1
    return 0


def _announce(settings: Settings, endpoint: str) -> None:
    with suppress(OSError):  # whoever read our output may have gone
        print(f"OpenCPH {opencph.__version__}: region {settings.region}, data in {settings.data}")
        print(f"credentials for SDKs and scripts in {settings.data / 'credentials.json'}; stop with Ctrl-C")
        print(f"ready {endpoint}", flush=True)


def run_alone(name: str, settings: Settings) -> int:
    """`opencph api|worker|gateway`: one part in this process, beside others that share its database."""
    try:
        if name == "api":
            check_port_is_free(settings)
        network = None if name == "api" else claim(settings)  # an api opens none of those addresses
        prepare_directories(settings)
        log.configure(settings.log_level, process=name, directory=settings.log_directory)
        prepare_database(settings)

        def ready(endpoint: str = "") -> None:
            if endpoint:
                write_credentials(settings, endpoint)
            print(f"ready {endpoint or name}", flush=True)

        run_part(name, settings, ready)
        if network is not None:
            network.close()
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        if not type(error).__module__.startswith("opencph.") and not isinstance(error, OSError):
            _logger.error(f"{name} failed", exception=traceback.format_exc())
        print(f"opencph {name} cannot run: {_sentence(error)}", file=sys.stderr)
        return 1
    return 0
