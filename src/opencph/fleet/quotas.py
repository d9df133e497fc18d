"""What a project may have in all: servers, phones, public addresses. Limits are rows of `quotas` (else the settings'); what is
used is counted, so check and reserve under one `tx.lock("placement")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.sql.elements import BindParameter

from opencph.store import tables
from opencph.store.database import Query, Transaction, tuple_row
from opencph.wire.errors import CphError

if TYPE_CHECKING:
    from opencph.fleet import Fleet

_NO_SERVERS = "CPS.0065"
_INSUFFICIENT = "CPS.0196"


class Usage(NamedTuple):
    """Numbers of a project: used or allowed. Each generation counts as a server, so a server being changed counts twice."""

    servers: int
    phones: int
    eips: int


_PROJECT: BindParameter[str] = bindparam("project_id")
_LIMITS = Query(
    select(tables.quotas.c.resource, tables.quotas.c.quota_limit).where(tables.quotas.c.project_id == _PROJECT), tuple_row
)
_USED = Query(
    select(
        func.count(),
        func.coalesce(func.sum(tables.generations.c.phone_count), 0),
        select(func.count()).select_from(tables.eips).where(tables.eips.c.project_id == _PROJECT).scalar_subquery(),
    )
    .select_from(tables.generations)
    .where(tables.generations.c.project_id == _PROJECT),
    Usage,
)


def limits(tx: Transaction, fleet: Fleet, project_id: str) -> Usage:
    """What the project may have."""
    own = {str(resource): int(limit or 0) for resource, limit in tx.rows(_LIMITS, project_id=project_id)}
    settings = fleet.settings
    return Usage(
        own.get("servers", settings.quota_servers),
        own.get("phones", settings.quota_phones),
        own.get("eips", settings.quota_eips),
    )


def used(tx: Transaction, project_id: str) -> Usage:
    """What the project has, generations that are being built or removed included."""
    found = tx.row(_USED, project_id=project_id)
    assert found is not None
    return Usage(*map(int, found))


def check(tx: Transaction, fleet: Fleet, project_id: str, more: Usage) -> None:
    """Raises CPS.0065 when `more` servers, CPS.0196 when `more` phones or EIPs would exceed the project's quota."""
    limit, now = limits(tx, fleet, project_id), used(tx, project_id)
    for what, code in (("servers", _NO_SERVERS), ("phones", _INSUFFICIENT), ("eips", _INSUFFICIENT)):
        wanted, have, allowed = getattr(more, what), getattr(now, what), getattr(limit, what)
        if wanted and have + wanted > allowed:
            raise CphError(code, f"the project has {have} of {allowed} {what} and needs {wanted} more")
