"""What a put says of its object is kept, checked or refused; keys that no listing can carry do not come to be."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from botocore.exceptions import ClientError
from obs import CreateBucketHeader, ObsClient

from api.api_service import Service
from objects.conftest import s3_client
from opencph.objects import ObjectStore, spooled


@pytest.fixture(scope="module")
def s3(service: Service) -> Any:
    client = s3_client(service)
    client.create_bucket(Bucket="kept")
    return client


def refusal(call: Any, **words: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as refused:
        call(**words)
    answer = refused.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_a_checksum_in_a_header_is_held_against_the_contents(s3: Any, name: str) -> None:
    word = f"Checksum{name.upper()}"
    right, wrong = (base64.b64encode(hashlib.new(name, data).digest()).decode() for data in (b"x", b"y"))
    assert refusal(s3.put_object, Bucket="kept", Key=name, Body=b"x", **{word: wrong}) == (400, "BadDigest")
    assert refusal(s3.head_object, Bucket="kept", Key=name)[0] == 404
    s3.put_object(Bucket="kept", Key=name, Body=b"x", **{word: right})
    begun = s3.create_multipart_upload(Bucket="kept", Key="joined")["UploadId"]
    part = {"Bucket": "kept", "Key": "joined", "UploadId": begun, "PartNumber": 1, "Body": b"x"}
    assert refusal(s3.upload_part, **part, **{word: wrong}) == (400, "BadDigest")
    etag = s3.upload_part(**part, **{word: right})["ETag"]
    whole = {"MultipartUpload": {"Parts": [{"ETag": etag, "PartNumber": 1}]}, word: right}
    joined = {"Bucket": "kept", "Key": "joined", "UploadId": begun}
    assert refusal(s3.complete_multipart_upload, **joined, **whole) == (501, "NotImplemented")


def test_a_checksum_that_is_not_computed_needs_a_digest_beside_it(service: Service) -> None:
    unsigned = s3_client(service, "s3")
    words = {"Bucket": "kept", "Key": "c", "Body": b"x", "ChecksumCRC32C": "AAAAAA=="}
    s3_client(service).create_bucket(Bucket="kept")
    assert refusal(unsigned.put_object, **words) == (501, "NotImplemented")
    s3_client(service).put_object(**words)  # its contents are signed


@pytest.mark.parametrize("parts", [False, True], ids=["put", "multipart"])
def test_headers_that_describe_an_object_come_back_with_it(s3: Any, parts: bool) -> None:
    said = {
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="a.bin"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "Metadata": {"expires": "mine"},
    }
    expires = "Wed, 01 Jan 2031 00:00:00 GMT"
    at = {"Bucket": "kept", "Key": "described"}
    if parts:
        begun = s3.create_multipart_upload(**at, **said, Expires=expires)["UploadId"]
        etag = s3.upload_part(**at, UploadId=begun, PartNumber=1, Body=b"x")["ETag"]
        s3.complete_multipart_upload(**at, UploadId=begun, MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": 1}]})
    else:
        s3.put_object(**at, **said, Expires=expires, Body=b"x")
    head = s3.head_object(**at)
    assert {name: head[name] for name in said} == said
    assert head["ResponseMetadata"]["HTTPHeaders"]["expires"] == expires
    assert s3.get_object(**at, ResponseCacheControl="no-store")["CacheControl"] == "no-store"


def test_both_stores_keep_descriptions_apart_from_metadata(store: ObjectStore) -> None:
    file = spooled(store)
    file.write(b"x")
    said = {"Cache-Control": "no-cache", "Content-Language": "de", "Expires": "Wed, 01 Jan 2031 00:00:00 GMT", "expires": "mine"}
    store.put("mine", "key", file, "text/plain", said)
    found = store.head("mine", "key")
    assert (found.content_type, dict(found.metadata)) == ("text/plain", said)


def test_a_bucket_of_another_class_or_place_is_not_made(s3: Any, service: Service) -> None:
    known = service.credentials
    for signature in ("obs", "v2", "v4"):
        client = ObsClient(known["access_key"], known["secret_key"], server=service.endpoint, path_style=True,
                           region=known["region"], signature=signature)  # fmt: skip
        refused = client.createBucket("kept-cold", CreateBucketHeader(storageClass="COLD"))
        assert (refused.status, refused.errorCode) == (501, "NotImplemented"), signature
        refused = client.createBucket("kept-cold", location="mars-1")
        assert (refused.status, refused.errorCode) == (400, "InvalidLocationConstraint"), signature
        assert client.createBucket("kept-here", location=known["region"]).status == 200
        client.close()
    place = {"LocationConstraint": "mars-1"}
    assert refusal(s3.create_bucket, Bucket="kept-cold", CreateBucketConfiguration=place) == (400, "InvalidLocationConstraint")
    assert refusal(s3.head_bucket, Bucket="kept-cold")[0] == 404


def test_a_put_that_should_redirect_is_refused(s3: Any) -> None:
    url = s3.generate_presigned_url("put_object", {"Bucket": "kept", "Key": "go"})
    refused = httpx.put(url, content=b"x", headers={"success-action-redirect": "http://127.0.0.1/"})
    assert (refused.status_code, "NotImplemented" in refused.text) == (501, True)
    assert refusal(s3.head_object, Bucket="kept", Key="go")[0] == 404


@pytest.mark.parametrize("key", ["c\x01d", "e\x1b", "f\ufffe"], ids=ascii)
def test_a_key_that_no_listing_can_carry_is_refused(s3: Any, key: str) -> None:
    assert refusal(s3.put_object, Bucket="kept", Key=key, Body=b"x") == (400, "InvalidArgument")
    assert refusal(s3.create_multipart_upload, Bucket="kept", Key=key) == (400, "InvalidArgument")
    assert refusal(s3.get_object, Bucket="kept", Key=key) == (404, "NoSuchKey")  # in XML that can be read


def test_a_directory_with_odd_names_is_listed_page_by_page(s3: Any, service: Service) -> None:
    s3.create_bucket(Bucket="odd-names")
    keys = ["a\x01b", "a\x02b", "b%41", "c\rd", "z"]
    for key in keys:  # put there by other means
        (Path(service.data) / "objects" / "odd-names" / key.replace("%", "%25")).write_bytes(b"x")
    found = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="odd-names", PaginationConfig={"PageSize": 1}):
        found += [one["Key"] for one in page.get("Contents", [])]
    assert found == keys, [quote(key) for key in found]
    known = service.credentials
    client = ObsClient(known["access_key"], known["secret_key"], server=service.endpoint, path_style=True, region=known["region"])
    plain = client.listObjects("odd-names")  # asks for no encoding
    assert [one.key for one in plain.body.contents] == ["a\ufffdb", "a\ufffdb", "b%41", "c\rd", "z"]
    client.close()


def test_uploads_and_parts_are_not_listed_and_it_is_said_so(s3: Any) -> None:
    begun = s3.create_multipart_upload(Bucket="kept", Key="parts")["UploadId"]
    assert refusal(s3.list_multipart_uploads, Bucket="kept") == (501, "NotImplemented")
    assert refusal(s3.list_parts, Bucket="kept", Key="parts", UploadId=begun) == (501, "NotImplemented")
    s3.abort_multipart_upload(Bucket="kept", Key="parts", UploadId=begun)
