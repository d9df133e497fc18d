"""Deleting servers: what is refused, and that nothing is left of what is not."""

from __future__ import annotations

import asyncio

import pytest

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import MONTHLY, World, eventually
from opencph.fleet.adb_check import answers_adb
from opencph.fleet.ids import new_id
from opencph.fleet.server_delete import accept_deletion
from opencph.wire.errors import CphError


def refusal(world: World, *server_ids: str) -> CphError:
    before = world.counts(), [world.server(one).status for one in server_ids if world.exists(one)], len(world.jobs())
    with pytest.raises(CphError) as refused:
        world.delete(*server_ids)
    assert before == (world.counts(), [world.server(one).status for one in server_ids if world.exists(one)], len(world.jobs()))
    return refused.value


def test_several_servers_are_deleted_by_one_job_and_nothing_is_left(world: World) -> None:
    async def main() -> None:
        before = world.counts()
        runtime = MemoryRuntime()
        async with world.working(runtime):
            server_ids = await world.bought(3)
            addresses = [phone.ip for server_id in server_ids for phone in world.phones(server_id)]
            job = await world.ended(world.delete(*server_ids))
            assert (job.status, job.error_code) == (2, None)
            assert not any(world.exists(server_id) for server_id in server_ids)
            assert world.counts() == before
            assert runtime.generations == {}
            assert all([await answers_adb(ip, 0.1) for ip in addresses])
        await runtime.close()

    asyncio.run(main())


def test_a_server_that_is_not_there_or_foreign_is_not_found_and_nothing_is_deleted(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
        error = refusal(world, server_id, new_id())
        assert (error.code, error.status) == ("CPS.0015", 404)
        with world.database.write() as tx, pytest.raises(CphError) as foreign:
            accept_deletion(tx, new_id(), new_id(), [server_id])
        assert foreign.value.code == "CPS.0015"
        await runtime.close()

    asyncio.run(main())


def test_a_server_in_the_making_is_not_ready_to_be_deleted(world: World) -> None:
    (server_id,) = world.buy()  # no worker: it stays as it is
    assert refusal(world, server_id).code == "CPS.0099"


def test_a_server_is_deleted_only_once(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
        world.delete(server_id)
        assert world.server(server_id).status == 6
        assert refusal(world, server_id).code == "CPS.0099"
        await runtime.close()

    asyncio.run(main())


def test_a_server_billed_by_the_month_must_be_unsubscribed(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought(charging_mode=MONTHLY)
            error = refusal(world, server_id)
            assert error.code == "CPS.0056"
            assert "unsubscribe" in error.message
            with world.database.write() as tx:
                job_id = accept_deletion(tx, world.caller.project_id, new_id(), [server_id], unsubscribed=True)
            assert (await world.ended(job_id)).status == 2
            assert not world.exists(server_id)
        await runtime.close()

    asyncio.run(main())


def test_a_deletion_waits_for_what_the_servers_had_to_do_before(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            first, second = await world.bought(2)
            runtime.gates["stop"] = asyncio.Event()
            phone = world.phones(second)[0]
            (restart,) = world.restart(phone.phone_id).jobs
            job_id = world.delete(first, second)
            await eventually(lambda: "stop" in runtime.calls, "the restart has begun")
            await asyncio.sleep(0.3)
            assert "remove" not in runtime.calls
            runtime.gates["stop"].set()
            assert (await world.ended(restart.job_id or "")).status == 2
            assert (await world.ended(job_id)).status == 2
            assert not world.exists(first)
            assert not world.exists(second)
        await runtime.close()

    asyncio.run(main())
