"""`opencph restart`: has a running `opencph up` replace itself and its parts, and says how that went. What is replaced, and how, is
`supervisor`'s."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from opencph.handover import TRIAL_SECONDS
from opencph.settings import Settings

OUTCOME = "replaced.json"
POLL_SECONDS = 0.05
PARTS = 3


class Outcome(msgspec.Struct, frozen=True):
    """What `up` writes down in `DATA/run/replaced.json` when it is done. `why` is empty when every part was replaced."""

    why: str
    pids: dict[str, int]


def write_outcome(settings: Settings, why: str, pids: dict[str, int]) -> None:
    """Say how it went, to who asked for it."""
    path = settings.run_directory / OUTCOME
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.touch(0o600)
    fresh.write_bytes(msgspec.json.encode(Outcome(why=why, pids=pids)))
    fresh.replace(path)


def restart(settings: Settings) -> int:
    """Ask, wait, tell. Returns the exit status."""
    pid = _running(settings.run_directory / "up.lock")
    if pid is None:
        print(f"opencph restart: no `opencph up` runs on {settings.data}; start it with opencph up", file=sys.stderr)
        return 1
    outcome = settings.run_directory / OUTCOME
    outcome.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + TRIAL_SECONDS + (PARTS + 1) * settings.ready_timeout_seconds
    while not outcome.exists():
        if time.monotonic() > deadline or _running(settings.run_directory / "up.lock") is None:
            print(f"opencph restart: `opencph up` (process {pid}) gave no answer; see {settings.log_directory}", file=sys.stderr)
            return 1
        time.sleep(POLL_SECONDS)
    said = msgspec.json.decode(outcome.read_bytes(), type=Outcome)
    if said.why:
        print(f"opencph restart: {said.why}", file=sys.stderr)
        return 1
    print("replaced: " + ", ".join(f"{name} (process {number})" for name, number in said.pids.items()))
    return 0


def _running(lock: Path) -> int | None:
    """The process that holds the lock of `up`; None when none does."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 32, 0).decode().strip()
        return int(pid) if pid.isdigit() and Path(f"/proc/{pid}").exists() else None
    finally:
        os.close(descriptor)
    return None
