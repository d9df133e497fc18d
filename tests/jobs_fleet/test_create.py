"""Purchases: what the worker makes of them, and what is left of one that fails."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import MONTHLY, ON_DEMAND, World, eventually
from opencph.fleet import boots
from opencph.fleet.adb_check import answers_adb, silent_phones


def test_a_bought_server_is_normal_with_running_phones_that_answer_adb(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            server_ids = await world.bought(2)
            for server_id in server_ids:
                phones = world.phones(server_id)
                assert [phone.status for phone in phones] == [2, 2, 2]
                assert [await answers_adb(phone.ip, 2) for phone in phones] == [None] * 3
        assert set(world.generation_states().values()) == {"serving"}
        assert [job.status for job in world.jobs()] == [2, 2]
        await runtime.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("create", "CPS.0092", "no space left"),
        ("start", "CPS.0092", "no space left"),
        ("boot", "CPS.0092", "1 of 3 new phones did not boot"),
        ("mute", "CPS.0054", "2 of 3 new phones did not answer ADB"),
    ],
)
def test_a_purchase_that_fails_says_why_and_leaves_nothing_but_a_server_to_delete(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: str, code: str, words: str
) -> None:
    monkeypatch.setattr(boots, "silent_phones", partial(silent_phones, timeout=1.5))

    async def main() -> None:
        before = world.counts()
        runtime = MemoryRuntime()
        if fault == "boot":
            runtime.broken = {"2": "address taken"}
        elif fault == "mute":
            runtime.mute = {1, 3}
        else:
            runtime.faults = {fault: "no space left on the disk of /data"}
        async with world.working(runtime):
            (server_id,) = world.buy(charging_mode=MONTHLY)
            await world.all_ended()
            assert world.server(server_id).status == 2
            assert [phone.status for phone in world.phones(server_id)] == [-8] * 3
            (job,) = world.jobs()
            assert (job.status, job.error_code) == (-1, code)
            assert words in (job.error_msg or "")
            assert runtime.generations == {}

            runtime.faults.clear()
            deletion = world.delete(server_id)  # never delivered, so its billing does not matter
            assert (await world.ended(deletion)).status == 2
            assert not world.exists(server_id)
            assert world.counts() == before
        await runtime.close()

    asyncio.run(main())


def test_a_new_server_is_not_normal_before_its_phones_are(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        runtime.gates["start"] = asyncio.Event()
        async with world.working(runtime):
            (server_id,) = world.buy(charging_mode=ON_DEMAND)
            assert world.server(server_id).status == 1
            await eventually(lambda: "start" in runtime.calls, "the boot begins")
            assert world.server(server_id).status == 1
            assert [phone.status for phone in world.phones(server_id)] == [1] * 3
            assert set(world.generation_states().values()) == {"building"}
            runtime.gates["start"].set()
            await eventually(lambda: world.server(server_id).status == 5, "the server is normal")
            assert [phone.status for phone in world.phones(server_id)] == [2] * 3
        await runtime.close()

    asyncio.run(main())
