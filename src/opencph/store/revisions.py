"""Counters that tell readers that something of theirs has changed. Not the readers, and not what changed."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import bindparam, select, text

from opencph.store.database import Query, Row, Transaction, Value, scalar
from opencph.store.tables import revisions

_READ: Query[int] = Query(select(revisions.c.value).where(revisions.c.name == bindparam("name")), scalar)
_BUMP: Query[int] = Query(
    text(
        "INSERT INTO revisions (name, value) VALUES (:name, 1) "
        "ON CONFLICT (name) DO UPDATE SET value = revisions.value + 1 RETURNING value"
    ),
    scalar,
)


class _Reader(Protocol):
    def row(self, query: Query[Row], **params: Value) -> Row | None: ...


def bump(tx: Transaction, name: str) -> int:
    """Raise the counter in the transaction that makes the change; returns the new value. Values become visible in their order."""
    value = tx.row(_BUMP, name=name)
    assert value is not None
    return value


def read(source: _Reader, name: str) -> int:
    """The counter as a database or a transaction sees it; 0 before the first change."""
    return source.row(_READ, name=name) or 0
