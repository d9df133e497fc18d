"""The fields of bodies about what is run in phones and put into them: commands, data, disks, shares; see `field_limits`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from opencph.wire import command_checks, share_checks, share_filesystems
from wire.limit_rules import (
    LETTERS,
    Limit,
    bucket,
    choice,
    content,
    item_id,
    made,
    number,
    object_path,
    package,
    paths,
    several,
    text,
    word,
)
from wire.operation_limits import ID, Operation, ids, phone_ids, phones, server_ids

OBJECT = {"bucket_name": "bucket", "object_path": "a.tar"}
OBJECT_LIMITS = {"bucket_name": bucket(), "object_path": object_path()}
TAR_LIMITS = {"bucket_name": bucket(), "object_path": object_path(".tar")}
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


def one_object(end: str, *refused: str, **foreign: str) -> Limit:
    """The place of one object whose name has this end, of four characters; `foreign` as `content` has it."""
    good = st.text(LETTERS + "_./:-", max_size=20).map(f"obs://bucket/a{{}}{end}".format)
    return content(good, lambda size: "obs://bucket/" + "a" * (size - 17) + end, 1024, *refused, **foreign)


PUSH = one_object(
    ".tar",
    "obs://bucket/a.zip",
    "obs://b/a.tar",
    "obs://bucket/",
    "s3://bucket/a.tar",
    "/a.tar",
    foreign="!$`'\"\n;手*&| ",
)
INSTALL = one_object(".apk", "obs://b/a.apk", "obs://bucket/a.apk obs://bucket/b.apk", "-r", "--_ obs://bucket/a.apk")


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
    return Operation(
        check,
        valid,
        {
            "command": word("CPS.0117", name),
            "content": limit,
            "phone_ids": phone_ids(most, missing="")._replace(refused=_whom(most)),
        },
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


COMMANDS: dict[str, Operation] = {
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
            "storage_infos[].phone_id": item_id("CPS.0004"),
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
            "restore_infos[].phone_id": item_id("CPS.0004"),
            **{f"restore_infos[].{name}": limit for name, limit in OBJECT_LIMITS.items()},
        },
    ),
    "ExpandPhoneDataVolumeSize": Operation(
        command_checks.expand_phone_data_volume_size,
        {"phones": [{"phone_id": ID, "new_size": 100}]},
        {
            "phones": phones(10_000, "CPS.0077", "CPS.0190", new_size=1),
            "phones[].phone_id": item_id("CPS.0004"),
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
}
