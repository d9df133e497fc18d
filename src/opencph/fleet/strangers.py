"""What there is and nobody accounts for: phones in the runtime that no row knows, rows of generations that no job works on.

What should run and does not is `reconcile`'s; both look at the same rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import structlog
from sqlalchemy import bindparam, func, or_, select

from opencph.fleet import Fleet, findings, generations
from opencph.jobs import RUNNING
from opencph.metrics.families import RECOVERIES
from opencph.runtimes import Runtime, RuntimeFaultError
from opencph.store import tables
from opencph.store.database import Query, Transaction, scalar

log = structlog.get_logger(__name__)


class GenerationRow(NamedTuple):
    """A generation as the reconciler sees it."""

    generation_id: str
    server_id: str
    project_id: str
    state: str
    phone_count: int
    pointed_at: bool  # the server points at it
    server_status: int | None

    @property
    def serves(self) -> bool:
        """The server points at it, and it is whole."""
        return bool(self.pointed_at) and self.state == "serving"


_POINTED_AT: Query[str] = Query(
    select(tables.servers.c.server_id).where(tables.servers.c.generation_id == bindparam("of_generation")), scalar
)
_JOBS_NAMING: Query[int] = Query(
    select(func.count()).select_from(tables.jobs).where(tables.jobs.c.payload.contains(bindparam("name"))), scalar
)
_LANE_BUSY: Query[int] = Query(
    select(func.count())
    .select_from(tables.jobs)
    .where(
        tables.jobs.c.lane == bindparam("lane_"),
        or_(tables.jobs.c.status == RUNNING, tables.jobs.c.seq > bindparam("after_seq")),
    ),
    scalar,
)


def has_job(tx: Transaction, server_id: str, newest_job: int) -> bool:
    """Whether a job works on a server, or one after job number `newest_job` did."""
    return (tx.row(_LANE_BUSY, lane_=server_id, after_seq=newest_job) or 0) > 0


async def take_away(
    fleet: Fleet,
    runtime: Runtime,
    in_runtime: Iterable[str],
    rows: Mapping[str, GenerationRow],
    busy: set[str],
    newest_job: int,
) -> None:
    """Take away what no row or running job accounts for; servers whose lane is `busy` are left alone. Raises StoreError.

    A generation's row is there before the runtime hears of it and until the runtime has removed it, and an id is never used
    twice: what has no row after the inventory was taken will never have one. If a job of ours was about it, it is a leftover, and
    removed. If not, somebody put it there, or the database is older than it: its data is not ours to delete, and set aside.
    """
    for generation_id in in_runtime:
        if generation_id not in rows:
            await _take_away_stranger(fleet, runtime, generation_id)
    for row in rows.values():
        if row.state != "serving" and row.server_id not in busy and not (row.pointed_at and row.generation_id not in in_runtime):
            await _take_away_leftover(fleet, runtime, row, newest_job)


async def set_strays_aside(fleet: Fleet, runtime: Runtime) -> None:
    """What lies among the phones' data and is none of it goes where it is in nobody's way, or is told of. Raises StoreError."""
    for stray in await runtime.set_strays_aside():
        if stray.place:
            RECOVERIES.add("stranger")
            await asyncio.to_thread(
                report, fleet, "set_aside", f"{stray.what} is nothing that was made here: it is in {stray.place}"
            )
        else:
            text = f"{stray.what} is nothing that was made here, and cannot be set aside: {stray.cause}"
            await asyncio.to_thread(report, fleet, "contradiction", text)


async def _take_away_stranger(fleet: Fleet, runtime: Runtime, generation_id: str) -> None:
    whose = await asyncio.to_thread(_whose, fleet, generation_id)
    if whose == "a server's":
        return  # its row is gone: `consistency` tells, and its data may be needed again
    RECOVERIES.add("stranger")
    try:
        if whose == "ours":
            await runtime.remove(generation_id)
            text = f"phones of generation {generation_id}, which belong to no server, are removed"
            await asyncio.to_thread(report, fleet, "removed", text)
        else:
            place = await runtime.set_aside(generation_id)
            text = f"{generation_id} is no generation that this database knows of: its phones are ended, its data is in {place}"
            await asyncio.to_thread(report, fleet, "set_aside", text)
    except RuntimeFaultError as fault:
        log.warning("cannot take phones away that belong to no server", generation_id=generation_id, error=str(fault))


def _whose(fleet: Fleet, generation_id: str) -> Literal["a server's", "ours", "nobody's"]:
    with fleet.database.read() as tx:
        if tx.row(_POINTED_AT, of_generation=generation_id) is not None:
            return "a server's"
        return "ours" if tx.row(_JOBS_NAMING, name=generation_id) else "nobody's"


async def _take_away_leftover(fleet: Fleet, runtime: Runtime, row: GenerationRow, newest_job: int) -> None:
    """A generation that is being built or retired, and the job that did it is no more: it holds quota, addresses and a place."""
    RECOVERIES.add("stranger")
    try:
        await runtime.remove(row.generation_id)
    except RuntimeFaultError as fault:
        log.warning("cannot remove what is left of a generation", generation_id=row.generation_id, error=str(fault))
        return
    await asyncio.to_thread(_release, fleet, row, newest_job)


def _release(fleet: Fleet, row: GenerationRow, newest_job: int) -> None:
    with fleet.database.write() as tx:
        tx.lock("placement")
        if has_job(tx, row.server_id, newest_job):
            return
        if tx.row(_POINTED_AT, of_generation=row.generation_id) is None:
            generations.release(tx, row.generation_id)
            text = (
                f"generation {row.generation_id} of server {row.server_id} was {row.state}, and no job worked on it: it is released"
            )
        else:  # a purchase that failed: its server is there to be seen until it is deleted
            text = f"phones of server {row.server_id}, whose creation failed, are removed"
        findings.report(tx, "removed", text, row.server_id)


def report(fleet: Fleet, what: findings.What, text: str, server_id: str | None = None) -> None:
    """Write a finding down in a transaction of its own. Raises StoreError."""
    with fleet.database.write() as tx:
        findings.report(tx, what, text, server_id)
