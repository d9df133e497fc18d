"""Restarting an encode server voids the tickets before it; and what else a ticket needs to hold."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import bindparam, update

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import World
from opencph.fleet.connections import batch_show_phone_connect_infos, verified_ticket
from opencph.fleet.encode_servers import list_encode_servers, restart_encode_server, turned
from opencph.fleet.ids import new_id
from opencph.iam.tickets import TicketError
from opencph.store import tables
from opencph.store.database import command
from opencph.wire.connections import BatchShowPhoneConnectInfosRequest
from opencph.wire.encode_servers import ListEncodeServersQuery, RestartEncodeServerRequest

_STATUS = command(
    update(tables.phones).where(tables.phones.c.phone_id == bindparam("of_phone")).values(status=bindparam("status_now"))
)


def ticket(world: World, phone_id: str) -> str:
    body = BatchShowPhoneConnectInfosRequest(phone_ids=(phone_id,), client_type="H5_PC")
    (info,) = batch_show_phone_connect_infos(world.fleet, world.caller, new_id(), body).connect_infos
    return info.access_info.ticket


def test_a_restarted_encode_server_takes_no_ticket_from_before(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            phone_id = world.phones(server_id)[0].phone_id
            old = ticket(world, phone_id)
            assert verified_ticket(world.fleet, old).phone_id == phone_id
            body = RestartEncodeServerRequest(encode_server_ids=(turned(server_id),))
            (job,) = restart_encode_server(world.fleet, world.caller, new_id(), body).jobs
            assert (await world.ended(job.job_id or "")).status == 2
            with pytest.raises(TicketError, match="restarted"):
                verified_ticket(world.fleet, old)
            assert verified_ticket(world.fleet, ticket(world, phone_id)).phone_id == phone_id
            (one,) = list_encode_servers(world.fleet, world.caller, new_id(), ListEncodeServersQuery()).encode_servers
            assert one.status == 1
            new = ticket(world, phone_id)
            world.execute(_STATUS, of_phone=phone_id, status_now=8)
            with pytest.raises(TicketError, match="not running"):
                verified_ticket(world.fleet, new)
            await world.ended(world.delete(server_id))
            with pytest.raises(TicketError, match="gone"):
                verified_ticket(world.fleet, new)
        await runtime.close()

    asyncio.run(main())
