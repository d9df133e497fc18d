"""The signature, against the vendor's own signer, and against everything that must not pass."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from hypothesis import given, settings
from hypothesis import strategies as st

from opencph.wire.signatures import SignatureError, SigningKey, parse_authorization, parse_date, sign, verify

SECRET = "kM3ltGGGnKDkx6bbbTgsE5Xd9pL7sQ2RwYv8Zj4h"
PATH = "/v1/0a1b2c3d4e5f60718293a4b5c6d7e8f9/cloud-phone/phones/1564567b8bab40f34711234cb80d8574"
HEADERS = {
    "Content-Type": "application/json",
    "Host": "127.0.0.1:8580",
    "User-Agent": "huaweicloud-usdk-python/3.0",
    "X-Project-Id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "X-Sdk-Date": "20261122T124211Z",
}


def on_the_wire(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


def signed_by_the_sdk(
    method: str, path: str, query: list[tuple[str, object]], body: str, headers: dict[str, str] | None = None
) -> tuple[dict[bytes, bytes], bytes, bytes]:
    """Headers, raw path and raw query as the vendor's SDK sends them."""
    request = SdkRequest(
        method=method,
        schema="http",
        host="127.0.0.1:8580",
        resource_path=path,
        query_params=query,
        header_params={"Content-Type": "application/json", **(headers or {})},
        body=body,
    )
    signed = Signer(BasicCredentials("AK", SECRET)).sign(request)
    raw_path, _, raw_query = signed.uri.partition("?")
    return on_the_wire(signed.header_params), raw_path.encode(), raw_query.encode()


def check(method: str, raw_path: bytes, raw_query: bytes, headers: dict[bytes, bytes], body: bytes, secret: str = SECRET) -> None:
    authorization = parse_authorization(headers[b"authorization"])
    assert authorization.access_key == "AK"
    verify(authorization, SigningKey(secret.encode()), method.encode(), raw_path, raw_query, headers, body)


text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    segments=st.lists(text.filter(lambda segment: segment not in ("", ".", "..")), min_size=1, max_size=4),
    query=st.lists(st.tuples(text.filter(bool), text), max_size=4, unique_by=lambda pair: pair[0]),
    body=st.text(st.characters(blacklist_categories=["Cs"]), max_size=40),
)
def test_what_the_sdk_signs_is_accepted(method: str, segments: list[str], query: list[tuple[str, object]], body: str) -> None:
    path = "/" + "/".join(quote(segment, safe="~") for segment in segments)
    headers, raw_path, raw_query = signed_by_the_sdk(method, path, query, body)
    check(method, raw_path, raw_query, headers, body.encode())


def test_the_sdks_list_and_boolean_parameters_are_accepted() -> None:
    headers, raw_path, raw_query = signed_by_the_sdk("GET", PATH, [("state", ["b", "a"]), ("flag", True), ("limit", 10)], "")
    check("GET", raw_path, raw_query, headers, b"")


def test_the_sdks_unsigned_payload_is_accepted_and_covers_everything_else() -> None:
    headers, raw_path, raw_query = signed_by_the_sdk("POST", PATH, [], "a=b", {"Content-Type": "text/plain"})
    assert headers[b"x-sdk-content-sha256"] == b"UNSIGNED-PAYLOAD"
    check("POST", raw_path, raw_query, headers, b"a=b")
    with pytest.raises(SignatureError):
        check("PUT", raw_path, raw_query, headers, b"a=b")


def test_the_sdk_signs_as_we_do() -> None:
    ours = sign("AK", SECRET, "GET", PATH, "", HEADERS)
    request = SdkRequest(
        method="GET", schema="http", host=HEADERS["Host"], resource_path=PATH, query_params=[], header_params=dict(HEADERS), body=""
    )
    assert Signer(BasicCredentials("AK", SECRET)).sign(request).header_params["Authorization"] == ours


def test_a_client_that_does_not_sign_the_host_is_accepted() -> None:
    without_host = {name: value for name, value in HEADERS.items() if name != "Host"}
    headers = on_the_wire({**HEADERS, "Authorization": sign("AK", SECRET, "GET", PATH, "", without_host)})
    check("GET", PATH.encode(), b"", headers, b"")


def signed() -> dict[bytes, bytes]:
    return on_the_wire({**HEADERS, "Authorization": sign("AK", SECRET, "POST", PATH, "a=1&b=2", HEADERS, b"{}")})


def test_our_own_signature_passes_as_it_is() -> None:
    check("POST", PATH.encode(), b"a=1&b=2", signed(), b"{}")


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "secret"),
    [
        ("PUT", PATH, "a=1&b=2", "{}", SECRET),
        ("POST", PATH + "0", "a=1&b=2", "{}", SECRET),
        ("POST", PATH, "a=1&b=3", "{}", SECRET),
        ("POST", PATH, "a=1", "{}", SECRET),
        ("POST", PATH, "a=1&b=2&c=3", "{}", SECRET),
        ("POST", PATH, "a=1&b=2&b=2", "{}", SECRET),
        ("POST", PATH, "a=1&b=2", "{ }", SECRET),
        ("POST", PATH, "a=1&b=2", "", SECRET),
        ("POST", PATH, "a=1&b=2", "{}", SECRET[:-1]),
        ("POST", PATH, "a=1&b=2", "{}", SECRET.lower()),
    ],
)
def test_a_request_changed_after_signing_is_refused(method: str, path: str, query: str, body: str, secret: str) -> None:
    with pytest.raises(SignatureError, match="does not match"):
        check(method, path.encode(), query.encode(), signed(), body.encode(), secret)


@pytest.mark.parametrize("name", [name.lower().encode() for name in HEADERS])
def test_a_signed_header_that_changed_or_is_gone_is_refused(name: bytes) -> None:
    changed = signed()
    changed[name] = changed[name] + b"1"
    with pytest.raises(SignatureError):
        check("POST", PATH.encode(), b"a=1&b=2", changed, b"{}")
    del changed[name]
    with pytest.raises(SignatureError, match="not there exactly once"):
        check("POST", PATH.encode(), b"a=1&b=2", changed, b"{}")


def test_a_stated_body_hash_must_be_that_of_the_body() -> None:
    headers = signed()
    headers[b"x-sdk-content-sha256"] = hashlib.sha256(b"{}").hexdigest().encode()
    check("POST", PATH.encode(), b"a=1&b=2", headers, b"{}")
    with pytest.raises(SignatureError, match="not the hash of the body"):
        check("POST", PATH.encode(), b"a=1&b=2", headers, b'{"other":1}')


def test_unsigned_payload_cannot_be_added_to_a_signed_request() -> None:
    headers = signed()
    headers[b"x-sdk-content-sha256"] = b"UNSIGNED-PAYLOAD"
    with pytest.raises(SignatureError, match="does not match"):
        check("POST", PATH.encode(), b"a=1&b=2", headers, b'{"other":1}')


def test_the_date_must_be_signed() -> None:
    some = {name: value for name, value in HEADERS.items() if name != "X-Sdk-Date"}
    value = sign("AK", SECRET, "GET", PATH, "", HEADERS).replace(";x-sdk-date", "").encode()
    with pytest.raises(SignatureError, match="X-Sdk-Date must be one of SignedHeaders"):
        check("GET", PATH.encode(), b"", {**on_the_wire(some), b"authorization": value}, b"")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer abc",
        b"SDK-HMAC-SHA256",
        b"SDK-HMAC-SHA256 Access=AK, SignedHeaders=x-sdk-date, Signature=00",
        b"SDK-HMAC-SHA256 Access=AK, SignedHeaders=x-sdk-date, Signature=" + b"g" * 64,
        b"SDK-HMAC-SHA256 Access=, SignedHeaders=x-sdk-date, Signature=" + b"0" * 64,
        b"V11-HMAC-SHA256 Access=AK, SignedHeaders=x-sdk-date, Signature=" + b"0" * 64,
        b"SDK-HMAC-SHA256 Access=AK, SignedHeaders=x-sdk-date;x-sdk-date, Signature=" + b"0" * 64,
        b"SDK-HMAC-SHA256 Access=AK, SignedHeaders=x-sdk-date, Signature=" + b"0" * 64 + b"\n",
        b"SDK-HMAC-SHA256 " + b"A" * 5000,
    ],
)
def test_a_malformed_authorization_is_refused(value: bytes) -> None:
    with pytest.raises(SignatureError):
        parse_authorization(value)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_authorization_is_parsed_or_refused(value: bytes) -> None:
    try:
        parse_authorization(value)
    except SignatureError:
        return


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_signing_key_is_hmac_sha256(secret: bytes, value: bytes) -> None:
    assert SigningKey(secret).sign(value) == hmac.new(secret, value, "sha256").hexdigest().encode()


def test_dates_are_read_to_the_second() -> None:
    assert parse_date(b"20261122T124211Z") - parse_date(b"20261122T124210Z") == 1
    assert parse_date(b"19700101T000000Z") == 0


@pytest.mark.parametrize(
    "value", [b"", b"20261122T124211", b"2026-11-22T12:42:11Z", b"20261322T124211Z", b"20261122T244211Z", b"99991122t124211z"]
)
def test_what_is_no_date_is_refused(value: bytes) -> None:
    with pytest.raises(SignatureError):
        parse_date(value)
