"""How fast one user may ask, counted by this api process. What single operations allow is in `iam.throttling`."""

from __future__ import annotations

import time

from opencph.wire.errors import CphError

#: A user who was idle may ask for so many seconds' worth at once.
BURST_SECONDS = 2.0
REMEMBERED_MAX = 10_000


class Pace:
    """A bucket for each user that fills with `per_second`. For one event loop: a request costs a look-up and no lock."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._interval = 1 / per_second
        self._empty_until: dict[str, float] = {}  # when the user's bucket would be full again

    def count(self, user_id: str, now: float | None = None) -> None:
        """Count one request. Raises CphError APIGW.0308 (429), and counts nothing, when the user's bucket is empty."""
        now = time.monotonic() if now is None else now
        full_at = self._empty_until.get(user_id, now)
        if full_at <= now:
            full_at = now
        elif full_at - now > BURST_SECONDS:
            raise CphError("APIGW.0308", f"a user may send {self._per_second:,} requests in a second; try again", retry_seconds=1)
        self._empty_until[user_id] = full_at + self._interval
        if len(self._empty_until) > REMEMBERED_MAX:
            self._empty_until = {user: when for user, when in self._empty_until.items() if when > now}
