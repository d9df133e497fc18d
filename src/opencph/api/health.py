"""Whether this process is up, and whether it can serve. Without credentials."""

from __future__ import annotations

import msgspec
from sqlalchemy import literal, select

from opencph.api.call import Answer, Call, Result
from opencph.store.database import Query, StoreError, scalar

_ANYTHING: Query[int] = Query(select(literal(1)), scalar)


class Health(msgspec.Struct, frozen=True):
    """What a probe reads."""

    status: str  # ok | unavailable
    reason: str = ""


def show_health(call: Call) -> Result:
    """GET /healthz: the process answers."""
    return Health("ok")


def show_readiness(call: Call) -> Result:
    """GET /readyz: the database answers too; 503 when it does not."""
    try:
        call.fleet.database.row(_ANYTHING)
    except StoreError:
        return Answer(503, Health("unavailable", "the database does not answer"))
    return Health("ok")
