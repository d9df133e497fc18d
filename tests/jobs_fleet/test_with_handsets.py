"""The kinds of work on real light phones: what a user's files and properties go through."""

from __future__ import annotations

import asyncio

from jobs_fleet.conftest import file_of, light_phones
from jobs_fleet.small_world import World
from opencph.adb.client import connect
from opencph.fleet.adb_check import answers_adb
from opencph.wire.phones import PhoneJobsResponse

FILE = "/data/local/tmp/mine"


async def _done(world: World, answer: PhoneJobsResponse) -> None:
    for item in answer.jobs:
        job = await world.ended(item.job_id or "")
        assert (job.status, job.error_msg) == (2, None)


def test_files_survive_a_restart_and_a_stop_but_no_reset_and_no_change(handsets: World) -> None:
    world = handsets

    async def main() -> None:
        async with light_phones(world) as runtime:
            (server_id,) = await world.bought()
            phone = world.phones(server_id)[0]
            async with await connect(phone.ip) as connection:
                await connection.push(b"mine", FILE)
            await _done(world, world.restart(phone.phone_id, property='{"sys.prop.writephonenum":"13666666666"}'))
            assert await file_of(phone.ip, FILE) == b"mine"
            async with await connect(phone.ip) as connection:
                assert (await connection.shell("getprop sys.prop.writephonenum")).stdout == b"13666666666\n"
            await _done(world, world.stop(phone.phone_id))
            assert await answers_adb(phone.ip, 0.1) is not None
            await _done(world, world.restart(phone.phone_id))
            assert await file_of(phone.ip, FILE) == b"mine"
            await _done(world, world.reset(phone.phone_id))
            assert await file_of(phone.ip, FILE) is None

            async with await connect(phone.ip) as connection:
                await connection.push(b"mine", FILE)
            assert (await world.ended(world.change(server_id))).status == 2
            assert await answers_adb(phone.ip, 0.1) is not None
            assert [await file_of(new.ip, FILE) for new in world.phones(server_id)] == [None] * 3
            assert (await world.ended(world.delete(server_id))).status == 2
            assert list(await runtime.inventory()) == []

    asyncio.run(main())
