"""Whatever comes as a body, the services beside CPH take it or refuse it in their own shape, with a 4xx."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencph.neighbours.networks import check_subnet, check_vpc_cidr, free_ipv6_cidr
from opencph.wire import billing_checks, eip_checks, keypair_checks, vpc_checks
from opencph.wire.errors import ServiceError

NETWORK = "127.64.0.0/10"

#: check -> the field that wraps the body, the fields in it
CHECKS: dict[Callable[[bytes], Any], tuple[str, tuple[str, ...]]] = {
    vpc_checks.create_vpc: ("vpc", ("name", "cidr", "description", "enterprise_project_id", "tags")),
    vpc_checks.update_vpc: ("vpc", ("name", "cidr", "description")),
    vpc_checks.create_subnet: (
        "subnet",
        (
            *("name", "cidr", "vpc_id", "gateway_ip", "description", "ipv6_enable", "dhcp_enable", "dnsList", "primary_dns"),
            *("availability_zone", "extra_dhcp_opts", "tags"),
        ),
    ),
    vpc_checks.update_subnet: ("subnet", ("name", "description", "ipv6_enable", "dnsList", "extra_dhcp_opts")),
    vpc_checks.tags_action: ("", ("action", "tags")),
    vpc_checks.create_security_group: ("security_group", ("name", "description", "vpc_id")),
    eip_checks.create_publicip: ("publicip", ("type", "ip_version", "alias", "port_id", "ip_address")),
    eip_checks.update_publicip: ("publicip", ("port_id", "alias", "ip_version")),
    eip_checks.create_shared_bandwidth: ("bandwidth", ("name", "size", "charge_mode")),
    eip_checks.update_bandwidth: ("bandwidth", ("name", "size")),
    keypair_checks.create_keypair: ("keypair", ("name", "type", "public_key", "scope", "key_protection")),
    keypair_checks.nova_create_keypair: ("keypair", ("name", "type", "public_key")),
    keypair_checks.update_keypair_description: ("keypair", ("description",)),
    billing_checks.cancel_resources_subscription: ("", ("resource_ids", "unsubscribe_type", "unsubscribe_reason")),
}
SHAPES = ({"code", "message"}, {"error_code", "error_msg"}, {"badRequest"})

texts = st.text(max_size=80)
likely = st.sampled_from(
    ["10.0.0.0/8", "192.168.0.1", "5_bgp", "ssh", "create", "PER", "", "8f14e45f-ceea-467f-a0e6-9d7d2b1f2c3d", "a*b", "traffic"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts | likely
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | likely, inner, max_size=4))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@given(data=st.data())
def test_any_body_is_taken_or_refused_in_the_services_shape(check: Callable[[bytes], Any], data: st.DataObject) -> None:
    wrapper, names = CHECKS[check]
    inside = data.draw(st.dictionaries(st.sampled_from(names), values) | values)
    body = {wrapper: inside, "bandwidth": {"share_type": "PER", "size": 5}} if wrapper else inside
    if wrapper == "bandwidth":
        body = {wrapper: inside}
    raw = data.draw(st.just(msgspec.json.encode(body)) | st.binary(max_size=40))
    try:
        check(raw)
    except ServiceError as refused:
        assert 400 <= refused.status < 500
        shown = msgspec.json.decode(msgspec.json.encode(refused.body))
        assert set(shown) in SHAPES and refused.message


def accepted(check: Callable[[bytes], Any], wrapper: str, **fields: Any) -> bool:
    try:
        check(msgspec.json.encode({wrapper: fields}))
    except ServiceError:
        return False
    return True


@pytest.mark.parametrize(
    ("check", "wrapper", "fields", "name", "limit"),
    [
        (vpc_checks.create_vpc, "vpc", {}, "name", 64),
        (vpc_checks.create_vpc, "vpc", {}, "description", 255),
        (vpc_checks.create_security_group, "security_group", {}, "name", 64),
        (eip_checks.create_shared_bandwidth, "bandwidth", {"size": 5}, "name", 64),
        (keypair_checks.nova_create_keypair, "keypair", {}, "name", 64),
        (keypair_checks.update_keypair_description, "keypair", {}, "description", 255),
    ],
)
def test_texts_have_their_limits(check: Callable[[bytes], Any], wrapper: str, fields: Any, name: str, limit: int) -> None:
    assert accepted(check, wrapper, **{**fields, name: "x" * limit})
    assert not accepted(check, wrapper, **{**fields, name: "x" * (limit + 1)})
    assert not accepted(check, wrapper, **{**fields, name: "a\0b"})


blocks = st.builds(
    lambda first, length: IPv4Network((first >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(8, 30),
)


@given(blocks)
def test_a_vpc_never_gets_addresses_that_others_own(block: IPv4Network) -> None:
    try:
        check_vpc_cidr(str(block), NETWORK)
    except ServiceError:
        return
    assert block.is_private
    for taken in ("127.0.0.0/16", "127.80.0.0/12", "127.96.0.0/11"):  # this machine's own, the EIP pool, the phones
        assert not block.overlaps(IPv4Network(taken))


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(17, 28)), max_size=6))
def test_subnets_of_a_vpc_never_overlap(wanted: list[tuple[int, int]]) -> None:
    made: list[str] = []
    for third, length in wanted:
        block = IPv4Network((f"192.168.{third}.0", length), strict=False)
        gateway = str(block.network_address + 1)
        try:
            check_subnet(str(block), gateway, "192.168.0.0/16", NETWORK, made, [])
        except ServiceError:
            assert any(block.overlaps(IPv4Network(one)) for one in made)
        else:
            assert not any(block.overlaps(IPv4Network(one)) for one in made)
            made.append(str(block))


def test_ipv6_blocks_are_given_once_and_never_the_phones() -> None:
    taken: list[str] = []
    for _ in range(50):
        found = free_ipv6_cidr(taken)
        assert found is not None and IPv6Network(found).prefixlen == 64
        assert not IPv6Network(found).overlaps(IPv6Network("fd00::/96"))
        taken.append(found)
    assert len(set(taken)) == 50
