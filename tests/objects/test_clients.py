"""Object storage over HTTP, as the vendor's SDK (in its three signatures) and an S3 client speak it. Both unmodified."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from botocore.exceptions import ClientError
from obs import DeleteObjectsRequest, Object, ObsClient

from api.api_service import Service
from objects.conftest import s3_client


@pytest.fixture(params=["obs", "v2", "v4"])
def obs(request: pytest.FixtureRequest, service: Service) -> Any:
    """The vendor's client."""
    known = service.credentials
    client = ObsClient(
        access_key_id=known["access_key"],
        secret_access_key=known["secret_key"],
        server=service.endpoint,
        signature=request.param,
        path_style=True,
        region=known["region"],
    )
    yield client
    client.close()


def test_the_vendors_sdk_makes_buckets_and_keeps_objects(obs: Any, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    assert obs.createBucket("vendor").status == 200
    assert obs.headBucket("vendor").status == 200
    assert obs.putContent("vendor", "k/é 1+&.txt", "hello", metadata={"colour": "blue"}).status == 200
    assert obs.putFile("vendor", "file", str(tmp_path / "file")).status == 200
    assert obs.getObject("vendor", "file", downloadPath=str(tmp_path / "back")).status == 200
    assert (tmp_path / "back").read_bytes() == data
    head = obs.getObjectMetadata("vendor", "k/é 1+&.txt")
    assert (head.status, head.body.contentLength, dict(head.header)["colour"]) == (200, 5, "blue")
    listed = obs.listObjects("vendor", prefix="k/")
    assert [one.key for one in listed.body.contents] == ["k/é 1+&.txt"]
    assert [one.commonPrefixs[0].prefix for one in [obs.listObjects("vendor", delimiter="/").body]] == ["k/"]
    assert "vendor" in [bucket.name for bucket in obs.listBuckets().body.buckets]
    assert (obs.getObjectMetadata("vendor", "none").status, obs.getObject("vendor", "none").errorCode) == (404, "NoSuchKey")
    assert obs.deleteBucket("vendor").errorCode == "BucketNotEmpty"
    assert obs.deleteObject("vendor", "file").status == 204
    asked = DeleteObjectsRequest(quiet=False, objects=[Object(key="k/é 1+&.txt")])
    assert [one.key for one in obs.deleteObjects("vendor", asked).body.deleted] == ["k/é 1+&.txt"]
    assert obs.deleteBucket("vendor").status == 204
    assert obs.headBucket("vendor").status == 404


def test_an_s3_client_uploads_in_parts_and_pages(service: Service, tmp_path: Path) -> None:
    s3 = s3_client(service)
    s3.create_bucket(Bucket="parts")
    data = os.urandom(20 << 20)
    (tmp_path / "file").write_bytes(data)
    s3.upload_file(str(tmp_path / "file"), "parts", "big")
    s3.download_file("parts", "big", str(tmp_path / "back"))
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(data).digest()
    assert s3.get_object(Bucket="parts", Key="big", Range="bytes=-7")["Body"].read() == data[-7:]
    for number in range(5):
        s3.put_object(Bucket="parts", Key=f"d/{number}/x", Body=b"")
        s3.put_object(Bucket="parts", Key=f"d/{number}/y", Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="parts", Delimiter="/", Prefix="d/", PaginationConfig={"PageSize": 2}
    )
    assert [[one["Prefix"] for one in page["CommonPrefixes"]] for page in pages] == [["d/0/", "d/1/"], ["d/2/", "d/3/"], ["d/4/"]]
    keys = [one["Key"] for page in s3.get_paginator("list_objects").paginate(Bucket="parts", PaginationConfig={"PageSize": 3})
            for one in page["Contents"]]  # fmt: skip
    assert len(keys) == 11 and keys == sorted(keys)


def test_an_upload_that_is_aborted_leaves_nothing(service: Service) -> None:
    s3 = s3_client(service)
    s3.create_bucket(Bucket="aborted")
    begun = s3.create_multipart_upload(Bucket="aborted", Key="key")["UploadId"]
    s3.upload_part(Bucket="aborted", Key="key", UploadId=begun, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(Bucket="aborted", Key="key", UploadId=begun)
    with pytest.raises(ClientError) as refused:
        s3.upload_part(Bucket="aborted", Key="key", UploadId=begun, PartNumber=2, Body=b"x")
    assert refused.value.response["Error"]["Code"] == "NoSuchUpload"
    assert "Contents" not in s3.list_objects_v2(Bucket="aborted")


@pytest.mark.parametrize(
    ("bucket", "code"), [("ab", "InvalidBucketName"), ("Upper", "InvalidBucketName"), ("a..b", "InvalidBucketName")]
)
def test_names_that_no_bucket_may_have(bucket: str, code: str, service: Service) -> None:
    s3 = s3_client(service)
    s3.meta.events.unregister("before-parameter-build.s3")
    with pytest.raises(Exception, match=r"InvalidBucketName|Invalid bucket name"):
        s3.create_bucket(Bucket=bucket)


def test_a_wrong_secret_an_unknown_key_and_an_unknown_function_are_refused(service: Service) -> None:
    import boto3

    known = service.credentials
    for access_key, secret, code in [
        (known["access_key"], "wrong", "SignatureDoesNotMatch"),
        ("UNKNOWN", known["secret_key"], "InvalidAccessKeyId"),
    ]:
        client = boto3.client("s3", endpoint_url=service.endpoint, aws_access_key_id=access_key, aws_secret_access_key=secret,
                              region_name="x")  # fmt: skip
        with pytest.raises(ClientError) as refused:
            client.list_buckets()
        assert refused.value.response["Error"]["Code"] == code
    s3 = s3_client(service)
    s3.create_bucket(Bucket="functions")
    with pytest.raises(ClientError) as refused:
        s3.get_bucket_acl(Bucket="functions")
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    with pytest.raises(ClientError) as refused:
        s3.copy_object(Bucket="functions", Key="a", CopySource="functions/b")
    assert refused.value.response["Error"]["Code"] == "NotImplemented"


def test_without_a_signature_there_is_no_object_storage(service: Service) -> None:
    assert httpx.get(f"{service.endpoint}/functions/key").json()["error_code"] == "APIGW.0101"


def test_contents_that_are_not_what_was_signed_are_not_kept(service: Service) -> None:
    s3 = s3_client(service)
    s3.create_bucket(Bucket="signed")
    link = s3.meta.events

    def spoil(request: Any, **_: Any) -> None:
        request.data = b"other"
        request.headers.replace_header("Content-Length", "5")

    link.register("before-send.s3.PutObject", lambda request, **_: setattr(request, "body", b"OTHER"))
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket="signed", Key="key", Body=b"right")
    assert refused.value.response["Error"]["Code"] in ("XAmzContentSHA256Mismatch", "BadDigest")
    assert "Contents" not in s3.list_objects_v2(Bucket="signed")


def test_large_contents_do_not_pass_through_memory(service: Service, tmp_path: Path) -> None:
    s3 = s3_client(service)
    s3.create_bucket(Bucket="large")
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(300 << 20)
    process = psutil.Process(service.process.pid)
    most = before = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    with path.open("rb") as contents:
        s3.put_object(Bucket="large", Key="key", Body=contents)
    got = s3.get_object(Bucket="large", Key="key")["Body"]
    size = sum(len(piece) for piece in got.iter_chunks(1 << 20))
    done.set()
    watching.join()
    assert size == 300 << 20
    assert most - before < 64 << 20, (before, most)


def test_the_command_line_puts_lists_gets_and_removes(service: Service, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "opencph", "objects", *words, "--data", str(service.data)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "app.apk").write_bytes(b"apk")
    run("put", str(tmp_path / "app.apk"), "obs://cli-bucket/dir/")
    assert "obs://cli-bucket/dir/app.apk" in run("ls", "obs://cli-bucket")
    assert "obs://cli-bucket/" in run("ls")
    run("get", "obs://cli-bucket/dir/app.apk", str(tmp_path / "back.apk"))
    assert (tmp_path / "back.apk").read_bytes() == b"apk"
    assert s3_client(service).get_object(Bucket="cli-bucket", Key="dir/app.apk")["Body"].read() == b"apk"
    run("rm", "--recursive", "obs://cli-bucket")
    assert "cli-bucket" not in run("ls")
    refused = subprocess.run(
        [sys.executable, "-m", "opencph", "objects", "get", "obs://cli-bucket/none", "x", "--data", str(service.data)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1 and "no object" in refused.stderr
