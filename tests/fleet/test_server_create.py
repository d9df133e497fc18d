"""CreateNet2CloudPhoneServer, the accept side: all or nothing, visible at once, bounded by quota, capacity and addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from fleet.fleet_world import KG1, RX1_IMAGE, SEED_IMAGE, FleetWorld, refused
from opencph.fleet.generations import release
from opencph.fleet.ids import new_id, new_uuid
from opencph.fleet.images import list_cloud_phone_images
from opencph.fleet.payloads import CreateServerJob
from opencph.fleet.server_create import create_net2_cloud_phone_server
from opencph.fleet.servers import show_cloud_phone_server_detail
from opencph.wire.errors import CphError
from opencph.wire.images import ListCloudPhoneImagesQuery
from opencph.wire.servers import BandWidth, DataVolume, Eip, ExtendParam, Nic, PublicIp


def test_a_purchase_is_visible_at_once_and_has_a_job_per_server(world: FleetWorld) -> None:
    request_id = new_id()
    body = world.create_body(server_name="demo", count=3, extend_param=ExtendParam(charging_mode=0, period_type=2, period_num=1))
    answer = create_net2_cloud_phone_server(world.fleet, world.caller, request_id, body)

    assert answer.request_id == request_id
    assert len(set(answer.server_ids)) == 3
    for number, server_id in enumerate(answer.server_ids, 1):
        shown = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id)
        assert (shown.server_name, shown.status) == (f"demo-{number:04d}", 1)
        assert (shown.metadata.order_id, shown.metadata.product_id) == (answer.order_id, answer.product_id)
        job = world.row("jobs", server_id=server_id)
        assert (job["kind"], job["lane"], job["request_id"], job["status"]) == ("create_server", server_id, request_id, 1)
        payload = msgspec.json.decode(job["payload"], type=CreateServerJob)
        assert payload.generation_id == world.row("servers", server_id=server_id)["generation_id"]
    assert world.counts() == {
        "servers": 3,
        "generations": 3,
        "server_addresses": 3,
        "phones": 60,
        "eips": 3,
        "bandwidths": 3,
        "jobs": 3,
    }


def test_one_server_keeps_the_name_and_its_phones_count_from_1(world: FleetWorld) -> None:
    (server_id,) = world.create(server_name="demo")
    assert world.column("servers.name") == ["demo"]
    assert world.column("phones.name", server_id=server_id) == [f"demo-{number:05d}" for number in range(1, 21)]


def test_a_name_that_is_taken_is_refused(world: FleetWorld) -> None:
    world.create(server_name="demo", count=2)
    with refused(world, "CPS.0087", "'demo-0001'"):
        world.create(server_name="demo", count=3)
    stranger = world.project()
    vpc_id, subnet_id = world.network(stranger, "10.9.0.0/24")
    world.create(
        stranger,
        server_name="demo",
        count=2,
        tenant_vpc_id=vpc_id,
        nics=(Nic(subnet_id=subnet_id),),
        keypair_name=None,
    )


def test_server_flavor_phone_flavor_and_image_must_fit_each_other(world: FleetWorld) -> None:
    with refused(world, "CPS.0089", "no.such.server"):
        world.create(server_model_name="no.such.server")
    with refused(world, "CPS.0028", "physical.rx1.xlarge", KG1):
        world.create(phone_model_name="rx1.cp.c60.d10.e1v1", image_id=RX1_IMAGE)
    with refused(world, "CPS.0142", "cloud_phone_1620"):
        world.create(image_id=RX1_IMAGE)
    world.create(server_model_name="physical.rx1.xlarge", phone_model_name="rx1.cp.c60.d10.e1v1", image_id=RX1_IMAGE)


def test_every_flavor_on_sale_can_be_bought_with_an_image_of_its_label_and_with_no_other(
    world_with: Callable[..., FleetWorld],
) -> None:
    """As a client chooses: by the `image_label` of both lists."""
    world = world_with(quota_phones=100_000, host_phones=100_000)
    catalogue = world.fleet.catalogue
    listed = list_cloud_phone_images(world.fleet, world.caller, "r", ListCloudPhoneImagesQuery()).phone_images
    bought = 0
    for name, model in catalogue.phone_models.items():
        if not model.status:
            continue
        fitting = {image.image_id for image in listed if image.image_label == model.image_label}
        volume = DataVolume(volume_type="SSD", size=10) if model.needs_data_volume else None
        for image_id in {image.image_id for image in listed} - fitting:
            with refused(world, "CPS.0142", image_id):
                world.create(
                    server_model_name=model.server_model_name, phone_model_name=name, image_id=image_id, phone_data_volume=volume
                )
        image_id = sorted(fitting)[bought % len(fitting)]
        (server_id,) = world.create(
            server_model_name=model.server_model_name, phone_model_name=name, image_id=image_id, phone_data_volume=volume
        )
        assert len(world.column("phones.seq", server_id=server_id)) == model.phone_capacity
        bought += 1
    assert bought == 10


def test_faults_of_the_body_leave_nothing_behind(world: FleetWorld) -> None:
    eip_id = world.eip("127.80.7.7")
    with refused(world, "CPS.0067", "keypair_name"):
        world.create(keypair_name="other")
    with refused(world, "CPS.0236", "tenant_vpc_id"):
        world.create(tenant_vpc_id=new_uuid())
    with refused(world, "CPS.0136", "availability_zone"):
        world.create(availability_zone="mars-1a")
    with refused(world, "CPS.0239", "2 servers"):
        world.create(count=2, public_ip=PublicIp(ids=(eip_id,)))
    with refused(world, "CPS.0115", "band_width_id"):
        world.create(band_width=BandWidth(band_width_share_type=1, band_width_id=new_uuid()))
    with refused(world, "CPS.0157", "phone_data_volume"):
        world.create(phone_model_name="rs2.plus")


def test_public_address_and_bandwidth_may_be_left_out(world: FleetWorld) -> None:
    (server_id,) = world.create(public_ip=None, band_width=None)
    shown = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id)
    assert [address.public_ip for address in shown.addresses] == [""]
    assert shown.band_widths == []
    eip_id = world.eip("127.80.7.8")
    (server_id,) = world.create(public_ip=PublicIp(ids=(eip_id,)), band_width=None)
    shown = show_cloud_phone_server_detail(world.fleet, world.caller, new_id(), server_id)
    assert [address.public_ip for address in shown.addresses] == ["127.80.7.8"]


def test_quota_holds_exactly_at_its_limit(world_with: Callable[..., FleetWorld]) -> None:
    world = world_with(quota_servers=3)
    world.create(count=2)
    with refused(world, "CPS.0065", "2 of 3 servers", "2 more"):
        world.create(count=2)
    world.create()
    with refused(world, "CPS.0065", "3 of 3 servers"):
        world.create()
    world.insert("quotas", project_id=world.caller.project_id, resource="servers", quota_limit=4)
    world.create()


def test_phones_and_eips_have_quotas_too(world_with: Callable[..., FleetWorld]) -> None:
    world = world_with(quota_phones=59)
    with refused(world, "CPS.0196", "phones"):
        world.create(count=3)
    world.create(count=2)
    world = world_with(quota_eips=2)
    with refused(world, "CPS.0196", "eips"):
        world.create(phone_count_per_ip=5, public_ip=PublicIp(eip=Eip(type="5_bgp"), count=3))
    world.create(phone_count_per_ip=5, public_ip=PublicIp(eip=Eip(type="5_bgp"), count=2))


def test_capacity_holds_exactly_at_its_limit_and_spills_to_the_next_zone(world_with: Callable[..., FleetWorld]) -> None:
    world = world_with(host_phones=80, availability_zones="z1,z2")  # 40 each
    with refused(world, "CPS.0066", "z1"):
        world.create(count=3, availability_zone="z1")
    world.create(count=3)
    assert Counter(world.column("generations.availability_zone")) == {"z1": 2, "z2": 1}
    with refused(world, "CPS.0066", "host-z1 has room for 0 phones", "host-z2 has room for 20 phones"):
        world.create(count=2)
    world.create()
    (first, *_) = world.column("servers.generation_id")
    with world.database.write() as tx:
        release(tx, first)
    world.create(availability_zone="z1")


def test_server_capacity_counts_too(world_with: Callable[..., FleetWorld]) -> None:
    world = world_with(host_servers=2, availability_zones="z1")
    world.create(count=2)
    with refused(world, "CPS.0066", "0 servers"):
        world.create()


def test_a_subnet_without_free_addresses_is_refused(world: FleetWorld) -> None:
    vpc_id, subnet_id = world.network(world.caller, "10.3.0.0/29")  # 6 hosts, one is the gateway
    small: dict[str, Any] = {"tenant_vpc_id": vpc_id, "nics": (Nic(subnet_id=subnet_id),)}
    with refused(world, "CPS.0241", subnet_id, "has 5 free"):
        world.create(phone_count_per_ip=3, **small)
    world.create(count=5, **small)
    assert sorted(world.column("server_addresses.server_ip", subnet_id=subnet_id)) == [f"10.3.0.{host}" for host in range(2, 7)]
    with refused(world, "CPS.0241"):
        world.create(**small)
    (some, *_) = world.column("servers.generation_id")
    with world.database.write() as tx:
        release(tx, some)
    world.create(**small)


def test_the_phone_network_and_the_eip_pool_run_out_with_words(world_with: Callable[..., FleetWorld]) -> None:
    world = world_with(network="127.200.0.0/20", quota_phones=100_000, host_phones=100_000)  # 1,022 EIPs, 2,046 phones
    world.create(count=10, phone_model_name="kg1.cp.c150.d10GPSSD.e2v2.br150")
    for _ in range(5):
        world.create(phone_model_name="kg1.cp.c100.d10SSD.e1v1")
    with refused(world, "CPS.0241", "127.200.8.0/21", "60 consecutive"):
        world.create(phone_model_name="rs2.plus", phone_data_volume=DataVolume(volume_type="SSD", size=10))
    world.create(count=2)
    world = world_with(network="127.200.16.0/20", quota_eips=10_000)
    with world.database.write() as tx:
        from opencph.fleet.addresses import free_eips

        pool = free_eips(tx, world.fleet.hints, world.settings.network, 1022)
    for address in pool[:-1]:
        world.eip(address)
    with refused(world, "CPS.0241", "EIP pool", "has 1 free"):
        world.create(count=1, phone_count_per_ip=10, public_ip=PublicIp(eip=Eip(type="5_bgp"), count=2))
    world.create()
    assert world.row("eips", auto_assigned=1, address=pool[-1])["type"] == "5_bgp"


def test_purchases_at_once_share_no_address_and_stay_within_quota(world_with: Callable[..., FleetWorld]) -> None:
    world = world_with(quota_servers=12)

    def buy(number: int) -> list[str]:
        try:
            body = world.create_body(server_name=f"s{number}", count=2, phone_count_per_ip=10)
            return create_net2_cloud_phone_server(world.fleet, world.caller, new_id(), body).server_ids
        except CphError as error:
            return [error.code]

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(buy, range(12)))
    assert Counter(map(len, outcomes)) == {2: 6, 1: 6}
    assert [outcome for outcome in outcomes if len(outcome) == 1] == [["CPS.0065"]] * 6
    assert world.counts()["servers"] == 12
    for column in ("phones.phone_ip", "server_addresses.server_ip", "eips.address", "phones.imei", "phones.phone_id"):
        values = world.column(column)
        assert len(values) == len(set(values)), column


def test_one_name_bought_twice_at_once_is_sold_once(world: FleetWorld) -> None:
    def buy(_: int) -> str:
        try:
            create_net2_cloud_phone_server(world.fleet, world.caller, new_id(), world.create_body(server_name="same"))
        except CphError as error:
            return error.code
        return "bought"

    with ThreadPoolExecutor(6) as threads:
        assert Counter(threads.map(buy, range(12))) == {"bought": 1, "CPS.0087": 11}


def test_seed_names_are_what_the_catalogue_sells(world: FleetWorld) -> None:
    (server_id,) = world.create(phone_model_name="kg1.cp.c20.d64SSD.e1v1", image_id=SEED_IMAGE)
    assert set(world.column("phones.data_volume_gib", server_id=server_id)) == {64}
