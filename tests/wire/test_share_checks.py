"""Bodies and queries of shared apps and files: every limit of every field, with its own code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opencph.wire import share_checks as checks
from opencph.wire.errors import CphError
from opencph.wire.shares import DeleteShareFilesRequest, PushShareFilesRequest

SERVER = "a" * 32


def _app(**changes: object) -> bytes:
    body = {"package_name": "com.a.b", "bucket_name": "bucket", "object_path": "a/com.a.b_1.tar", "server_ids": [SERVER]}
    return json.dumps({**body, **changes}).encode()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"package_name": "nodots"}, "CPS.0173"),
        ({"package_name": "1com.a"}, "CPS.0173"),
        ({"package_name": "com.a."}, "CPS.0173"),
        ({"package_name": "com." + "a" * 128}, "CPS.0173"),
        ({"pre_install_app": 2}, "CPS.0173"),
        ({"pre_install_app": "1"}, "CPS.0173"),
        ({"bucket_name": "B"}, "CPS.0134"),
        ({"object_path": "a.zip"}, "CPS.0135"),
        ({"object_path": "a b.tar"}, "CPS.0135"),
        ({"server_ids": []}, "CPS.0095"),
        ({"server_ids": None}, "CPS.0095"),
        ({"server_ids": [1]}, "CPS.0094"),
        ({"server_ids": [SERVER] * 21}, "CPS.0096"),
    ],
)
def test_a_wrong_push_of_an_app_gets_the_code_of_its_field(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(CphError) as refused:
        checks.push_share_apps(_app(**changes))
    assert refused.value.code == code


def test_the_limits_themselves_are_accepted() -> None:
    found = checks.push_share_apps(_app(package_name="com." + "a" * 124, pre_install_app=1, server_ids=[SERVER] * 20))
    assert (found.pre_install_app, len(found.server_ids)) == (1, 20)


def test_the_body_decides_whether_files_are_pushed_or_removed() -> None:
    pushed = checks.push_share_files(_app())
    removed = checks.push_share_files(json.dumps({"server_ids": [SERVER], "file_paths": ["/data/a b"]}).encode())
    assert isinstance(pushed, PushShareFilesRequest)
    assert isinstance(removed, DeleteShareFilesRequest)


@pytest.mark.parametrize("paths", [[], ["data"], ["/data/../x"], ["/data/ü"], ["/" + "a" * 4096], [1], "x", ["/a"] * 1001])
def test_wrong_paths_to_remove(paths: object) -> None:
    with pytest.raises(CphError) as refused:
        checks.push_share_files(json.dumps({"server_ids": [SERVER], "file_paths": paths}).encode())
    assert refused.value.code == "CPS.0155"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"path": "/data"}, "CPS.0095"),
        ({"server_ids": ",".join([SERVER] * 101), "path": "/data"}, "CPS.0096"),
        ({"server_ids": SERVER}, "CPS.0199"),
        ({"server_ids": SERVER, "path": "/"}, "CPS.0199"),
        ({"server_ids": SERVER, "path": "data"}, "CPS.0199"),
        ({"server_ids": SERVER, "path": "/a//b"}, "CPS.0199"),
        ({"server_ids": SERVER, "path": "/a/../b"}, "CPS.0199"),
        ({"server_ids": SERVER, "path": "/a b"}, "CPS.0199"),
        ({"server_ids": SERVER, "path": "/a", "limit": "51"}, "CPS.0002"),
        ({"server_ids": SERVER, "path": "/a", "limit": "0"}, "CPS.0002"),
        ({"server_ids": SERVER, "path": "/a", "offset": "-1"}, "CPS.0002"),
    ],
)
def test_a_wrong_listing_gets_the_code_of_its_field(query: dict[str, str], code: str) -> None:
    with pytest.raises(CphError) as refused:
        checks.list_share_files(query)
    assert refused.value.code == code


def test_a_listing_without_limit_has_50_entries() -> None:
    assert checks.list_share_files({"server_ids": SERVER, "path": "/data/data"}).limit == 50
    assert checks.list_share_apps_snapshot({}).limit == 100
