"""Every field that the checks of CPH's operations look at, with the limit that cph-api.md or `docs/compatibility.md` gives it.

The numbers stand here once more on purpose: the checks are held against them. What is new in a check needs its line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

from opencph.wire import (
    bandwidths,
    bare_servers,
    command_checks,
    connections,
    custom_images,
    encode_servers,
    identity_checks,
    phone_checks,
    query_checks,
    scheduled_events,
    server_action_checks,
    server_checks,
    share_checks,
    share_filesystems,
    tag_checks,
)
from wire.limit_rules import (
    LETTERS,
    NAME,
    UUID,
    Limit,
    asked,
    asked_choice,
    asked_id,
    asked_word,
    bucket,
    choice,
    content,
    flag,
    free,
    made,
    nested,
    number,
    object_path,
    package,
    paths,
    property_text,
    several,
    text,
    uuid,
    word,
)

ID = "1234567b8bab40ffb711234cb80d0234"
OBJECT = {"bucket_name": "bucket", "object_path": "a.tar"}
OBJECT_LIMITS = {"bucket_name": bucket(), "object_path": object_path()}
TAR_LIMITS = {"bucket_name": bucket(), "object_path": object_path(".tar")}
TAG_CHARACTERS = LETTERS + "éß手فا٣½" + " _.:：=+-@"


class Operation(NamedTuple):
    """A check, a value that it accepts, and the limit of each of its fields. `paths` is written `ports[].name`."""

    check: Callable[[Any], Any]
    valid: dict[str, Any]
    limits: Mapping[str, Limit]
    query: bool = False


def ids(count: int) -> str:
    return f"{count:032x}"


def phone_ids(most: int, over: str = "CPS.0190", missing: str | None = "CPS.0009") -> Limit:
    return several(most, over, ids, typed="CPS.0080", empty="CPS.0009", missing=missing)


def server_ids(most: int) -> Limit:
    return several(most, "CPS.0096", ids, typed="CPS.0094", empty="CPS.0095")


def phones(most: int, code: str, over: str, **rest: Any) -> Limit:
    return several(most, over, lambda one: {"phone_id": ids(one), **rest}, typed=code, empty=code)


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
STORAGE = {"phone_id": ID, "include_files": ["/data/local"], "exclude_files": ["/data/local/tmp"], **OBJECT}
PATH_CHARACTERS = LETTERS + "/-_+#~="
SHELL = content(
    st.text(LETTERS + "_./:-?=&| ", max_size=20).map("l{}".format),
    lambda size: "l" * size,
    2048,
    "  ",
    "a\0",
    foreign="!$`'\"\n;手*<>()",
)
PUSH = content(
    st.text(LETTERS + "_./:-", max_size=20).map("obs://bucket/a{}.tar".format),
    lambda size: "obs://bucket/" + "a" * (size - 17) + ".tar",
    1024,
    "obs://bucket/a.zip",
    "obs://b/a.tar",
    "obs://bucket/",
    "s3://bucket/a.tar",
    "/a.tar",
    foreign="!$`'\"\n;手*&| ",
)
INSTALL = content(
    st.text(LETTERS + "_./:-", max_size=20).map("obs://bucket/a{}.apk".format),
    lambda size: "obs://bucket/" + "a" * (size - 17) + ".apk",
    1024,
    "obs://b/a.apk",
    "obs://bucket/a.apk obs://bucket/b.apk",
    "-r",
    "--_ obs://bucket/a.apk",
)


def several_apks() -> Limit:
    one = "obs://bucket/a.apk"
    good = st.integers(1, 50).map(lambda count: " ".join([one] * count))

    def longest(size: int) -> str:
        """Eight keys of nearly 1,000 bytes, and one that fills up."""
        text = " ".join("obs://bucket/" + letter * 900 + ".apk" for letter in "abcdefgh") + " "
        return text + "obs://bucket/" + "z" * (size - len(text) - 17) + ".apk"

    return content(good, longest, 8100, " ".join([one] * 51), "obs://b/a.apk")


def command(name: str, limit: Limit, check: Callable[[Any], Any] = command_checks.run_shell_command) -> Operation:
    valid = {"command": name, "content": EXAMPLES[name], "phone_ids": [ID], "server_ids": [ID]}
    most = 15 if check is command_checks.run_sync_command else 10_000
    only = ("shell",) if check is command_checks.run_sync_command else (name,)
    words = word("CPS.0117", *only)
    return Operation(
        check, valid, {"command": words, "content": limit, "phone_ids": phone_ids(most, missing="")._replace(refused=_whom(most))}
    )


def _whom(most: int) -> Any:
    return tuple(one for one in phone_ids(most).refused if one.code != "CPS.0009")


EXAMPLES = {
    "shell": "ls /data",
    "push": "obs://bucket/a.tar",
    "install": "obs://bucket/a.apk",
    "install-multiple": "obs://bucket/a.apk obs://bucket/b.apk",
    "uninstall": "com.example.app",
}
UNINSTALL = content(
    st.text(LETTERS + "_", min_size=1, max_size=20).map("com.{}".format),
    lambda size: "com." + "a" * (size - 4),
    1024,
    "com",
    "-k",
    "-x com.a",
)


def of_whole_servers(check: Callable[[Any], Any]) -> Operation:
    valid = {"command": "shell", "content": "ls", "server_ids": [ID]}
    whole = several(100, "CPS.0096", ids, typed="CPS.0094", empty="CPS.0009")
    return Operation(check, valid, {"server_ids": whole, "phone_ids": Limit(([],), st.nothing(), ())})


PAGE_LIMITS: dict[str, Callable[[int], Limit]] = {
    "limit": lambda most: asked("CPS.0002", 1, most),
    "offset": lambda _: asked("CPS.0002", 0),
}


def page(most: int) -> dict[str, Limit]:
    return {name: make(most) for name, make in PAGE_LIMITS.items()}


def filtered(code: str) -> Limit:
    """A text that is looked for: of at most 256 bytes (ours)."""
    return text(code, 256, empty="", typed=False, optional=True)


SINCE = {"create_since": asked("CPS.0174", 0), "create_until": asked("CPS.0174", 0)}
MARKER = {"marker": filtered("CPS.0002")}
ORDINARY_TIME = "2026-01-31T18:00:00Z"
BAD_TIMES = ("2026-02-30T18:00:00Z", "2026-01-31", "2026-01-31T18:00:00", "2026-01-31T24:00:00Z", "x", "٢026-01-31T18:00:00Z")


def moment(code: str, missing: str = "", typed: bool = True) -> Limit:
    good = st.datetimes().filter(lambda one: one.year >= 1970).map(lambda one: one.strftime("%Y-%m-%dT%H:%M:%SZ"))
    found = made(code, 20, good, lambda size: ORDINARY_TIME + "Z" * (size - 20), BAD_TIMES, missing=missing, typed=typed)
    return found._replace(edges=(*found.edges, ""))


def scheduled(query: Mapping[str, str]) -> Any:
    """`state` and `type` may stand several times in the query."""
    several_of = [[query[name]] if name in query else [] for name in ("state", "type")]
    return scheduled_events.list_scheduled_events({k: v for k, v in query.items() if k not in ("state", "type")}, *several_of)


USER = {"id": "u", "name": "u", "password": "p", "domain": {"id": "d", "name": "d"}}
TOKEN = {
    "auth": {"identity": {"methods": ["password"], "password": {"user": USER}}, "scope": {"project": {"id": "p", "name": "p"}}}
}
IN_USER = "auth.identity.password.user"
REFUSED = "refused"
IDENTITY_NAME = text(REFUSED, 256, empty="", optional=True)


OPERATIONS: dict[str, Operation] = {
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
            "servers[].server_id": free("CPS.0097"),
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
    "RestartCloudPhone": Operation(
        phone_checks.restart_cloud_phone,
        {"image_id": ID, "phones": [{"phone_id": ID, "property": "{}"}]},
        {
            "image_id": text("CPS.0030", 32, empty="", optional=True),
            "phones": phones(10_000, "CPS.0077", "CPS.0190"),
            "phones[].phone_id": free("CPS.0004"),
            "phones[].property": text("CPS.0078", empty="", optional=True),
        },
    ),
    "ResetCloudPhone": Operation(
        phone_checks.reset_cloud_phone,
        {"image_id": ID, "phones": [{"phone_id": ID, "property": "{}", "factory_reset_enabled": True}]},
        {
            "image_id": text("CPS.0030", 32, empty="", optional=True),
            "phones": phones(10_000, "CPS.0077", "CPS.0190"),
            "phones[].phone_id": free("CPS.0004"),
            "phones[].property": text("CPS.0078", empty="", optional=True),
            "phones[].factory_reset_enabled": flag("CPS.0077"),
        },
    ),
    "StopCloudPhone": Operation(phone_checks.stop_cloud_phone, {"phone_ids": [ID]}, {"phone_ids": phone_ids(10_000)}),
    "UpdatePhoneName": Operation(
        phone_checks.update_phone_name, {"phone_name": "a"}, {"phone_name": text("CPS.0025", 60, unit="characters", only=NAME)}
    ),
    "UpdateCloudPhoneProperty": Operation(
        phone_checks.update_cloud_phone_property,
        {"phones": [{"phone_id": ID, "property": "{}", "custom_property": {"a": "b"}}]},
        {
            "phones": phones(10_000, "CPS.0077", "CPS.0190", property="{}"),
            "phones[].phone_id": free("CPS.0004"),
            "phones[].property": text("CPS.0078", empty="", optional=True)._replace(missing="CPS.0078"),
            "phones[].custom_property": nested("CPS.0078", optional=True, also=({"a": 1}, {"a": None}, {"a": ["b"]})),
        },
    ),
    "ImportTraffic": Operation(
        phone_checks.import_traffic,
        {"traffic_type": "direct", "phone_ids": [ID]},
        {"traffic_type": word("CPS.0116", "direct", "routing"), "phone_ids": phone_ids(100)},
    ),
    "BatchShowPhoneConnectInfos": Operation(
        connections.batch_show_phone_connect_infos,
        {"phone_ids": [ID], "client_type": "IOS"},
        {"phone_ids": phone_ids(10), "client_type": word("CPS.0116", "ANDROID", "WINDOWS", "H5_MOBILE", "H5_PC", "IOS")},
    ),
    "RunShellCommand shell": command("shell", SHELL),
    "RunShellCommand on servers": of_whole_servers(command_checks.run_shell_command),
    "PushFile": command("push", PUSH),
    "InstallApk": command("install", INSTALL),
    "InstallApk several": command("install-multiple", several_apks()),
    "UninstallApk": command("uninstall", UNINSTALL),
    "RunSyncCommand": command("shell", SHELL, command_checks.run_sync_command),
    "RunSyncCommand on servers": of_whole_servers(command_checks.run_sync_command),
    "BatchExportCloudPhoneData": Operation(
        command_checks.batch_export_cloud_phone_data,
        {"storage_infos": [STORAGE]},
        {
            "storage_infos": several(10_000, "CPS.0170", lambda one: STORAGE, typed="CPS.0167", empty="CPS.0167"),
            "storage_infos[].phone_id": free("CPS.0004"),
            "storage_infos[].include_files": paths("CPS.0168", "/data", PATH_CHARACTERS + ".*", "CPS.0168"),
            "storage_infos[].exclude_files": paths("CPS.0169", "/cache", PATH_CHARACTERS + ".*", ""),
            **{f"storage_infos[].{name}": limit for name, limit in OBJECT_LIMITS.items()},
        },
    ),
    "BatchImportCloudPhoneData": Operation(
        command_checks.batch_import_cloud_phone_data,
        {"restore_infos": [{"phone_id": ID, **OBJECT}]},
        {
            "restore_infos": phones(10_000, "CPS.0171", "CPS.0190", **OBJECT),
            "restore_infos[].phone_id": free("CPS.0004"),
            **{f"restore_infos[].{name}": limit for name, limit in OBJECT_LIMITS.items()},
        },
    ),
    "ExpandPhoneDataVolumeSize": Operation(
        command_checks.expand_phone_data_volume_size,
        {"phones": [{"phone_id": ID, "new_size": 100}]},
        {
            "phones": phones(10_000, "CPS.0077", "CPS.0190", new_size=1),
            "phones[].phone_id": free("CPS.0004"),
            "phones[].new_size": number("CPS.0077", 1, 32_768),
        },
    ),
    "PushShareApps": Operation(
        share_checks.push_share_apps,
        {"package_name": "com.a", "pre_install_app": 1, **OBJECT, "server_ids": [ID]},
        {
            "package_name": package(),
            "pre_install_app": choice("CPS.0173", 0, 1, optional=True),
            **TAR_LIMITS,
            "server_ids": server_ids(20),
        },
    ),
    "DeleteShareApps": Operation(
        share_checks.delete_share_apps,
        {"package_name": "com.a", "server_ids": [ID]},
        {"package_name": package(), "server_ids": server_ids(100)},
    ),
    "PushShareFiles": Operation(
        share_checks.push_share_files,
        {**OBJECT, "server_ids": [ID]},
        {"file_paths": Limit((), st.nothing(), ()), **TAR_LIMITS, "server_ids": server_ids(20)},
    ),
    "DeleteShareFiles": Operation(
        share_checks.push_share_files,
        {"file_paths": ["/data/a"], "server_ids": [ID]},
        {
            "file_paths": paths("CPS.0155", "/data", LETTERS + "./- _=", "")._replace(missing="CPS.0134"),
            "server_ids": server_ids(100),
        },
    ),
    "ListShareFiles": Operation(
        share_checks.list_share_files,
        {"server_ids": ID, "path": "/data"},
        {
            "server_ids": made(
                "CPS.0096",
                100,
                st.integers(1, 100).map(lambda n: ",".join([ID] * n)),
                lambda n: ",".join([ID] * n),
                (),
                missing="CPS.0095",
                typed=False,
            ),
            "path": made(
                "CPS.0199",
                4096,
                st.text(LETTERS + "+-_=", max_size=30).map("/a{}".format),
                lambda size: "/" + "a" * (size - 1),
                ("", "/", "a", "/a//b", "/../a", "/a/..", "/a\0", "/" + "手" * 2),
                foreign=" *#~!$\n手",
                typed=False,
            ),
            **page(50),
        },
        query=True,
    ),
    "ListShareAppsSnapshot": Operation(
        share_checks.list_share_apps_snapshot,
        {},
        {
            "package_name": package(typed=False)._replace(missing=""),
            "limit": asked("CPS.0002", 1, 500),
            "marker": Limit(("", "com.a"), st.text(), ()),
        },
        query=True,
    ),
    "AttachShareFilesystem": Operation(
        share_filesystems.attach_share_filesystem,
        {"type": "sfs_turbo", "id": "a", "server_ids": [ID], "path": "/a"},
        {
            "type": word("CPS.0116", "sfs_turbo"),
            "id": text("CPS.0086", 64, only=LETTERS + "_-"),
            "server_ids": server_ids(20),
            "path": made(
                "CPS.0199",
                1024,
                st.text(LETTERS + "_+=@- ", max_size=30).map("/a{}".format),
                lambda size: "/" + "a" * (size - 1),
                ("a", "/..", "/a/../b", "/a\0", "//a"),
                foreign="*#~!$\n手",
                missing="",
            ),
        },
    ),
    "DetachShareFilesystem": Operation(
        share_filesystems.detach_share_filesystem,
        {"type": "sfs_turbo", "id": "a", "server_ids": [ID]},
        {"type": word("CPS.0116", "sfs_turbo"), "id": text("CPS.0086", 64, only=LETTERS + "_-"), "server_ids": server_ids(20)},
    ),
    "BatchTags": Operation(
        tag_checks.batch_tags,
        {"action": "create", "tags": [{"key": "k", "value": "v"}]},
        {
            "action": word("CPS.0047", "create", "delete"),
            "tags": several(20, "CPS.0118", lambda one: {"key": f"k{one}", "value": "v"}, typed="CPS.0118", empty="CPS.0118"),
            "tags[].key": text(
                "CPS.0118", 127, unit="characters", only=TAG_CHARACTERS.replace(" ", ""), refused=("_sys_a",)
            )._replace(
                refused=(
                    *text("CPS.0118", 127, unit="characters").refused,
                    *text("CPS.0118", refused=("_sys_a", "a*", "a/b", "a!")).refused,
                )
            ),
            "tags[].value": text("CPS.0118", 255, unit="characters")._replace(
                edges=("v" * 255, "手" * 255),
                good=st.text(st.sampled_from(TAG_CHARACTERS.replace(" ", "")), min_size=1, max_size=20),
            ),
        },
    ),
    "ListResourceInstances": Operation(
        tag_checks.list_resource_instances,
        {
            "action": "filter",
            "offset": "0",
            "limit": "1",
            "without_any_tag": True,
            "tags": [{"key": "k", "values": ["v"]}],
            "matches": [{"key": "resource_name", "value": "a"}],
        },
        {
            "action": word("CPS.0047", "filter", "count"),
            "offset": asked("CPS.0002", 0, 10**17),
            "limit": asked("CPS.0002", 1, 1000),
            "without_any_tag": flag("CPS.0118"),
            "tags": several(10, "CPS.0118", lambda one: {"key": f"k{one}", "values": ["v"]}, typed="CPS.0118", missing=""),
            "tags[].key": text("CPS.0118", 127, unit="characters"),
            "tags[].values": several(10, "CPS.0118", lambda one: f"v{one}" + "v" * 252, typed="CPS.0118"),
            "matches": Limit(([],), st.nothing(), ()),
            "matches[].key": word("CPS.0118", "resource_name"),
            "matches[].value": text("CPS.0118", 255, unit="characters", empty="")._replace(missing="CPS.0118"),
        },
    ),
    "AddImageMember": Operation(custom_images.add_image_member, {"member": "a"}, {"member": text("CPS.0046", 64)}),
    "UpdateImageMember": Operation(
        custom_images.update_image_member, {"status": "accepted"}, {"status": word("CPS.0010", "accepted", "rejected")}
    ),
    "AuthorizeScheduledEvent": Operation(
        scheduled_events.authorize_scheduled_event,
        {"authorization_type": "maintenance", "not_before": ORDINARY_TIME},
        {
            "authorization_type": Limit(
                ("maintenance",), st.nothing(), word("CPS.0116", "maintenance", "redeploy").refused, "CPS.0116"
            ),
            "not_before": moment("CPS.0174"),
        },
    ),
    "UpdateScheduledEvent": Operation(
        scheduled_events.update_scheduled_event, {"not_before": ORDINARY_TIME}, {"not_before": moment("CPS.0174", "CPS.0174")}
    ),
    "RestartEncodeServer": Operation(
        encode_servers.restart_encode_server,
        {"encode_server_ids": [ID]},
        {"encode_server_ids": several(100, "CPS.0122", ids, typed="CPS.0122", empty="CPS.0122")},
    ),
    "UpdateBandwidth": Operation(
        bandwidths.update_bandwidth,
        {"band_width_size": 100},
        {
            "band_width_size": number("CPS.0036", 1, 2000)._replace(
                edges=(1, 300, 350, 1000, 1500, 2000),
                good=st.integers(1, 300) | st.integers(6, 20).map(lambda one: one * 50) | st.sampled_from((1500, 2000)),
                refused=(
                    *number("CPS.0036", 1, 2000).refused,
                    number("CPS.0036", 301, 349).refused[2],
                    *text("CPS.0036", typed=False).refused,
                ),
            )
        },
    ),
    "CreateToken": Operation(
        identity_checks.create_token,
        TOKEN,
        {
            "auth": nested(REFUSED),
            "auth.identity": nested(REFUSED),
            "auth.identity.methods": several(1, REFUSED, lambda one: "password", typed=REFUSED, empty=REFUSED),
            "auth.identity.password": nested(REFUSED),
            IN_USER: nested(REFUSED),
            f"{IN_USER}.id": IDENTITY_NAME,
            f"{IN_USER}.name": IDENTITY_NAME,
            f"{IN_USER}.password": text(REFUSED, 1024),
            f"{IN_USER}.domain": nested(REFUSED, optional=True),
            f"{IN_USER}.domain.id": IDENTITY_NAME,
            f"{IN_USER}.domain.name": IDENTITY_NAME,
            "auth.scope": nested(REFUSED, optional=True),
            "auth.scope.project": nested(REFUSED, optional=True),
            "auth.scope.project.id": IDENTITY_NAME,
            "auth.scope.project.name": IDENTITY_NAME,
            "auth.scope.domain": nested(REFUSED, optional=True),
        },
    ),
    "CreateToken for a domain": Operation(
        identity_checks.create_token,
        {"auth": {"identity": TOKEN["auth"]["identity"], "scope": {"domain": {"id": "d", "name": "d"}}}},
        {"auth.scope.domain.id": IDENTITY_NAME, "auth.scope.domain.name": IDENTITY_NAME},
    ),
    # --- queries
    "ListCloudPhoneServers": Operation(
        query_checks.list_cloud_phone_servers,
        {},
        {
            **page(100),
            "server_name": filtered("CPS.0087"),
            "server_id": asked_id("CPS.0016"),
            "network_version": asked_word("CPS.0240", "v1", "v2", any_case=True),
            "phone_model_name": filtered("CPS.0028"),
            **SINCE,
            "status": asked_choice("CPS.0010", 0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13),
        },
        query=True,
    ),
    "ListCloudPhones": Operation(
        query_checks.list_cloud_phones,
        {},
        {
            **page(200),
            "phone_name": filtered("CPS.0025"),
            "server_id": asked_id("CPS.0016"),
            "status": asked_choice("CPS.0010", 0, 1, 2, 3, 4, 6, 7, 8, -5, -6, -7, -8, -9),
            "type": asked_choice("CPS.0116", 0, 1),
        },
        query=True,
    ),
    "ListCloudPhoneServerModels": Operation(
        query_checks.list_cloud_phone_server_models,
        {},
        {"product_type": asked_choice("CPS.0144", 0, 1), **MARKER, "limit": asked("CPS.0002", 1, 100)},
        query=True,
    ),
    "ListCloudPhoneModels": Operation(
        query_checks.list_cloud_phone_models, {}, {"status": asked_choice("CPS.0010", 0, 1), **page(100)}, query=True
    ),
    "ListCloudPhoneImages": Operation(
        query_checks.list_cloud_phone_images,
        {},
        {"image_type": asked_word("CPS.0116", "public", "private", "share", "all"), **MARKER, "limit": asked("CPS.0002", 1, 500)},
        query=True,
    ),
    "ListJobs": Operation(
        query_checks.list_jobs,
        {"request_ids": ID},
        {
            "request_ids": made(
                "CPS.0161",
                20,
                st.integers(1, 20).map(lambda n: ",".join(map(ids, range(n)))),
                lambda n: ",".join(map(ids, range(n))),
                (),
                missing="CPS.0049",
                typed=False,
            ),
            "request_id": Limit((ID, ""), st.nothing(), ()),
            **page(100),
        },
        query=True,
    ),
    "ListProjectTags": Operation(query_checks.list_project_tags, {}, page(100), query=True),
    "ListCloudPhoneServerModelOfferings": Operation(
        query_checks.list_cloud_phone_server_model_offerings, {}, {**MARKER, "limit": asked("CPS.0002", 1, 1000)}, query=True
    ),
    "ListImages": Operation(
        custom_images.list_images,
        {},
        {
            **page(100),
            "image_type": asked_word("CPS.0116", "private", "share"),
            "status": asked_choice("CPS.0010", 0, 1, 2),
            "image_id": asked_id("CPS.0030"),
            "image_name": filtered("CPS.0162"),
            **SINCE,
            "src_project_id": text("CPS.0046", 64, empty="", optional=True, typed=False),
        },
        query=True,
    ),
    "ListImageMembers": Operation(custom_images.list_image_members, {}, {**MARKER, **page(100)}, query=True),
    "ListEncodeServers": Operation(
        encode_servers.list_encode_servers,
        {},
        {
            **page(100),
            "type": asked_choice("CPS.0116", 0, 1),
            "status": asked_choice("CPS.0010", 0, 1, 2, 3, 4, 5, 100, 1014),
            "server_id": asked_id("CPS.0016"),
        },
        query=True,
    ),
    "ListScheduledEvents": Operation(
        scheduled,
        {},
        {
            "limit": asked("CPS.0002", 1, 100),
            **MARKER,
            "event_id": uuid("CPS.0017", empty="", optional=True)._replace(refused=uuid("CPS.0017").refused[1:2]),
            "server_id": asked_id("CPS.0016"),
            "publish_since": moment("CPS.0174", typed=False),
            "publish_until": moment("CPS.0174", typed=False),
            "state": Limit(
                (),
                st.sampled_from(("inquiring", "scheduled", "executing", "completed", "failed", "canceled")),
                word("CPS.0010", "inquiring").refused[1:2],
            ),
            "type": Limit(
                (),
                st.sampled_from(("localdisk-recovery", "system-maintenance")),
                word("CPS.0116", "system-maintenance").refused[1:2],
            ),
        },
        query=True,
    ),
    "ShowBandwidthDetail": Operation(bandwidths.show_bandwidth_detail, {}, page(100), query=True),
}
