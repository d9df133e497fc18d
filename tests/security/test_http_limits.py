"""Limits of HTTP, over raw sockets on a real api process: connections, slow clients, sizes, several requests at once."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from api.api_service import Service, get_token
from opencph.api.connections import client_of
from opencph.api.process import HEADER_BYTES
from security.raw_http import alive, answers, ask, connect, is_closed, service

PER_CLIENT, TOTAL = 20, 50
GREEDY, MODEST = "127.0.0.9", "127.0.0.10"


@pytest.fixture(scope="module")
def api() -> Iterator[Service]:
    with service(172, connections_per_client=PER_CLIENT, connections=TOTAL) as running:
        yield running


@pytest.fixture(scope="module")
def token(api: Service) -> str:
    return get_token(api, {"project": {"name": api.credentials["region"]}})


def open_ones(connections: list[socket.socket]) -> int:
    """How many the service has not shut."""
    count = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            count += connection.recv(1) != b""
        except BlockingIOError:
            count += 1
        except ConnectionError:
            pass
    return count


def wait_for(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_one_client_has_its_share_of_connections_and_others_are_served(api: Service) -> None:
    with ExitStack() as stack:
        mine = [stack.enter_context(connect(api, GREEDY)) for _ in range(4 * PER_CLIENT)]
        wait_for(lambda: open_ones(mine) <= PER_CLIENT)
        assert open_ones(mine) == PER_CLIENT
        assert alive(api, MODEST)
        assert open_ones(mine[:PER_CLIENT]) == PER_CLIENT, "the first that came stay"
    wait_for(lambda: alive(api, GREEDY))


def test_when_all_are_taken_who_has_most_gives_way(api: Service) -> None:
    sources = [f"127.0.0.{number}" for number in range(20, 25)]
    with ExitStack() as stack:
        kept = [stack.enter_context(connect(api, MODEST)) for _ in range(2)]
        many = [stack.enter_context(connect(api, source)) for source in sources for _ in range(PER_CLIENT)]
        wait_for(lambda: open_ones(many) <= TOTAL - 2)
        assert alive(api, MODEST)
        assert open_ones(kept) == 2


def test_a_client_is_an_address_or_a_network_of_ipv6() -> None:
    assert client_of("192.0.2.1") != client_of("192.0.2.2")
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:1") != client_of("2001:db8:0:1::1")
    assert client_of("::ffff:192.0.2.1") == client_of("192.0.2.1")
    assert client_of("fe80::1%eth0") == "fe80::/64"


def test_headers_that_never_end_do_not_hold_a_connection_for_ever(api: Service) -> None:
    """Slowloris: a byte now and then. The time is for all headers, not for each byte."""
    with connect(api) as slow, connect(api) as silent:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ")
        for _ in range(100):
            try:
                slow.sendall(b"a")
            except ConnectionError:
                break
            if is_closed(slow, 0.5):
                break
        else:
            pytest.fail("the service still listens to it")
        assert is_closed(silent, 60), "one that says nothing at all"
    assert alive(api)


def test_a_body_that_does_not_come_holds_up_nobody(api: Service, token: str) -> None:
    path = f"{api.v1}/phones/batch-stop"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nContent-Length: 100\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(PER_CLIENT - 5):
            stack.enter_context(connect(api)).sendall(head.encode() + b"{")
        assert httpx.get(f"{api.endpoint}{api.v1}/phones", headers={"X-Auth-Token": token}).status_code == 200


def test_a_body_for_which_nobody_is_known_is_not_read(api: Service) -> None:
    """Neither without credentials, nor with some that cannot be right."""
    path = f"{api.v1}/phones/batch-stop"
    old = "SDK-HMAC-SHA256 Access=AK, SignedHeaders=x-sdk-date, Signature=" + "0" * 64
    for headers in ("", f"Authorization: {old}\r\nX-Sdk-Date: 20200101T000000Z\r\n", "Authorization: Bearer x\r\n"):
        with connect(api) as connection:
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 150000\r\n\r\n".encode())
            status, body = answers(connection)[0]  # before a byte of it was sent
            assert (status, json.loads(body)["error_code"]) == (401, "APIGW.0301")


def test_a_login_is_small(api: Service) -> None:
    response = httpx.post(f"{api.endpoint}/v3/auth/tokens", content=b" " * 70_000)
    assert response.status_code == 413


def test_headers_have_their_limits(api: Service) -> None:
    for headers in (
        b"X-A: " + b"a" * (4 * HEADER_BYTES) + b"\r\n",
        b"".join(b"X-%d: a\r\n" % number for number in range(2000)),
        b"X-A: a\r\n" * 200,
    ):
        found = ask(api, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
        assert not found or 400 <= found[0][0] < 500, found
    assert not (found := ask(api, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")) or 400 <= found[0][0] < 500
    assert alive(api)


def test_an_endless_chunked_body_is_refused_at_the_limit(api: Service, token: str) -> None:
    with connect(api) as connection:
        head = f"POST {api.v1}/phones/batch-stop HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        connection.settimeout(30)
        sent = 0
        try:
            while sent < 64 << 20:
                connection.sendall(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
                sent += 0x4000
        except (ConnectionError, TimeoutError):
            pass
        assert sent < 16 << 20, "the service reads on and on"
    assert alive(api)


@pytest.mark.parametrize(
    "chunks",
    [
        b"ffffffffffffffffff\r\n",
        b"-1\r\n",
        b"x\r\n",
        b"5;" + b"e" * 100_000 + b"\r\n",
        b"5\r\nabc",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
    ],
)
def test_chunks_that_lie_are_refused(api: Service, token: str, chunks: bytes) -> None:
    head = f"POST {api.v1}/phones/batch-stop HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(api) as connection:
        connection.sendall(head.encode() + chunks)
        connection.shutdown(socket.SHUT_WR)
        found = answers(connection)
    assert not found or 400 <= found[0][0] < 500, found
    assert alive(api)


def test_a_length_that_lies_gives_no_second_request(api: Service, token: str) -> None:
    """What is said to be a body is never taken for a request, and what follows it is."""
    smuggled = b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n"
    path = f"{api.v1}/phones/batch-stop".encode()
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nX-Auth-Token: " + token.encode() + b"\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"  # nothing comes after its answer
    found = ask(api, head + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled + last, 3)
    assert [status for status, _ in found[:2]] in ([400], [400, 200]), found
    assert len(found) <= 2


def test_several_requests_at_once_are_answered_in_their_order(api: Service, token: str) -> None:
    requests = b"".join(
        f"GET {api.v1}/phones/{number:032x} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n".encode() for number in range(50)
    )
    found = ask(api, requests, 50)
    assert [status for status, _ in found] == [404] * 50
    for number, (_, body) in enumerate(found):
        assert f"{number:032x}" in json.loads(body)["error_msg"] or json.loads(body)["error_code"] == "CPS.0005"


def test_all_bodies_together_have_a_limit() -> None:
    import asyncio
    from collections.abc import MutableMapping
    from typing import Any

    from opencph.api.bodies import Body, Room
    from opencph.wire.errors import CphError

    room = Room(25)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"x" * 10, "more_body": False}

    async def run() -> None:
        bodies = [Body(receive, {b"content-length": b"10"}, 100, room) for _ in range(4)]
        await bodies[0].read()
        await bodies[1].read()
        with pytest.raises(CphError) as refused:
            await bodies[2].read()
        assert (refused.value.code, refused.value.status) == ("CPS.0042", 503)
        for body in bodies[:3]:
            body.leave()
            body.leave()
        assert room.left_bytes == 25
        await bodies[3].read()

    asyncio.run(run())
