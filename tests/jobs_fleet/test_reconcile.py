"""What should run, runs; what should not exist, is removed; and nobody fights with a job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import pytest
from sqlalchemy import update

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import World, eventually
from opencph.fleet import findings, reconcile
from opencph.fleet.adb_check import answers_adb
from opencph.fleet.ids import new_id
from opencph.fleet.reconcile import RECOVER_SERVER, Reconciler
from opencph.fleet.strangers import GenerationRow
from opencph.runtimes import GenerationInventory, GenerationSpec
from opencph.store import tables
from opencph.store.database import command


def recoveries(world: World) -> list[int]:
    return [job.status for job in world.jobs() if job.kind == RECOVER_SERVER]


def test_phones_of_a_dead_host_come_back_with_their_data_and_stopped_ones_stay_off(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            phones, generation_id = world.phones(server_id), world.server(server_id).generation_id
            (stop,) = world.stop(phones[2].phone_id).jobs
            await world.ended(stop.job_id or "")
            real = runtime.generations[generation_id]
            for phone in real.phones.values():
                phone.data = "mine"
            runtime.gates["create"] = asyncio.Event()
            runtime.kill(generation_id)
            await Reconciler(world.fleet, runtime).reconcile()
            assert world.server(server_id).status == 2
            assert [phone.status for phone in world.phones(server_id)] == [-7, -7, 8]
            runtime.gates["create"].set()
            await world.all_ended()
            assert world.server(server_id).status == 5
            assert [phone.status for phone in world.phones(server_id)] == [2, 2, 8]
            answers = [await answers_adb(phone.ip, seconds) is None for phone, seconds in zip(phones, (5, 5, 0.2), strict=True)]
            assert answers == [True, True, False]
            assert {phone.data for phone in real.phones.values()} == {"mine"}
            assert recoveries(world) == [2]
        await runtime.close()

    asyncio.run(main())


def test_a_runtime_that_lost_everything_gets_it_made_again(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            server_ids = await world.bought(2)
            await runtime.shutdown()
            runtime.generations.clear()
            await Reconciler(world.fleet, runtime).reconcile()
            await world.all_ended()
            for server_id in server_ids:
                assert world.server(server_id).status == 5
                assert [phone.status for phone in world.phones(server_id)] == [2] * 3
                assert [await answers_adb(phone.ip, 2) for phone in world.phones(server_id)] == [None] * 3
        await runtime.close()

    asyncio.run(main())


def test_one_phone_that_is_off_by_itself_is_started_again_and_its_server_stays_normal(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            generation = runtime.generations[world.server(server_id).generation_id]
            phone_id = world.phones(server_id)[1].phone_id
            generation.phones[phone_id].off()
            runtime.gates["create"] = asyncio.Event()
            await Reconciler(world.fleet, runtime).reconcile()
            assert [phone.status for phone in world.phones(server_id)] == [2, -7, 2]
            assert world.server(server_id).status == 5
            runtime.gates["create"].set()
            await world.all_ended()
            assert [phone.status for phone in world.phones(server_id)] == [2, 2, 2]
            assert [phone.boots for phone in generation.phones.values()] == [1, 2, 1]
        await runtime.close()

    asyncio.run(main())


def test_a_stopped_phone_that_runs_is_told_and_stopped_again(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            first, second, third = world.phones(server_id)
            generation = runtime.generations[world.server(server_id).generation_id]
            (stop,) = world.stop(third.phone_id).jobs
            await world.ended(stop.job_id or "")
            reconciler, before = Reconciler(world.fleet, runtime), len(world.jobs())
            await reconciler.reconcile()
            assert len(world.jobs()) == before, "what is stopped and off is left alone"
            world.execute(command(update(tables.phones).where(tables.phones.c.phone_id == second.phone_id).values(status=8)))
            runtime.gates["stop"] = asyncio.Event()
            for _ in range(2):  # the second time its job is at work
                await reconciler.reconcile()
                assert [phone.status for phone in world.phones(server_id)] == [2, 7, 8]
            runtime.gates["stop"].set()
            (job,) = (await world.all_ended())[before:]
            assert (job.kind, job.status) == ("stop_phone", 2)
            assert [phone.status for phone in world.phones(server_id)] == [2, 8, 8]
            assert [phone.state for phone in generation.phones.values()] == ["running", "stopped", "stopped"]
            text = f"1 phones of server {server_id} were stopped (8) and ran: they are stopped again ({second.phone_id})"
            with world.database.read() as tx:
                assert [(one.what, one.text) for one in findings.recent(tx)] == [("contradiction", text)]
            await reconciler.reconcile()
            assert len(world.jobs()) == before + 1
            (start,) = world.restart(second.phone_id).jobs
            await world.ended(start.job_id or "")
            await reconciler.reconcile()
            assert [phone.status for phone in world.phones(server_id)] == [2, 2, 8]
            assert await answers_adb(first.ip, 5) is None
        await runtime.close()

    asyncio.run(main())


def test_a_phone_that_runs_though_it_was_stopped_again_is_not_stopped_all_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "RETRY_FIRST_SECONDS", 600.0)

    class Stubborn(MemoryRuntime):
        """Says that phones are stopped that are not."""

        async def stop(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
            return {}

    async def main() -> None:
        runtime = Stubborn()
        async with world.working(runtime):
            await world.bought()
            world.execute(command(update(tables.phones).values(status=8)))
            reconciler = Reconciler(world.fleet, runtime)
            for _ in range(3):
                await reconciler.reconcile()
                await world.all_ended()
            assert [job.kind for job in world.jobs()].count("stop_phone") == 3, "one for each phone"
        await runtime.close()

    asyncio.run(main())


def test_when_all_is_well_nothing_is_done(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            before = world.jobs(), world.phones(server_id)
            runtime.calls.clear()
            await Reconciler(world.fleet, runtime).reconcile()
            assert (world.jobs(), world.phones(server_id)) == before
            assert runtime.calls == ["inventory"]
        await runtime.close()

    asyncio.run(main())


def test_what_no_row_knows_is_removed_and_what_is_being_built_is_not(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            await runtime.create(GenerationSpec(generation_id=new_id(), server_id=new_id(), host_id="x", phones=()))
            runtime.gates["start"] = asyncio.Event()
            (server_id,) = world.buy()
            await eventually(lambda: "start" in runtime.calls, "the new one is being built")
            await Reconciler(world.fleet, runtime).reconcile()
            assert set(runtime.generations) == {world.server(server_id).generation_id}
            runtime.gates["start"].set()
            await world.all_ended()
            assert world.server(server_id).status == 5
        await runtime.close()

    asyncio.run(main())


def test_a_server_with_a_running_job_is_left_alone(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            runtime.gates["stop"] = asyncio.Event()
            (restart,) = world.restart(world.phones(server_id)[0].phone_id).jobs
            await eventually(lambda: "stop" in runtime.calls, "the restart has begun")
            runtime.kill(world.server(server_id).generation_id)
            reconciler = Reconciler(world.fleet, runtime)
            await reconciler.reconcile()
            assert recoveries(world) == []
            runtime.gates["stop"].set()
            await world.ended(restart.job_id or "")
            await reconciler.reconcile()
            await world.all_ended()
            assert [phone.status for phone in world.phones(server_id)] == [2] * 3
        await runtime.close()

    asyncio.run(main())


def test_a_job_that_ran_while_the_inventory_was_taken_does_not_mislead(world: World) -> None:
    class Late(MemoryRuntime):
        """Says that a phone is off; by the time it says so, a restart has begun and ended."""

        phone_id = ""

        async def inventory(self) -> list[GenerationInventory]:
            (found,) = await super().inventory()
            (answer,) = world.restart(self.phone_id).jobs
            await world.ended(answer.job_id or "")
            return [msgspec.structs.replace(found, phones={**found.phones, self.phone_id: "stopped"})]

    async def main() -> None:
        runtime = Late()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            runtime.phone_id = world.phones(server_id)[0].phone_id
            await Reconciler(world.fleet, runtime).reconcile()
            assert recoveries(world) == []
            assert [phone.status for phone in world.phones(server_id)] == [2] * 3
        await runtime.close()

    asyncio.run(main())


def test_a_job_that_ends_while_the_inventory_is_taken_does_not_mislead(world: World) -> None:
    class Old(MemoryRuntime):
        """Says how it was when it was asked: a phone is off. By the time it says so, the restart has brought it back and ended."""

        phone_id = job_id = ""

        async def inventory(self) -> list[GenerationInventory]:
            (found,) = await super().inventory()
            self.gates["stop"].set()
            await world.ended(self.job_id)
            return [msgspec.structs.replace(found, phones={**found.phones, self.phone_id: "stopped"})]

    async def main() -> None:
        runtime = Old()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            runtime.phone_id = world.phones(server_id)[0].phone_id
            runtime.gates["stop"] = asyncio.Event()
            (answer,) = world.restart(runtime.phone_id).jobs
            runtime.job_id = answer.job_id or ""
            await eventually(lambda: "stop" in runtime.calls, "the restart has begun")
            await Reconciler(world.fleet, runtime).reconcile()
            assert recoveries(world) == []
            assert [phone.status for phone in world.phones(server_id)] == [2] * 3
        await runtime.close()

    asyncio.run(main())


def test_a_server_that_is_deleted_while_we_look_is_not_brought_back(world: World) -> None:
    class Slow(Reconciler):
        """Two servers are deleted after the rows were read; the one job that does it has the lane of the first."""

        servers: tuple[str, ...] = ()

        def _read(
            self, newest_job: int, inventory: Mapping[str, GenerationInventory]
        ) -> tuple[dict[str, GenerationRow], set[str], list[reconcile._PhoneRow]]:
            found = super()._read(newest_job, inventory)
            world.delete(*self.servers)
            return found

    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            servers = await world.bought(2)
            await runtime.shutdown()
            runtime.gates["remove"] = asyncio.Event()
            reconciler = Slow(world.fleet, runtime)
            reconciler.servers = tuple(servers)
            await reconciler.reconcile()
            assert recoveries(world) == []
            assert [phone.status for server_id in servers for phone in world.phones(server_id)] == [2] * 6
            runtime.gates["remove"].set()
            await world.all_ended()
            assert runtime.generations == {}
        await runtime.close()

    asyncio.run(main())


def test_a_recovery_that_fails_is_tried_again_later_and_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "RETRY_FIRST_SECONDS", 0.05)
    monkeypatch.setattr(reconcile, "RECONCILE_SECONDS", 0.02)

    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            runtime.kill(world.server(server_id).generation_id)
            runtime.broken = {"2": "address taken"}
            stop = asyncio.Event()
            running = asyncio.create_task(Reconciler(world.fleet, runtime).run(stop))
            try:
                await eventually(lambda: -1 in recoveries(world), "a recovery fails")
                assert [phone.status for phone in world.phones(server_id)] == [2, -7, 2]
                assert "address taken" in next(job.error_msg or "" for job in world.jobs() if job.status == -1)
                await eventually(lambda: recoveries(world).count(-1) >= 2, "it is tried again")
                runtime.broken = {}
                await eventually(lambda: all(phone.status == 2 for phone in world.phones(server_id)), "all are back")
            finally:
                stop.set()
                with suppress(asyncio.CancelledError):
                    await running
        await runtime.close()

    asyncio.run(main())
