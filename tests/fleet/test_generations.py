"""Generations: what reserve writes, what swap moves, that release leaves nothing, what runtime and gateway are told."""

from __future__ import annotations

import msgspec
import pytest

from fleet.fleet_world import PROPERTY, FleetWorld
from opencph.fleet import generations
from opencph.fleet.addresses import access_port, ip_number
from opencph.fleet.phones import show_cloud_phone_detail
from opencph.fleet.servers import show_cloud_phone_server_detail
from opencph.runtimes import RuntimeFaultError
from opencph.store import revisions
from opencph.wire.servers import DataVolume, Eip, Nic, Port, PublicIp

PORTS = (
    Port(name="inner", listen_port=20000, internet_accessible="no"),
    Port(name="outer", listen_port=20001, internet_accessible="TRUE"),
)


def test_release_leaves_nothing_and_can_be_repeated(world: FleetWorld) -> None:
    own = world.eip("127.80.1.1")
    before = world.counts()
    server_id = world.serving()
    first = world.counts()
    new = world.change(server_id, public_ip=PublicIp(ids=(own,)))
    assert world.row("eips", eip_id=own)["generation_id"] == new
    for _ in range(2):
        with world.database.write() as tx:
            generations.release(tx, new)
        assert world.counts() == {**first, "jobs": 2}
        assert world.row("eips", eip_id=own)["generation_id"] is None
    old = world.row("servers", server_id=server_id)["generation_id"]
    with world.database.write() as tx:
        generations.release(tx, old)
    assert world.counts() == {**before, "servers": 1, "jobs": 2}


def test_release_of_the_new_generation_leaves_the_eip_with_the_old_one(world: FleetWorld) -> None:
    own = world.eip("127.80.1.2")
    server_id = world.serving(public_ip=PublicIp(ids=(own,)))
    old = world.row("servers", server_id=server_id)["generation_id"]
    new = world.change(server_id, public_ip=PublicIp(ids=(own,)))
    with world.database.write() as tx:
        generations.release(tx, new)
    assert world.row("eips", eip_id=own)["generation_id"] == old
    assert world.column("server_addresses.eip_id", generation_id=old) == [own]


def test_swap_moves_the_pointer_and_the_eip_once_and_for_all(world: FleetWorld) -> None:
    own = world.eip("127.80.1.3")
    server_id = world.serving(public_ip=PublicIp(ids=(own,)))
    old = world.row("servers", server_id=server_id)["generation_id"]
    new = world.change(server_id, public_ip=PublicIp(ids=(own,)))
    for _ in range(2):
        world.serve(server_id, new)
        server = world.row("servers", server_id=server_id)
        assert (server["generation_id"], server["status"]) == (new, 5)
        assert world.row("generations", generation_id=new)["state"] == "serving"
        assert world.row("generations", generation_id=old)["state"] == "retiring"
        assert world.row("eips", eip_id=own)["generation_id"] == new
        assert world.column("server_addresses.eip_id", generation_id=old) == [None]
    with world.database.write() as tx:
        generations.release(tx, old)
    assert world.row("eips", eip_id=own)["generation_id"] == new
    shown = show_cloud_phone_server_detail(world.fleet, world.caller, "r", server_id)
    assert [address.public_ip for address in shown.addresses] == ["127.80.1.3"]


def test_the_old_eip_goes_with_the_old_generation_and_not_before(world: FleetWorld) -> None:
    server_id = world.serving()
    old = world.row("servers", server_id=server_id)["generation_id"]
    (address,) = world.column("eips.address", generation_id=old)
    new = world.change(server_id)
    world.serve(server_id, new)
    assert world.column("eips.address", generation_id=old) == [address]
    with world.database.write() as tx:
        generations.release(tx, old)
    assert world.column("eips.address", address=address) == []
    assert len(world.column("bandwidths.bandwidth_id")) == 1


def test_swap_refuses_a_generation_that_is_not_the_servers(world: FleetWorld) -> None:
    server_id, other = world.serving(), world.serving()
    with pytest.raises(LookupError), world.database.write() as tx:
        generations.swap(tx, server_id, world.row("servers", server_id=other)["generation_id"])
    assert world.row("servers", server_id=server_id)["status"] == 5


def test_what_moves_a_mapping_raises_the_network_revision(world: FleetWorld) -> None:
    server_id = world.serving()
    start = revisions.read(world.database, "network")
    new = world.change(server_id)
    assert revisions.read(world.database, "network") == start  # reserved, not yet served
    world.serve(server_id, new)
    swapped = revisions.read(world.database, "network")
    assert swapped > start
    (old,) = world.column("generations.generation_id", state="retiring")
    with world.database.write() as tx:
        generations.release(tx, old)
    assert revisions.read(world.database, "network") > swapped


def test_the_gateway_is_told_of_serving_generations_only(world: FleetWorld) -> None:
    server_id = world.serving(phone_count_per_ip=8, ports=PORTS, public_ip=PublicIp(eip=Eip(type="5_bgp"), count=2))
    world.create()  # still being created
    new = world.change(server_id)
    with world.database.read() as tx:
        (route,) = generations.mappings(tx)
    shown = show_cloud_phone_server_detail(world.fleet, world.caller, "r", server_id)
    assert route.generation_id != new
    assert (route.server_id, route.project_id, route.public_key) == (server_id, world.caller.project_id, "ssh-ed25519 AAAA")
    assert (route.phone_count, route.phone_count_per_ip, route.bandwidth_mbit) == (20, 8, 300)
    assert [(address.server_ip, address.public_ip or "") for address in route.addresses] == [
        (address.server_ip, address.public_ip) for address in shown.addresses
    ]
    assert [address.public_ip is None for address in route.addresses] == [False, False, True]


def test_mappings_are_what_the_phones_details_say(world: FleetWorld) -> None:
    server_id = world.serving(phone_count_per_ip=8, ports=PORTS, public_ip=PublicIp(eip=Eip(type="5_bgp"), count=2))
    with world.database.read() as tx:
        (route,) = generations.mappings(tx)
    told = {(mapping.listen_ip, mapping.listen_port): (mapping.phone_ip, mapping.phone_port) for mapping in route.mappings()}
    shown = {}
    for phone_id in world.column("phones.phone_id", server_id=server_id):
        for info in show_cloud_phone_detail(world.fleet, world.caller, "r", phone_id).access_infos:
            shown[info.server_ip, info.access_port] = (info.phone_ip, info.listen_port)
            if info.public_ip:
                assert info.type == "outer"
                shown[info.public_ip, info.access_port] = (info.phone_ip, info.listen_port)
    assert told == shown
    assert len(told) == 20 * 3 + 16


def test_the_runtime_is_told_sizes_in_bytes_and_properties_as_text(world: FleetWorld) -> None:
    server_id = world.serving(
        ports=PORTS,
        property='{"com.cph.mainkeys":1,"sys.prop.writephonenum":"13666666666"}',
        nics=(Nic(subnet_id=world.subnet_id, ipv6_enable=True),),
        phone_model_name="rs2.max",
        phone_data_volume=DataVolume(volume_type="GPSSD", size=12),
    )
    generation_id = world.row("servers", server_id=server_id)["generation_id"]
    with world.database.read() as tx:
        spec = generations.spec(tx, world.fleet, generation_id)
    assert (spec.generation_id, spec.server_id, spec.host_id) == (generation_id, server_id, "host-cn-east-3a")
    assert [phone.number for phone in spec.phones] == list(range(1, 31))
    phone = spec.phones[0]
    assert (phone.data_bytes, phone.memory_bytes, phone.cpu) == (12 << 30, 16384 << 20, 8)
    assert (phone.width, phone.height, phone.dpi) == (1080, 1920, 480)
    assert phone.listen_ports == (20000, 20001)
    assert phone.properties == {"com.cph.mainkeys": "1", "sys.prop.writephonenum": "13666666666"}
    assert (phone.image_version, phone.model_name) == ("AOSP 7.1", "rs2.max")
    assert phone.ipv6 is not None
    with world.database.read() as tx, pytest.raises(LookupError):
        generations.spec(tx, world.fleet, "0" * 32)


def test_a_flavor_gone_from_the_catalogue_is_named(world: FleetWorld) -> None:
    server_id = world.serving()
    generation_id = world.row("servers", server_id=server_id)["generation_id"]
    world.set("generations", {"generation_id": generation_id}, phone_model_name="gone.flavor")
    with world.database.read() as tx, pytest.raises(RuntimeFaultError, match=r"gone\.flavor"):
        generations.spec(tx, world.fleet, generation_id)


def test_phones_of_a_generation_have_consecutive_addresses(world: FleetWorld) -> None:
    generation_id = world.change(world.serving())
    generation = world.row("generations", generation_id=generation_id)
    ips = [ip_number(ip) for ip in world.column("phones.phone_ip", generation_id=generation_id)]
    assert ips == list(range(generation["phone_ip_first"], generation["phone_ip_first"] + 20))
    assert set(world.column("phones.property", generation_id=generation_id)) == {PROPERTY}
    assert access_port(20, 20, 2, 2) == 10_000 + 19 * 3 + 2
    assert msgspec.json.decode(generation["ports"])[0]["name"] == "myServer1"
