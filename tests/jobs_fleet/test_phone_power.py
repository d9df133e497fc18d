"""Restart, reset and stop: the states, the properties, the refusals per phone, and phones that fail."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sqlalchemy import bindparam, update

from jobs_fleet.memory_runtime import MemoryPhone, MemoryRuntime
from jobs_fleet.small_world import LONG_PROPERTY, OTHER_IMAGE, World, eventually, merged
from opencph.fleet import boots
from opencph.fleet.adb_check import answers_adb, silent_phones
from opencph.fleet.ids import new_id
from opencph.store import tables
from opencph.store.database import command
from opencph.wire.errors import CphError
from opencph.wire.phones import PhoneJobsResponse

_SERVER_STATUS = command(update(tables.servers).values(status=bindparam("status_now")))
_PHONE_STATUS = command(
    update(tables.phones).where(tables.phones.c.phone_id == bindparam("of_phone")).values(status=bindparam("status_now"))
)
_CUSTOM = command(update(tables.phones).values(custom_property='{"mine":"1"}'))
_PROJECT = command(update(tables.phones).where(tables.phones.c.phone_id == bindparam("of_phone")).values(project_id="other"))


def codes(answer: PhoneJobsResponse) -> list[str | None]:
    for item in answer.jobs:
        assert (item.job_id is None) == (item.error_code is not None) == bool(item.error_msg)
    return [item.error_code for item in answer.jobs]


async def done(world: World, answer: PhoneJobsResponse) -> list[int]:
    """The status of every job of the answer, once all have ended."""
    return [(await world.ended(item.job_id or "")).status for item in answer.jobs]


def of(runtime: MemoryRuntime, world: World, server_id: str) -> list[MemoryPhone]:
    phones = runtime.generations[world.server(server_id).generation_id].phones
    return [phones[phone.phone_id] for phone in world.phones(server_id)]


def test_a_restart_boots_again_and_keeps_data(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            one, two, _ = world.phones(server_id)
            real = of(runtime, world, server_id)
            real[0].data = "mine"
            answer = world.restart(one.phone_id, two.phone_id)
            assert [phone.status for phone in world.phones(server_id)] == [4, 4, 2]
            assert await done(world, answer) == [2, 2]
            assert [phone.status for phone in world.phones(server_id)] == [2, 2, 2]
            assert [phone.boots for phone in real] == [2, 2, 1]
            assert real[0].data == "mine"
            assert await answers_adb(one.ip, 2) is None
        await runtime.close()

    asyncio.run(main())


def test_a_stopped_phone_stays_off_until_it_is_restarted(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            phone = world.phones(server_id)[0]
            answer = world.stop(phone.phone_id)
            assert world.phones(server_id)[0].status == 7
            assert await done(world, answer) == [2]
            assert world.phones(server_id)[0].status == 8
            assert await answers_adb(phone.ip, 0.1) is not None
            assert await done(world, world.stop(phone.phone_id)) == [2]  # once more does no harm
            assert world.phones(server_id)[0].status == 8
            assert await done(world, world.restart(phone.phone_id)) == [2]
            assert world.phones(server_id)[0].status == 2
            assert await answers_adb(phone.ip, 2) is None
        await runtime.close()

    asyncio.run(main())


def test_a_reset_wipes_and_also_boots_a_stopped_phone(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            one, two, _ = world.phones(server_id)
            real = of(runtime, world, server_id)
            real[0].data = real[1].data = real[2].data = "mine"
            assert await done(world, world.stop(two.phone_id)) == [2]
            answer = world.reset(one.phone_id, two.phone_id)
            assert [phone.status for phone in world.phones(server_id)] == [3, 3, 2]
            assert await done(world, answer) == [2, 2]
            assert [phone.status for phone in world.phones(server_id)] == [2, 2, 2]
            assert [phone.data for phone in real] == ["new", "new", "mine"]
        await runtime.close()

    asyncio.run(main())


def test_given_properties_go_over_those_the_phone_has_and_reach_the_phone(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            phone_id = world.phones(server_id)[0].phone_id
            given = '{"sys.prop.writephonenum":"1", "com.cph.mainkeys":1}'
            assert await done(world, world.restart(phone_id, property=given)) == [2]
            assert world.phones(server_id)[0].property == given.replace(" ", "")
            assert await done(world, world.restart(phone_id, property='{"sys.prop.writephonenum":"2"}')) == [2]
            assert merged(world.phones(server_id)[0].property) == {"sys.prop.writephonenum": "2", "com.cph.mainkeys": 1}
            booted = of(runtime, world, server_id)[0].booted_with
            assert booted is not None
            assert booted.properties == {"sys.prop.writephonenum": "2", "com.cph.mainkeys": "1"}

            assert await done(world, world.reset(phone_id, property='{"com.cph.mainkeys":0}')) == [2]
            assert merged(world.phones(server_id)[0].property) == {"sys.prop.writephonenum": "2", "com.cph.mainkeys": 0}
            world.execute(_CUSTOM)
            assert await done(world, world.reset(phone_id, property='{"disable.status.bar":1}', clear=True)) == [2]
            assert merged(world.phones(server_id)[0].property) == {"disable.status.bar": 1}
            assert world.phones(server_id)[0].custom_property == ""
            assert await done(world, world.reset(phone_id, clear=True)) == [2]
            assert world.phones(server_id)[0].property == ""
        await runtime.close()

    asyncio.run(main())


def test_what_is_wrong_with_one_phone_stands_in_its_item_and_the_others_go_on(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            server_id, foreign_server = await world.bought(2)
            one, two, _ = (phone.phone_id for phone in world.phones(server_id))
            foreign = world.phones(foreign_server)[0].phone_id
            world.execute(_PROJECT, of_phone=foreign)
            world.execute(_PHONE_STATUS, of_phone=two, status_now=4)
            answer = world.restart("nonsense", new_id(), foreign, two, one, one, "")
            assert codes(answer) == ["CPS.0004", "CPS.0005", "CPS.0005", "CPS.0165", None, "CPS.0165", "CPS.0004"]
            assert [item.phone_id for item in answer.jobs][:2] == ["nonsense", answer.jobs[1].phone_id]
            assert (await world.ended(answer.jobs[4].job_id or "")).status == 2
            assert [phone.status for phone in world.phones(server_id)] == [2, 4, 2]
            bad = [
                ('{"no.such.key":"1"}', "CPS.0163"),
                ('{"com.cph.mainkeys":7}', "CPS.0164"),
                ("not json", "CPS.0078"),
                (LONG_PROPERTY, "CPS.0078"),
            ]
            for text, code in bad:
                assert codes(world.restart(one, property=text)) == [code]
            assert world.phones(server_id)[0].status == 2
        await runtime.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("server_status", "phone_status", "code"),
    [
        (3, 2, "CPS.0099"),
        (1, 2, "CPS.0099"),
        (6, 2, "CPS.0099"),
        (8, 2, "CPS.0053"),
        (5, 6, "CPS.0053"),
        (5, 1, "CPS.0165"),
        (5, 3, "CPS.0165"),
        (5, 4, "CPS.0165"),
        (5, 7, "CPS.0165"),
        (5, -8, "CPS.0165"),
        (5, 8, None),
        (5, -5, None),
        (5, -6, None),
        (5, -9, None),
        (2, -7, None),
    ],
)
def test_the_state_of_phone_and_server_decides(world: World, server_status: int, phone_status: int, code: str | None) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
        phone_id = world.phones(server_id)[0].phone_id
        for call in (world.restart, world.reset, world.stop):
            world.execute(_SERVER_STATUS, status_now=server_status)
            world.execute(_PHONE_STATUS, of_phone=phone_id, status_now=phone_status)
            assert codes(call(phone_id)) == [code]
        await runtime.close()

    asyncio.run(main())


def test_an_image_that_is_unknown_or_does_not_fit_refuses_the_call(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
        phones, jobs = world.phones(server_id), world.jobs()
        for image_id, code in (("0" * 32, "CPS.0166"), (OTHER_IMAGE, "CPS.0142")):
            with pytest.raises(CphError) as refused:
                world.restart(phones[0].phone_id, image_id=image_id)
            assert refused.value.code == code
        assert (world.phones(server_id), world.jobs()) == (phones, jobs)
        await runtime.close()

    asyncio.run(main())


def test_a_restart_may_switch_the_image(world: World) -> None:
    other = next(
        image_id
        for image_id, image in world.fleet.catalogue.images.items()
        if "cloud_phone_1620" in image.image_labels and image_id != "20060220200717f201120a2300000e91"
    )

    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            phone_id = world.phones(server_id)[0].phone_id
            assert await done(world, world.restart(phone_id, image_id=other)) == [2]
            booted = of(runtime, world, server_id)[0].booted_with
            assert booted is not None
            assert (booted.image_id, world.phones(server_id)[0].image_id) == (other, other)
        await runtime.close()

    asyncio.run(main())


def test_a_phone_that_fails_leaves_the_others_alone_and_can_be_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boots, "silent_phones", partial(silent_phones, timeout=1.5))

    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            phone_ids = [phone.phone_id for phone in world.phones(server_id)]
            runtime.broken, runtime.mute = {"1": "address taken"}, {2}
            answer = world.restart(*phone_ids)
            assert await done(world, answer) == [-1, -1, 2]
            assert [phone.status for phone in world.phones(server_id)] == [-6, -6, 2]
            first, second = (world.job(item.job_id or "") for item in answer.jobs[:2])
            assert (first.error_code, second.error_code) == ("CPS.0003", "CPS.0054")
            assert "address taken" in (first.error_msg or "")
            runtime.broken, runtime.mute = {}, set()
            assert await done(world, world.restart(*phone_ids[:2])) == [2, 2]
            assert [phone.status for phone in world.phones(server_id)] == [2, 2, 2]
        await runtime.close()

    asyncio.run(main())


@pytest.mark.parametrize(("call", "fault", "status"), [("stop", "stop", -9), ("restart", "start", -6), ("reset", "reset", -5)])
def test_a_runtime_that_can_do_nothing_fails_every_phone_with_its_cause(world: World, call: str, fault: str, status: int) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            runtime.faults[fault] = "the host is gone"
            answer: PhoneJobsResponse = getattr(world, call)(*[phone.phone_id for phone in world.phones(server_id)])
            assert await done(world, answer) == [-1, -1, -1]
            assert [phone.status for phone in world.phones(server_id)] == [status] * 3
            assert "the host is gone" in (world.job(answer.jobs[0].job_id or "").error_msg or "")
        await runtime.close()

    asyncio.run(main())


def test_sixty_phones_of_one_server_are_one_batch(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought(model="test.c60")
            runtime.calls.clear()
            answer = world.restart(*[phone.phone_id for phone in world.phones(server_id)])
            assert await done(world, answer) == [2] * 60
            assert runtime.calls == ["stop", "update", "start"]
            await eventually(lambda: all(phone.status == 2 for phone in world.phones(server_id)), "all run")
        await runtime.close()

    asyncio.run(main())
