"""Scheduled events on the wire (cph-api.md section 4, numbers 57 to 59), with their checks. Times are YYYY-MM-DDTHH:MM:SSZ."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from opencph.wire.checks import Fields, check_uuid, json_object
from opencph.wire.errors import CphError, shown
from opencph.wire.models import PageInfo
from opencph.wire.query_checks import id_of, limit_of, text

STATES = ("inquiring", "scheduled", "executing", "completed", "failed", "canceled")
TYPES = ("localdisk-recovery", "system-maintenance")
MAINTENANCE, REDEPLOY = "maintenance", "redeploy"
BAD_TIME = "CPS.0174"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
#: A time or nothing, as a pattern for schemas.
TIME_OR_NONE = "^([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z)?$"
Time = Annotated[str, Meta(pattern=TIME_OR_NONE, description="A time such as 2026-01-31T18:00:00Z, UTC.")]


class ListScheduledEventsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/scheduled-events. Times in milliseconds since the epoch."""

    limit: int = 10
    marker: str | None = None
    event_id: str | None = None
    server_id: str | None = None
    publish_since: int | None = None
    publish_until: int | None = None
    states: tuple[str, ...] = msgspec.field(default=(), name="state")
    types: tuple[str, ...] = msgspec.field(default=(), name="type")


class ListScheduledEventsParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The same query as it is sent. `state` and `type` may come several times."""

    limit: int | None = None
    marker: str | None = None
    event_id: str | None = None
    server_id: str | None = None
    publish_since: Time | None = None
    publish_until: Time | None = None
    state: list[Literal["inquiring", "scheduled", "executing", "completed", "failed", "canceled"]] | None = None
    type: list[Literal["localdisk-recovery", "system-maintenance"]] | None = None


class ScheduledEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is going to be done to a server, or was."""

    event_id: str
    server_id: str
    server_name: str
    server_model_name: str
    server_state: int
    type: str
    authorization_type: str | None = None  # maintenance | redeploy; absent until somebody has said
    state: str
    publish_time: str
    start_time: str | None = None
    finish_time: str | None = None
    not_before: str
    not_after: str
    not_before_deadline: str
    description: str


class ListScheduledEventsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of events, newest first; `count` is the total."""

    request_id: str
    count: int
    scheduled_events: list[ScheduledEvent]
    page_info: PageInfo


class AuthorizeScheduledEventRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/scheduled-events/{event_id}/authorize. Time in milliseconds since the epoch."""

    authorization_type: str  # maintenance | redeploy
    not_before: int | None = None  # 0: at once; None: as planned


class UpdateScheduledEventRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/scheduled-events/{event_id}. Time in milliseconds since the epoch."""

    not_before: int  # 0: at once


class ScheduledEventResponse(msgspec.Struct, frozen=True, kw_only=True):
    """It is noted."""

    request_id: str


AuthorizeScheduledEventResponse = ScheduledEventResponse
UpdateScheduledEventResponse = ScheduledEventResponse


def list_scheduled_events(query: Mapping[str, str], states: Sequence[str], types: Sequence[str]) -> ListScheduledEventsQuery:
    """Check the query of ListScheduledEvents; `states` and `types` are all values of those parameters."""
    for field, values, known, code in (("state", states, STATES, "CPS.0010"), ("type", types, TYPES, "CPS.0116")):
        for value in values:
            if value not in known:
                raise CphError(code, f"{field} {shown(value)}: must be one of {', '.join(known)}")
    return ListScheduledEventsQuery(
        limit=limit_of(query, 100, 10),
        marker=text(query, "marker", "CPS.0002"),
        event_id=id_of(query, "event_id", "CPS.0017", check_uuid),
        server_id=id_of(query, "server_id", "CPS.0016"),
        publish_since=_time(query.get("publish_since"), "publish_since"),
        publish_until=_time(query.get("publish_until"), "publish_until"),
        states=tuple(states),
        types=tuple(types),
    )


def event_id(value: str) -> str:
    """The id of an event in the path, in lower case. Raises CPS.0017."""
    return check_uuid(value, "CPS.0017", "event_id")


def authorize_scheduled_event(body: bytes) -> AuthorizeScheduledEventRequest:
    """Decode and check the body of AuthorizeScheduledEvent."""
    fields = Fields(json_object(body))
    authorization_type = fields.word("authorization_type", "CPS.0116", (MAINTENANCE, REDEPLOY))
    not_before = _not_before(fields) if fields.given("not_before") else None
    if authorization_type == REDEPLOY and not_before:
        raise CphError(BAD_TIME, "not_before is for authorization_type maintenance; a redeployment begins at once")
    return AuthorizeScheduledEventRequest(authorization_type=authorization_type, not_before=not_before)


def update_scheduled_event(body: bytes) -> UpdateScheduledEventRequest:
    """Decode and check the body of UpdateScheduledEvent."""
    return UpdateScheduledEventRequest(not_before=_not_before(Fields(json_object(body))))


def _not_before(fields: Fields) -> int:
    if fields.values.get("not_before") == "":
        return 0
    return _time(fields.text("not_before", BAD_TIME), "not_before") or 0


def _time(value: str | None, field: str) -> int | None:
    if not value:
        return None
    try:
        if _TIME.fullmatch(value) is None:
            raise ValueError
        return calendar.timegm(time.strptime(value, "%Y-%m-%dT%H:%M:%SZ")) * 1000
    except ValueError:
        raise CphError(BAD_TIME, f"{field} {shown(value)}: must be a time such as 2026-01-31T18:00:00Z, UTC") from None
