"""Bare servers: bought, listed, restarted, re-keyed and deleted like others, without phones."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from jobs_fleet.memory_runtime import MemoryRuntime
from jobs_fleet.small_world import SERVER_MODEL, World, eventually
from opencph.fleet.bare_servers import create_cloud_phone_single_server
from opencph.fleet.generations import mappings
from opencph.fleet.ids import new_id, new_uuid
from opencph.fleet.phones import list_cloud_phones
from opencph.fleet.reconcile import Reconciler
from opencph.fleet.server_restart import restart_cloud_phone_server
from opencph.fleet.servers import list_cloud_phone_servers, show_cloud_phone_server_detail
from opencph.wire.bare_servers import CreateCloudPhoneSingleServerRequest
from opencph.wire.errors import CphError
from opencph.wire.phones import ListCloudPhonesQuery
from opencph.wire.server_actions import RestartCloudPhoneServerRequest
from opencph.wire.servers import (
    BandWidth,
    DataVolume,
    Eip,
    ExtendParam,
    ListCloudPhoneServersQuery,
    Nic,
    PublicIp,
)


def buy(world: World, **changes: Any) -> list[str]:
    body = CreateCloudPhoneSingleServerRequest(
        server_name=f"bare-{new_id()[:8]}",
        server_model_name=SERVER_MODEL,
        count=1,
        order_param=ExtendParam(charging_mode=1),
        nic=Nic(subnet_id=world.subnet_id),
        public_ip=PublicIp(eip=Eip(type="5_bgp"), count=1),
        band_width=BandWidth(band_width_share_type=0, band_width_size=100, band_width_charge_mode=1),
        data_volume=DataVolume(volume_type="SSD", size=50),
        keypair_name="keypair",
    )
    changed = msgspec.structs.replace(body, **changes)
    return create_cloud_phone_single_server(world.fleet, world.caller, new_id(), changed).server_ids


def test_bare_servers_live_as_others_do_but_have_no_phones(world: World) -> None:
    async def main() -> None:
        runtime = MemoryRuntime()
        async with world.working(runtime):
            bare, second = buy(world, count=2, server_name="bare")
            (server_id,) = await world.bought()
            await eventually(lambda: {world.server(one).status for one in (bare, second)} == {5}, "the bare servers are normal")
            shown = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), bare)
            assert (shown.server_name, shown.server_model_name, shown.phone_model_name) == ("bare-0001", SERVER_MODEL, "")
            assert len(shown.addresses) == len(shown.band_widths) == len(shown.volumes) == 1 and shown.addresses[0].public_ip
            listed = list_cloud_phone_servers(world.fleet, world.caller, new_id(), ListCloudPhoneServersQuery())
            assert {one.server_id for one in listed.servers} == {bare, second, server_id}
            phones = list_cloud_phones(world.fleet, world.caller, new_id(), ListCloudPhonesQuery())
            assert phones.count == 3 and {phone.server_id for phone in phones.phones} == {server_id}
            assert list_cloud_phones(world.fleet, world.caller, new_id(), ListCloudPhonesQuery(server_id=bare)).count == 0
            with world.database.read() as tx:
                routes = {route.server_id: route for route in mappings(tx)}
            assert list(routes[bare].mappings()) == [] and routes[bare].public_key
            await Reconciler(world.fleet, runtime).reconcile()
            body = RestartCloudPhoneServerRequest(server_ids=(bare,))
            (item,) = restart_cloud_phone_server(world.fleet, world.caller, new_id(), body).jobs
            assert (await world.ended(item.job_id or "")).status == 2 and world.server(bare).status == 5
            with pytest.raises(CphError) as error:
                world.change(bare)
            assert error.value.code == "CPS.0099"
            assert (await world.ended(world.delete(bare, second))).status == 2
            assert len(runtime.generations) == 1 and world.counts()["generations"] == 1
        await runtime.close()

    asyncio.run(main())


def test_what_does_not_exist_is_refused_and_nothing_is_bought(world: World) -> None:
    before = world.counts()
    for changes, code in (
        ({"server_model_name": "physical.nothing"}, "CPS.0089"),
        ({"keypair_name": "nobody"}, "CPS.0067"),
        ({"nic": Nic(subnet_id=new_uuid())}, "CPS.0229"),
        ({"image_id": "x"}, "CPS.0166"),
        ({"availability_zone": "nowhere"}, "CPS.0136"),
        ({"public_ip": PublicIp(ids=(new_uuid(),), count=1)}, "CPS.0239"),
        ({"band_width": BandWidth(band_width_share_type=1, band_width_id=new_uuid())}, "CPS.0115"),
    ):
        with pytest.raises(CphError) as error:
            buy(world, **changes)
        assert error.value.code == code, changes
    assert world.counts() == before
