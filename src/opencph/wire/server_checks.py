"""Checks of the bodies that create, change and delete servers (cph-api.md section 4, seed page). Pure; what needs the database or
the catalogue (does it exist, does it fit, is there quota) is in `fleet`.

Where the table of codes has none for a field: `phone_count_per_ip` answers CPS.0024, a volume's type CPS.0116, the rest of a volume
CPS.0157 (volumes belong to the phone flavor), `availability_zone` CPS.0136.
"""

from __future__ import annotations

import re

from opencph.wire.checks import HEX_ID, HEX_ID_RULE, UUID, UUID_RULE, Fields, json_object
from opencph.wire.errors import CphError, shown
from opencph.wire.properties import check_properties, compact
from opencph.wire.servers import (
    BandWidth,
    ChangeCloudPhoneServerRequest,
    ChangeExtendParam,
    CreateNet2CloudPhoneServerRequest,
    DataVolume,
    DeleteCloudPhoneServerRequest,
    Eip,
    ExtendParam,
    Ipv6Bandwidth,
    Nic,
    Port,
    PublicIp,
)

NAME_MAX_CHARACTERS = 60
MODEL_NAME_MAX_BYTES = 64
IMAGE_ID_MAX_BYTES = 32
KEYPAIR_NAME_MAX_BYTES = 64
ZONE_MAX_BYTES = 64
ENTERPRISE_PROJECT_MAX_BYTES = 36
SERVERS_PER_CALL = 10
PORT_NAME_MAX_BYTES = 16
PORTS_MAX = 100  # ours: the limit of the real service is not documented
LISTEN_PORT_FIRST, LISTEN_PORT_LAST = 10_000, 50_000
RESERVED_PORT_NAMES = ("adb", "vnc")
EIP_TYPES = ("5_telcom", "5_union", "5_bgp", "5_sbgp")
VOLUME_TYPES = ("SSD", "GPSSD")
VOLUME_MAX_GIB = 32_768
VOLUME_MIN_GIB_CREATE = 1
VOLUME_MIN_GIB = 10
BAND_WIDTH_MAX_MBIT = 2_000
PHONES_MAX = 100_000  # more than any flavor has; the exact limit is the flavor's
ON_DEMAND = 1
MONTH, YEAR = 2, 3
PERIODS_MAX = {MONTH: 9, YEAR: 10}
DEDICATED, SHARED = 0, 1

NAME = re.compile(r"[A-Za-z0-9_\-\u4e00-\u9fff]+")
NAME_RULE = "only letters, digits, Chinese characters, _ and - are allowed"
PORT_NAME = re.compile(r"[A-Za-z0-9_-]+")


def create_net2_cloud_phone_server(body: bytes) -> CreateNet2CloudPhoneServerRequest:
    """Decode and check the body of CreateNet2CloudPhoneServer."""
    fields = Fields(json_object(body))
    server_name = fields.text("server_name", "CPS.0087", max_characters=NAME_MAX_CHARACTERS, pattern=NAME, rule=NAME_RULE)
    server_model_name = fields.text("server_model_name", "CPS.0089", empty="CPS.0088", max_bytes=MODEL_NAME_MAX_BYTES)
    phone_model_name, image_id = _phone_model_name(fields), _image_id(fields)
    count = fields.integer("count", "CPS.0024", 1, SERVERS_PER_CALL)
    keypair_name, ports = _keypair_name(fields), _ports(fields)
    billing = extend_param(fields.nested("extend_param", "CPS.0055"))
    tenant_vpc_id, nics = fields.uuid("tenant_vpc_id", "CPS.0223"), _nics(fields)
    # The page calls public_ip and band_width mandatory; Terraform leaves them out (neighbours of the API, cph-api.md section 12).
    public_ip = _public_ip(fields.nested("public_ip", "CPS.0238")) if fields.given("public_ip") else None
    phone_count_per_ip = _phone_count_per_ip(fields)
    phone_data_volume = _volume(fields, "phone_data_volume", VOLUME_MIN_GIB_CREATE)
    server_share_data_volume = _volume(fields, "server_share_data_volume", VOLUME_MIN_GIB)
    band_width_optional = public_ip is None or bool(public_ip.ids) or public_ip.wanted == 0
    wanted_band_width = None if band_width_optional and not fields.given("band_width") else band_width(fields)
    return CreateNet2CloudPhoneServerRequest(
        server_name=server_name,
        server_model_name=server_model_name,
        phone_model_name=phone_model_name,
        image_id=image_id,
        count=count,
        keypair_name=keypair_name,
        ports=ports,
        extend_param=billing,
        tenant_vpc_id=tenant_vpc_id,
        nics=nics,
        public_ip=public_ip,
        phone_count_per_ip=phone_count_per_ip,
        phone_data_volume=phone_data_volume,
        server_share_data_volume=server_share_data_volume,
        band_width=wanted_band_width,
        availability_zone=_availability_zone(fields),
        property=_property(fields),
    )


def change_cloud_phone_server(body: bytes) -> ChangeCloudPhoneServerRequest:
    """Decode and check the body of ChangeCloudPhoneServer (seed page)."""
    fields = Fields(json_object(body))
    phone_model_name, image_id = _phone_model_name(fields), _image_id(fields)
    keypair_name, availability_zone = _keypair_name(fields), _availability_zone(fields)
    ports = _ports(fields)
    change_extend_param = _change_extend_param(fields)
    return ChangeCloudPhoneServerRequest(
        phone_model_name=phone_model_name,
        image_id=image_id,
        keypair_name=keypair_name,
        availability_zone=availability_zone,
        ports=ports,
        extend_param=change_extend_param,
        tenant_vpc_id=fields.uuid("tenant_vpc_id", "CPS.0223"),
        nics=_nics(fields),
        public_ip=_public_ip(fields.nested("public_ip", "CPS.0238")),
        phone_count_per_ip=_phone_count_per_ip(fields),
        phone_data_volume=_volume(fields, "phone_data_volume", VOLUME_MIN_GIB),
        server_share_data_volume=_volume(fields, "server_share_data_volume", VOLUME_MIN_GIB),
        band_width=band_width(fields, charge_mode_needed=True),
        property=_property(fields, empty="CPS.0078"),
    )


def delete_cloud_phone_server(body: bytes) -> DeleteCloudPhoneServerRequest:
    """Decode and check the body of DeleteCloudPhoneServer. Ids come back in lower case, each once."""
    fields = Fields(json_object(body))
    server_ids = fields.texts("server_ids", "CPS.0094", empty="CPS.0095")
    if len(server_ids) > SERVERS_PER_CALL:
        raise CphError("CPS.0096", f"server_ids has {len(server_ids)} ids: at most {SERVERS_PER_CALL}")
    for number, server_id in enumerate(server_ids):
        if HEX_ID.fullmatch(server_id) is None:
            raise CphError("CPS.0094", f"server_ids[{number}] {shown(server_id)} {HEX_ID_RULE}")
    return DeleteCloudPhoneServerRequest(server_ids=tuple(dict.fromkeys(server_id.lower() for server_id in server_ids)))


def _phone_model_name(fields: Fields) -> str:
    return fields.text("phone_model_name", "CPS.0028", empty="CPS.0027", max_bytes=MODEL_NAME_MAX_BYTES)


def _image_id(fields: Fields) -> str:
    return fields.text("image_id", "CPS.0030", empty="CPS.0029", max_bytes=IMAGE_ID_MAX_BYTES)


def _keypair_name(fields: Fields) -> str | None:
    return fields.optional_text("keypair_name", "CPS.0067", empty="CPS.0068", max_bytes=KEYPAIR_NAME_MAX_BYTES)


def _availability_zone(fields: Fields) -> str | None:
    return fields.optional_text("availability_zone", "CPS.0136", max_bytes=ZONE_MAX_BYTES)


def _phone_count_per_ip(fields: Fields) -> int | None:
    return fields.optional_integer("phone_count_per_ip", "CPS.0024", 1, PHONES_MAX, limit="the number of phones of the flavor")


def _enterprise(fields: Fields) -> str | None:
    return fields.optional_text("enterprise_project_id", "CPS.0055", max_bytes=ENTERPRISE_PROJECT_MAX_BYTES)


def _change_extend_param(fields: Fields) -> ChangeExtendParam | None:
    extend_param = fields.optional_nested("extend_param", "CPS.0055")
    return None if extend_param is None else ChangeExtendParam(enterprise_project_id=_enterprise(extend_param) or "0")


def _property(fields: Fields, *, empty: str | None = None) -> str:
    text = fields.optional_text("property", "CPS.0078", empty=empty) or ""
    check_properties(text)
    return compact(text)


def _ports(fields: Fields) -> tuple[Port, ...]:
    if not fields.given("ports"):
        return ()
    names: set[str] = set()
    numbers: set[int] = set()
    ports: list[Port] = []
    items = fields.nested_list("ports", "CPS.0037")
    if len(items) > PORTS_MAX:
        raise CphError("CPS.0037", f"ports has {len(items)} ports: at most {PORTS_MAX}")
    for item in items:
        rule = "only letters, digits, _ and - are allowed"
        name = item.text("name", "CPS.0038", max_bytes=PORT_NAME_MAX_BYTES, pattern=PORT_NAME, rule=rule)
        if name.lower() in RESERVED_PORT_NAMES:
            raise CphError("CPS.0038", f"{item.name('name')} {shown(name)}: adb and vnc are names of the service's own ports")
        if name in names:
            raise CphError("CPS.0039", f"{item.name('name')} {shown(name)} is given twice")
        listen_port = item.integer("listen_port", "CPS.0040", LISTEN_PORT_FIRST, LISTEN_PORT_LAST)
        if listen_port in numbers:
            raise CphError("CPS.0041", f"{item.name('listen_port')} {listen_port} is given twice")
        names.add(name)
        numbers.add(listen_port)
        internet_accessible = item.text("internet_accessible", "CPS.0093")
        ports.append(Port(name=name, listen_port=listen_port, internet_accessible=internet_accessible))
    return tuple(ports)


def extend_param(fields: Fields) -> ExtendParam:
    """The billing of a purchase."""
    charging_mode = fields.choice("charging_mode", "CPS.0056", (0, ON_DEMAND))
    period_type = period_num = None
    # On-demand billing has no period; the page lists the fields as mandatory for both.
    if charging_mode != ON_DEMAND or fields.given("period_type"):
        period_type = fields.choice("period_type", "CPS.0057", (MONTH, YEAR))
    if charging_mode != ON_DEMAND or fields.given("period_num"):
        period_num = fields.integer("period_num", "CPS.0058", 1, PERIODS_MAX.get(period_type or YEAR, PERIODS_MAX[YEAR]))
    return ExtendParam(
        charging_mode=charging_mode,
        period_type=period_type,
        period_num=period_num,
        is_auto_pay=fields.choice("is_auto_pay", "CPS.0060", (0, 1)) if fields.given("is_auto_pay") else 0,
        is_auto_renew=fields.choice("is_auto_renew", "CPS.0059", (0, 1)) if fields.given("is_auto_renew") else 0,
        enterprise_project_id=_enterprise(fields) or "0",
    )


def _nics(fields: Fields) -> tuple[Nic, ...]:
    items = fields.nested_list("nics", "CPS.0226", empty="CPS.0226")
    if len(items) != 1:
        raise CphError("CPS.0226", f"nics has {len(items)} NICs: a server has exactly one")
    nic = items[0]
    subnet_id = nic.uuid("subnet_id", "CPS.0224")
    ipv6_enable = nic.flag("ipv6_enable", "CPS.0226")
    bandwidth = nic.optional_nested("ipv6_bandwidth", "CPS.0226")
    ipv6_bandwidth = None
    if bandwidth is not None:
        ipv6_bandwidth = Ipv6Bandwidth(band_width_id=bandwidth.uuid("band_width_id", "CPS.0033", empty="CPS.0032"))
    return (Nic(subnet_id=subnet_id, ipv6_enable=ipv6_enable, ipv6_bandwidth=ipv6_bandwidth),)


def _public_ip(fields: Fields) -> PublicIp:
    ids = fields.texts("ids", "CPS.0238") if fields.given("ids") else []
    if len(ids) > 1:
        raise CphError("CPS.0238", f"{fields.name('ids')} has {len(ids)} ids: only one existing EIP can be given")
    for number, eip_id in enumerate(ids):
        if UUID.fullmatch(eip_id) is None:
            raise CphError("CPS.0239", f"{fields.name('ids')}[{number}] {shown(eip_id)} {UUID_RULE}")
    wish = fields.optional_nested("eip", "CPS.0239")
    eip = None if wish is None else Eip(type=wish.word("type", "CPS.0239", EIP_TYPES))
    count = fields.optional_integer("count", "CPS.0238", 0, PHONES_MAX, limit="the number of phone addresses")
    if ids and eip is not None:
        raise CphError("CPS.0238", f"{fields.path}: give either ids (an existing EIP) or eip (one to be assigned), not both")
    if ids and count not in (None, 1):
        raise CphError("CPS.0238", f"{fields.name('count')} {count}: an existing EIP in ids makes one EIP")
    if not ids and eip is None and count != 0:
        raise CphError("CPS.0238", f"{fields.path}: give eip.type, or ids, or count 0 for no EIP")
    return PublicIp(ids=tuple(eip_id.lower() for eip_id in ids), eip=eip, count=count)


def _volume(fields: Fields, name: str, low_gib: int) -> DataVolume | None:
    volume = fields.optional_nested(name, "CPS.0157")
    if volume is None:
        return None
    volume_type = volume.word("volume_type", "CPS.0116", VOLUME_TYPES)
    return DataVolume(volume_type=volume_type, size=volume.integer("size", "CPS.0157", low_gib, VOLUME_MAX_GIB))


def band_width(fields: Fields, *, charge_mode_needed: bool = False) -> BandWidth:
    """The mandatory field `band_width` of an object. `charge_mode_needed`: for a shared one too, as the page of a change says."""
    band_width = fields.nested("band_width", "CPS.0031")
    share_type = band_width.choice("band_width_share_type", "CPS.0034", (DEDICATED, SHARED))
    band_width_id = band_width.optional_text("band_width_id", "CPS.0033", pattern=UUID, rule=UUID_RULE)
    size = band_width.optional_integer("band_width_size", "CPS.0036", 1, BAND_WIDTH_MAX_MBIT)
    if share_type == SHARED and band_width_id is None:
        raise CphError("CPS.0032", "band_width.band_width_id is mandatory for a shared bandwidth (band_width_share_type 1)")
    if share_type == DEDICATED and band_width_id is None and size is None:
        raise CphError("CPS.0036", "band_width.band_width_size is mandatory for a dedicated bandwidth (band_width_share_type 0)")
    # Terraform sends no charge mode with a shared bandwidth, which has its own, when it buys.
    charge_mode = None
    if charge_mode_needed or share_type == DEDICATED or band_width.given("band_width_charge_mode"):
        charge_mode = band_width.choice("band_width_charge_mode", "CPS.0035", (0, 1))
    return BandWidth(
        band_width_share_type=share_type,
        band_width_charge_mode=charge_mode,
        band_width_id=None if band_width_id is None else band_width_id.lower(),
        band_width_size=size,
    )
