"""The pulse of a part: it says once a second that its event loop turns. Tells a part that hangs from one that works; who is
ended for it, and what becomes of its work, is the supervisor's.

What counts is silent looks of the supervisor, not time: one that was itself asleep, stopped or starving has not looked, and what
was said meanwhile is in the pipe when it looks again.
"""

from __future__ import annotations

import asyncio
import time

from opencph.children import Child, Ready

PULSE_SECONDS = 1.0
LOOK_SECONDS = 1.0


def with_pulse(ready: Ready) -> Ready:
    """`ready`, for a part's event loop to call: it is said again and again for as long as that loop turns."""

    def say(endpoint: str = "") -> None:
        loop = asyncio.get_running_loop()

        def beat() -> None:
            ready(endpoint)
            loop.call_later(PULSE_SECONDS, beat)

        beat()

    return say


class Watch:
    """Looks once a second for parts that hang: which were silent from one look over `looks` more. 0: never."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.next_look = time.monotonic() + LOOK_SECONDS if looks else float("inf")

    def hanging(self, children: list[Child]) -> list[Child]:
        """Those that hang, if it is time to look. What they have said must have been taken before."""
        now = time.monotonic()
        if now < self.next_look:
            return []
        self.next_look = now + LOOK_SECONDS
        found = []
        for child in children:
            if child.leaving or child.silent_looks is None:
                continue
            child.silent_looks += 1
            if child.silent_looks > self.looks:  # the first may come right after a pulse
                child.silent_looks = 0  # told again after as long, should the kernel not let go of it
                found.append(child)
        return found
