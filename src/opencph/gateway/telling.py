"""Lines of the log that a client could cause by the thousand: so many in a second, then how many were left out. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable

LINES_PER_SECOND = 20


class Sparing:
    """Keeps one kind of line from filling the log."""

    def __init__(self, lines_per_second: int = LINES_PER_SECOND) -> None:
        self._most = lines_per_second
        self._begun = time.monotonic()
        self._said = self._left_out = 0

    def say(self, log: Callable[..., object], event: str, **fields: object) -> None:
        """Log `event`, unless too much was said in this second; `left_out` is how many lines were, since the last one."""
        now = time.monotonic()
        if now - self._begun >= 1.0:
            self._begun, self._said = now, 0
        if self._said >= self._most:
            self._left_out += 1
            return
        self._said += 1
        if self._left_out:
            fields["left_out"], self._left_out = self._left_out, 0
        log(event, **fields)
