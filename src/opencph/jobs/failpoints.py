"""Where a process can be made to die, for the tests of what survives it. Costs nothing when OPENCPH_FAILPOINT is unset.

`OPENCPH_FAILPOINT=change_server:boot:before` kills this process (SIGKILL) when a job of that kind comes to that point of that step.
With `OPENCPH_FAILPOINT_ONCE=FILE` only the first process that comes there dies; it makes the file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from opencph.jobs import JobKind

#: of a step: nothing is done; all is done and nothing recorded (a commit: not committed); recorded
FORWARD = ("before", "after", "recorded")
#: the same of its undo; an undo that ends the job is recorded when the job has ended
UNDO = ("undo_before", "undo_after", "undo_recorded")


@dataclass(frozen=True)
class Failpoint:
    """The point at which this process is to die."""

    kind: str
    step: str
    point: str
    marker: Path | None

    def pass_by(self, kind: str, step: str, point: str) -> None:
        """Die if this is the point."""
        if (kind, step, point) != (self.kind, self.step, self.point):
            return
        if self.marker is not None:
            try:
                self.marker.touch(exist_ok=False)
            except FileExistsError:
                return
        os.kill(os.getpid(), signal.SIGKILL)


def armed(environ: Mapping[str, str] = os.environ) -> Failpoint | None:
    """The failpoint that the environment asks for. Raises ValueError when it is not KIND:STEP:POINT."""
    text = environ.get("OPENCPH_FAILPOINT")
    if not text:
        return None
    parts = text.split(":")
    if len(parts) != 3 or parts[2] not in FORWARD + UNDO:
        raise ValueError(f"OPENCPH_FAILPOINT {text!r}: must be KIND:STEP:POINT, POINT one of {', '.join(FORWARD + UNDO)}")
    marker = environ.get("OPENCPH_FAILPOINT_ONCE")
    kind, step, point = parts
    return Failpoint(kind, step, point, Path(marker) if marker else None)


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
