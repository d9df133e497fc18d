"""Bodies of ADB commands, exports, restores and larger disks: every limit of every field, with its own code."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from opencph.wire import command_checks as checks
from opencph.wire.errors import CphError

PHONE = "a" * 32


def _refusal(check: Callable[[bytes], object], body: dict[str, Any]) -> str:
    with pytest.raises(CphError) as refused:
        check(json.dumps(body).encode())
    assert refused.value.message
    return refused.value.code


def _command(command: str, content: object, **more: object) -> dict[str, Any]:
    return {"command": command, "content": content, "phone_ids": [PHONE], **more}


@pytest.mark.parametrize(
    ("command", "content"),
    [
        ("push", "obs://push-bucket/my_apps/test.tar"),
        ("install", "-t -r obs://push-bucket/my_apps/test.apk"),
        ("install", "obs://bucket/a.apk"),
        ("install-multiple", " ".join(f"obs://bucket/{number}.apk" for number in range(50))),
        ("uninstall", "com.myapp.test"),
        ("uninstall", "-k com.myapp.test"),
        ("shell", "ls -l /system"),
        ("shell", "a" * 2048),
        ("shell", "getprop a=b & ls ? | cat"),
    ],
)
def test_the_examples_of_the_pages_are_accepted(command: str, content: str) -> None:
    found = checks.run_shell_command(json.dumps(_command(command, content)).encode())
    assert (found.command, found.content, found.phone_ids) == (command, content, (PHONE,))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (_command("format", "x"), "CPS.0117"),
        ({"content": "x", "phone_ids": [PHONE]}, "CPS.0117"),
        (_command("shell", ""), "CPS.0118"),
        (_command("shell", " "), "CPS.0118"),
        (_command("shell", 1), "CPS.0118"),
        (_command("shell", "a" * 2049), "CPS.0118"),
        (_command("shell", "echo $HOME"), "CPS.0118"),
        (_command("shell", "ls\nrm"), "CPS.0118"),
        (_command("push", "obs://bucket/a.zip"), "CPS.0118"),
        (_command("push", "http://bucket/a.tar"), "CPS.0118"),
        (_command("push", "obs://b/a.tar"), "CPS.0118"),
        (_command("push", f"obs://bucket/{'a' * 1020}.tar"), "CPS.0118"),
        (_command("install", "obs://bucket/a.txt"), "CPS.0119"),
        (_command("install", "obs://bucket/a.apk obs://bucket/b.apk"), "CPS.0118"),
        (_command("install", "-r"), "CPS.0118"),
        (_command("install", "-r-x obs://bucket/a.apk"), "CPS.0118"),
        (_command("install-multiple", " ".join(f"obs://bucket/{number}.apk" for number in range(51))), "CPS.0118"),
        (_command("install-multiple", "obs://bucket/a.apk" + " " * 8100), "CPS.0118"),
        (_command("uninstall", "nodots"), "CPS.0118"),
        (_command("uninstall", "com.a com.b"), "CPS.0118"),
        ({"command": "shell", "content": "ls"}, "CPS.0009"),
        (_command("shell", "ls", phone_ids=[]), "CPS.0009"),
        (_command("shell", "ls", phone_ids="x"), "CPS.0080"),
        (_command("shell", "ls", phone_ids=[1]), "CPS.0080"),
        (_command("shell", "ls", phone_ids=[PHONE] * 10_001), "CPS.0190"),
        (_command("shell", "ls", phone_ids=None, server_ids=[1]), "CPS.0094"),
        (_command("shell", "ls", phone_ids=None, server_ids=[PHONE] * 101), "CPS.0096"),
    ],
)
def test_a_wrong_command_gets_the_code_of_its_field(body: dict[str, Any], code: str) -> None:
    assert _refusal(checks.run_shell_command, body) == code


def test_of_phones_and_servers_the_phones_count() -> None:
    found = checks.run_shell_command(json.dumps(_command("shell", "ls", server_ids=["x"])).encode())
    assert (found.phone_ids, found.server_ids) == ((PHONE,), ())


def test_a_synchronous_command_is_a_shell_for_at_most_15_phones() -> None:
    assert checks.run_sync_command(json.dumps(_command("shell", "ls", phone_ids=[PHONE] * 15)).encode())
    assert _refusal(checks.run_sync_command, _command("shell", "ls", phone_ids=[PHONE] * 16)) == "CPS.0190"
    assert _refusal(checks.run_sync_command, _command("push", "obs://bucket/a.tar")) == "CPS.0117"


def _export(**changes: object) -> dict[str, Any]:
    info = {"phone_id": PHONE, "include_files": ["/data/app/com.a-*"], "bucket_name": "bucket", "object_path": "a/b_1.0+x=#.tar"}
    return {"storage_infos": [{**info, **changes}]}


def test_an_export_is_read_as_it_is_written() -> None:
    (info,) = checks.batch_export_cloud_phone_data(json.dumps(_export(exclude_files=["/data/app/com.a-x/"])).encode()).storage_infos
    assert (str(info.object), info.include_files, info.exclude_files) == (
        "obs://bucket/a/b_1.0+x=#.tar",
        ("/data/app/com.a-*",),
        ("/data/app/com.a-x",),
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"include_files": None}, "CPS.0168"),
        ({"include_files": []}, "CPS.0168"),
        ({"include_files": ["/system"]}, "CPS.0168"),
        ({"include_files": ["data"]}, "CPS.0168"),
        ({"include_files": ["/data/../system"]}, "CPS.0168"),
        ({"include_files": ["/data/*/x"]}, "CPS.0168"),
        ({"include_files": ["/data/a b"]}, "CPS.0168"),
        ({"include_files": ["/data/" + "a" * 4096]}, "CPS.0168"),
        ({"include_files": ["/data/misc/x"]}, "CPS.0168"),
        ({"include_files": ["/data/misc"]}, "CPS.0168"),
        ({"exclude_files": ["/etc"]}, "CPS.0169"),
        ({"bucket_name": "UPPER"}, "CPS.0134"),
        ({"bucket_name": None}, "CPS.0134"),
        ({"object_path": "a b"}, "CPS.0135"),
        ({"object_path": "a" * 1025}, "CPS.0135"),
        ({"object_path": "/"}, "CPS.0135"),
        ({"phone_id": None}, "CPS.0004"),
    ],
)
def test_a_wrong_export_gets_the_code_of_its_field(changes: dict[str, Any], code: str) -> None:
    assert _refusal(checks.batch_export_cloud_phone_data, _export(**changes)) == code


def test_misc_is_exported_together_with_what_it_needs() -> None:
    assert checks.batch_export_cloud_phone_data(
        json.dumps(_export(include_files=["/data/misc", "/data/system", "/data/system_de"])).encode()
    )


@pytest.mark.parametrize(
    ("check", "body", "code"),
    [
        (checks.batch_export_cloud_phone_data, {}, "CPS.0167"),
        (checks.batch_export_cloud_phone_data, {"storage_infos": "x"}, "CPS.0167"),
        (checks.batch_import_cloud_phone_data, {"restore_infos": []}, "CPS.0171"),
        (
            checks.batch_import_cloud_phone_data,
            {"restore_infos": [{"phone_id": PHONE, "bucket_name": "x", "object_path": "a"}]},
            "CPS.0134",
        ),
        (checks.expand_phone_data_volume_size, {"phones": []}, "CPS.0077"),
        (checks.expand_phone_data_volume_size, {"phones": [{"phone_id": PHONE}]}, "CPS.0077"),
        (checks.expand_phone_data_volume_size, {"phones": [{"phone_id": PHONE, "new_size": 32769}]}, "CPS.0077"),
        (checks.expand_phone_data_volume_size, {"phones": [{"phone_id": PHONE, "new_size": "9"}]}, "CPS.0077"),
    ],
)
def test_other_bodies_too(check: Callable[[bytes], object], body: dict[str, Any], code: str) -> None:
    assert _refusal(check, body) == code
