"""Cloud phone servers on the wire: create, list, show, change, delete (cph-api.md section 4, seed page). Checks live in `checks`.

A request struct holds values that passed the checks. `None` means that the caller left the field out; a response field with a
default is left out of the answer while it has that value.
"""

from __future__ import annotations

import msgspec


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """An application port that the phones open, as declared."""

    name: str
    listen_port: int
    internet_accessible: str  # "true" in any case: also on the public side

    @property
    def public(self) -> bool:
        """Whether the port is mapped to the public network."""
        return self.internet_accessible.lower() == "true"


class Ipv6Bandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """The shared bandwidth of a NIC's IPv6 addresses."""

    band_width_id: str


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """The NIC of a server."""

    subnet_id: str
    ipv6_enable: bool = False
    ipv6_bandwidth: Ipv6Bandwidth | None = None


class Eip(msgspec.Struct, frozen=True, kw_only=True):
    """An EIP to be assigned."""

    type: str  # 5_telcom | 5_union | 5_bgp | 5_sbgp


class PublicIp(msgspec.Struct, frozen=True, kw_only=True):
    """Public addresses: assign `count` of type `eip`, or take the one existing EIP of `ids`, or none (`count` 0)."""

    ids: tuple[str, ...] = ()
    eip: Eip | None = None
    count: int | None = None

    @property
    def wanted(self) -> int:
        """How many EIPs the server gets; 1 when the caller did not say."""
        return 1 if self.count is None else self.count


class BandWidth(msgspec.Struct, frozen=True, kw_only=True):
    """Bandwidth of the public addresses. Size in Mbit/s."""

    band_width_share_type: int  # 0 dedicated, 1 shared
    band_width_charge_mode: int | None = None  # 0 by bandwidth, 1 by traffic; may be absent when shared
    band_width_id: str | None = None
    band_width_size: int | None = None


class DataVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A disk to be made. Size in GiB."""

    volume_type: str  # SSD | GPSSD
    size: int


class ExtendParam(msgspec.Struct, frozen=True, kw_only=True):
    """Billing of a purchase."""

    charging_mode: int  # 0 yearly/monthly, 1 on-demand
    period_type: int | None = None  # 2 month, 3 year; None only when on-demand
    period_num: int | None = None
    is_auto_pay: int = 0
    is_auto_renew: int = 0
    enterprise_project_id: str = "0"


class ChangeExtendParam(msgspec.Struct, frozen=True, kw_only=True):
    """Extended fields of a change; the enterprise project of the page when left out."""

    enterprise_project_id: str = "0"


class CreateNet2CloudPhoneServerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v2/{project_id}/cloud-phone/servers."""

    server_name: str
    server_model_name: str
    phone_model_name: str
    image_id: str
    count: int
    extend_param: ExtendParam
    tenant_vpc_id: str
    nics: tuple[Nic, ...]  # exactly one
    keypair_name: str | None = None
    ports: tuple[Port, ...] = ()
    public_ip: PublicIp | None = None  # None: no public address
    phone_count_per_ip: int | None = None
    phone_data_volume: DataVolume | None = None
    server_share_data_volume: DataVolume | None = None
    band_width: BandWidth | None = None  # None only without public address or with an existing EIP
    availability_zone: str | None = None
    property: str = ""  # JSON object text, "" when none


class CreateNet2CloudPhoneServerResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The order. The servers are visible from now on."""

    request_id: str
    order_id: str
    product_id: str
    server_ids: list[str]
    error_code: str | None = None
    error_msg: str | None = None


class ChangeCloudPhoneServerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v2/{project_id}/cloud-phone/servers/{server_id}/change (seed page)."""

    phone_model_name: str
    image_id: str
    tenant_vpc_id: str
    nics: tuple[Nic, ...]  # exactly one
    public_ip: PublicIp
    band_width: BandWidth
    keypair_name: str | None = None
    availability_zone: str | None = None  # None: stays
    ports: tuple[Port, ...] = ()
    extend_param: ChangeExtendParam | None = None
    phone_count_per_ip: int | None = None
    phone_data_volume: DataVolume | None = None
    server_share_data_volume: DataVolume | None = None
    property: str = ""


class ChangeCloudPhoneServerResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The job that changes the server."""

    request_id: str
    server_id: str
    job_id: str
    error_code: str | None = None
    error_msg: str | None = None


class DeleteCloudPhoneServerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """DELETE /v2/{project_id}/cloud-phone/servers, with a body."""

    server_ids: tuple[str, ...]  # 1 to 10, no duplicates


class DeleteCloudPhoneServerResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The job that deletes the servers."""

    request_id: str
    job_id: str


class ListCloudPhoneServersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/servers. Times in seconds since the epoch."""

    offset: int = 0
    limit: int = 100
    server_name: str | None = None  # part of the name
    server_id: str | None = None
    network_version: str | None = None  # v1 | v2, lower case
    phone_model_name: str | None = None
    create_since: int | None = None
    create_until: int | None = None
    status: int | None = None


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One address of a server; the first two are expired names of the last two."""

    intranet_ip: str
    access_ip: str
    server_ip: str
    public_ip: str


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The order of a server."""

    order_id: str
    product_id: str
    charging_mode: int


class ServerItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A server in a list."""

    server_name: str
    server_id: str
    server_model_name: str
    phone_model_name: str
    keypair_name: str
    status: int
    vpc_id: str
    cidr: str
    vpc_cidr: str
    subnet_id: str
    subnet_cidr: str
    addresses: list[Address] | None = None
    resource_project_id: str
    metadata: Metadata
    network_version: str
    enterprise_project_id: str
    availability_zone: str
    create_time: str
    update_time: str


class ListCloudPhoneServersResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of servers, newest first; `count` is the total."""

    request_id: str
    count: int
    servers: list[ServerItem]


class ServerBandWidth(msgspec.Struct, frozen=True, kw_only=True):
    """A bandwidth of a server. Size in Mbit/s."""

    band_width_name: str
    band_width_id: str
    band_width_size: int
    band_width_charge_mode: int
    band_width_share_type: int
    create_time: str
    update_time: str


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A data disk of a server. Size in GB."""

    volume_name: str
    volume_id: str
    volume_size: int
    volume_type: str
    create_time: str
    update_time: str


class ShareVolumeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The shared storage of a server. Size in GB; version 0 = 1.0, 1 = 2.0."""

    volume_type: str
    size: int
    version: int


class ShowCloudPhoneServerDetailResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """GET /v1/{project_id}/cloud-phone/servers/{server_id}."""

    request_id: str
    server_name: str
    availability_zone: str
    server_id: str
    server_model_name: str
    phone_model_name: str
    keypair_name: str
    status: int
    vpc_id: str
    cidr: str
    vpc_cidr: str
    subnet_id: str
    subnet_cidr: str
    resource_project_id: str
    metadata: Metadata
    addresses: list[Address]
    band_widths: list[ServerBandWidth]
    volumes: list[Volume]
    share_volume_info: ShareVolumeInfo | None = None
    network_version: str
    enterprise_project_id: str
    security_groups: list[str]
    create_time: str
    update_time: str
