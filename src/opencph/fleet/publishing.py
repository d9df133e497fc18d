"""Waiting until the gateways serve what the database says. The gateways themselves are `gateway/`."""

from __future__ import annotations

import asyncio

from opencph.fleet.generations import NETWORK
from opencph.store import processes, revisions
from opencph.store.database import Database

PUBLISH_SECONDS = 5.0
PUBLISH_POLL_SECONDS = 0.01


async def wait_until_published(database: Database) -> bool:
    """Wait until every live gateway serves the network revision of now; True if so, False after PUBLISH_SECONDS.

    No live gateway: nothing to wait for. A gateway that lags never fails the work: it catches up by itself.
    """

    def behind(revision: int) -> bool:
        with database.read() as tx:
            return any(gateway.applied_revision < revision for gateway in processes.alive(tx, "gateway"))

    def newest() -> int:
        with database.read() as tx:
            return revisions.read(tx, NETWORK)

    loop = asyncio.get_running_loop()
    deadline = loop.time() + PUBLISH_SECONDS
    revision = await asyncio.to_thread(newest)
    while await asyncio.to_thread(behind, revision):
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(PUBLISH_POLL_SECONDS)
    return True
