"""What a supervisor leaves to the program that replaces it in its own process: sockets, locks, children.

`exec` keeps the process id, open descriptors and children, and takes everything else. So a newer version of the program takes
over while the parts of the older one go on serving.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import msgspec

from opencph.children import Child

_LEFT = "_OPENCPH_LEFT"  # not a setting: what one program leaves to the next
_TRIAL = "_OPENCPH_TRIAL"
TRIAL_SECONDS = 60.0
#: Blocked from just before the exec until the new program has its handlers.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class LeftPart(msgspec.Struct, frozen=True):
    """A child that runs on."""

    name: str
    pid: int
    pipe: int
    ready: bool
    endpoint: str
    leaving: bool
    kill_in_seconds: float
    silent_looks: int | None = None


class Left(msgspec.Struct, frozen=True):
    """All that is left: descriptors by their number, which stays the same."""

    lock: int
    listening: int
    claim: int
    worker_ran: bool
    parts: list[LeftPart]
    directory: int = -1  # locked too; a program that left none did not know of it

    @property
    def descriptors(self) -> list[int]:
        """Those that the next program has from this one, but for the pipes of parts."""
        return [number for number in (self.lock, self.listening, self.claim, self.directory) if number >= 0]


class TrialError(Exception):
    """The program that would take over does not start. The message says why."""


def left_part(child: Child) -> LeftPart:
    """What the next program must know of a child."""
    left = max(0.0, child.kill_at - time.monotonic())
    return LeftPart(child.name, child.pid, child.pipe, child.ready, child.endpoint, child.leaving, left, child.silent_looks)


def child_of(part: LeftPart) -> Child:
    """A child of the program before, as one of our own."""
    now = time.monotonic()
    os.set_inheritable(part.pipe, False)
    return Child(
        name=part.name,
        pid=part.pid,
        pidfd=os.pidfd_open(part.pid),
        pipe=part.pipe,
        start=now,
        ready=part.ready,
        endpoint=part.endpoint,
        leaving=part.leaving,
        kill_at=now + part.kill_in_seconds,
        silent_looks=part.silent_looks,
    )


def take() -> Left | None:
    """What the program before has left; None when this one was started afresh."""
    text = os.environ.pop(_LEFT, None)
    if text is None:
        return None
    left = msgspec.json.decode(text, type=Left)
    for descriptor in left.descriptors:
        os.set_inheritable(descriptor, False)
    return left


def is_trial() -> bool:
    """Whether this program was only started to see whether it starts."""
    return _TRIAL in os.environ


def try_out() -> None:
    """Start the program that would take over, as far as it touches nothing. Raises TrialError."""
    try:
        tried = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, *sys.orig_argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TRIAL_SECONDS,
            env={**os.environ, _TRIAL: "1"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrialError(f"the program cannot be started: {error}") from error
    if tried.returncode:
        said = (tried.stderr or tried.stdout).strip().splitlines()
        raise TrialError(f"the program does not start: {said[-1] if said else f'status {tried.returncode}'}")


def hand_over(left: Left) -> None:
    """Become the program as it is installed now. Returns never, or raises OSError with everything as it was."""
    descriptors = [*left.descriptors, *(part.pipe for part in left.parts)]
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        environment = {**os.environ, _LEFT: msgspec.json.encode(left).decode()}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - our own command line
    except OSError:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        raise
