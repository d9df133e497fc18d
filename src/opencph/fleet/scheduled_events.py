"""Scheduled events as the owners of servers see them: list, authorize, put off (cph-api.md section 4, numbers 57 to 59). How they
come to be and are carried out is `maintenance`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ColumnElement, bindparam, func, select, update

from opencph.fleet.filters import given
from opencph.fleet.statuses import ServerStatus
from opencph.fleet.times import now_ms, utc_text
from opencph.store import tables
from opencph.store.database import Query, Transaction, Value, command, in_list, json_list, scalar
from opencph.wire.errors import CphError
from opencph.wire.models import PageInfo
from opencph.wire.scheduled_events import (
    BAD_TIME,
    REDEPLOY,
    AuthorizeScheduledEventRequest,
    ListScheduledEventsQuery,
    ListScheduledEventsResponse,
    ScheduledEvent,
    ScheduledEventResponse,
    UpdateScheduledEventRequest,
)

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

#: How long before its start an owner must say so ("> now + 5 min").
NOTICE_MS = 5 * 60_000
INQUIRING, SCHEDULED, EXECUTING = "inquiring", "scheduled", "executing"

_e, _s = tables.scheduled_events.c, tables.servers.c


class _Row(NamedTuple):
    seq: int
    event_id: str
    server_id: str
    server_name: str
    server_model_name: str
    type: str
    authorization_type: str | None
    state: str
    description: str
    publish_ms: int
    not_before_ms: int
    not_after_ms: int
    deadline_ms: int
    start_ms: int | None
    finish_ms: int | None
    server_state: int | None  # None: the server is gone


_own_columns = [_e[name] for name in _Row._fields if name != "server_state"]
_events = select(*_own_columns, _s.status).outerjoin(tables.servers, _s.server_id == _e.server_id)
_of_project = _e.project_id == bindparam("project_id")
_EVENT = Query(_events.where(_of_project, _e.event_id == bindparam("event_id")), _Row)
_SEQ: Query[int] = Query(select(_e.seq).where(_of_project, _e.event_id == bindparam("event_id")), scalar)
_FILTERS: dict[str, ColumnElement[bool]] = {
    "event_id": _e.event_id == bindparam("event_id"),
    "server_id": _e.server_id == bindparam("server_id"),
    "publish_since": _e.publish_ms >= bindparam("publish_since"),
    "publish_until": _e.publish_ms < bindparam("publish_until"),
    "states": in_list(_e.state, "states"),
    "types": in_list(_e.type, "types"),
}
_PLAN = command(
    update(tables.scheduled_events)
    .where(_e.event_id == bindparam("of_event"))
    .values(
        state=bindparam("new_state"),
        authorization_type=bindparam("new_authorization"),
        not_before_ms=bindparam("new_not_before"),
        not_after_ms=bindparam("new_not_after"),
    )
)


@lru_cache(maxsize=128)
def _list_queries(filters: frozenset[str]) -> tuple[Query[_Row], Query[int]]:
    conditions = [_of_project, *(_FILTERS[name] for name in sorted(filters))]
    page = _events.where(*conditions, _e.seq < bindparam("before_seq")).order_by(_e.seq.desc()).limit(bindparam("limit"))
    return Query(page, _Row), Query(select(func.count()).select_from(tables.scheduled_events).where(*conditions), scalar)


def list_scheduled_events(
    fleet: Fleet, caller: Caller, request_id: str, query: ListScheduledEventsQuery
) -> ListScheduledEventsResponse:
    """A page of the events of the project's servers, newest first. Raises CPS.0002 for a marker that no page gave."""
    used: dict[str, Value] = given(
        event_id=query.event_id,
        server_id=query.server_id,
        publish_since=query.publish_since,
        publish_until=None if query.publish_until is None else query.publish_until + 1000,
        states=json_list(query.states) if query.states else None,
        types=json_list(query.types) if query.types else None,
    )
    page, total = _list_queries(frozenset(used))
    with fleet.database.read() as tx:
        before_seq: int | None = 2**62
        if query.marker is not None:
            before_seq = tx.row(_SEQ, project_id=caller.project_id, event_id=query.marker)
            if before_seq is None:
                raise CphError("CPS.0002", f"marker {query.marker[:64]!r} is unknown; take it from page_info.next_marker")
        rows = tx.rows(page, project_id=caller.project_id, before_seq=before_seq, limit=query.limit + 1, **used)
        count = tx.row(total, project_id=caller.project_id, **used) or 0
    found = [_shown(row) for row in rows[: query.limit]]
    page_info = PageInfo(next_marker=found[-1].event_id if len(rows) > query.limit else None)
    return ListScheduledEventsResponse(request_id=request_id, count=count, scheduled_events=found, page_info=page_info)


def authorize_scheduled_event(
    fleet: Fleet, caller: Caller, request_id: str, event_id: str, body: AuthorizeScheduledEventRequest
) -> ScheduledEventResponse:
    """Say how an event that waits may be carried out. Raises CPS.0017, CPS.0047 when it does not wait, CPS.0174."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        event = _event(tx, caller, event_id)
        if event.state != INQUIRING:
            raise CphError("CPS.0047", f"event_id {event_id} is {event.state}; only one that is {INQUIRING} can be authorized")
        at_once = body.authorization_type == REDEPLOY
        not_before = 0 if at_once else event.not_before_ms if body.not_before is None else body.not_before
        _plan(tx, event, not_before, body.authorization_type, SCHEDULED, checked=body.not_before is not None)
    return ScheduledEventResponse(request_id=request_id)


def update_scheduled_event(
    fleet: Fleet, caller: Caller, request_id: str, event_id: str, body: UpdateScheduledEventRequest
) -> ScheduledEventResponse:
    """Put an event off or bring it forward. Raises CPS.0017, CPS.0047 when it has begun or ended, CPS.0174."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        event = _event(tx, caller, event_id)
        if event.state not in (INQUIRING, SCHEDULED):
            raise CphError("CPS.0047", f"event_id {event_id} is {event.state}; its start can no longer be changed")
        _plan(tx, event, body.not_before, event.authorization_type, event.state, checked=True)
    return ScheduledEventResponse(request_id=request_id)


def _event(tx: Transaction, caller: Caller, event_id: str) -> _Row:
    event = tx.row(_EVENT, project_id=caller.project_id, event_id=event_id)
    if event is None:
        raise CphError("CPS.0017", f"event_id {event_id} does not exist in this project")
    return event


def _plan(tx: Transaction, event: _Row, not_before: int, authorization_type: str | None, state: str, *, checked: bool) -> None:
    """Write the start down; 0 is now."""
    now = now_ms()
    if checked and not_before and not now + NOTICE_MS < not_before <= event.deadline_ms:
        raise CphError(
            BAD_TIME, f"not_before must be more than 5 minutes from now and at most {utc_text(event.deadline_ms)}, or empty for now"
        )
    start = not_before or now
    tx.run(
        _PLAN,
        of_event=event.event_id,
        new_state=state,
        new_authorization=authorization_type,
        new_not_before=start,
        new_not_after=start + event.not_after_ms - event.not_before_ms,
    )


def _shown(row: _Row) -> ScheduledEvent:
    return ScheduledEvent(
        event_id=row.event_id,
        server_id=row.server_id,
        server_name=row.server_name,
        server_model_name=row.server_model_name,
        server_state=ServerStatus.DELETED if row.server_state is None else row.server_state,
        type=row.type,
        authorization_type=row.authorization_type,
        state=row.state,
        publish_time=utc_text(row.publish_ms),
        start_time=None if row.start_ms is None else utc_text(row.start_ms),
        finish_time=None if row.finish_ms is None else utc_text(row.finish_ms),
        not_before=utc_text(row.not_before_ms),
        not_after=utc_text(row.not_after_ms),
        not_before_deadline=utc_text(row.deadline_ms),
        description=row.description,
    )
