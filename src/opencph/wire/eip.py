"""Public addresses (EIP) and bandwidths on the wire, as the EIP service's SDK (v2) spells them. Checks: `eip_checks`."""

from __future__ import annotations

import msgspec


class BandwidthOption(msgspec.Struct, frozen=True, kw_only=True):
    """The bandwidth of a new EIP: an existing shared one by id, or one of its own."""

    bandwidth_id: str | None  # shared
    name: str
    size_mbit: int
    charge_mode: int  # 0 by bandwidth, 1 by traffic


class CreatePublicipRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/publicips."""

    type: str
    alias: str
    ip_address: str | None
    port_id: str | None
    bandwidth: BandwidthOption


class UpdatePublicipRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/publicips/{publicip_id}. `port_id`: None stays, "" unbinds."""

    port_id: str | None
    alias: str | None


class CreatedPublicip(msgspec.Struct, frozen=True, kw_only=True):
    """What the creation of an EIP answers."""

    id: str
    type: str
    public_ip_address: str
    status: str
    tenant_id: str
    create_time: str  # 2015-07-16 04:32:50
    bandwidth_size: int
    enterprise_project_id: str
    alias: str
    ip_version: int = 4


class CreatePublicipResponse(msgspec.Struct, frozen=True):
    """The answer to POST."""

    publicip: CreatedPublicip


class Publicip(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An EIP. `port_id` and `private_ip_address` only while it is bound."""

    id: str
    type: str
    public_ip_address: str
    status: str  # ACTIVE bound, DOWN not bound, BINDING to a server that is being built
    tenant_id: str
    create_time: str
    enterprise_project_id: str
    alias: str
    ip_version: int
    public_border_group: str
    allow_share_bandwidth_types: list[str]
    bandwidth_id: str | None = None
    bandwidth_name: str | None = None
    bandwidth_share_type: str | None = None
    bandwidth_size: int | None = None
    port_id: str | None = None
    private_ip_address: str | None = None


class PublicipResponse(msgspec.Struct, frozen=True):
    """One EIP."""

    publicip: Publicip


class ListPublicipsResponse(msgspec.Struct, frozen=True):
    """A page of EIPs."""

    publicips: list[Publicip]


class CreateSharedBandwidthRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v2.0/{project_id}/bandwidths."""

    name: str
    size_mbit: int
    charge_mode: int


class UpdateBandwidthRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/bandwidths/{bandwidth_id}; None: stays."""

    name: str | None
    size_mbit: int | None


class PublicipInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An EIP of a bandwidth."""

    publicip_id: str
    publicip_address: str
    publicip_type: str
    ip_version: int = 4


class Bandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """A bandwidth, in Mbit/s."""

    id: str
    name: str
    size: int
    share_type: str  # PER dedicated, WHOLE shared
    charge_mode: str  # bandwidth | traffic
    bandwidth_type: str  # bgp | share
    publicip_info: list[PublicipInfo]
    tenant_id: str
    created_at: str
    updated_at: str
    enterprise_project_id: str = "0"
    billing_info: str = ""
    status: str = "NORMAL"
    enable_bandwidth_rules: bool = False
    rule_quota: int = 0
    bandwidth_rules: list[str] = []
    public_border_group: str = "center"


class BandwidthResponse(msgspec.Struct, frozen=True):
    """One bandwidth."""

    bandwidth: Bandwidth


class ListBandwidthsResponse(msgspec.Struct, frozen=True):
    """A page of bandwidths."""

    bandwidths: list[Bandwidth]
