"""ChangeCloudPhoneServer, the accept side: the seed body works, every contextual fault has its code and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, IPv6Network

import msgspec
import pytest

from fleet.fleet_world import PROPERTY, RX1_IMAGE, SEED_MODEL, FleetWorld, refused
from opencph.fleet.ids import new_id, new_uuid
from opencph.fleet.payloads import ChangeServerJob
from opencph.fleet.server_change import change_cloud_phone_server
from opencph.fleet.statuses import ServerStatus
from opencph.wire.errors import CphError
from opencph.wire.servers import BandWidth, ChangeExtendParam, DataVolume, Eip, ExtendParam, Ipv6Bandwidth, Nic, Port, PublicIp


def test_the_seed_body_reserves_a_second_generation_and_makes_a_job(world: FleetWorld) -> None:
    server_id = world.serving()
    old = world.row("servers", server_id=server_id)
    request_id = new_id()
    answer = change_cloud_phone_server(world.fleet, world.caller, request_id, server_id, world.change_body())

    assert (answer.request_id, answer.server_id) == (request_id, server_id)
    assert answer.error_code is None
    server = world.row("servers", server_id=server_id)
    assert server["status"] == ServerStatus.CHANGING
    assert (server["generation_id"], server["name"]) == (old["generation_id"], old["name"])
    job = world.row("jobs", job_id=answer.job_id)
    assert (job["kind"], job["lane"], job["server_id"], job["request_id"]) == ("change_server", server_id, server_id, request_id)
    payload = msgspec.json.decode(job["payload"], type=ChangeServerJob)
    assert payload.old_generation_id == old["generation_id"]
    new = world.row("generations", generation_id=payload.new_generation_id)
    assert (new["number"], new["state"], new["phone_count"], new["property"]) == (2, "building", 20, PROPERTY)
    assert new["availability_zone"] == "cn-east-3a"
    assert msgspec.json.decode(new["ports"])[1] == {"name": "myServer2", "listen_port": 20001, "internet_accessible": True}
    phones = world.column("phones.phone_id", generation_id=payload.new_generation_id)
    assert len(phones) == 20
    assert not set(phones) & set(world.column("phones.phone_id", generation_id=old["generation_id"]))
    assert set(world.column("phones.status", generation_id=payload.new_generation_id)) == {1}


def test_a_server_that_is_not_normal_is_refused(world: FleetWorld) -> None:
    (creating,) = world.create()
    with refused(world, "CPS.0099", creating, "status 1"):
        world.change(creating)
    serving = world.serving()
    world.change(serving)
    with refused(world, "CPS.0099", "is being changed"):
        world.change(serving)


def test_unknown_and_foreign_servers_answer_alike(world: FleetWorld) -> None:
    server_id, stranger = world.serving(), world.project()
    messages = set()
    for caller, asked in ((world.caller, new_id()), (stranger, server_id)):
        with pytest.raises(CphError) as raised:
            change_cloud_phone_server(world.fleet, caller, new_id(), asked, world.change_body())
        assert (raised.value.code, raised.value.status) == ("CPS.0015", 404)
        messages.add(raised.value.message.replace(asked, "ID"))
    assert len(messages) == 1


def test_flavor_and_image_must_exist_and_fit(world: FleetWorld) -> None:
    server_id = world.serving()
    with refused(world, "CPS.0028", "no.such.flavor"):
        world.change(server_id, phone_model_name="no.such.flavor")
    with refused(world, "CPS.0028", "offline"):
        world.change(server_id, phone_model_name="aphs1.large.2.aosp")
    with refused(world, "CPS.0166", "f" * 32):
        world.change(server_id, image_id="f" * 32)
    with refused(world, "CPS.0142", RX1_IMAGE, SEED_MODEL):
        world.change(server_id, image_id=RX1_IMAGE)


def test_the_key_pair_must_exist_and_stays_when_left_out(world: FleetWorld) -> None:
    server_id = world.serving()
    with refused(world, "CPS.0067", "'other'"):
        world.change(server_id, keypair_name="other")
    generation_id = world.change(server_id, keypair_name=None)
    assert world.row("generations", generation_id=generation_id)["keypair_name"] == "keypair"


def test_the_zone_must_exist_and_stays_when_left_out(world: FleetWorld) -> None:
    server_id = world.serving(availability_zone="cn-east-3b")
    with refused(world, "CPS.0136", "'mars-1a'", "cn-east-3a, cn-east-3b"):
        world.change(server_id, availability_zone="mars-1a")
    generation_id = world.change(server_id)
    assert world.row("generations", generation_id=generation_id)["availability_zone"] == "cn-east-3b"


def test_vpc_and_subnet_must_exist_and_belong_together(world: FleetWorld) -> None:
    server_id = world.serving()
    stranger = world.project()
    foreign_vpc, foreign_subnet = world.network(stranger, "10.0.0.0/24")
    other_vpc, other_subnet = world.network(world.caller, "10.1.0.0/24")
    for vpc_id in (new_uuid(), foreign_vpc):
        with refused(world, "CPS.0236", vpc_id):
            world.change(server_id, tenant_vpc_id=vpc_id)
    for subnet_id in (new_uuid(), foreign_subnet):
        with refused(world, "CPS.0229", subnet_id):
            world.change(server_id, nics=(Nic(subnet_id=subnet_id),))
    with refused(world, "CPS.0228", other_subnet, other_vpc):
        world.change(server_id, nics=(Nic(subnet_id=other_subnet),))


def test_ipv6_needs_a_subnet_that_has_it(world: FleetWorld) -> None:
    server_id = world.serving()
    plain = world.subnet(world.caller, world.vpc_id, "10.2.0.0/24")
    with refused(world, "CPS.0226", "ipv6_enable"):
        world.change(server_id, nics=(Nic(subnet_id=plain, ipv6_enable=True),))
    shared = world.bandwidth()
    with refused(world, "CPS.0226", "ipv6_bandwidth"):
        world.change(server_id, nics=(Nic(subnet_id=world.subnet_id, ipv6_bandwidth=Ipv6Bandwidth(band_width_id=shared)),))
    with refused(world, "CPS.0115", "nics[0].ipv6_bandwidth.band_width_id"):
        nic = Nic(subnet_id=world.subnet_id, ipv6_enable=True, ipv6_bandwidth=Ipv6Bandwidth(band_width_id=new_uuid()))
        world.change(server_id, nics=(nic,))
    generation_id = world.change(server_id, nics=(Nic(subnet_id=world.subnet_id, ipv6_enable=True),))
    (server_ipv6,) = world.column("server_addresses.server_ipv6", generation_id=generation_id)
    assert IPv6Address(server_ipv6) in IPv6Network("fd00:0:0:1::/64")
    assert all(ip.startswith("fd00::") for ip in world.column("phones.phone_ipv6", generation_id=generation_id))


def test_phone_count_per_ip_and_count_are_bounded_by_the_flavor(world: FleetWorld) -> None:
    server_id = world.serving()
    with refused(world, "CPS.0024", "phone_count_per_ip 21", "1 to 20"):
        world.change(server_id, phone_count_per_ip=21)
    with refused(world, "CPS.0238", "public_ip.count 2", "0 to 1"):
        world.change(server_id, public_ip=PublicIp(eip=Eip(type="5_bgp"), count=2))
    with refused(world, "CPS.0238", "public_ip.count 4", "0 to 3"):
        world.change(server_id, phone_count_per_ip=7, public_ip=PublicIp(eip=Eip(type="5_bgp"), count=4))
    generation_id = world.change(server_id, phone_count_per_ip=7, public_ip=PublicIp(eip=Eip(type="5_sbgp"), count=3))
    addresses = world.column("server_addresses.eip_id", generation_id=generation_id)
    assert len(set(addresses)) == 3
    assert set(world.column("eips.type", generation_id=generation_id)) == {"5_sbgp"}


def test_more_ports_than_an_address_can_carry_are_refused(world: FleetWorld) -> None:
    server_id = world.serving()
    ports = tuple(Port(name=f"p{number}", listen_port=10_000 + number, internet_accessible="true") for number in range(2_776))
    with refused(world, "CPS.0037", "2776 ports", "at most 2775"):
        world.change(server_id, ports=ports)
    world.change(server_id, ports=ports[:-1])


def test_a_2_0_flavor_needs_a_data_volume(world: FleetWorld) -> None:
    server_id = world.serving()
    with refused(world, "CPS.0157", "phone_data_volume is mandatory", "rs2.max"):
        world.change(server_id, phone_model_name="rs2.max")
    generation_id = world.change(server_id, phone_model_name="rs2.max", phone_data_volume=DataVolume(volume_type="GPSSD", size=100))
    assert set(world.column("phones.data_volume_gib", generation_id=generation_id)) == {100}


def test_bandwidths_must_exist_and_be_of_the_kind_asked_for(world: FleetWorld) -> None:
    server_id, other = world.serving(), world.serving()
    other_bandwidth = world.row("generations", server_id=other)["bandwidth_id"]
    with refused(world, "CPS.0115", "band_width.band_width_id"):
        world.change(server_id, band_width=BandWidth(band_width_share_type=1, band_width_id=new_uuid()))
    with refused(world, "CPS.0033", "not a shared bandwidth"):
        world.change(server_id, band_width=BandWidth(band_width_share_type=1, band_width_id=other_bandwidth))
    with refused(world, "CPS.0033", "not this server's dedicated bandwidth"):
        world.change(server_id, band_width=BandWidth(band_width_share_type=0, band_width_id=other_bandwidth))
    shared = world.bandwidth()
    generation_id = world.change(server_id, band_width=BandWidth(band_width_share_type=1, band_width_id=shared))
    assert world.row("generations", generation_id=generation_id)["bandwidth_id"] == shared


def test_an_eip_must_be_free_or_the_servers_own(world: FleetWorld) -> None:
    mine, taken = world.eip("127.80.9.1"), world.eip("127.80.9.2")
    server_id = world.serving(public_ip=PublicIp(ids=(mine,)))
    world.serving(public_ip=PublicIp(ids=(taken,)))
    foreign = world.eip("127.80.9.3", caller=world.project())
    for eip_id in (new_uuid(), foreign):
        with refused(world, "CPS.0239", eip_id, "does not exist"):
            world.change(server_id, public_ip=PublicIp(ids=(eip_id,)))
    with refused(world, "CPS.0239", taken, "bound to another server"):
        world.change(server_id, public_ip=PublicIp(ids=(taken,)))
    old_generation = world.row("servers", server_id=server_id)["generation_id"]
    generation_id = world.change(server_id, public_ip=PublicIp(ids=(mine,)))
    assert world.row("eips", eip_id=mine)["generation_id"] == old_generation  # until the swap
    world.serve(server_id, generation_id)
    assert world.row("eips", eip_id=mine)["generation_id"] == generation_id


def test_the_second_generation_needs_quota_while_both_exist(world_with: Callable[..., FleetWorld]) -> None:
    world = world_with(quota_servers=2)
    server_id = world.serving()
    world.change(server_id)
    assert len(world.column("generations.number", server_id=server_id)) == 2
    world = world_with(quota_servers=1)
    server_id = world.serving()
    with refused(world, "CPS.0065", "1 of 1 servers"):
        world.change(server_id)
    world = world_with(quota_phones=39)
    server_id = world.serving()
    with refused(world, "CPS.0196", "20 of 39 phones", "20 more"):
        world.change(server_id)
    world = world_with(quota_eips=1)
    server_id = world.serving()
    with refused(world, "CPS.0196", "eips"):
        world.change(server_id)
    world.change(server_id, public_ip=PublicIp(count=0))


def test_the_second_generation_needs_capacity_while_both_exist(world_with: Callable[..., FleetWorld]) -> None:
    world = world_with(host_phones=39, availability_zones="z1")
    server_id = world.serving()
    with refused(world, "CPS.0066", "host-z1 has room for 19 phones"):
        world.change(server_id)
    world.fleet.settings = msgspec.structs.replace(world.settings, host_phones=40)
    world.resync()
    world.change(server_id)


def test_without_public_address_there_is_no_bandwidth(world: FleetWorld) -> None:
    server_id = world.serving()
    before = world.counts()
    generation_id = world.change(server_id, public_ip=PublicIp(count=0))
    assert world.row("generations", generation_id=generation_id)["bandwidth_id"] is None
    assert world.counts()["bandwidths"] == before["bandwidths"]
    assert world.counts()["eips"] == before["eips"]


def test_the_enterprise_project_travels_with_the_job(world: FleetWorld) -> None:
    server_id = world.serving()
    world.change(server_id, extend_param=ChangeExtendParam(enterprise_project_id="ep-1"))
    payload = msgspec.json.decode(world.column("jobs.payload", kind="change_server")[0], type=ChangeServerJob)
    assert payload.enterprise_project_id == "ep-1"


def test_without_enterprise_project_a_change_goes_to_the_default_one(world: FleetWorld) -> None:
    server_id = world.serving(extend_param=ExtendParam(charging_mode=1, enterprise_project_id="ep-1"))
    world.change(server_id)
    payload = msgspec.json.decode(world.column("jobs.payload", kind="change_server")[0], type=ChangeServerJob)
    assert payload.enterprise_project_id == "0"


def test_shared_storage_is_for_flavors_of_version_2(world: FleetWorld) -> None:
    shared = DataVolume(volume_type="SSD", size=10)
    server_id = world.serving()
    with refused(world, "CPS.0157", "server_share_data_volume"):
        world.create(server_share_data_volume=shared)
    with refused(world, "CPS.0157", "server_share_data_volume"):
        world.change(server_id, server_share_data_volume=shared)
    world.change(server_id, phone_model_name="rs2.plus", phone_data_volume=shared, server_share_data_volume=shared)


def test_of_many_changes_at_once_exactly_one_is_accepted(world: FleetWorld) -> None:
    server_id = world.serving()

    def change(_: int) -> str:
        try:
            change_cloud_phone_server(world.fleet, world.caller, new_id(), server_id, world.change_body())
        except CphError as error:
            return error.code
        return "accepted"

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(change, range(16)))
    assert sorted(outcomes) == ["CPS.0099"] * 15 + ["accepted"]
    assert len(world.column("generations.number", server_id=server_id)) == 2
