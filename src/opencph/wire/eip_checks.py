"""Checks of the bodies of the EIP service. Pure; what is free and what is bound is in `neighbours.eip` and `.bandwidths`."""

from __future__ import annotations

import re

from opencph.wire.checks import Fields, json_object
from opencph.wire.eip import (
    BandwidthOption,
    CreatePublicipRequest,
    CreateSharedBandwidthRequest,
    UpdateBandwidthRequest,
    UpdatePublicipRequest,
)
from opencph.wire.errors import CphError
from opencph.wire.service_errors import network_error, refuses_as

BAD_EIP, BAD_BANDWIDTH = "VPC.0501", "VPC.0301"
TYPES = ("5_telcom", "5_union", "5_bgp", "5_sbgp", "5_youxuanbgp")
PER, WHOLE = "PER", "WHOLE"
CHARGE_MODES = ("bandwidth", "traffic")  # their places are the numbers that CPH uses
SIZE_MAX_MBIT = 2_000
SIZE_MIN_MBIT, SHARED_SIZE_MIN_MBIT = 1, 5
NAME_MAX_CHARACTERS = 64

NAME = re.compile(r"[A-Za-z0-9_.\-\u4e00-\u9fff]+")
NAME_RULE = "only letters, digits, Chinese characters, _, - and . are allowed"


@refuses_as(network_error, BAD_EIP)
def create_publicip(body: bytes) -> CreatePublicipRequest:
    """Decode and check the body of CreatePublicip."""
    whole = Fields(json_object(body))
    fields, bandwidth = whole.nested("publicip", BAD_EIP), whole.nested("bandwidth", BAD_BANDWIDTH)
    _version(fields)
    return CreatePublicipRequest(
        type=fields.word("type", BAD_EIP, TYPES),
        alias=_alias(fields) or "",
        ip_address=fields.optional_text("ip_address", BAD_EIP, max_characters=15),
        port_id=_port_id(fields) or None,
        bandwidth=_bandwidth(bandwidth),
    )


@refuses_as(network_error, BAD_EIP)
def update_publicip(body: bytes) -> UpdatePublicipRequest:
    """Decode and check the body of UpdatePublicip. Without a port and without anything else to change it unbinds, as documented."""
    fields = Fields(json_object(body)).nested("publicip", BAD_EIP)
    _version(fields)
    alias = _alias(fields)
    port_id = _port_id(fields)
    if port_id is None and (alias is None or "port_id" in fields.values):
        port_id = ""
    return UpdatePublicipRequest(port_id=port_id, alias=alias)


@refuses_as(network_error, BAD_BANDWIDTH)
def create_shared_bandwidth(body: bytes) -> CreateSharedBandwidthRequest:
    """Decode and check the body of CreateSharedBandwidth."""
    fields = Fields(json_object(body)).nested("bandwidth", BAD_BANDWIDTH)
    return CreateSharedBandwidthRequest(
        name=_name(fields),
        size_mbit=fields.integer("size", BAD_BANDWIDTH, SHARED_SIZE_MIN_MBIT, SIZE_MAX_MBIT),
        charge_mode=_charge_mode(fields),
    )


@refuses_as(network_error, BAD_BANDWIDTH)
def update_bandwidth(body: bytes) -> UpdateBandwidthRequest:
    """Decode and check the body of UpdateBandwidth."""
    fields = Fields(json_object(body)).nested("bandwidth", BAD_BANDWIDTH)
    name = _name(fields) if fields.given("name") else None
    size_mbit = fields.optional_integer("size", BAD_BANDWIDTH, SIZE_MIN_MBIT, SIZE_MAX_MBIT)
    if name is None and size_mbit is None:
        raise CphError(BAD_BANDWIDTH, "bandwidth: give name or size")
    return UpdateBandwidthRequest(name=name, size_mbit=size_mbit)


def _bandwidth(fields: Fields) -> BandwidthOption:
    share_type = fields.word("share_type", BAD_BANDWIDTH, (PER, WHOLE))
    if share_type == WHOLE:
        bandwidth_id = fields.uuid("id", BAD_BANDWIDTH)
        return BandwidthOption(bandwidth_id=bandwidth_id, name="", size_mbit=0, charge_mode=0)
    return BandwidthOption(
        bandwidth_id=None,
        name=_name(fields) if fields.values.get("name") not in (None, "") else "",
        size_mbit=fields.integer("size", BAD_BANDWIDTH, SIZE_MIN_MBIT, SIZE_MAX_MBIT),
        charge_mode=_charge_mode(fields),
    )


def _charge_mode(fields: Fields) -> int:
    if not fields.given("charge_mode"):
        return 0
    return CHARGE_MODES.index(fields.word("charge_mode", BAD_BANDWIDTH, CHARGE_MODES))


def _name(fields: Fields) -> str:
    return fields.text("name", BAD_BANDWIDTH, max_characters=NAME_MAX_CHARACTERS, pattern=NAME, rule=NAME_RULE)


def _alias(fields: Fields) -> str | None:
    if fields.values.get("alias") == "":
        return ""
    return fields.optional_text("alias", BAD_EIP, max_characters=NAME_MAX_CHARACTERS, pattern=NAME, rule=NAME_RULE)


def _port_id(fields: Fields) -> str | None:
    if fields.values.get("port_id") == "":
        return ""
    return fields.uuid("port_id", BAD_EIP) if fields.given("port_id") else None


def _version(fields: Fields) -> None:
    if fields.given("ip_version"):
        fields.choice("ip_version", BAD_EIP, (4,))
