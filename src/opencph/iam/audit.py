"""The audit record: who changed what, or was refused to. Rows and queries; the edge and the command line write them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, delete, insert, or_, select, update

from opencph.store.database import Database, Query, Transaction, command
from opencph.store.tables import audit

API, CLI = "api", "cli"
#: what one row names at most, and how much of a message it keeps
RESOURCES_MAX = 100
MESSAGE_MAX_CHARACTERS = 1024
#: rows that one transaction deletes: few, so that nobody waits for it
CHUNK = 500
LATEST = 2**62


class Entry(NamedTuple):
    """One call that was to change something. Times in milliseconds since the epoch."""

    time_ms: int
    request_id: str
    source: str  # api | cli
    user_id: str
    user_name: str
    project_id: str
    operation: str
    action: str
    resources: str  # JSON array of ids and names
    status: int  # HTTP status
    error_code: str
    error_msg: str


class Row(NamedTuple):
    """An entry as it was written; `seq` counts them."""

    seq: int
    time_ms: int
    request_id: str
    source: str
    user_id: str
    user_name: str
    project_id: str
    operation: str
    action: str
    resources: str
    status: int
    error_code: str
    error_msg: str


_INSERT = command(insert(audit).values({name: bindparam(name) for name in Entry._fields}))
_AMEND = command(
    update(audit)
    .where(audit.c.request_id == bindparam("of_request"))
    .values({name: bindparam(name) for name in ("resources", "status", "error_code", "error_msg")})
)
_LIST = Query(
    select(*(audit.c[name] for name in Row._fields))
    .where(
        audit.c.seq < bindparam("before"),
        audit.c.time_ms >= bindparam("since_ms"),
        or_(bindparam("any_project") == 1, audit.c.project_id == bindparam("project_id")),
        or_(bindparam("any_user") == 1, audit.c.user_name == bindparam("user_name")),
        or_(bindparam("any_operation") == 1, audit.c.operation == bindparam("operation")),
        or_(bindparam("any_request") == 1, audit.c.request_id == bindparam("request_id")),
        or_(bindparam("any_resource") == 1, audit.c.resources.contains(bindparam("resource", type_=audit.c.resources.type))),
        or_(bindparam("any_outcome") == 1, audit.c.error_code != ""),
    )
    .order_by(audit.c.seq.desc())
    .limit(bindparam("at_most")),
    Row,
)
_DELETE_OLDEST = command(
    delete(audit).where(
        audit.c.seq.in_(select(audit.c.seq).where(audit.c.time_ms < bindparam("before_ms")).order_by(audit.c.time_ms).limit(CHUNK))
    )
)


def record(tx: Transaction, entry: Entry) -> None:
    """Write an entry, in the transaction of what it is about where there is one."""
    tx.run(_INSERT, **entry._asdict())


def amend(tx: Transaction, entry: Entry) -> None:
    """Write again how the call of an entry ended: some of it failed, or its answer named what it made."""
    tx.run(
        _AMEND,
        of_request=entry.request_id,
        resources=entry.resources,
        status=entry.status,
        error_code=entry.error_code,
        error_msg=entry.error_msg,
    )


def named(resources: Iterable[str]) -> str:
    """The `resources` of an entry: each once, in their order."""
    found = list(dict.fromkeys(resources))
    if len(found) > RESOURCES_MAX:
        found = [*found[:RESOURCES_MAX], f"and {len(found) - RESOURCES_MAX} more"]
    return msgspec.json.encode(found).decode()


def entries(
    database: Database,
    *,
    limit: int,
    before: int = LATEST,
    since_ms: int = 0,
    project_id: str | None = None,
    user_name: str | None = None,
    operation: str | None = None,
    request_id: str | None = None,
    resource: str | None = None,
    refused_only: bool = False,
) -> list[Row]:
    """The newest entries, newest first. `resource` is a part of an id or name; `before` is a `seq`."""
    return database.rows(
        _LIST,
        before=before,
        since_ms=since_ms,
        any_project=int(project_id is None),
        project_id=project_id or "",
        any_user=int(user_name is None),
        user_name=user_name or "",
        any_operation=int(operation is None),
        operation=operation or "",
        any_request=int(request_id is None),
        request_id=request_id or "",
        any_resource=int(resource is None),
        resource=resource or "",
        any_outcome=int(not refused_only),
        at_most=limit,
    )


def delete_old(database: Database, retention_days: float) -> int:
    """Delete the entries that are older, CHUNK per transaction; returns how many. Blocks. Raises StoreError."""
    before_ms = time.time_ns() // 1_000_000 - int(retention_days * 86_400_000)
    deleted = 0
    while True:
        with database.write() as tx:
            count = tx.run(_DELETE_OLDEST, before_ms=before_ms)
        deleted += count
        if count < CHUNK:
            return deleted
