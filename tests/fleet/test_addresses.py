"""Addresses and ports: unique by construction, found in gaps, in the forms of the seed page."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.fleet_world import FleetWorld
from opencph.fleet import addresses
from opencph.fleet.addresses import Subnet
from opencph.fleet.generations import release
from opencph.wire.errors import CphError


@settings(max_examples=60, deadline=None)
@given(phones=st.integers(1, 200), per_ip=st.integers(1, 200), ports=st.integers(0, 100))
def test_no_two_ports_of_a_generation_meet(phones: int, per_ip: int, ports: int) -> None:
    per_ip = min(per_ip, phones)
    addresses.check_access_ports(per_ip, ports)
    seen = {
        ((number - 1) // per_ip, addresses.access_port(number, per_ip, ports, index))
        for number in range(1, phones + 1)
        for index in range(ports + 1)
    }
    assert len(seen) == phones * (ports + 1)
    assert all(10_000 <= port <= 65_535 for _, port in seen)
    assert {vip for vip, _ in seen} == set(range(addresses.vip_count(phones, per_ip)))


@pytest.mark.parametrize(("per_ip", "ports"), [(150, 370), (1000, 55), (1, 55_536)])
def test_ports_that_do_not_fit_are_refused(per_ip: int, ports: int) -> None:
    with pytest.raises(CphError) as raised:
        addresses.check_access_ports(per_ip, ports)
    assert raised.value.code == "CPS.0037"


def test_phone_ipv6_has_the_form_of_the_seed_page() -> None:
    assert addresses.phone_ipv6(addresses.ip_number("10.237.0.61")) == "fd00::aed:3d"


@given(st.integers(0, 2**32 - 1))
def test_ip_text_and_number_are_inverse(number: int) -> None:
    assert addresses.ip_number(addresses.ip_text(number)) == number


def test_server_ipv6_stays_in_its_block_or_is_refused() -> None:
    wide = Subnet("s", "10.0.0.0/24", "10.0.0.1", "2001:db8:1:2::/64")
    assert addresses.server_ipv6(wide, "10.0.0.9") == "2001:db8:1:2::a00:9"
    narrow = Subnet("s", "10.0.0.0/24", "10.0.0.1", "2001:db8::/120")
    assert addresses.server_ipv6(narrow, "10.0.0.9") == "2001:db8::9"
    tiny = Subnet("s", "10.0.0.0/24", "10.0.0.1", "2001:db8::/126")
    with pytest.raises(CphError):
        addresses.server_ipv6(tiny, "10.0.0.9")


def test_phone_blocks_go_behind_the_last_and_then_into_gaps(world: FleetWorld) -> None:
    network = "127.220.0.0/20"  # phones: 127.220.8.1 to 127.220.15.254
    world.fleet.settings = world.settings.__class__(
        data=world.settings.data, network=network, quota_phones=10**6, host_phones=10**6
    )
    world.resync()
    for number in range(20):
        world.create(server_name=f"s{number}", phone_model_name="kg1.cp.c100.d10SSD.e1v1")
    firsts = world.column("generations.phone_ip_first")
    assert sorted(firsts) == [addresses.ip_number("127.220.8.1") + 100 * number for number in range(20)]
    gap = world.row("generations", phone_ip_first=sorted(firsts)[7])
    with world.database.write() as tx:
        release(tx, gap["generation_id"])
        assert addresses.free_phone_block(tx, network, 46) == addresses.ip_number("127.220.8.1") + 2000
        assert addresses.free_phone_block(tx, network, 47) == gap["phone_ip_first"]
        assert addresses.free_phone_block(tx, network, 100) == gap["phone_ip_first"]
        with pytest.raises(CphError, match="101 consecutive"):
            addresses.free_phone_block(tx, network, 101)


def test_addresses_are_found_again_after_going_round(world: FleetWorld) -> None:
    _, subnet_id = world.network(world.caller, "10.4.0.0/24")
    subnet = Subnet(subnet_id, "10.4.0.0/24", "10.4.0.1", None)
    with world.database.read() as tx:
        first = addresses.free_server_ips(tx, world.fleet.hints, subnet, 200)
        second = addresses.free_server_ips(tx, world.fleet.hints, subnet, 200)
        assert len(set(addresses.free_server_ips(tx, world.fleet.hints, subnet, 253))) == 253
        with pytest.raises(CphError) as raised:
            addresses.free_server_ips(tx, world.fleet.hints, subnet, 254)
    assert raised.value.code == "CPS.0241"
    assert first[0] == "10.4.0.2"
    assert second[0] == "10.4.0.202"
    assert "10.4.0.1" not in {*first, *second}
