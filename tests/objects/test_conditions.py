"""What a request insists on: conditions are kept or refused, and nothing that protects an object is passed over in silence."""

from __future__ import annotations

import os
import threading
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from obs import ObsClient

from api.api_service import Service
from objects.conftest import s3_client
from opencph.objects import ALWAYS, Condition, ObjectError, ObjectStore, spooled


@pytest.fixture(scope="module")
def s3(service: Service) -> Any:
    client = s3_client(service)
    client.create_bucket(Bucket="insist")
    return client


def code_of(call: Any, **words: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**words)
    return str(refused.value.response["Error"]["Code"])


def body(s3: Any, key: str) -> bytes:
    found: bytes = s3.get_object(Bucket="insist", Key=key)["Body"].read()
    return found


def test_an_object_that_must_not_be_there_is_not_overwritten(s3: Any) -> None:
    s3.put_object(Bucket="insist", Key="new", Body=b"first", IfNoneMatch="*")
    assert code_of(s3.put_object, Bucket="insist", Key="new", Body=b"second", IfNoneMatch="*") == "PreconditionFailed"
    assert body(s3, "new") == b"first"
    assert code_of(s3.put_object, Bucket="insist", Key="new", Body=b"second", IfNoneMatch='"x"') == "NotImplemented"


def test_only_the_object_that_one_knows_is_replaced_or_deleted(s3: Any) -> None:
    etag = s3.put_object(Bucket="insist", Key="known", Body=b"first")["ETag"]
    assert code_of(s3.put_object, Bucket="insist", Key="known", Body=b"x", IfMatch='"nonsense"') == "PreconditionFailed"
    assert code_of(s3.put_object, Bucket="insist", Key="none", Body=b"x", IfMatch=etag) == "NoSuchKey"
    assert code_of(s3.delete_object, Bucket="insist", Key="known", IfMatch='"nonsense"') == "PreconditionFailed"
    assert body(s3, "known") == b"first"
    second = s3.put_object(Bucket="insist", Key="known", Body=b"second", IfMatch=etag)["ETag"]
    assert code_of(s3.delete_object, Bucket="insist", Key="known", IfMatch=etag) == "PreconditionFailed"
    s3.delete_object(Bucket="insist", Key="known", IfMatch=second)
    assert code_of(s3.get_object, Bucket="insist", Key="known") == "NoSuchKey"


def test_an_upload_in_parts_is_conditional_when_it_is_joined(s3: Any) -> None:
    s3.put_object(Bucket="insist", Key="parts", Body=b"first")
    begun = s3.create_multipart_upload(Bucket="insist", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="insist", Key="parts", UploadId=begun, PartNumber=1, Body=b"x")["ETag"]
    words = {"Bucket": "insist", "Key": "parts", "UploadId": begun, "MultipartUpload": {"Parts": [{"ETag": part, "PartNumber": 1}]}}
    assert code_of(s3.complete_multipart_upload, IfNoneMatch="*", **words) == "PreconditionFailed"
    assert body(s3, "parts") == b"first"
    s3.complete_multipart_upload(**words)
    assert body(s3, "parts") == b"x"


def test_reading_is_conditional_by_etag_and_time(s3: Any) -> None:
    etag = s3.put_object(Bucket="insist", Key="read", Body=b"x")["ETag"]
    changed = s3.head_object(Bucket="insist", Key="read")["LastModified"]
    assert code_of(s3.get_object, Bucket="insist", Key="read", IfNoneMatch=etag) == "304"
    assert code_of(s3.get_object, Bucket="insist", Key="read", IfModifiedSince=changed) == "304"
    assert code_of(s3.get_object, Bucket="insist", Key="read", IfMatch='"x"') == "PreconditionFailed"
    assert code_of(s3.get_object, Bucket="insist", Key="read", IfUnmodifiedSince=changed.replace(year=2001)) == "PreconditionFailed"
    assert s3.get_object(Bucket="insist", Key="read", IfMatch=etag, IfUnmodifiedSince=changed.replace(year=2001))["ETag"] == etag


@pytest.mark.parametrize(
    "words",
    [
        {"ACL": "public-read"},
        {"ServerSideEncryption": "AES256"},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
        {"Tagging": "a=b"},
        {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "2099-01-01T00:00:00Z"},
        {"ObjectLockLegalHoldStatus": "ON"},
        {"WebsiteRedirectLocation": "/elsewhere"},
        {"StorageClass": "GLACIER"},
        {"GrantRead": "id=x"},
    ],
    ids=lambda words: min(words),
)
def test_what_would_protect_or_publish_an_object_is_refused_and_nothing_is_kept(
    s3: Any, words: dict[str, str], service: Service
) -> None:
    secure = "SSECustomerAlgorithm" in words
    if secure:  # the client itself insists on TLS for keys of the customer's
        headers = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}
        url = s3.generate_presigned_url("put_object", {"Bucket": "insist", "Key": "guarded"})
        assert httpx.put(url, headers=headers, content=b"x").status_code in (403, 501)
    else:
        assert code_of(s3.put_object, Bucket="insist", Key="guarded", Body=b"x", **words) == "NotImplemented"
        assert code_of(s3.create_multipart_upload, Bucket="insist", Key="guarded", **words) == "NotImplemented"
    assert code_of(s3.get_object, Bucket="insist", Key="guarded") == "NoSuchKey"


@pytest.mark.parametrize(
    "words", [{"ACL": "public-read"}, {"ObjectLockEnabledForBucket": True}, {"ObjectOwnership": "ObjectWriter"}]
)
def test_a_bucket_that_should_be_what_none_is_here_is_not_made(s3: Any, words: dict[str, Any]) -> None:
    assert code_of(s3.create_bucket, Bucket="insist-2", **words) == "NotImplemented"
    assert code_of(s3.head_bucket, Bucket="insist-2") == "404"


def test_asking_for_what_is_so_anyway_is_fine(s3: Any, service: Service) -> None:
    domain_id = service.credentials["domain_id"]
    s3.put_object(Bucket="insist", Key="as-is", Body=b"x", ACL="private", StorageClass="STANDARD", ExpectedBucketOwner=domain_id)
    assert code_of(s3.get_object, Bucket="insist", Key="as-is", ExpectedBucketOwner="0" * 12) == "AccessDenied"


def test_the_vendors_client_cannot_publish_either(service: Service, s3: Any) -> None:
    from obs import HeadPermission, PutObjectHeader

    known = service.credentials
    client = ObsClient(known["access_key"], known["secret_key"], server=service.endpoint, path_style=True, region=known["region"])
    refused = client.putContent("insist", "open", "x", headers=PutObjectHeader(acl=HeadPermission.PUBLIC_READ))
    assert (refused.status, refused.errorCode) == (501, "NotImplemented")
    client.close()


@pytest.mark.parametrize(
    ("key", "headers", "status"),
    [
        ("k" * 300, {}, 400),
        ("d/" * 600, {}, 400),
        ("md5", {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, 400),
        ("new/below", {}, 409),
    ],
)
def test_a_refused_upload_is_answered_although_its_body_has_been_read(
    s3: Any, key: str, headers: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket="insist", Key="new", Body=b"first")
    url = s3.generate_presigned_url("put_object", {"Bucket": "insist", "Key": key})
    # A server that waits for more of a body that it has read whole answers after five seconds.
    assert httpx.put(url, content=b"x" * 100_000, headers=headers, timeout=4.5).status_code == status


# --- signed URLs ----------------------------------------


def test_a_signed_url_of_an_s3_client_puts_and_gets(s3: Any, service: Service) -> None:
    for version in ("s3v4", "s3"):
        client = s3_client(service, version)
        key = f"dir/é 1+&ü{version}.txt"
        assert (
            httpx.put(client.generate_presigned_url("put_object", {"Bucket": "insist", "Key": key}), content=b"hello").status_code
            == 200
        )
        words = {"Bucket": "insist", "Key": key, "ResponseContentDisposition": "attachment", "ResponseContentType": "text/x-mine"}
        url = client.generate_presigned_url("get_object", words)
        got = httpx.get(url, headers={"Range": "bytes=1-3"})
        assert (got.status_code, got.content, got.headers["content-disposition"]) == (206, b"ell", "attachment"), got.text
        assert got.headers["content-type"] == "text/x-mine"
        assert httpx.put(url, content=b"other").status_code == 403
        assert httpx.get(url.replace("insist", "behind", 1)).status_code == 403
        over = client.generate_presigned_url("get_object", words, ExpiresIn=-5)
        assert httpx.get(over).status_code == 403
        assert httpx.get(url + "&versionId=1").status_code in (403, 501)


@pytest.mark.parametrize("signature", ["obs", "v2", "v4"])
def test_a_signed_url_of_the_vendors_client_puts_and_gets(signature: str, s3: Any, service: Service) -> None:
    known = service.credentials
    client = ObsClient(known["access_key"], known["secret_key"], server=service.endpoint, path_style=True, region=known["region"],
                       signature=signature)  # fmt: skip
    key = f"signed/{signature} é.bin"
    put = client.createSignedUrl("PUT", "insist", key, expires=60)
    done = httpx.put(put.signedUrl, headers={k: v for k, v in put.actualSignedRequestHeaders.items() if v}, content=b"hello")
    assert done.status_code == 200, done.text
    got = client.createSignedUrl("GET", "insist", key, expires=60)
    assert httpx.get(got.signedUrl, headers=got.actualSignedRequestHeaders).content == b"hello"
    assert httpx.get(got.signedUrl[:-3] + "AAA", headers=got.actualSignedRequestHeaders).status_code == 403
    client.close()


# --- the port ----------------------------------------


def put(store: ObjectStore, key: str, data: bytes, condition: Condition = ALWAYS) -> str:
    file = spooled(store)
    file.write(data)
    return store.put("mine", key, file, condition=condition).etag


def test_both_stores_keep_conditions(store: ObjectStore) -> None:
    first = put(store, "a/key", b"1", Condition(absent=True))
    for condition, code in [
        (Condition(absent=True), "PreconditionFailed"),
        (Condition(frozenset({"other"})), "PreconditionFailed"),
    ]:
        with pytest.raises(ObjectError) as refused:
            put(store, "a/key", b"2", condition)
        assert refused.value.code == code
    second = put(store, "a/key", b"2", Condition(frozenset({first})))
    with pytest.raises(ObjectError, match="another ETag"):
        store.delete("mine", "a/key", Condition(frozenset({first})))
    assert b"".join(store.read("mine", "a/key")) == b"2"
    store.delete("mine", "a/key", Condition(frozenset({second})))
    with pytest.raises(ObjectError, match="no object"):
        put(store, "a/key", b"3", Condition(frozenset({second})))


def test_of_many_who_make_the_same_object_at_once_one_does(store: ObjectStore) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def make(number: int) -> None:
        start.wait(10)
        try:
            put(store, "race", os.urandom(1000), Condition(absent=True))
            won.append(number)
        except ObjectError as error:
            assert error.code == "PreconditionFailed", error

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
