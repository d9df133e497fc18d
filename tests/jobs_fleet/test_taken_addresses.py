"""A program that is not ours listens where a server is to be reached: the job fails and says where, and nobody is led to it."""

from __future__ import annotations

import asyncio
import socket

import pytest
from sqlalchemy import bindparam, select

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import IMAGE, MODEL, World
from opencph.fleet.adb_check import answers_adb
from opencph.fleet.ids import new_id
from opencph.fleet.server_change import change_cloud_phone_server
from opencph.store import tables
from opencph.store.database import Query, tuple_row
from opencph.wire.servers import BandWidth, ChangeCloudPhoneServerRequest, Nic, Port, PublicIp

_ADDRESSES = Query(
    select(tables.server_addresses.c.server_ip, tables.eips.c.address, tables.eips.c.eip_id)
    .join(tables.generations, tables.generations.c.generation_id == tables.server_addresses.c.generation_id)
    .outerjoin(tables.eips, tables.eips.c.eip_id == tables.server_addresses.c.eip_id)
    .where(tables.generations.c.server_id == bindparam("server_id"))
    .order_by(tables.generations.c.number.desc(), tables.server_addresses.c.number),
    tuple_row,
)


def _newest(world: World, server_id: str) -> tuple[str, str, str]:
    with world.database.read() as tx:
        server_ip, public_ip, eip_id = tx.rows(_ADDRESSES, server_id=server_id)[0]
    return str(server_ip), str(public_ip), str(eip_id)


def _foreign(host: str, port: int) -> socket.socket:
    taken = socket.create_server((host, port))
    taken.settimeout(0.01)
    return taken


@pytest.mark.parametrize("place", ["adb", "public", "ssh"])
def test_a_purchase_whose_address_is_taken_fails_and_says_where(world: World, place: str) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        runtime.gates["start"] = asyncio.Event()
        async with world.working(runtime):
            (server_id,) = world.buy()
            server_ip, public_ip, _ = _newest(world, server_id)
            at = {
                "adb": (server_ip, 10000),
                "public": (public_ip, 10001),
                "ssh": (public_ip, world.settings.ssh_port),
            }[place]
            with _foreign(*at):
                runtime.gates["start"].set()
                (job,) = await world.all_ended()
            assert (job.status, job.error_code) == (-1, "CPS.0092")
            assert f"{at[0]}:{at[1]}" in (job.error_msg or "")
            assert "OPENCPH_NETWORK" in (job.error_msg or "")
            assert world.server(server_id).status == 2
            assert runtime.generations == {}
        await runtime.close()

    asyncio.run(main())


def test_a_change_whose_address_is_taken_fails_and_the_server_is_what_it_was(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            server, phones, counts = world.server(server_id), world.phones(server_id), world.counts()
            runtime.gates["start"] = asyncio.Event()
            job_id = world.change(server_id)
            server_ip, _, _ = _newest(world, server_id)
            with _foreign(server_ip, 10001):
                runtime.gates["start"].set()
                job = await world.ended(job_id)
            assert (job.status, job.error_code) == (-1, "CPS.0092")
            assert (job.error_msg or "").startswith(f"Change server failed: {server_ip}:10001")
            assert (world.server(server_id), world.phones(server_id), world.counts()) == (server, phones, counts)
            assert [await answers_adb(phone.ip, 2) for phone in phones] == [None] * 3
            assert (await world.ended(world.change(server_id))).status == 2  # when the other program is gone
        await runtime.close()

    asyncio.run(main())


def test_an_eip_that_moves_with_the_server_is_the_gateways_own_and_no_reason_to_fail(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            _, public_ip, eip_id = _newest(world, server_id)
            body = ChangeCloudPhoneServerRequest(
                phone_model_name=MODEL,
                image_id=IMAGE,
                tenant_vpc_id=world.vpc_id,
                nics=(Nic(subnet_id=world.subnet_id),),
                ports=(Port(name="web", listen_port=20000, internet_accessible="true"),),
                public_ip=PublicIp(ids=(eip_id,)),
                band_width=BandWidth(band_width_share_type=0, band_width_size=300, band_width_charge_mode=1),
            )
            with _foreign(public_ip, world.settings.ssh_port), _foreign(public_ip, 10001):  # as the gateway would
                job_id = change_cloud_phone_server(world.fleet, world.caller, new_id(), server_id, body).job_id
                assert (await world.ended(job_id)).status == 2, world.job(job_id)
        await runtime.close()

    asyncio.run(main())
