"""ListCloudPhones and ShowCloudPhoneDetail: every field of the seed page, pages that agree with the whole, generations unseen."""

from __future__ import annotations

import re

import pytest

from fleet.fleet_world import PROPERTY, SEED_IMAGE, SEED_MODEL, FleetWorld
from opencph.fleet.generations import release
from opencph.fleet.ids import new_id
from opencph.fleet.imei import check_digit
from opencph.fleet.phones import list_cloud_phones, show_cloud_phone_detail
from opencph.wire.errors import CphError
from opencph.wire.phones import ListCloudPhonesQuery, ListCloudPhonesResponse
from opencph.wire.servers import Eip, Nic, Port, PublicIp

PORTS = (
    Port(name="server1", listen_port=38080, internet_accessible="True"),
    Port(name="server2", listen_port=38081, internet_accessible="false"),
)


def listed(world: FleetWorld, **query: object) -> ListCloudPhonesResponse:
    return list_cloud_phones(world.fleet, world.caller, "r", ListCloudPhonesQuery(**query))  # type: ignore[arg-type]


def ids(world: FleetWorld, **query: object) -> list[str]:
    return [phone.phone_id for phone in listed(world, **query).phones]


def newest_first(world: FleetWorld) -> list[str]:
    """What the list must be, told from the rows."""
    pointed = set(world.column("servers.generation_id", project_id=world.caller.project_id))
    return [
        phone_id
        for phone_id, generation_id in reversed(
            list(zip(world.column("phones.phone_id"), world.column("phones.generation_id"), strict=True))
        )
        if generation_id in pointed
    ]


def test_the_detail_has_every_field_of_the_seed_page(world: FleetWorld) -> None:
    server_id = world.serving(
        server_name="mobile", ports=PORTS, property=PROPERTY, nics=(Nic(subnet_id=world.subnet_id, ipv6_enable=True),)
    )
    server = world.row("servers", server_id=server_id)
    address = world.row("server_addresses", generation_id=server["generation_id"])
    eip = world.row("eips", eip_id=address["eip_id"])["address"]
    phone = world.row("phones", generation_id=server["generation_id"], number=3)
    shown = show_cloud_phone_detail(world.fleet, world.caller, "r", phone["phone_id"])

    assert (shown.request_id, shown.phone_id, shown.server_id) == ("r", phone["phone_id"], server_id)
    assert (shown.phone_name, shown.phone_model_name) == ("mobile-00003", SEED_MODEL)
    assert (shown.image_id, shown.image_version) == (SEED_IMAGE, "AOSP 7.1")
    assert (shown.vnc_enable, shown.status, shown.type, shown.traffic_type) == ("false", 1, 0, "direct")
    assert (shown.volume_mode, shown.has_encrypt, shown.availability_zone) == (0, False, "cn-east-3a")
    assert (shown.property, shown.custom_property) == (PROPERTY, {})
    assert (shown.metadata.order_id, shown.metadata.product_id) == (server["order_id"], server["product_id"])
    assert shown.phone_data_volume is not None
    assert (shown.phone_data_volume.volume_type, shown.phone_data_volume.volume_size) == ("SSD", 64)
    assert re.fullmatch(r"\d{15}", shown.imei)
    assert int(shown.imei[-1]) == check_digit(shown.imei[:-1])
    for time in (shown.create_time, shown.update_time):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)

    assert [info.type for info in shown.access_infos] == ["adb", "server1", "server2"]
    assert [info.listen_port for info in shown.access_infos] == [5555, 38080, 38081]
    assert [info.access_port for info in shown.access_infos] == [10_006, 10_007, 10_008]
    assert [info.public_ip for info in shown.access_infos] == ["", eip, ""]
    for info in shown.access_infos:
        assert info.device_ip == info.phone_ip == phone["phone_ip"]
        assert info.intranet_ip == info.server_ip == address["server_ip"]
        assert info.access_ip == info.public_ip
        assert info.phone_ipv6 == phone["phone_ipv6"] is not None
        assert info.server_ipv6 == address["server_ipv6"] is not None


def test_without_ipv6_and_eip_the_fields_are_absent_or_empty(world: FleetWorld) -> None:
    server_id = world.serving(ports=PORTS, public_ip=PublicIp(count=0))
    (phone_id, *_) = world.column("phones.phone_id", server_id=server_id)
    shown = show_cloud_phone_detail(world.fleet, world.caller, "r", phone_id)
    assert {info.public_ip for info in shown.access_infos} == {""}
    assert {info.phone_ipv6 for info in shown.access_infos} == {None}
    assert {info.server_ipv6 for info in shown.access_infos} == {None}
    assert shown.property == ""


def test_each_phone_shows_its_own_vip(world: FleetWorld) -> None:
    server_id = world.serving(phone_count_per_ip=7, public_ip=PublicIp(eip=Eip(type="5_bgp"), count=2), ports=PORTS)
    generation_id = world.row("servers", server_id=server_id)["generation_id"]
    vips = world.column("server_addresses.server_ip", generation_id=generation_id)
    assert len(vips) == 3
    seen = set()
    for phone_id in world.column("phones.phone_id", server_id=server_id):
        shown = show_cloud_phone_detail(world.fleet, world.caller, "r", phone_id)
        number = int(shown.phone_name[-5:])
        vip = world.row("server_addresses", generation_id=generation_id, number=(number - 1) // 7)
        assert {info.server_ip for info in shown.access_infos} == {vip["server_ip"]}
        assert (shown.access_infos[1].public_ip == "") == (number > 14)
        seen |= {(info.server_ip, info.access_port) for info in shown.access_infos}
    assert len(seen) == 20 * 3


def test_only_phones_of_the_serving_generation_are_to_be_seen(world: FleetWorld) -> None:
    server_id = world.serving()
    old = world.row("servers", server_id=server_id)["generation_id"]
    new = world.change(server_id)
    old_phones, new_phones = (world.column("phones.phone_id", generation_id=generation) for generation in (old, new))
    for seen, unseen in ((old_phones, new_phones), (new_phones, old_phones)):
        assert set(ids(world)) == set(ids(world, server_id=server_id)) == set(ids(world, phone_name="server")) == set(seen)
        assert listed(world).count == listed(world, server_id=server_id).count == listed(world, phone_name="server").count == 20
        show_cloud_phone_detail(world.fleet, world.caller, "r", seen[0])
        with pytest.raises(CphError) as raised:
            show_cloud_phone_detail(world.fleet, world.caller, "r", unseen[0])
        assert (raised.value.code, raised.value.status) == ("CPS.0005", 404)
        if seen is old_phones:
            world.serve(server_id, new)


def test_phones_of_other_projects_are_not_there(world: FleetWorld) -> None:
    server_id, stranger = world.serving(), world.project()
    (phone_id, *_) = world.column("phones.phone_id", server_id=server_id)
    for asked in (phone_id, new_id()):
        with pytest.raises(CphError) as raised:
            show_cloud_phone_detail(world.fleet, stranger, "r", asked)
        assert raised.value.code == "CPS.0005"
    for query in (ListCloudPhonesQuery(), ListCloudPhonesQuery(server_id=server_id), ListCloudPhonesQuery(status=1)):
        answer = list_cloud_phones(world.fleet, stranger, "r", query)
        assert (answer.count, answer.phones) == (0, [])


def test_every_page_is_the_right_part_of_the_whole(world: FleetWorld) -> None:
    servers = [world.serving(server_name=f"s{number}") for number in range(4)]
    world.serve(servers[1], world.change(servers[1]))  # its new phones are now the newest
    world.change(servers[2])  # in the making: between the others in the table, and not to be seen
    whole = newest_first(world)
    assert len(whole) == 80
    assert ids(world) == whole
    for limit in (1, 7, 20, 33, 100):
        for offset in range(0, 101, 9):
            answer = listed(world, offset=offset, limit=limit)
            assert [phone.phone_id for phone in answer.phones] == whole[offset : offset + limit]
            assert answer.count == 80
    of_server = [phone.phone_id for phone in listed(world, server_id=servers[1]).phones]
    assert of_server == whole[:20]
    for offset in (0, 3, 19, 20, 50):
        assert ids(world, server_id=servers[1], offset=offset, limit=5) == of_server[offset : offset + 5]


def test_the_list_follows_servers_that_come_change_and_go(world: FleetWorld) -> None:
    assert listed(world).count == 0
    first = world.serving()
    assert ids(world) == newest_first(world)
    second = world.serving()
    assert ids(world) == newest_first(world)
    old = world.row("servers", server_id=first)["generation_id"]
    world.serve(first, world.change(first))
    assert ids(world) == newest_first(world)
    with world.database.write() as tx:
        release(tx, old)
    assert ids(world) == newest_first(world)
    world.delete_server(second)
    assert ids(world) == newest_first(world)
    assert listed(world).count == 20


def test_filters_by_name_status_and_type(world: FleetWorld) -> None:
    server_id = world.serving(server_name="alpha")
    world.serving(server_name="beta")
    world.set("phones", {"server_id": server_id, "number": 4}, status=2)
    assert [phone.phone_name for phone in listed(world, phone_name="ALPHA-0001").phones] == [
        f"alpha-{number:05d}" for number in range(19, 9, -1)
    ]
    assert [phone.phone_name for phone in listed(world, status=2).phones] == ["alpha-00004"]
    assert listed(world, status=1).count == 39
    assert listed(world, status=1, server_id=server_id).count == 19
    assert listed(world, type=0).count == 40
    assert listed(world, type=1).count == 0
    (item,) = listed(world, status=2).phones
    assert (item.status, item.phone_model_name, item.image_version, item.vnc_enable) == (2, SEED_MODEL, "AOSP 7.1", "false")
