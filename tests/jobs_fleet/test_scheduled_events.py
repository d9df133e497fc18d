"""Draining a host: events are published, authorized, carried out by durable jobs, canceled; servers keep or move."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import World, eventually
from opencph.fleet import maintenance
from opencph.fleet.hosts import sync_hosts
from opencph.fleet.ids import new_id, new_uuid
from opencph.fleet.scheduled_events import authorize_scheduled_event, list_scheduled_events, update_scheduled_event
from opencph.fleet.servers import show_cloud_phone_server_detail
from opencph.fleet.times import now_ms
from opencph.store import tables
from opencph.store.database import Query, command, scalar
from opencph.wire.errors import CphError
from opencph.wire.scheduled_events import (
    AuthorizeScheduledEventRequest,
    ListScheduledEventsQuery,
    ScheduledEvent,
    UpdateScheduledEventRequest,
)

HOUR = 3600
_HOST: Query[str] = Query(
    select(tables.generations.c.host_id)
    .join(tables.servers, tables.servers.c.generation_id == tables.generations.c.generation_id)
    .where(tables.servers.c.server_id == bindparam("server_id")),
    scalar,
)
_STATE: Query[str] = Query(select(tables.hosts.c.state).where(tables.hosts.c.host_id == bindparam("host_id")), scalar)
_DUE = command(update(tables.scheduled_events).values(not_before_ms=1))
_ONE_ZONE = command(update(tables.hosts).values(availability_zone="zone-a"))
_ZONE = command(update(tables.generations).values(availability_zone="zone-a"))


def events(world: World, **query: Any) -> list[ScheduledEvent]:
    return list_scheduled_events(world.fleet, world.caller, new_id(), ListScheduledEventsQuery(**query)).scheduled_events


def authorize(world: World, event_id: str, kind: str, not_before: int | None = None) -> None:
    body = AuthorizeScheduledEventRequest(authorization_type=kind, not_before=not_before)
    authorize_scheduled_event(world.fleet, world.caller, new_id(), event_id, body)


def host_of(world: World, server_id: str) -> str:
    return world.one(_HOST, server_id=server_id) or ""


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(CphError) as error:
        call(*arguments)
    return error.value.code


def test_a_host_whose_disk_is_replaced_announces_that(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            host = host_of(world, server_id)
            kind, words = maintenance.LOCALDISK_RECOVERY, "A disk is replaced."
            maintenance.drain(world.fleet, host, in_seconds=HOUR, description=words, event_type=kind)
            for types, found in (((kind,), [(server_id, kind, words)]), ((maintenance.SYSTEM_MAINTENANCE,), [])):
                assert [(one.server_id, one.type, one.description) for one in events(world, types=types)] == found
        await runtime.close()

    asyncio.run(main())


def drain(world: World, host_id: str) -> list[str]:
    return maintenance.drain(world.fleet, host_id, in_seconds=24 * HOUR, description="New disks.")


def test_a_maintenance_waits_for_its_time_and_keeps_the_phones(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            host = host_of(world, server_id)
            before = [phone.phone_id for phone in world.phones(server_id)]
            (event_id,) = drain(world, host)
            assert drain(world, host) == []  # it has one already
            (event,) = events(world)
            assert (event.event_id, event.state, event.type, event.server_id) == (
                event_id,
                "inquiring",
                "system-maintenance",
                server_id,
            )
            assert (event.description, event.server_state, event.authorization_type) == ("New disks.", 5, None)
            authorize(world, event_id, "maintenance")
            assert refused(authorize, world, event_id, "maintenance") == "CPS.0047"
            maintenance.carry_out(world.fleet)
            assert events(world)[0].state == "scheduled"
            body = UpdateScheduledEventRequest(not_before=0)
            update_scheduled_event(world.fleet, world.caller, new_id(), event_id, body)
            maintenance.carry_out(world.fleet)
            assert events(world)[0].state == "executing"
            await world.all_ended()
            maintenance.carry_out(world.fleet)
            (event,) = events(world)
            assert event.state == "completed" and event.start_time and event.finish_time
            assert [phone.phone_id for phone in world.phones(server_id)] == before and "power_off" in runtime.calls
            assert world.server(server_id).status == 5 and host_of(world, server_id) == host
        await runtime.close()

    asyncio.run(main())


def test_a_redeployment_moves_the_server_with_its_addresses_to_another_host(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            host = host_of(world, server_id)
            world.execute(_ONE_ZONE)
            world.execute(_ZONE)
            before = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id)
            (event_id,) = drain(world, host)
            authorize(world, event_id, "redeploy")
            maintenance.carry_out(world.fleet)
            assert world.server(server_id).status == 3
            await eventually(lambda: all(job.status != 1 for job in world.jobs()), "the move ends")
            maintenance.carry_out(world.fleet)
            (event,) = events(world, states=("completed",))
            assert event.authorization_type == "redeploy"
            assert host_of(world, server_id) != host and world.server(server_id).status == 5
            after = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id)
            assert [one.public_ip for one in after.addresses] == [one.public_ip for one in before.addresses]
            assert [one.band_width_size for one in after.band_widths] == [one.band_width_size for one in before.band_widths]
            assert (after.keypair_name, after.phone_model_name) == (before.keypair_name, before.phone_model_name)
            assert set(world.generation_states().values()) == {"serving"}
        await runtime.close()

    asyncio.run(main())


def test_a_redeployment_without_another_host_fails_and_says_so(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            for host_id in ("host-cn-east-3a", "host-cn-east-3b"):
                drain(world, host_id)
            (event,) = events(world)
            authorize(world, event.event_id, "redeploy")
            maintenance.carry_out(world.fleet)
            (event,) = events(world)
            assert event.state == "failed"
            assert re.fullmatch(r"New disks\. - failed: .*no host.*", event.description), event.description
            assert world.server(server_id).status == 5
        await runtime.close()

    asyncio.run(main())


def test_an_unauthorized_event_begins_when_its_time_has_come(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            drain(world, host_of(world, server_id))
            world.execute(_DUE)
            maintenance.carry_out(world.fleet)
            (event,) = events(world)
            assert (event.state, event.authorization_type) == ("executing", "maintenance")
            await world.all_ended()
        await runtime.close()

    asyncio.run(main())


def test_activating_a_host_or_deleting_the_server_cancels_what_has_not_begun(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            host = host_of(world, server_id)
            drain(world, host)
            with world.database.write() as tx:
                sync_hosts(tx, world.settings, world.fleet.catalogue)  # as every start does
            assert world.one(_STATE, host_id=host) == "draining"
            assert maintenance.activate(world.fleet, host) == 1
            assert world.one(_STATE, host_id=host) == "active"
            assert [event.state for event in events(world)] == ["canceled"]
            drain(world, host)
            await world.ended(world.delete(server_id))
            maintenance.carry_out(world.fleet)
            assert [(event.state, event.server_state) for event in events(world)] == [("canceled", 6)] * 2
            with pytest.raises(maintenance.UnknownHostError, match="host-cn-east-3a"):
                drain(world, "nowhere")
        await runtime.close()

    asyncio.run(main())


def test_times_states_and_ids_that_cannot_be_are_refused(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            (server_id,) = await world.bought()
            (event_id,) = drain(world, host_of(world, server_id))
            now = now_ms()
            assert refused(authorize, world, new_uuid(), "redeploy") == "CPS.0017"
            for not_before in (now + 60_000, now - 1, now + 40 * 24 * HOUR * 1000):
                assert refused(authorize, world, event_id, "maintenance", not_before) == "CPS.0174"
            authorize(world, event_id, "maintenance", now + 2 * HOUR * 1000)
            (event,) = events(world, states=("scheduled", "failed"), types=("system-maintenance",), server_id=server_id)
            assert event.event_id == event_id and events(world, states=("inquiring",)) == []
            assert refused(lambda: events(world, marker="nothing")) == "CPS.0002"
        await runtime.close()

    asyncio.run(main())
