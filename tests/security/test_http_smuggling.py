"""Requests that two readers could take for different ones: refused, or read in one way only. Over raw sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.api_service import Service, get_token
from security.raw_http import alive, ask, connect, service


@pytest.fixture(scope="module")
def api() -> Iterator[Service]:
    with service(173) as running:
        yield running


@pytest.fixture(scope="module")
def token(api: Service) -> bytes:
    return get_token(api, {"project": {"name": api.credentials["region"]}}).encode()


HIDDEN = b"GET /v1/hidden HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: 5, 6\r\n\r\nhello",
        b"Content-Length: +5\r\n\r\nhello",
        b"Content-Length: 0x5\r\n\r\nhello",
        b"Content-Length: 5 5\r\n\r\nhello",
        b"Content-Length: 99999999999999999999999\r\n\r\nhello",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: identity\r\n\r\nhello",
        b"Transfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"X: a\r\n\tfolded\r\n\r\n",
        b"X: a\x00b\r\n\r\n",
        b"X\x00: a\r\n\r\n",
        b": a\r\n\r\n",
        b"X a\r\n\r\n",
    ],
)
def test_a_body_of_two_lengths_or_a_broken_header_is_refused(api: Service, framing: bytes) -> None:
    found = ask(api, b"POST /v3/auth/tokens HTTP/1.1\r\nHost: x\r\n" + framing + HIDDEN, 3)
    assert len(found) <= 1, f"the hidden request was answered: {found}"
    assert not found or 400 <= found[0][0] < 500, found
    assert alive(api)


def test_a_request_of_two_lengths_that_is_answered_is_read_as_chunked_and_is_the_last_of_its_connection(api: Service) -> None:
    for lengths in (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 5"):
        with connect(api) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + lengths + b"\r\n\r\n0\r\n\r\n" + HIDDEN)
            told = b""
            while piece := connection.recv(65536):  # to the end, which the service makes
                told += piece
        assert told.count(b"HTTP/1.1 ") == 1 and b"hidden" not in told, told
        assert told.startswith(b"HTTP/1.1 4") or b"connection: close" in told.lower(), told


@pytest.mark.parametrize("hosts", [b"Host: a\r\nHost: b\r\n", b"Host: a\r\nX: y\r\nHOST: a\r\n"])
def test_a_second_host_is_refused_on_every_kind_of_route(api: Service, token: bytes, hosts: bytes) -> None:
    signed = b"Authorization: AWS4-HMAC-SHA256 Credential=x/y/z/s3/aws4_request, SignedHeaders=host, Signature=0\r\n"
    for path, more in (
        (b"/healthz", b""),
        (b"/openapi.json", b""),
        (f"{api.v1}/phones".encode(), b"X-Auth-Token: " + token + b"\r\n"),
        (b"/bucket/key", signed),
    ):
        ((status, body),) = ask(api, b"GET " + path + b" HTTP/1.1\r\n" + hosts + more + b"\r\n")
        assert status == 400 and b"two Host headers" in body, (path, status, body)


def test_a_second_host_is_refused_or_no_host(api: Service, token: bytes) -> None:
    path = f"{api.v1}/phones".encode()
    for hosts in (b"Host: a\r\nHost: b\r\n", b"", b"Host: a b\r\n", b"Host: a/../b\r\n", b"Host: \r\n"):
        request = b"POST /v3/auth/tokens HTTP/1.1\r\n" + hosts + b"Content-Length: 2\r\n\r\n{}"
        assert all(400 <= status < 500 for status, _ in ask(api, request))
        # a host decides nothing here but the addresses that the answer shows, and those only if it is one
        answered = ask(api, b"GET /v3/projects HTTP/1.1\r\n" + hosts + b"X-Auth-Token: " + token + b"\r\n\r\n")
        assert all(
            b"a b" not in body and b"/../b" not in body and b"//a/" not in body and b"//b/" not in body for _, body in answered
        )
    assert ask(api, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nX-Auth-Token: " + token + b"\r\n\r\n")[0][0] == 200


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/../v1/{p}/cloud-phone/phones",
        b"/v1/{p}/cloud-phone/./phones",
        b"/v1/{p}/cloud-phone/x/../phones",
        b"/v1/{p}/cloud-phone/%2e%2e/cloud-phone/phones",
        b"/v1/{p}/cloud-phone%2fphones",
        b"/v1/{p}/cloud-phone/phones%2f",
        b"/v1/{p}/cloud-phone%252fphones",
        b"/v1/{p}/cloud-phone/phones;x=1",
        b"/v1/{p}/cloud-phone/phones%00",
        b"/v1/{p}/cloud-phone/phones\0",
        b"/v1/{p}/cloud-phone/phones%",
        b"//v1/{p}/cloud-phone/phones",
        b"/v1//{p}/cloud-phone/phones",
        b"\\v1\\{p}\\cloud-phone\\phones",
        b"/v1/{p}/cloud-phone/phones#x",
        b"v1/{p}/cloud-phone/phones",
        b"/v1/{p}/cloud-phone/PHONES",
    ],
)
def test_a_path_is_what_it_says_and_never_made_simpler(api: Service, token: bytes, target: bytes) -> None:
    path = target.replace(b"{p}", api.project_id.encode())
    found = ask(api, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nX-Auth-Token: " + token + b"\r\n\r\n")
    allowed = (400, 404) if b"#" not in target else (200, 400, 404)  # a fragment is cut off, as everybody does
    assert not found or found[0][0] in allowed, found


def test_an_absolute_target_is_its_path(api: Service, token: bytes) -> None:
    path = f"{api.v1}/phones".encode()
    for prefix in (b"http://elsewhere", b"http://user:password@elsewhere:1", b"HTTP://x"):
        found = ask(api, b"GET " + prefix + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [status for status, _ in found] in ([401], [400], []), "without credentials it is nobody's, whatever the host"
    for target in (b"elsewhere:443", b"*", b"ftp:x"):
        found = ask(api, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nX-Auth-Token: " + token + b"\r\n\r\n")
        assert not found or found[0][0] in (400, 404), (target, found)
    assert not (found := ask(api, b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: x\r\n\r\n")) or found[0][0] in (400, 404)


def test_an_upgrade_is_not_made(api: Service) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    found = ask(api, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
    assert found[0][0] == 200
    assert not (found := ask(api, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) or 400 <= found[0][0] < 500


def test_a_header_in_two_spellings_is_there_twice(api: Service, token: bytes) -> None:
    for names in ((b"X-Auth-Token", b"x-auth-token"), (b"X-AUTH-TOKEN", b"X-Auth-Token")):
        lines = b"".join(name + b": " + token + b"\r\n" for name in names)
        assert ask(api, b"GET /v3/projects HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")[0][0] == 401
    assert ask(api, b"GET /v3/projects HTTP/1.1\r\nHost: x\r\nX_Auth_Token: " + token + b"\r\n\r\n")[0][0] == 401
