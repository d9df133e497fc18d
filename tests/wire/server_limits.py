"""The fields of bodies about servers; see `field_limits`."""

from __future__ import annotations

from hypothesis import strategies as st

from opencph.wire import bare_servers, server_action_checks, server_checks
from wire.limit_rules import (
    LETTERS,
    NAME,
    UUID,
    Limit,
    asked_id,
    choice,
    flag,
    free,
    item_id,
    nested,
    number,
    property_text,
    several,
    text,
    uuid,
    word,
)
from wire.operation_limits import ID, Operation, ids, server_ids

NICS = {
    "nics": Limit(
        (),
        st.nothing(),
        several(1, "CPS.0226", lambda one: {"subnet_id": UUID}, typed="CPS.0226", empty="CPS.0226").refused,
        "CPS.0226",
    ),
    "nics[].subnet_id": uuid("CPS.0224"),
    "nics[].ipv6_enable": flag("CPS.0226"),
}
IPV6 = {
    "nics[].ipv6_bandwidth": nested("CPS.0226", optional=True),
    "nics[].ipv6_bandwidth.band_width_id": uuid("CPS.0033", empty="CPS.0032"),
}
BAND_WIDTH = {
    "band_width": nested("CPS.0031"),
    "band_width.band_width_share_type": choice("CPS.0034", 0, 1),
    "band_width.band_width_charge_mode": choice("CPS.0035", 0, 1),
    "band_width.band_width_id": uuid("CPS.0033", empty="", optional=True),
    "band_width.band_width_size": number("CPS.0036", 1, 2000, optional=True),
}
PUBLIC_IP = {
    "public_ip": nested(
        "CPS.0238", also=({}, {"count": 1}, {"ids": [UUID], "eip": {"type": "5_bgp"}}, {"ids": [UUID], "count": 2})
    ),
    "public_ip.ids": several(0, "CPS.0238", lambda one: UUID, typed="CPS.0238", missing=""),
    "public_ip.eip": nested("CPS.0239", optional=True)._replace(missing="CPS.0238"),
    "public_ip.eip.type": word("CPS.0239", "5_telcom", "5_union", "5_bgp", "5_sbgp"),
    "public_ip.count": number("CPS.0238", 0, 100_000, optional=True),
}
PORTS = {
    "ports": several(
        100,
        "CPS.0037",
        lambda one: {"name": f"p{one}", "listen_port": 10_000 + one, "internet_accessible": "true"},
        typed="CPS.0037",
        missing="",
    ),
    "ports[].name": text("CPS.0038", 16, only=LETTERS + "_-", refused=("adb", "vnc", "ADB", "Vnc")),
    "ports[].listen_port": number("CPS.0040", 10_000, 50_000),
    "ports[].internet_accessible": free("CPS.0093"),
}


def billing(path: str) -> dict[str, Limit]:
    return {
        path: nested("CPS.0055"),
        f"{path}.charging_mode": choice("CPS.0056", 0, 1),
        f"{path}.period_type": choice("CPS.0057", 2, 3),
        f"{path}.period_num": number("CPS.0058", 1, 9),
        f"{path}.is_auto_pay": choice("CPS.0060", 0, 1, optional=True),
        f"{path}.is_auto_renew": choice("CPS.0059", 0, 1, optional=True),
        f"{path}.enterprise_project_id": text("CPS.0055", 36, empty="", optional=True),
    }


def volume(path: str, low: int) -> dict[str, Limit]:
    return {
        path: nested("CPS.0157", optional=True),
        f"{path}.volume_type": word("CPS.0116", "SSD", "GPSSD"),
        f"{path}.size": number("CPS.0157", low, 32_768),
    }


BILLING = {
    "charging_mode": 0,
    "period_type": 2,
    "period_num": 1,
    "is_auto_pay": 1,
    "is_auto_renew": 1,
    "enterprise_project_id": "0",
}
YEARLY = {**BILLING, "period_type": 3}
VOLUME = {"volume_type": "SSD", "size": 100}
SERVER = {
    "phone_model_name": "rx1.cp.c60.d32.e1v1",
    "image_id": ID,
    "keypair_name": "key",
    "availability_zone": "az1",
    "ports": [{"name": "a", "listen_port": 10_000, "internet_accessible": "true"}],
    "tenant_vpc_id": UUID,
    "nics": [{"subnet_id": UUID, "ipv6_enable": True, "ipv6_bandwidth": {"band_width_id": UUID}}],
    "public_ip": {"eip": {"type": "5_bgp"}, "count": 1},
    "phone_count_per_ip": 1,
    "phone_data_volume": VOLUME,
    "server_share_data_volume": VOLUME,
    "band_width": {"band_width_share_type": 0, "band_width_charge_mode": 0, "band_width_id": UUID, "band_width_size": 100},
    "property": '{"com.cph.mainkeys":"1"}',
}
SERVER_LIMITS = {
    "phone_model_name": text("CPS.0028", 64, empty="CPS.0027"),
    "image_id": text("CPS.0030", 32, empty="CPS.0029"),
    "keypair_name": text("CPS.0067", 64, empty="CPS.0068", optional=True),
    "availability_zone": text("CPS.0136", 64, empty="", optional=True),
    **PORTS,
    "tenant_vpc_id": uuid("CPS.0223"),
    **NICS,
    **IPV6,
    **PUBLIC_IP,
    "phone_count_per_ip": number("CPS.0024", 1, 100_000, optional=True),
    **volume("server_share_data_volume", 10),
    **BAND_WIDTH,
}
SERVER_NAME = {"server_name": text("CPS.0087", 60, unit="characters", only=NAME)}
SERVER_MODEL = {"server_model_name": text("CPS.0089", 64, empty="CPS.0088")}
BARE = {
    **SERVER,
    "server_name": "a",
    "server_model_name": "physical.kg1.4xlarge.cp",
    "count": 1,
    "order_param": BILLING,
    "enterprise_project_id": "0",
    "nics": [{"subnet_id": UUID, "ipv6_enable": True, "ipv6_band_width_id": UUID}],
    "public_ip": {"type": "5_bgp", "count": 1, "band_width": SERVER["band_width"]},
    "data_volume": {**VOLUME, "count": 1},
}


SERVERS: dict[str, Operation] = {
    "CreateNet2CloudPhoneServer": Operation(
        server_checks.create_net2_cloud_phone_server,
        {**SERVER, "server_name": "a", "server_model_name": "physical.rx1.xlarge.cp", "count": 1, "extend_param": BILLING},
        {
            **SERVER_LIMITS,
            **SERVER_NAME,
            **SERVER_MODEL,
            "count": number("CPS.0024", 1, 10),
            **billing("extend_param"),
            **volume("phone_data_volume", 1),
            "property": property_text(),
            "public_ip": SERVER_LIMITS["public_ip"]._replace(missing=""),
        },
    ),
    "CreateNet2CloudPhoneServer by the year": Operation(
        server_checks.create_net2_cloud_phone_server,
        {**SERVER, "server_name": "a", "server_model_name": "physical.rx1.xlarge.cp", "count": 1, "extend_param": YEARLY},
        {"extend_param.period_num": number("CPS.0058", 1, 10)},
    ),
    "ChangeCloudPhoneServer": Operation(
        server_checks.change_cloud_phone_server,
        {**SERVER, "extend_param": {"enterprise_project_id": "0"}},
        {
            **SERVER_LIMITS,
            **volume("phone_data_volume", 10),
            "extend_param": nested("CPS.0055", optional=True),
            "extend_param.enterprise_project_id": text("CPS.0055", 36, empty="", optional=True),
            "property": property_text(empty=False),
        },
    ),
    "CreateCloudPhoneSingleServer": Operation(
        bare_servers.create_cloud_phone_single_server,
        BARE,
        {
            **SERVER_NAME,
            **SERVER_MODEL,
            "count": number("CPS.0024", 1, 10),
            **billing("order_param"),
            "enterprise_project_id": text("CPS.0055", 36, empty="", optional=True),
            **NICS,
            "nics[].ipv6_band_width_id": uuid("CPS.0033", empty="", optional=True),
            "public_ip": nested("CPS.0238"),
            "public_ip.ids": several(1, "CPS.0238", lambda one: UUID, typed="CPS.0238", missing=""),
            "public_ip.count": number("CPS.0238", 0, 1, optional=True),
            "public_ip.type": word("CPS.0238", "5_telcom", "5_union", "5_bgp", "5_sbgp"),
            **{f"public_ip.{path}": limit for path, limit in BAND_WIDTH.items()},
            "availability_zone": text("CPS.0136", 64, empty="", optional=True),
            **volume("data_volume", 1),
            "data_volume.count": number("CPS.0157", 1, 1, optional=True),
            "keypair_name": text("CPS.0067", 64, empty="CPS.0068"),
            "image_id": text("CPS.0030", 36, empty="", optional=True),
        },
    ),
    "DeleteCloudPhoneServer": Operation(
        server_checks.delete_cloud_phone_server, {"server_ids": [ID]}, {"server_ids": server_ids(10)}
    ),
    "UpdateServerName": Operation(server_action_checks.update_server_name, {"server_name": "a"}, SERVER_NAME),
    "RestartCloudPhoneServer": Operation(
        server_action_checks.restart_cloud_phone_server, {"server_ids": [ID]}, {"server_ids": server_ids(100)}
    ),
    "UpdateKeypair": Operation(
        server_action_checks.update_keypair,
        {"servers": [{"server_id": ID, "keypair_name": "key"}]},
        {
            "servers": several(
                100, "CPS.0096", lambda one: {"server_id": ids(one), "keypair_name": "k"}, typed="CPS.0094", empty="CPS.0095"
            ),
            "servers[].server_id": item_id("CPS.0097"),
            "servers[].keypair_name": text("CPS.0067", 64, empty="CPS.0068"),
        },
    ),
    "ChangeCloudPhoneServerModel": Operation(
        server_action_checks.change_cloud_phone_server_model,
        {"server_id": ID, "server_model_name": "a", "phone_model_name": "b", "extend_param": {"is_auto_pay": 1}},
        {
            "server_id": asked_id("CPS.0016")._replace(edges=("a" * 32,), missing="CPS.0016"),
            **SERVER_MODEL,
            "phone_model_name": SERVER_LIMITS["phone_model_name"],
            "extend_param": nested("CPS.0055", optional=True),
            "extend_param.is_auto_pay": choice("CPS.0060", 0, 1, optional=True),
        },
    ),
}
