"""How many servers, phones and jobs there are, by state: what monitoring looks at. Of all projects; changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import case, func, select

from opencph.fleet.statuses import PHONE_STATES, SERVER_STATES
from opencph.jobs import RUNNING
from opencph.store.database import Query, Transaction, now_ms
from opencph.store.tables import jobs, phones, servers


class OpenJobs(NamedTuple):
    """Jobs of a kind that have not ended: those that a worker works on, or those that wait for one."""

    kind: str
    waiting: bool
    jobs: int
    oldest_seconds: float


def _pair(status: int, count: int) -> tuple[int, int]:
    return status, count


_PHONES = Query(
    select(phones.c.status, func.count())
    .join(servers, servers.c.generation_id == phones.c.generation_id)
    .group_by(phones.c.status),
    _pair,
)
_SERVERS = Query(select(servers.c.status, func.count()).group_by(servers.c.status), _pair)
_waits = case((jobs.c.lease_owner.is_not(None) & (jobs.c.lease_until_ms > now_ms()), 0), else_=1).label("waits")
_OPEN_JOBS = Query(
    select(jobs.c.kind, _waits, func.count(), now_ms() - func.min(jobs.c.create_ms))
    .where(jobs.c.status == RUNNING)
    .group_by(jobs.c.kind, _waits)
    .order_by(jobs.c.kind),
    lambda kind, waits, count, age_ms: OpenJobs(str(kind), bool(waits), int(count), max(0, int(age_ms)) / 1000),
)


def phones_by_state(tx: Transaction) -> dict[str, int]:
    """Phones of the generations that serve, by state in words."""
    return _named(PHONE_STATES, tx.rows(_PHONES))


def servers_by_state(tx: Transaction) -> dict[str, int]:
    """Servers by state in words."""
    return _named(SERVER_STATES, tx.rows(_SERVERS))


def open_jobs(tx: Transaction) -> list[OpenJobs]:
    """Jobs that have not ended."""
    return tx.rows(_OPEN_JOBS)


def _named(states: Mapping[int, str], counts: Iterable[tuple[int, int]]) -> dict[str, int]:
    named = Counter[str]()
    for status, count in counts:
        named[states.get(status, str(status))] += count
    return dict(named)
