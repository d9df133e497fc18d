"""Where a process can be made to die or to stand still, for the tests of what survives it. Costs nothing when neither is asked for.

`OPENCPH_FAILPOINT=change_server:boot:before` kills this process (SIGKILL) when a job of that kind comes to that point of that step.
With `OPENCPH_FAILPOINT_ONCE=FILE` only the first process that comes there dies; it makes the file.

`OPENCPH_FAILPOINT_DIRECTORY=DIR` lets who watches it stop this process at points that are chosen while it runs:

    DIR/armed     holds one point; who comes there first renames it to `reached`, and stands still for as long as that is there
    DIR/passed    a line `seconds pid point job_id,job_id` for every point that was passed or stopped at
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from opencph.jobs import JobKind

#: of a step: nothing is done; all is done and nothing recorded (a commit: not committed); recorded
FORWARD = ("before", "after", "recorded")
#: the same of its undo; an undo that ends the job is recorded when the job has ended
UNDO = ("undo_before", "undo_after", "undo_recorded")


ARMED, REACHED, PASSED = "armed", "reached", "passed"
#: a process that nobody releases goes on by itself
HALT_SECONDS_MAX = 60.0
HALT_POLL_SECONDS = 0.001


class Failpoint(Protocol):
    """Told of every point that work comes to."""

    def pass_by(self, kind: str, step: str, point: str, job_ids: Iterable[str]) -> None:
        """Do what is to be done at this point, if it is the one."""
        ...


@dataclass(frozen=True)
class Death:
    """The point at which this process is to die."""

    kind: str
    step: str
    point: str
    marker: Path | None

    def pass_by(self, kind: str, step: str, point: str, job_ids: Iterable[str]) -> None:
        """Die if this is the point."""
        if (kind, step, point) != (self.kind, self.step, self.point):
            return
        if self.marker is not None:
            try:
                self.marker.touch(exist_ok=False)
            except FileExistsError:
                return
        os.kill(os.getpid(), signal.SIGKILL)


class Passed(NamedTuple):
    """One point that was passed, or stopped at, by the jobs of one claim."""

    seconds: float  # of the monotonic clock
    pid: int
    kind: str
    step: str
    point: str
    job_ids: list[str]


@dataclass(frozen=True)
class Halt:
    """A directory in which the points come and go at which this process is to stand still."""

    directory: Path

    def pass_by(self, kind: str, step: str, point: str, job_ids: Iterable[str]) -> None:
        """Tell that work comes by, and stand still if somebody waits for it here."""
        name = f"{kind}:{step}:{point}"
        with (self.directory / PASSED).open("a") as passed:
            passed.write(f"{time.monotonic():.6f} {os.getpid()} {name} {','.join(job_ids)}\n")
        try:
            if (self.directory / ARMED).read_text() != name:
                return
            (self.directory / ARMED).rename(self.directory / REACHED)
        except FileNotFoundError:
            return
        deadline = time.monotonic() + HALT_SECONDS_MAX
        while (self.directory / REACHED).exists() and time.monotonic() < deadline:
            time.sleep(HALT_POLL_SECONDS)

    # --- for who watches ---

    def arm(self, point: str) -> None:
        """From now on the first who comes to this point, and to no other, is to stand still there."""
        fresh = self.directory / f".{ARMED}"
        fresh.write_text(point)
        fresh.rename(self.directory / ARMED)

    def is_reached(self) -> bool:
        """Whether a process stands at the point."""
        return (self.directory / REACHED).exists()

    def release(self) -> None:
        """Who stands still, goes on."""
        (self.directory / REACHED).unlink(missing_ok=True)

    def disarm(self) -> None:
        """Nobody is to stand still, and nobody does."""
        (self.directory / ARMED).unlink(missing_ok=True)
        self.release()

    def passed(self) -> list[Passed]:
        """Every point that was passed, in order."""
        try:
            lines = (self.directory / PASSED).read_text().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            seconds, pid, name, job_ids = line.split()
            kind, step, point = name.split(":")
            found.append(Passed(float(seconds), int(pid), kind, step, point, job_ids.split(",")))
        return found


def armed(environ: Mapping[str, str] = os.environ) -> Failpoint | None:
    """The failpoint that the environment asks for. Raises ValueError when it is not KIND:STEP:POINT."""
    if directory := environ.get("OPENCPH_FAILPOINT_DIRECTORY"):
        return Halt(Path(directory))
    text = environ.get("OPENCPH_FAILPOINT")
    if not text:
        return None
    parts = text.split(":")
    if len(parts) != 3 or parts[2] not in FORWARD + UNDO:
        raise ValueError(f"OPENCPH_FAILPOINT {text!r}: must be KIND:STEP:POINT, POINT one of {', '.join(FORWARD + UNDO)}")
    marker = environ.get("OPENCPH_FAILPOINT_ONCE")
    kind, step, point = parts
    return Death(kind, step, point, Path(marker) if marker else None)


def points(kinds: Iterable[JobKind]) -> list[str]:
    """Every point at which work that succeeds can be killed."""
    return [f"{kind.name}:{step.name}:{point}" for kind in kinds for step in kind.steps for point in FORWARD]


def undo_points(kinds: Iterable[JobKind]) -> list[str]:
    """Every point at which the undoing of failed work can be killed."""
    return [
        f"{kind.name}:{step.name}:{point}"
        for kind in kinds
        for step in kind.steps
        if step.undo_effect is not None or step.undo_commit is not None
        for point in UNDO
    ]
