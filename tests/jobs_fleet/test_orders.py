"""Orders end with the jobs that deliver: completed, or cancelled when nothing came of them."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from sqlalchemy import select

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import MONTHLY, World
from opencph.fleet import orders
from opencph.fleet.ids import new_order_id
from opencph.fleet.server_delete import accept_deletion
from opencph.store import tables
from opencph.store.database import Query


class Order(NamedTuple):
    kind: str
    status: int
    ended: bool


_ORDERS = Query(
    select(tables.orders.c.kind, tables.orders.c.status, tables.orders.c.end_ms.is_not(None)).order_by(
        tables.orders.c.create_ms, tables.orders.c.kind
    ),
    Order,
)


def all_orders(world: World) -> list[tuple[str, int, bool]]:
    with world.fleet.database.read() as tx:
        return [(kind, status, bool(ended)) for kind, status, ended in tx.rows(_ORDERS)]


def test_a_purchase_and_its_unsubscription_are_completed_by_their_jobs(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = world.buy(charging_mode=MONTHLY)
            assert all_orders(world) == [("purchase", 3, False)]
            await world.all_ended()
            assert all_orders(world) == [("purchase", 5, True)]
            with world.fleet.database.write() as tx:
                project_id = world.caller.project_id
                accept_deletion(tx, project_id, "a" * 32, [server_id], unsubscribed=True)
                orders.open_order(
                    tx,
                    order_id=new_order_id(),
                    project_id=project_id,
                    kind=orders.UNSUBSCRIBE,
                    product_id="p",
                    server_ids=[server_id],
                )
            await world.all_ended()
            assert not world.exists(server_id)
        assert all_orders(world) == [("purchase", 5, True), ("unsubscribe", 5, True)]
        await runtime.close()

    asyncio.run(main())


def test_a_purchase_of_which_nothing_comes_is_cancelled(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        runtime.faults = {"create": "no space left"}
        async with world.working(runtime):
            world.buy(charging_mode=MONTHLY)
            await world.all_ended()
        assert all_orders(world) == [("purchase", 4, True)]
        await runtime.close()

    asyncio.run(main())
