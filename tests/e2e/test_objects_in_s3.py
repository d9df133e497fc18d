"""Objects in an S3-compatible store, whose part is played by a second OpenCPH: pushed to a phone, exported to, restored from."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.objects import s3_of
from e2e.data_user import User
from opencph.testing import RunningCph, opencph_up


@pytest.fixture(scope="module")
def behind() -> Iterator[Any]:
    """An S3 client of the store that the objects lie in, with the bucket `behind`."""
    with opencph_up() as other:
        client = s3_of(other.credentials)
        client.create_bucket(Bucket="behind")
        yield client


@pytest.fixture(scope="module")
def in_front(behind: Any) -> Iterator[RunningCph]:
    """An OpenCPH whose objects all lie there."""
    keys = behind._request_signer._credentials
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
        patch.setenv("AWS_REGION", behind.meta.region_name)
        with opencph_up(settings={"objects": "s3://behind/all", "objects_endpoint": behind.meta.endpoint_url}) as cph:
            yield cph


def test_a_phone_takes_from_s3_what_it_is_pushed_exports_to_it_and_is_restored_from_it(in_front: RunningCph, behind: Any) -> None:
    user = User(in_front)
    phone, other = user.phones[:2]
    user.upload("in.tar", ("data/local/tmp/far.txt", tarfile.REGTYPE, b"from afar"))
    assert _keys(behind) == ["all/files/in.tar"]

    (pushed,) = user.push("obs://files/in.tar", phone)
    assert (pushed.status, pushed.error_msg or "") == (2, "")
    assert user.text("cat /data/local/tmp/far.txt", phone) == "from afar"

    exported = user.exported(phone, "out/all.tar", "/data/local/tmp")
    assert (exported.status, exported.error_msg or "") == (2, "")
    assert _keys(behind) == ["all/files/in.tar", "all/files/out/all.tar"]

    restored = user.restored(other, "out/all.tar")
    assert (restored.status, restored.error_msg or "") == (2, "")
    assert user.text("cat /data/local/tmp/far.txt", other) == "from afar"

    assert _kept_here(in_front.data) == [], "what lies in S3 lies nowhere else"


def test_what_is_not_in_s3_is_said_by_name(in_front: RunningCph) -> None:
    known = in_front.credentials
    client = s3_of(known)
    client.create_bucket(Bucket="empty")
    with pytest.raises(client.exceptions.NoSuchKey):
        client.get_object(Bucket="empty", Key="none.tar")
    assert client.list_objects_v2(Bucket="empty")["KeyCount"] == 0


def _keys(client: Any) -> list[str]:
    return [str(one["Key"]) for one in client.list_objects_v2(Bucket="behind").get("Contents", [])]


def _kept_here(data: Path) -> list[str]:
    return [str(path) for name in ("objects", "spool") for path in (data / name).rglob("*") if path.is_file()]
