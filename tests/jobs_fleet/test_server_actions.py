"""Restart, key pair and flavor of servers that are there: what the worker does, what is refused, and what a failure leaves."""

from __future__ import annotations

import asyncio

from sqlalchemy import bindparam, insert, select, update

from jobs_fleet.memory_runtime import MemoryPhone, MemoryRuntime
from jobs_fleet.small_world import BIGGER_MODEL, MODEL, SERVER_MODEL, World, eventually
from opencph.fleet.generations import mappings
from opencph.fleet.ids import new_id
from opencph.fleet.reconcile import Reconciler
from opencph.fleet.server_keypair import update_keypair
from opencph.fleet.server_model_change import change_cloud_phone_server_model
from opencph.fleet.server_restart import restart_cloud_phone_server
from opencph.fleet.servers import show_cloud_phone_server_detail
from opencph.store import tables
from opencph.store.database import Query, command, scalar, tuple_row
from opencph.wire.errors import CphError
from opencph.wire.server_actions import (
    ChangeCloudPhoneServerModelRequest,
    RestartCloudPhoneServerRequest,
    ServerJobsResponse,
    ServerKeypair,
    UpdateKeypairRequest,
)

UNKNOWN = "0" * 32
BIGGER_SERVER = f"{SERVER_MODEL}.special"
_ADD_KEYPAIR = command(
    insert(tables.keypairs).values(
        project_id=bindparam("project_id"), name=bindparam("name"), public_key="ssh-ed25519 BBBB", fingerprint="y", create_ms=1
    )
)
_SERVER_STATUS = command(update(tables.servers).values(status=bindparam("status_now")))
_ORDER_STATUS: Query[int] = Query(select(tables.orders.c.status).where(tables.orders.c.order_id == bindparam("order_id")), scalar)
_DISKS = Query(select(tables.phones.c.data_volume_gib), tuple_row)


def restart(world: World, *server_ids: str) -> ServerJobsResponse:
    body = RestartCloudPhoneServerRequest(server_ids=server_ids)
    return restart_cloud_phone_server(world.fleet, world.caller, new_id(), body)


def keypair(world: World, server_id: str, name: str) -> ServerJobsResponse:
    body = UpdateKeypairRequest(servers=(ServerKeypair(server_id=server_id, keypair_name=name),))
    return update_keypair(world.fleet, world.caller, new_id(), body)


def order(world: World, server_id: str, server_model: str = BIGGER_SERVER, phone_model: str = BIGGER_MODEL) -> str:
    body = ChangeCloudPhoneServerModelRequest(server_id=server_id, server_model_name=server_model, phone_model_name=phone_model)
    return change_cloud_phone_server_model(world.fleet, world.caller, new_id(), body).order_id


def refused(world: World, server_id: str, server_model: str = BIGGER_SERVER, phone_model: str = BIGGER_MODEL) -> str:
    try:
        order(world, server_id, server_model, phone_model)
    except CphError as error:
        return error.code
    return ""


def of(runtime: MemoryRuntime, world: World, server_id: str) -> list[MemoryPhone]:
    phones = runtime.generations[world.server(server_id).generation_id].phones
    return [phones[phone.phone_id] for phone in world.phones(server_id)]


def test_a_restarted_server_boots_every_phone_anew_but_the_stopped_and_keeps_data(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            real = of(runtime, world, server_id)
            real[0].data = "mine"
            await world.ended(world.stop(world.phones(server_id)[2].phone_id).jobs[0].job_id or "")
            runtime.gates["power_off"] = asyncio.Event()
            (item,) = restart(world, server_id).jobs
            assert world.server(server_id).status == 13
            assert [phone.status for phone in world.phones(server_id)] == [4, 4, 8]
            assert restart(world, server_id).jobs[0].error_code == "CPS.0158"
            runtime.gates["power_off"].set()
            assert (await world.ended(item.job_id or "")).status == 2
            assert world.server(server_id).status == 5
            assert [phone.status for phone in world.phones(server_id)] == [2, 2, 8]
            assert [phone.boots for phone in real] == [2, 2, 1]
            assert real[0].data == "mine" and runtime.calls.count("power_off") == 1
        await runtime.close()

    asyncio.run(main())


def test_what_is_wrong_with_one_server_of_a_restart_leaves_the_others_alone(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            answer = restart(world, "nonsense", UNKNOWN, server_id, server_id)
            assert [item.error_code for item in answer.jobs] == ["CPS.0097", "CPS.0015", None, "CPS.0158"]
            assert [item.job_id is None for item in answer.jobs] == [True, True, False, True]
            assert (await world.ended(answer.jobs[2].job_id or "")).status == 2
        await runtime.close()

    asyncio.run(main())


def test_a_phone_that_does_not_come_back_is_named_and_the_others_serve(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            runtime.broken["2"] = "no memory"
            job = await world.ended(restart(world, server_id).jobs[0].job_id or "")
            assert job.status == -1 and job.error_code == "CPS.0003" and "no memory" in (job.error_msg or "")
            assert [phone.status for phone in world.phones(server_id)] == [-7, -6, -7]
            await Reconciler(world.fleet, runtime).reconcile()
            await eventually(lambda: world.server(server_id).status == 5, "the server is normal again")
            assert [phone.status for phone in world.phones(server_id)] == [2, -6, 2]
        await runtime.close()

    asyncio.run(main())


def test_another_key_pair_is_what_the_gateway_lets_in(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            world.execute(_ADD_KEYPAIR, project_id=world.caller.project_id, name="other")
            assert keypair(world, server_id, "nobody").jobs[0].error_code == "CPS.0067"
            assert (await world.ended(keypair(world, server_id, "other").jobs[0].job_id or "")).status == 2
            with world.database.read() as tx:
                assert [route.public_key for route in mappings(tx)] == ["ssh-ed25519 BBBB"]
            shown = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id)
            assert shown.keypair_name == "other"
            world.execute(_SERVER_STATUS, status_now=3)
            assert keypair(world, server_id, "keypair").jobs[0].error_code == "CPS.0098"
        await runtime.close()

    asyncio.run(main())


def test_a_server_gets_another_flavor_and_its_phones_keep_their_data(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            real = of(runtime, world, server_id)
            real[0].data = "mine"
            before = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id)
            order_id = order(world, server_id)
            assert world.one(_ORDER_STATUS, order_id=order_id) == 3
            await world.all_ended()
            assert world.one(_ORDER_STATUS, order_id=order_id) == 5
            after = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id)
            assert (after.status, after.server_model_name, after.phone_model_name) == (5, BIGGER_SERVER, BIGGER_MODEL)
            assert after.metadata.order_id == before.metadata.order_id
            assert [phone.phone_id for phone in world.phones(server_id)] == [phone.spec.phone_id for phone in real]
            assert real[0].data == "mine"
            with world.database.read() as tx:
                assert tx.rows(_DISKS) == [(2,)] * 3
        await runtime.close()

    asyncio.run(main())


def test_a_flavor_that_does_not_boot_is_taken_back(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            runtime.broken["3"] = "too big"
            order_id = order(world, server_id)
            job = (await world.all_ended())[-1]
            assert world.one(_ORDER_STATUS, order_id=order_id) == 4
            assert job.status == -1 and "too big" in (job.error_msg or "")
            shown = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id)
            assert (shown.status, shown.server_model_name, shown.phone_model_name) == (5, SERVER_MODEL, MODEL)
        await runtime.close()

    asyncio.run(main())


def test_flavors_that_cannot_follow_are_refused_with_their_own_codes(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            assert refused(world, UNKNOWN) == "CPS.0015"
            assert refused(world, server_id, "physical.nothing") == "CPS.0089"
            assert refused(world, server_id, phone_model="nothing") == "CPS.0028"
            assert refused(world, server_id, SERVER_MODEL, MODEL) == "CPS.0089"  # it has them already
            assert refused(world, server_id, SERVER_MODEL, "test.c60") == "CPS.0028"  # another number of phones
            assert refused(world, server_id, "physical.kg1.4xlarge.cp", "kg1.cp.c20.d64SSD.e1v1") == "CPS.0089"
            world.execute(_SERVER_STATUS, status_now=3)
            assert refused(world, server_id) == "CPS.0099"
        await runtime.close()

    asyncio.run(main())
