"""A phone's local time: what `persist.sys.timezone` names, by the machine's time zones. What shows a time is elsewhere."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from opencph.handset.phone import Phone

ZONES = "/usr/share/zoneinfo"  # of this machine, and of what is in a sandbox
PROPERTY = "persist.sys.timezone"
UTC = "UTC"


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo | None:
    """None for UTC, and for what this machine has no zone of: as in Android, the time is UTC then."""
    if name in ("", UTC):
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # no such zone, or no name of one
        return None


def zone_name(phone: Phone) -> str:
    """The phone's time zone as the C library takes it in TZ; UTC where it is set to none that this machine has."""
    name = phone.running_properties.get(PROPERTY)
    return UTC if _zone(name) is None else name


def local(phone: Phone, seconds: float | None = None) -> time.struct_time:
    """A time (in seconds since the epoch; now, if none is given) as clocks in the phone's time zone show it."""
    zone = _zone(phone.running_properties.get(PROPERTY))
    at = time.time() if seconds is None else seconds
    if zone is None:
        return time.gmtime(at)
    from datetime import datetime

    there = datetime.fromtimestamp(int(at), zone)
    offset = there.utcoffset()
    return time.struct_time((*there.timetuple(), there.tzname(), int(offset.total_seconds()) if offset is not None else 0))


def seconds_of(phone: Phone, date: tuple[int, int, int, int, int, int]) -> float:
    """The reverse: seconds since the epoch of (year, month, day, hour, minute, second) on the phone's clock. Raises ValueError."""
    from datetime import UTC as UTC_ZONE
    from datetime import datetime

    return datetime(*date, tzinfo=_zone(phone.running_properties.get(PROPERTY)) or UTC_ZONE).timestamp()
