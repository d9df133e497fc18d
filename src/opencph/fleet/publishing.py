"""Waiting until the gateways serve what the database says. The gateways themselves are `gateway/`."""

from __future__ import annotations

import asyncio

from sqlalchemy import bindparam, func, select

from opencph.fleet.times import now_ms
from opencph.store import tables
from opencph.store.database import Database, Query, scalar

PUBLISH_SECONDS = 5.0
PUBLISH_POLL_SECONDS = 0.01
#: A gateway that is silent for so long does not count.
GATEWAY_ALIVE_MS = 5_000

_REVISION: Query[int] = Query(
    select(tables.revisions.c.value).where(tables.revisions.c.name == "network"),
    scalar,
)
_GATEWAYS_BEHIND: Query[int] = Query(
    select(func.count())
    .select_from(tables.processes)
    .where(
        tables.processes.c.kind == "gateway",
        tables.processes.c.heartbeat_ms >= bindparam("alive_since"),
        tables.processes.c.applied_revision < bindparam("revision"),
    ),
    scalar,
)


async def wait_until_published(database: Database) -> bool:
    """Wait until every live gateway serves the network revision of now; True if so, False after PUBLISH_SECONDS.

    No live gateway: nothing to wait for. A gateway that lags never fails the work: it catches up by itself.
    """

    def behind(revision: int) -> int:
        with database.read() as tx:
            return tx.row(_GATEWAYS_BEHIND, alive_since=now_ms() - GATEWAY_ALIVE_MS, revision=revision) or 0

    def newest() -> int:
        with database.read() as tx:
            return tx.row(_REVISION) or 0

    loop = asyncio.get_running_loop()
    deadline = loop.time() + PUBLISH_SECONDS
    revision = await asyncio.to_thread(newest)
    while await asyncio.to_thread(behind, revision):
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(PUBLISH_POLL_SECONDS)
    return True
