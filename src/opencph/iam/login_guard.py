"""Slows the guessing of passwords down: how many wrong ones came lately, from where and for whom. Nothing of what a right one is.

Counted are failures only, in this process: from one client for one user, from one client for anybody, and for one user from clients
that never got in. A client that got in lately is not held back by what strangers try, so nobody can lock another one out.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

from opencph.wire.errors import CphError

WINDOW_SECONDS = 60.0
#: For anybody from one client, and for one user from strangers: so many times as much as for one user from one client.
CLIENT_TIMES, STRANGERS_TIMES = 5, 10
KNOWN_SECONDS = 24 * 3600.0
REMEMBERED_MAX = 10_000


class LoginGuard:
    """Failures of the last minute. Safe to use from several threads; bounded, the oldest is forgotten first."""

    def __init__(self, failures_per_minute: int) -> None:
        self._limit = failures_per_minute
        self._failures: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, client: str, user: str) -> None:
        """Raises CphError APIGW.0308 (429) when there were too many failures: before the password is looked at."""
        now = time.monotonic()
        with self._lock:
            known = now - self._known.get((client, user), -KNOWN_SECONDS) < KNOWN_SECONDS
            waits = [self._wait(("both", client, user), self._limit, now)]
            if not known:
                waits.append(self._wait(("client", client), self._limit * CLIENT_TIMES, now))
                waits.append(self._wait(("user", user), self._limit * STRANGERS_TIMES, now))
        if (wait := max(waits)) > 0:
            seconds = int(wait) + 1
            raise CphError("APIGW.0308", f"too many wrong passwords; try again in {seconds} seconds", retry_seconds=seconds)

    def failed(self, client: str, user: str) -> None:
        """A password was wrong."""
        now = time.monotonic()
        with self._lock:
            for key in (("both", client, user), ("client", client), ("user", user)):
                times = self._failures.setdefault(key, deque(maxlen=self._limit * STRANGERS_TIMES))
                times.append(now)
                self._failures.move_to_end(key)
            while len(self._failures) > REMEMBERED_MAX:
                self._failures.popitem(last=False)

    def succeeded(self, client: str, user: str) -> None:
        """A password was right."""
        with self._lock:
            self._failures.pop(("both", client, user), None)
            self._known[client, user] = time.monotonic()
            self._known.move_to_end((client, user))
            while len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)

    def _wait(self, key: tuple[str, ...], limit: int, now: float) -> float:
        """Seconds until one more may be tried."""
        times = self._failures.get(key)
        if not times:
            return 0.0
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        return 0.0 if len(times) < limit else times[len(times) - limit] + WINDOW_SECONDS - now
