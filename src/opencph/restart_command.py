"""`opencph restart`: has a running `opencph up` replace itself and its parts, and says how that went. What is replaced, and how, is
`supervisor`'s."""

from __future__ import annotations

import os
import signal
import sys
import time

import msgspec

from opencph.handover import TRIAL_SECONDS
from opencph.parts import PARTS
from opencph.preparation import is_in_use, running_up
from opencph.settings import Settings

OUTCOME = "replaced.json"
POLL_SECONDS = 0.05


class Outcome(msgspec.Struct, frozen=True):
    """What `up` writes down in `DATA/run/replaced.json` when it is done. `why` is empty when every part was replaced."""

    why: str
    pids: dict[str, int]


def write_outcome(settings: Settings, why: str, pids: dict[str, int]) -> None:
    """Say how it went, to who asked for it."""
    path = settings.run_directory / OUTCOME
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.touch(0o600)
    fresh.write_bytes(msgspec.json.encode(Outcome(why=why, pids=pids)))
    fresh.replace(path)


def restart(settings: Settings) -> int:
    """Ask, wait, tell. Returns the exit status."""
    pid = running_up(settings)
    if pid is None:
        print(f"opencph restart: no `opencph up` runs on {settings.data}; start it with opencph up", file=sys.stderr)
        return 1
    outcome = settings.run_directory / OUTCOME
    outcome.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + TRIAL_SECONDS + (len(PARTS) + 1) * settings.ready_timeout_seconds
    while not outcome.exists():
        if time.monotonic() > deadline or not is_in_use(settings):
            print(f"opencph restart: `opencph up` (process {pid}) gave no answer; see {settings.log_directory}", file=sys.stderr)
            return 1
        time.sleep(POLL_SECONDS)
    said = msgspec.json.decode(outcome.read_bytes(), type=Outcome)
    if said.why:
        print(f"opencph restart: {said.why}", file=sys.stderr)
        return 1
    print("replaced: " + ", ".join(f"{name} (process {number})" for name, number in said.pids.items()))
    return 0
