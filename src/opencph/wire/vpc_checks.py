"""Checks of the bodies of the VPC service. Pure; whether networks fit together is in `neighbours.vpc`."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from opencph.wire.checks import NUL_RULE, Fields, json_object, kind
from opencph.wire.errors import CphError, shown
from opencph.wire.service_errors import network_error, refuses_as
from opencph.wire.vpc import (
    CreateSecurityGroupRequest,
    CreateSubnetRequest,
    CreateVpcRequest,
    ExtraDhcpOpt,
    Tag,
    TagsAction,
    UpdateSubnetRequest,
    UpdateVpcRequest,
)

BAD_VPC, BAD_SUBNET, BAD_SUBNET_CIDR, BAD_TAG, BAD_GROUP = "VPC.0101", "VPC.0201", "VPC.0212", "VPC.1801", "VPC.0601"
BAD_PORT = "VPC.0702"
NAME_MAX_CHARACTERS = 64
DESCRIPTION_MAX_CHARACTERS = 255
DNS_MAX = 4
DHCP_OPTIONS = ("ntp", "addresstime", "ipv6_addresstime", "domainname")
DHCP_OPTION_MAX_CHARACTERS = 255
TAG_KEY_MAX_CHARACTERS, TAG_VALUE_MAX_CHARACTERS = 128, 255
TAGS_PER_CALL = 20

NAME = re.compile(r"[A-Za-z0-9_.\-\u4e00-\u9fff]+")
NAME_RULE = "only letters, digits, Chinese characters, _, - and . are allowed"
_NO_ANGLES = re.compile(r"[^<>\0]*")
_TAG_TEXT = re.compile(r"[^\x00-\x1f=*<>\\,|/]*")


@refuses_as(network_error, BAD_VPC)
def create_vpc(body: bytes) -> CreateVpcRequest:
    """Decode and check the body of CreateVpc."""
    fields = Fields(json_object(body)).nested("vpc", BAD_VPC)
    return CreateVpcRequest(
        name=_name(fields, BAD_VPC) or "",
        cidr=_network(fields, "cidr", BAD_VPC) if fields.values.get("cidr") not in (None, "") else "",
        description=_description(fields, BAD_VPC) or "",
        enterprise_project_id=fields.optional_text("enterprise_project_id", BAD_VPC, max_characters=36) or "0",
        tags=_starred_tags(fields),
    )


@refuses_as(network_error, BAD_VPC)
def update_vpc(body: bytes) -> UpdateVpcRequest:
    """Decode and check the body of UpdateVpc."""
    fields = Fields(json_object(body)).nested("vpc", BAD_VPC)
    return UpdateVpcRequest(
        name=_name(fields, BAD_VPC),
        cidr=_network(fields, "cidr", BAD_VPC) if fields.values.get("cidr") not in (None, "") else None,
        description=_description(fields, BAD_VPC),
    )


@refuses_as(network_error, BAD_SUBNET)
def create_subnet(body: bytes) -> CreateSubnetRequest:
    """Decode and check the body of CreateSubnet."""
    fields = Fields(json_object(body)).nested("subnet", BAD_SUBNET)
    dns_list = _dns_list(fields)
    return CreateSubnetRequest(
        name=fields.text("name", BAD_SUBNET, max_characters=NAME_MAX_CHARACTERS, pattern=NAME, rule=NAME_RULE),
        cidr=_network(fields, "cidr", BAD_SUBNET_CIDR),
        vpc_id=fields.uuid("vpc_id", BAD_SUBNET),
        gateway_ip=_address(fields, "gateway_ip"),
        description=_description(fields, BAD_SUBNET) or "",
        ipv6_enable=fields.flag("ipv6_enable", BAD_SUBNET),
        dhcp_enable=fields.flag("dhcp_enable", BAD_SUBNET) if fields.given("dhcp_enable") else True,
        dns_list=dns_list or (),
        availability_zone=fields.optional_text("availability_zone", BAD_SUBNET, max_characters=64) or "",
        extra_dhcp_opts=_dhcp_options(fields) or (),
        tags=_starred_tags(fields),
    )


@refuses_as(network_error, BAD_SUBNET)
def update_subnet(body: bytes) -> UpdateSubnetRequest:
    """Decode and check the body of UpdateSubnet."""
    fields = Fields(json_object(body)).nested("subnet", BAD_SUBNET)
    return UpdateSubnetRequest(
        name=_name(fields, BAD_SUBNET),
        description=_description(fields, BAD_SUBNET),
        ipv6_enable=fields.flag("ipv6_enable", BAD_SUBNET),
        dhcp_enable=fields.flag("dhcp_enable", BAD_SUBNET) if fields.given("dhcp_enable") else None,
        dns_list=_dns_list(fields),
        extra_dhcp_opts=_dhcp_options(fields),
    )


@refuses_as(network_error, BAD_TAG)
def tags_action(body: bytes) -> TagsAction:
    """Decode and check a body that creates or deletes tags."""
    fields = Fields(json_object(body))
    action = fields.word("action", BAD_TAG, ("create", "delete"))
    found = fields.nested_list("tags", BAD_TAG, empty=BAD_TAG)
    if len(found) > TAGS_PER_CALL:
        raise CphError(BAD_TAG, f"tags has {len(found)} elements: at most {TAGS_PER_CALL}")
    return TagsAction(action, tuple(_tag(one.path, one.values.get("key"), one.values.get("value") or "") for one in found))


@refuses_as(network_error, BAD_GROUP)
def create_security_group(body: bytes) -> CreateSecurityGroupRequest:
    """Decode and check the body of CreateSecurityGroup."""
    fields = Fields(json_object(body)).nested("security_group", BAD_GROUP)
    return CreateSecurityGroupRequest(
        name=fields.text("name", BAD_GROUP, max_characters=NAME_MAX_CHARACTERS, pattern=NAME, rule=NAME_RULE),
        description=_description(fields, BAD_GROUP) or "",
        vpc_id=fields.uuid("vpc_id", BAD_GROUP) if fields.given("vpc_id") else None,
        enterprise_project_id=fields.optional_text("enterprise_project_id", BAD_GROUP, max_characters=36) or "0",
    )


def _name(fields: Fields, code: str) -> str | None:
    return fields.optional_text("name", code, max_characters=NAME_MAX_CHARACTERS, pattern=NAME, rule=NAME_RULE)


def _description(fields: Fields, code: str) -> str | None:
    """None when left out; "" is a description, an empty one."""
    if fields.values.get("description") == "":
        return ""
    return fields.optional_text(
        "description",
        code,
        max_characters=DESCRIPTION_MAX_CHARACTERS,
        pattern=_NO_ANGLES,
        rule="must not contain < and >",
    )


def _network(fields: Fields, field: str, code: str) -> str:
    text = fields.text(field, code, max_characters=32)
    try:
        if "/" not in text:
            raise ValueError("no prefix length")
        return str(IPv4Network(text))
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise CphError(code, f"{fields.name(field)} {shown(text)}: must be an IPv4 block such as 192.168.0.0/16") from error


def _address(fields: Fields, field: str) -> str:
    return _ipv4(fields.text(field, BAD_SUBNET, max_characters=32), fields.name(field))


def _ipv4(text: str, name: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError as error:
        raise CphError(BAD_SUBNET, f"{name} {shown(text)}: must be an IPv4 address such as 192.168.0.1") from error


def _dns_list(fields: Fields) -> tuple[str, ...] | None:
    """`dnsList`, else the primary and the secondary; None when none of them is given."""
    if fields.given("dnsList"):
        texts = fields.texts("dnsList", BAD_SUBNET)
        if len(texts) > DNS_MAX:
            raise CphError(BAD_SUBNET, f"{fields.name('dnsList')} has {len(texts)} addresses: at most {DNS_MAX}")
        return tuple(_ipv4(text, fields.name("dnsList")) for text in texts)
    found = [_address(fields, field) for field in ("primary_dns", "secondary_dns") if fields.values.get(field) not in (None, "")]
    return tuple(found) or None


def _dhcp_options(fields: Fields) -> tuple[ExtraDhcpOpt, ...] | None:
    if not fields.given("extra_dhcp_opts"):
        return None
    return tuple(
        ExtraDhcpOpt(
            one.word("opt_name", BAD_SUBNET, DHCP_OPTIONS),
            one.optional_text("opt_value", BAD_SUBNET, max_characters=DHCP_OPTION_MAX_CHARACTERS),
        )
        for one in fields.nested_list("extra_dhcp_opts", BAD_SUBNET)
    )


def _starred_tags(fields: Fields) -> tuple[Tag, ...]:
    """Tags at creation are spelt `key*value`."""
    if not fields.given("tags"):
        return ()
    found = []
    for number, text in enumerate(fields.texts("tags", BAD_TAG)):
        key, _, value = text.partition("*")
        found.append(_tag(f"{fields.name('tags')}[{number}]", key, value))
    if len(found) > TAGS_PER_CALL:
        raise CphError(BAD_TAG, f"{fields.name('tags')} has {len(found)} elements: at most {TAGS_PER_CALL}")
    return tuple(found)


def _tag(path: str, key: object, value: object) -> Tag:
    for name, text, limit in (("key", key, TAG_KEY_MAX_CHARACTERS), ("value", value, TAG_VALUE_MAX_CHARACTERS)):
        if not isinstance(text, str):
            raise CphError(BAD_TAG, f"{path}.{name} must be a string, not {kind(text)}")
        if len(text) > limit:
            raise CphError(BAD_TAG, f"{path}.{name} has {len(text)} characters: at most {limit}")
        if "\0" in text:
            raise CphError(BAD_TAG, f"{path}.{name} {NUL_RULE}")
        if _TAG_TEXT.fullmatch(text) is None:
            raise CphError(BAD_TAG, f"{path}.{name} {shown(text)}: control characters and = * < > \\ , | / are not allowed")
    assert isinstance(key, str) and isinstance(value, str)
    if not key:
        raise CphError(BAD_TAG, f"{path}.key must not be empty")
    return Tag(key, value)
