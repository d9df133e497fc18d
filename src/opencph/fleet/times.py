"""Times: milliseconds since the epoch inside, `YYYY-MM-DDTHH:MM:SSZ` in UTC on the wire."""

from __future__ import annotations

import time
from functools import lru_cache


def now_ms() -> int:
    """The time now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@lru_cache(maxsize=16_384)
def _text(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def utc_text(ms: int) -> str:
    """The wire form of a time (seed page: "The UTC time is in YYYY-MM-DDTHH:MM:SSZ format")."""
    return _text(ms // 1000)
