"""Requests that were signed once and changed on their way: what a signature covers must be what the service reads."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from base64 import b64encode
from email.utils import formatdate
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.edge_client import Reply, World
from opencph.api.routes import ROUTES
from opencph.api.routing import Router
from opencph.wire import object_signatures, signatures
from opencph.wire.object_signatures import ObjectRequest
from opencph.wire.signatures import SignatureError, SigningKey, sign

NOW = 1_795_000_000


class Signer:
    """Signs as the SDK does, and sends something else."""

    def __init__(self, world: World) -> None:
        from opencph.iam.bootstrap import _read_credentials

        self.world = world
        credentials = _read_credentials(world.settings)
        self.keys = credentials.access_key, credentials.secret_key
        self.phones = f"/v1/{world.mine.project_id}/cloud-phone/phones"

    def headers(self, method: str, path: str, query: str = "", body: bytes = b"", **more: str) -> dict[str, str]:
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = {"host": "edge", "x-sdk-date": date, **{name.replace("_", "-"): value for name, value in more.items()}}
        return {**headers, "authorization": sign(*self.keys, method, path, query, headers, body)}

    def send(self, method: str, path: str, headers: dict[str, str], query: str = "", body: bytes = b"") -> Reply:
        return self.world.call(method, path, body or None, token="", query=query, headers=headers)


@pytest.fixture
def signer(world: World) -> Signer:
    return Signer(world)


def test_what_was_signed_is_accepted(signer: Signer) -> None:
    headers = signer.headers("GET", signer.phones, "limit=1")
    assert signer.send("GET", signer.phones, headers, "limit=1").status == 200


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ("limit=1", "limit=2"),
        ("limit=1", "limit=1&offset=1"),
        ("limit=1&offset=0", "limit=1"),
        ("", "limit=1"),
        ("limit=1", "Limit=1"),
        ("phone_name=a%26limit=2", "phone_name=a&limit=2"),
        ("phone_name=%E6%89%8B", "phone_name=%e6%89"),
    ],
)
def test_another_query_is_refused(signer: Signer, signed: str, sent: str) -> None:
    reply = signer.send("GET", signer.phones, signer.headers("GET", signer.phones, signed), sent)
    assert (reply.status, reply.code) == (401, "APIGW.0301"), reply


def test_a_parameter_that_comes_twice_cannot_be_turned_round(signer: Signer) -> None:
    """The signature sorts, so it does not say which came last: with two values there is no answer at all."""
    for order in ("limit=1&limit=2", "limit=2&limit=1"):
        reply = signer.send("GET", signer.phones, signer.headers("GET", signer.phones, "limit=1&limit=2"), order)
        assert (reply.status, reply.code) == (400, "APIGW.0201"), reply
        assert "limit" in reply.message
    same = "limit=1&limit=1"
    assert signer.send("GET", signer.phones, signer.headers("GET", signer.phones, same), same).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"host": "elsewhere"},
        {"x-sdk-date": "20200101T000000Z"},
        {"x-project-id": "0" * 32},
    ],
)
def test_a_header_that_was_signed_otherwise_is_refused(signer: Signer, change: dict[str, str]) -> None:
    headers = signer.headers("GET", signer.phones, x_project_id=signer.world.mine.project_id)
    assert signer.send("GET", signer.phones, headers).status == 200
    assert signer.send("GET", signer.phones, headers | change).status in (401, 403)


def test_a_body_that_was_not_signed_is_refused(signer: Signer) -> None:
    path = f"{signer.phones}/batch-stop"
    headers = signer.headers("POST", path, body=b'{"phone_ids":["x"]}')
    assert signer.send("POST", path, headers, body=b'{"phone_ids":["x"]}').status == 200
    for body in (b'{"phone_ids":["y"]}', b'{"phone_ids":["x"]} ', b""):
        assert signer.send("POST", path, headers, body=body).status == 401
        unsigned = headers | {"x-sdk-content-sha256": "UNSIGNED-PAYLOAD"}
        assert signer.send("POST", path, unsigned, body=body).status == 401, "whoever signed has to have said so"


def test_a_method_that_was_not_signed_is_refused(signer: Signer) -> None:
    path = f"/v2/{signer.world.mine.project_id}/cloud-phone/servers"
    assert signer.send("DELETE", path, signer.headers("POST", path)).status == 401


def test_empty_and_padded_headers_and_odd_cases_mean_the_same_or_nothing(signer: Signer) -> None:
    headers = signer.headers("GET", signer.phones, x_empty="")
    assert signer.world.call("GET", signer.phones, token="", headers=headers).status == 401  # an empty header is sent by nobody
    key, names = SigningKey(b"secret"), b"host;x-sdk-date"
    given_headers = {b"host": b"  edge ", b"x-sdk-date": b"20261122T124211Z"}
    signed = signatures._signature(key, b"GET", b"/", b"", b"host:edge\nx-sdk-date:20261122T124211Z\n", names, b"20261122T124211Z",
                                   signatures.EMPTY_SHA256)  # fmt: skip
    for spelling in (b"host;x-sdk-date", b"Host;X-Sdk-Date"):
        value = b"SDK-HMAC-SHA256 Access=AK, SignedHeaders=" + spelling + b", Signature=" + signed
        signatures.verify(signatures.parse_authorization(value), key, b"GET", b"/", b"", given_headers, b"")
    for spelling in (b"x-sdk-date;host", b"host;x-sdk-date;host", b"x-sdk-date", b"host;;x-sdk-date"):
        value = b"SDK-HMAC-SHA256 Access=AK, SignedHeaders=" + spelling + b", Signature=" + signed
        with pytest.raises(SignatureError):
            signatures.verify(signatures.parse_authorization(value), key, b"GET", b"/", b"", given_headers, b"")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_paths_of_one_signature_never_lead_to_two_things(data: st.DataObject) -> None:
    """The signature's form of a path does not tell `/` from `%2F`; routes do. No signed path may become another's."""
    route = data.draw(st.sampled_from(ROUTES))
    path = re.sub(r"\{\w+\}", lambda _: quote(data.draw(st.text("ab/%.;", min_size=1, max_size=4)), safe=""), route.path)
    parts = path.split("/")
    other = "/" + "".join(part + data.draw(st.sampled_from(["/", "%2F", "%2f"])) for part in parts[1:-1]) + parts[-1]
    router = Router(ROUTES)
    one, two = router.find(route.method, path.encode()), router.find(route.method, other.encode())
    same = signatures.canonical_path(path.encode()) == signatures.canonical_path(other.encode())
    if one is not None and two is not None and same and one != two:
        assert any("/" in value for value in (*one[1], *two[1])), "no id and no name of ours has a slash"


# --- objects ----------------------------------------


def _signed_v2(dialect: str, secret: str, headers: dict[bytes, bytes]) -> bytes:
    own = f"x-{'obs' if dialect == 'OBS' else 'amz'}-date".encode()
    lines = own + b":" + headers[own] + b"\n" if own in headers else b""
    text = b"GET\n\n\n" + (b"" if own in headers else headers[b"date"]) + b"\n" + lines + b"/bucket/key"
    return f"{dialect} AK:{b64encode(hmac.digest(secret.encode(), text, 'sha1')).decode()}".encode()


@pytest.mark.parametrize(("dialect", "added"), [("AWS", b"x-obs-date"), ("OBS", b"x-amz-date")])
def test_an_old_request_does_not_become_new_by_a_date_that_nobody_signed(dialect: str, added: bytes) -> None:
    old = formatdate(NOW, usegmt=True).encode()
    headers = {b"host": b"x", b"date": old}
    authorization = object_signatures.parse_authorization(_signed_v2(dialect, "secret", headers))
    headers[added] = formatdate(NOW + 10_000, usegmt=True).encode()
    object_signatures.verify(authorization, "secret", ObjectRequest("GET", b"/bucket/key", b"", headers))
    assert object_signatures.signed_at(authorization, headers) == NOW


@pytest.mark.parametrize("dialect", ["AWS", "OBS"])
def test_the_date_in_the_dialects_own_header_is_signed(dialect: str) -> None:
    own = b"x-amz-date" if dialect == "AWS" else b"x-obs-date"
    headers = {b"host": b"x", b"date": b"whatever", own: formatdate(NOW, usegmt=True).encode()}
    authorization = object_signatures.parse_authorization(_signed_v2(dialect, "secret", headers))
    assert object_signatures.signed_at(authorization, headers) == NOW
    headers[own] = formatdate(NOW + 1, usegmt=True).encode()
    with pytest.raises(SignatureError):
        object_signatures.verify(authorization, "secret", ObjectRequest("GET", b"/bucket/key", b"", headers))


def test_version_4_signs_the_date_wherever_it_is() -> None:
    names = "host"
    head = f"AWS4-HMAC-SHA256 Credential=AK/20261118/r/s3/aws4_request, SignedHeaders={names}, Signature="
    for name in (b"x-amz-date", b"x-obs-date", b"date"):
        headers = {b"host": b"x", name: time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW)).encode()}
        request = ObjectRequest("GET", b"/b/k", b"", headers)
        unsigned = object_signatures.parse_authorization(f"{head}{hashlib.sha256().hexdigest()}".encode())
        authorization = object_signatures.parse_authorization(head.encode() + object_signatures._v4(unsigned, "secret", request))
        object_signatures.verify(authorization, "secret", request)
        headers[name] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW + 1)).encode()
        with pytest.raises(SignatureError):
            object_signatures.verify(authorization, "secret", request)
