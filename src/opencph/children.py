"""Forked processes that say on a pipe when they are ready or why they cannot run. Who is forked, and when, is the supervisor's."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15

Ready = Callable[..., None]
_libc = ctypes.CDLL(None, use_errno=True)
_logger = structlog.get_logger("opencph.supervisor")


@dataclass(eq=False)
class Child:
    """A forked process, and what it has said."""

    name: str
    pid: int
    pidfd: int
    pipe: int
    start: float
    text: bytes = b""
    ready: bool = False
    endpoint: str = ""
    error: str = ""
    leaving: bool = False  # it was told to end, and nobody takes its place
    kill_at: float = 0.0  # when it is killed, if it is leaving
    silent_looks: int | None = None  # since it was last heard (`pulse.Watch`); None: it has no pulse yet

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
            if "ready" in said:
                self.ready, self.silent_looks = True, 0
            self.endpoint = said.get("ready") or self.endpoint
            self.error = said.get("error") or self.error
        return bool(piece)

    def close(self) -> None:
        """Let go of the descriptors."""
        os.close(self.pidfd)
        os.close(self.pipe)


def sentence(error: BaseException) -> str:
    """An exception as one line for people; what we do not know keeps its type, and its traceback goes to the log."""
    if type(error).__module__.startswith("opencph."):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def fork(name: str, work: Callable[[Ready], None], close: list[int]) -> Child:
    """Fork a child that runs `work(ready)`, without the descriptors `close`, and dies with this process.

    Raises OSError when there is no process or no descriptor left for it; then there is no child.
    """
    parent = os.getpid()
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # who read it has gone, or its disk is full
            stream.flush()
    try:
        pid = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if pid:
        os.close(writing)
        os.set_blocking(reading, False)
        try:
            return Child(name, pid, os.pidfd_open(pid), reading, time.monotonic())
        except OSError:
            os.close(reading)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
    status = 1

    os.set_blocking(writing, False)  # a part does not wait for a supervisor that stands still

    def say(**words: str) -> None:
        with suppress(OSError):
            os.write(writing, json.dumps(words).encode() + b"\n")

    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
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
        if not type(error).__module__.startswith("opencph."):
            _logger.error(f"{name} failed", exception=traceback.format_exc())
        say(error=sentence(error))
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def kill(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def how_it_ended(status: int) -> str:
    """A status as waitpid gives it, in words."""
    if os.WIFSIGNALED(status):
        return f"was killed by signal {os.WTERMSIG(status)}"
    return f"ended with status {os.WEXITSTATUS(status)}"
