"""Bare servers on the wire: CreateCloudPhoneSingleServer (cph-api.md section 4, number 2), with its checks. Its answer is that of
CreateNet2CloudPhoneServer."""

from __future__ import annotations

import msgspec

from opencph.wire import server_checks
from opencph.wire.checks import UUID, UUID_RULE, Fields, json_object
from opencph.wire.errors import CphError
from opencph.wire.servers import (
    BandWidth,
    CreateNet2CloudPhoneServerResponse,
    DataVolume,
    Eip,
    ExtendParam,
    Ipv6Bandwidth,
    Nic,
    PublicIp,
)

BARE_IMAGE_ID_MAX_BYTES = 36
CreateCloudPhoneSingleServerResponse = CreateNet2CloudPhoneServerResponse


class CreateCloudPhoneSingleServerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v2.1/{project_id}/cloud-phone/servers."""

    server_name: str
    server_model_name: str
    count: int
    order_param: ExtendParam
    nic: Nic
    public_ip: PublicIp
    band_width: BandWidth | None = None  # None only without an EIP to be assigned
    availability_zone: str | None = None
    data_volume: DataVolume | None = None
    keypair_name: str
    image_id: str | None = None


def create_cloud_phone_single_server(body: bytes) -> CreateCloudPhoneSingleServerRequest:
    """Decode and check the body of CreateCloudPhoneSingleServer."""
    fields = Fields(json_object(body))
    name = fields.text(
        "server_name",
        "CPS.0087",
        max_characters=server_checks.NAME_MAX_CHARACTERS,
        pattern=server_checks.NAME,
        rule=server_checks.NAME_RULE,
    )
    model = fields.text("server_model_name", "CPS.0089", empty="CPS.0088", max_bytes=server_checks.MODEL_NAME_MAX_BYTES)
    count = fields.integer("count", "CPS.0024", 1, server_checks.SERVERS_PER_CALL)
    order_param = server_checks.extend_param(fields.nested("order_param", "CPS.0055"))
    enterprise = fields.optional_text("enterprise_project_id", "CPS.0055", max_bytes=server_checks.ENTERPRISE_PROJECT_MAX_BYTES)
    nic = _nic(fields)
    public_ip, band_width = _public_ip(fields.nested("public_ip", "CPS.0238"))
    zone = fields.optional_text("availability_zone", "CPS.0136", max_bytes=server_checks.ZONE_MAX_BYTES)
    data_volume = _data_volume(fields)
    keypair = fields.text("keypair_name", "CPS.0067", empty="CPS.0068", max_bytes=server_checks.KEYPAIR_NAME_MAX_BYTES)
    return CreateCloudPhoneSingleServerRequest(
        server_name=name,
        server_model_name=model,
        count=count,
        order_param=msgspec.structs.replace(order_param, enterprise_project_id=enterprise or "0"),
        nic=nic,
        public_ip=public_ip,
        band_width=band_width,
        availability_zone=zone,
        data_volume=data_volume,
        keypair_name=keypair,
        image_id=fields.optional_text("image_id", "CPS.0030", max_bytes=BARE_IMAGE_ID_MAX_BYTES),
    )


def _nic(fields: Fields) -> Nic:
    items = fields.nested_list("nics", "CPS.0226", empty="CPS.0226")
    if len(items) != 1:
        raise CphError("CPS.0226", f"nics has {len(items)} NICs: a server has exactly one")
    subnet_id = items[0].uuid("subnet_id", "CPS.0224")
    ipv6_enable = items[0].flag("ipv6_enable", "CPS.0226")
    bandwidth_id = items[0].optional_text("ipv6_band_width_id", "CPS.0033", pattern=UUID, rule=UUID_RULE)
    bandwidth = None if bandwidth_id is None else Ipv6Bandwidth(band_width_id=bandwidth_id.lower())
    return Nic(subnet_id=subnet_id, ipv6_enable=ipv6_enable, ipv6_bandwidth=bandwidth)


def _public_ip(fields: Fields) -> tuple[PublicIp, BandWidth | None]:
    """An existing EIP, or none (the default), or one to be assigned; `type` and `count` are ignored beside `ids`."""
    ids = fields.texts("ids", "CPS.0238") if fields.given("ids") else []
    if len(ids) > 1:
        raise CphError("CPS.0238", f"public_ip.ids has {len(ids)} EIPs: only one existing EIP can be given")
    for eip_id in ids:
        if UUID.fullmatch(eip_id) is None:
            raise CphError("CPS.0239", f"public_ip.ids[0]: {UUID_RULE}")
    count = 0 if ids else fields.optional_integer("count", "CPS.0238", 0, 1) or 0
    eip = Eip(type=fields.word("type", "CPS.0238", server_checks.EIP_TYPES)) if count else None
    band_width = server_checks.band_width(fields) if count or fields.given("band_width") else None
    return PublicIp(ids=tuple(eip_id.lower() for eip_id in ids), eip=eip, count=1 if ids else count), band_width


def _data_volume(fields: Fields) -> DataVolume | None:
    volume = fields.optional_nested("data_volume", "CPS.0157")
    if volume is None:
        return None
    if volume.given("count"):
        volume.integer("count", "CPS.0157", 1, 1)
    volume_type = volume.word("volume_type", "CPS.0116", server_checks.VOLUME_TYPES)
    return DataVolume(volume_type=volume_type, size=volume.integer("size", "CPS.0157", 1, server_checks.VOLUME_MAX_GIB))
