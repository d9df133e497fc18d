"""ListCloudPhoneServers and ShowCloudPhoneServerDetail: every field, every filter, other projects' servers are not there."""

from __future__ import annotations

import re

import pytest

from fleet.fleet_world import KG1, SEED_MODEL, FleetWorld
from opencph.fleet.ids import default_security_group_id, new_id
from opencph.fleet.servers import list_cloud_phone_servers, show_cloud_phone_server_detail
from opencph.wire.errors import CphError
from opencph.wire.servers import DataVolume, ExtendParam, ListCloudPhoneServersQuery


def names(world: FleetWorld, **query: object) -> list[str]:
    answer = list_cloud_phone_servers(world.fleet, world.caller, "r", ListCloudPhoneServersQuery(**query))  # type: ignore[arg-type]
    if answer.count <= 100 and "offset" not in query and "limit" not in query:
        assert answer.count == len(answer.servers)
    return [server.server_name for server in answer.servers]


def test_the_detail_gives_back_what_was_asked_for(world: FleetWorld) -> None:
    server_id = world.serving(
        server_name="demo",
        phone_model_name="rs2.plus",
        phone_data_volume=DataVolume(volume_type="GPSSD", size=100),
        server_share_data_volume=DataVolume(volume_type="SSD", size=50),
        extend_param=ExtendParam(charging_mode=1, enterprise_project_id="ep-1"),
    )
    shown = show_cloud_phone_server_detail(world.fleet, world.caller, "r", server_id)
    assert (shown.request_id, shown.server_id, shown.server_name, shown.status) == ("r", server_id, "demo", 5)
    assert (shown.server_model_name, shown.phone_model_name, shown.keypair_name) == (KG1, "rs2.plus", "keypair")
    assert (shown.vpc_id, shown.subnet_id, shown.network_version) == (world.vpc_id, world.subnet_id, "v2")
    assert shown.cidr == shown.vpc_cidr == shown.subnet_cidr == "127.64.0.0/12"
    assert (shown.availability_zone, shown.enterprise_project_id) == ("cn-east-3a", "ep-1")
    (address,) = shown.addresses
    assert address.server_ip == address.intranet_ip
    assert address.public_ip == address.access_ip
    assert address.server_ip.startswith("127.64.")
    assert address.public_ip.startswith("127.80.")
    (band_width,) = shown.band_widths
    assert (band_width.band_width_size, band_width.band_width_charge_mode, band_width.band_width_share_type) == (300, 1, 0)
    (volume,) = shown.volumes
    assert re.fullmatch(r"VOLUME_[0-9a-f]{32}", volume.volume_name)
    assert (volume.volume_size, volume.volume_type) == (100, "GPSSD")
    assert shown.share_volume_info is not None
    assert (shown.share_volume_info.size, shown.share_volume_info.volume_type, shown.share_volume_info.version) == (50, "SSD", 1)
    assert (shown.metadata.charging_mode, shown.security_groups) == (1, [default_security_group_id(world.caller.project_id)])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown.create_time)
    again = show_cloud_phone_server_detail(world.fleet, world.caller, "r", server_id)
    assert again == shown


def test_a_1_0_flavor_shows_no_volumes(world: FleetWorld) -> None:
    shown = show_cloud_phone_server_detail(world.fleet, world.caller, "r", world.serving(keypair_name=None))
    assert (shown.volumes, shown.share_volume_info, shown.keypair_name) == ([], None, "")


def test_servers_of_other_projects_are_not_there(world: FleetWorld) -> None:
    server_id, stranger = world.serving(), world.project()
    for asked in (server_id, new_id()):
        with pytest.raises(CphError) as raised:
            show_cloud_phone_server_detail(world.fleet, stranger, "r", asked)
        assert (raised.value.code, raised.value.status) == ("CPS.0015", 404)
    assert list_cloud_phone_servers(world.fleet, stranger, "r", ListCloudPhoneServersQuery()).count == 0


def test_the_list_is_newest_first_and_pages(world: FleetWorld) -> None:
    for number in range(5):
        world.create(server_name=f"s{number}")
    assert names(world) == ["s4", "s3", "s2", "s1", "s0"]
    assert names(world, offset=1, limit=2) == ["s3", "s2"]
    assert names(world, offset=5) == []
    answer = list_cloud_phone_servers(world.fleet, world.caller, "r", ListCloudPhoneServersQuery(offset=7))
    assert (answer.count, answer.servers) == (5, [])
    (item, *_) = list_cloud_phone_servers(world.fleet, world.caller, "r", ListCloudPhoneServersQuery(limit=1)).servers
    assert item.phone_model_name == SEED_MODEL
    assert item.addresses is not None
    assert len(item.addresses) == 1


def test_every_filter_filters(world: FleetWorld) -> None:
    (alpha,) = world.create(server_name="Alpha_1")
    world.serving(server_name="beta-1", phone_model_name="kg1.cp.c100.d10SSD.e1v1")
    world.create(server_name="AlphaX1")
    world.set("servers", {"server_id": alpha}, create_ms=1_000_500)
    assert names(world, server_name="alpha") == ["AlphaX1", "Alpha_1"]
    assert names(world, server_name="alpha_") == ["Alpha_1"]  # _ and % are letters, not wildcards
    assert names(world, server_name="%") == []
    assert names(world, server_id=alpha) == ["Alpha_1"]
    assert names(world, status=5) == ["beta-1"]
    assert names(world, phone_model_name="kg1.cp.c100.d10SSD.e1v1") == ["beta-1"]
    assert names(world, create_since=1_000, create_until=1_000) == ["Alpha_1"]
    assert names(world, create_since=1_001) == ["AlphaX1", "beta-1"]
    assert names(world, network_version="v1") == []
    assert len(names(world, network_version="v2")) == 3
    assert names(world, server_name="alpha", status=1, server_id=alpha) == ["Alpha_1"]
