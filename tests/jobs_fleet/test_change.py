"""Changing a server: what stays, what is new, and that a failure before the swap changes nothing."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sqlalchemy import bindparam, insert, update

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import World, eventually
from opencph.fleet import boots, publishing
from opencph.fleet.adb_check import answers_adb, silent_phones
from opencph.fleet.times import now_ms
from opencph.store import processes, revisions, tables
from opencph.store.database import command
from opencph.wire.errors import CphError

_GATEWAY = command(
    insert(tables.processes).values(
        process_id=bindparam("process_id"),
        kind="gateway",
        host_name="elsewhere",
        pid=1,
        start_ms=1,
        heartbeat_ms=bindparam("heartbeat_ms"),
        applied_revision=0,
    )
)
_APPLIED = command(update(tables.processes).values(applied_revision=bindparam("revision")))


def test_a_change_keeps_the_server_and_replaces_everything_below_it(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            old, old_phones, counts = world.server(server_id), world.phones(server_id), world.counts()
            runtime.generations[old.generation_id].phones[old_phones[0].phone_id].data = "old"
            job = await world.ended(world.change(server_id))
            assert (job.status, job.error_code) == (2, None)
            new, new_phones = world.server(server_id), world.phones(server_id)
            assert (new.status, new.name) == (5, old.name)
            assert new.generation_id != old.generation_id
            assert {phone.phone_id for phone in new_phones}.isdisjoint(phone.phone_id for phone in old_phones)
            assert [phone.status for phone in new_phones] == [2, 2, 2]
            assert [await answers_adb(phone.ip, 2) for phone in new_phones] == [None] * 3
            assert set(runtime.generations) == {new.generation_id}
            assert {phone.data for phone in runtime.generations[new.generation_id].phones.values()} == {"new"}
            assert world.generation_states() == {new.generation_id: "serving"}
            assert world.counts() == counts
        await runtime.close()

    asyncio.run(main())


def test_the_old_phones_serve_until_the_swap(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            old_phones = world.phones(server_id)
            runtime.gates["start"] = asyncio.Event()
            job_id = world.change(server_id)
            await eventually(lambda: runtime.calls.count("start") == 3, "the new phones boot")
            assert world.server(server_id).status == 3
            assert world.phones(server_id) == old_phones
            assert [await answers_adb(phone.ip, 2) for phone in old_phones] == [None] * 3
            for call in (world.change, world.delete):
                with pytest.raises(CphError) as refusal:
                    call(server_id)
                assert refusal.value.code == "CPS.0099"
            runtime.gates["start"].set()
            assert (await world.ended(job_id)).status == 2
        await runtime.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "code"), [("create", "CPS.0092"), ("start", "CPS.0092"), ("boot", "CPS.0092"), ("mute", "CPS.0054")]
)
def test_a_change_that_fails_before_the_swap_leaves_the_server_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: str, code: str
) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            server, phones, counts = world.server(server_id), world.phones(server_id), world.counts()
            monkeypatch.setattr(boots, "silent_phones", partial(silent_phones, timeout=1.5))
            if fault == "boot":
                runtime.broken = {"2": "address taken"}
            elif fault == "mute":
                runtime.mute = {1}
            else:
                runtime.faults = {fault: "disk full"}
            job = await world.ended(world.change(server_id))
            assert (job.status, job.error_code) == (-1, code)
            assert (job.error_msg or "").startswith("Change server failed: " if code == "CPS.0092" else "Handle job timeout: ")
            assert any(cause in (job.error_msg or "") for cause in ("disk full", "address taken", "no ADB answer"))
            assert (world.server(server_id), world.phones(server_id), world.counts()) == (server, phones, counts)
            assert set(runtime.generations) == {server.generation_id}
            assert [await answers_adb(phone.ip, 2) for phone in phones] == [None] * 3

            runtime.faults, runtime.broken, runtime.mute = {}, {}, set()
            assert (await world.ended(world.change(server_id))).status == 2  # and it can be changed again
        await runtime.close()

    asyncio.run(main())


def test_after_the_swap_the_work_is_tried_until_it_succeeds(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            old = world.server(server_id)
            runtime.faults["remove"] = "the disk hangs"
            job_id = world.change(server_id)
            await eventually(lambda: runtime.calls.count("remove") >= 3, "the removal is tried again")
            assert world.job(job_id).status == 1
            assert world.server(server_id).generation_id != old.generation_id
            assert world.generation_states()[old.generation_id] == "retiring"
            runtime.faults.clear()
            assert (await world.ended(job_id)).status == 2
            assert set(runtime.generations) == {world.server(server_id).generation_id}
        await runtime.close()

    asyncio.run(main())


def test_the_old_phones_go_only_when_every_live_gateway_serves_the_new_ones(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            world.execute(_GATEWAY, process_id="gateway/a", heartbeat_ms=now_ms() + 60_000)
            world.execute(_GATEWAY, process_id="gateway/dead", heartbeat_ms=now_ms() - 60_000)
            old = world.server(server_id).generation_id
            job_id = world.change(server_id)
            await eventually(lambda: world.server(server_id).generation_id != old, "the swap")
            await asyncio.sleep(0.3)  # the time the removal of the old one would take, many times over
            assert old in runtime.generations
            world.execute(_APPLIED, revision=revisions.read(world.database, "network"))
            await eventually(lambda: old not in runtime.generations, "the old one goes", seconds=publishing.PUBLISH_SECONDS / 2)
            assert (await world.ended(job_id)).status == 2
        await runtime.close()

    asyncio.run(main())


def test_a_gateway_that_never_catches_up_does_not_hold_the_change_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "PUBLISH_SECONDS", 0.3)

    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            world.execute(_GATEWAY, process_id=processes.new_process_id("gateway"), heartbeat_ms=now_ms() + 60_000)
            assert (await world.ended(world.change(server_id))).status == 2
        await runtime.close()

    asyncio.run(main())
