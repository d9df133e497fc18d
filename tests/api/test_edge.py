"""What the edge promises of every answer: ids, error bodies, limits, broken clients, a clean end. Over real sockets."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from opencph.api import bodies
from opencph.api.bodies import Body, ClientGoneError
from opencph.sockets import ListenError, listen
from opencph.wire.errors import CphError

if TYPE_CHECKING:
    from api.api_service import Service

HEX_ID = re.compile(r"[0-9a-f]{32}")
LIMIT = 200_000


def raw(service: Service, request: bytes, *, shut: bool = False) -> bytes:
    """Send bytes, read until the service closes or has sent one answer."""
    with socket.create_connection(service.address, timeout=20) as connection:
        connection.sendall(request)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
            head, found, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: ([0-9]+)", head, re.I)
            if found and length and len(body) >= int(length[1]):
                break
        return answer


def body_of(answer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def test_every_answer_carries_a_request_id_of_its_own(service: Service, token: str) -> None:
    seen = set()
    paths = (
        "/healthz",
        "/nope",
        "/v3/projects",
        f"{service.v1}/phones",
        f"{service.v1}/phones/{'0' * 32}",
        f"{service.v1}/phones/x",
    )
    for path in paths:
        response = httpx.get(service.endpoint + path, headers={"X-Auth-Token": token})
        request_id = response.headers["X-Request-Id"]
        assert HEX_ID.fullmatch(request_id)
        assert response.headers["Content-Type"] == "application/json"
        assert response.json().get("request_id", request_id) == request_id
        seen.add(request_id)
    assert len(seen) == len(paths)


def test_health_needs_no_credentials(service: Service) -> None:
    assert httpx.get(f"{service.endpoint}/healthz").json()["status"] == "ok"
    alone = httpx.get(f"{service.endpoint}/readyz")  # nothing but an api runs here
    assert (alone.status_code, alone.json()["missing"]) == (503, ["worker", "gateway"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v1/{p}/cloud-phone/nope"),
        ("GET", "/v1/{p}/cloud-phone/phones/"),
        ("GET", "/v1/{p}/cloud-phone//phones"),
        ("GET", "/v2/{p}/cloud-phone/phones"),
        ("PUT", "/v1/{p}/cloud-phone/phones"),
        ("DELETE", "/v1/{p}/cloud-phone/phones"),
        ("PATCH", "/v1/{p}/cloud-phone/servers"),
        ("HEAD", "/v1/{p}/cloud-phone/phones"),
        ("OPTIONS", "/v1/{p}/cloud-phone/phones"),
        ("GET", "/v1/{p}/cloud-phone/phones/a/b"),
    ],
)
def test_what_is_no_api_answers_as_the_gateway_does(service: Service, token: str, method: str, path: str) -> None:
    response = httpx.request(method, service.endpoint + path.replace("{p}", service.project_id), headers={"X-Auth-Token": token})
    assert response.status_code == 404
    if method != "HEAD":
        assert response.json()["error_code"] == "APIGW.0101"


def test_load_balancers_may_ask_with_head(service: Service) -> None:
    for path in ("/healthz", "/readyz"):
        got, asked = httpx.get(service.endpoint + path), httpx.head(service.endpoint + path)
        assert (asked.status_code, asked.content) == (got.status_code, b""), path
        assert asked.headers["content-type"] == got.headers["content-type"]
    assert httpx.head(f"{service.endpoint}/healthz/").status_code == 404
    assert httpx.head(f"{service.endpoint}/openapi.json").status_code == 404


def test_a_path_is_decoded_once_after_it_is_split(service: Service, token: str) -> None:
    headers = {"X-Auth-Token": token}
    for segment, code in (
        ("a%2Fb", "CPS.0004"),
        ("%252F", "CPS.0004"),
        ("%FF", "CPS.0004"),
        ("%00", "APIGW.0101"),
        ("%E6%89%8B", "CPS.0004"),
        ("%30" * 32, "CPS.0005"),
    ):
        response = httpx.get(f"{service.endpoint}{service.v1}/phones/{segment}", headers=headers)
        assert response.json()["error_code"] == code, response.text
    assert httpx.get(f"{service.endpoint}{service.v1}/%70hones", headers=headers).status_code == 200


def test_signed_paths_and_queries_with_odd_characters_pass(service: Service) -> None:
    assert service.signed("GET", f"{service.v1}/phones/%E6%89%8B%20%2F").json()["error_code"] == "CPS.0004"
    answer = service.signed("GET", f"{service.v1}/phones", "limit=1&phone_name=%E6%89%8B%20a%2Fb%2A~")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-Auth-Token": ""}, 401),
        ({"X-Auth-Token": "wrong"}, 401),
        ({"Authorization": "Bearer x"}, 401),
        ({"Authorization": "SDK-HMAC-SHA256 Access=A, SignedHeaders=x-sdk-date, Signature=" + "0" * 64}, 401),
    ],
)
def test_bad_credentials_get_the_gateways_error_body(service: Service, headers: dict[str, str], status: int) -> None:
    response = httpx.get(f"{service.endpoint}{service.v1}/phones", headers=headers)
    assert response.status_code == status
    assert response.json()["error_code"] == "APIGW.0301"
    assert set(response.json()) == {"request_id", "error_code", "error_msg"}
    identity = httpx.get(f"{service.endpoint}/v3/projects", headers=headers)
    assert identity.status_code == status
    assert identity.json()["error"]["code"] == status and identity.json()["error"]["title"] == "Unauthorized"


def test_an_old_signature_and_a_foreign_project_are_refused(service: Service, token: str) -> None:
    late = service.signed("GET", f"{service.v1}/phones", at=time.time() - 1000)
    assert (late.status_code, late.json()["error_code"]) == (401, "APIGW.0301")
    foreign = f"/v1/{'f' * 32}/cloud-phone/phones"
    for response in (service.signed("GET", foreign), httpx.get(service.endpoint + foreign, headers={"X-Auth-Token": token})):
        assert (response.status_code, response.json()["error_code"]) == (403, "APIGW.0302")


def test_a_header_that_comes_twice_is_no_credential(service: Service, token: str) -> None:
    request = f"GET {service.v1}/phones HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nX-Auth-Token: {token}\r\n\r\n"
    assert body_of(raw(service, request.encode()))["error_code"] == "APIGW.0301"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"phones":', b"{}" + b" " * 10])
def test_malformed_bodies_get_one_clear_error(service: Service, token: str, body: bytes) -> None:
    for path in (f"{service.v1}/phones/batch-restart", f"{service.v2}/servers", f"{service.v2}/servers/{'0' * 32}/change"):
        response = httpx.post(service.endpoint + path, content=body, headers={"X-Auth-Token": token})
        assert response.status_code == 400
        assert response.json()["error_code"] in ("APIGW.0201", "CPS.0077", "CPS.0087", "CPS.0027")
        assert response.json()["error_msg"]


def test_a_body_at_the_limit_is_read_and_one_above_it_is_not(service: Service, token: str) -> None:
    url, headers = f"{service.endpoint}{service.v1}/phones/batch-stop", {"X-Auth-Token": token}
    fits = b'{"phone_ids":[]}'.ljust(LIMIT)
    assert httpx.post(url, content=fits, headers=headers).json()["error_code"] == "CPS.0009"
    for size in (LIMIT + 1, 3 * LIMIT):
        response = httpx.post(url, content=b"x" * size, headers=headers)
        assert (response.status_code, response.json()["error_code"]) == (413, "APIGW.0201")
        signed = service.signed("POST", f"{service.v1}/phones/batch-stop", body=b"x" * size)
        assert signed.status_code == 413


def test_a_chunked_body_has_the_same_limit(service: Service, token: str) -> None:
    def pieces(count: int) -> Any:
        for _ in range(count):
            yield b" " * 10_000

    url, headers = f"{service.endpoint}{service.v1}/phones/batch-stop", {"X-Auth-Token": token}
    assert httpx.post(url, content=pieces(20), headers=headers).status_code == 400
    response = httpx.post(url, content=pieces(21), headers=headers)
    assert (response.status_code, response.json()["error_code"]) == (413, "APIGW.0201")


def test_an_announced_giant_is_refused_before_it_is_sent(service: Service, token: str) -> None:
    head = (
        f"POST {service.v1}/phones/batch-stop HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nContent-Length: 99999999999\r\n\r\n"
    )
    assert raw(service, head.encode() + b"x", shut=True).startswith((b"HTTP/1.1 413", b""))


def test_a_client_that_leaves_in_the_middle_harms_nobody(service: Service, token: str) -> None:
    head = f"POST {service.v1}/phones/batch-stop HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nContent-Length: 1000\r\n\r\n"
    for _ in range(20):
        with socket.create_connection(service.address, timeout=5) as connection:
            connection.sendall(head.encode() + b"half")
    assert httpx.get(f"{service.endpoint}/readyz").json()["missing"] == ["worker", "gateway"], "the database is missed by nobody"


@pytest.mark.parametrize(
    "request_bytes",
    [
        *(b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 1_000_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_or_dropped(service: Service, request_bytes: bytes) -> None:
    try:
        answer = raw(service, request_bytes, shut=True)
    except OSError:
        answer = b""
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    assert httpx.get(f"{service.endpoint}/healthz").status_code == 200


def test_absolute_and_asterisk_targets_do_no_harm(service: Service) -> None:
    for target in (b"http://elsewhere/healthz", b"*"):
        assert raw(service, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 ")


def test_many_clients_at_once_are_all_answered(service: Service, token: str) -> None:
    def ask(number: int) -> int:
        return httpx.get(
            f"{service.endpoint}{service.v1}/phones?limit={number % 200 + 1}", headers={"X-Auth-Token": token}
        ).status_code

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(ask, range(200))) == {200}


# --- the process ----------------------------------------


def test_a_running_request_is_finished_before_the_end(start_service: Callable[[str], Service], tmp_path: Path) -> None:
    path = tmp_path / "opencph.db"
    service = start_service(f"sqlite:///{path}")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(service.json, "POST", f"{service.v2}/servers", service.purchase())
        assert not wait_until(answer.done, 1.0)  # it waits for its turn to write
        service.process.send_signal(signal.SIGTERM)
        assert not wait_until(answer.done, 0.5)
        blocker.execute("ROLLBACK")
        assert answer.result(20).status_code == 200
    assert service.process.wait(20) == 0


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def test_a_locked_database_answers_busy_and_reads_go_on(start_service: Callable[[str], Service], tmp_path: Path) -> None:
    path = tmp_path / "opencph.db"
    service = start_service(f"sqlite:///{path}")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(service.json, "POST", f"{service.v2}/servers", service.purchase())
        assert service.signed("GET", f"{service.v1}/phones").status_code == 200
        busy = answer.result(30)
    assert (busy.status_code, busy.json()["error_code"]) == (503, "CPS.0042")
    blocker.execute("ROLLBACK")
    assert service.json("POST", f"{service.v2}/servers", service.purchase()).status_code == 200


def test_a_database_that_is_gone_answers_clearly_and_comes_back(
    start_service: Callable[[str], Service], own_postgresql_cluster: Any
) -> None:
    service = start_service(own_postgresql_cluster.create_database())
    own_postgresql_cluster.stop()
    gone = service.signed("GET", f"{service.v1}/phones")
    assert (gone.status_code, gone.json()["error_code"]) == (503, "CPS.0003")
    assert "database" in gone.json()["error_msg"]
    assert httpx.get(f"{service.endpoint}/readyz").json()["missing"] == ["database"]
    assert httpx.get(f"{service.endpoint}/healthz").status_code == 200
    own_postgresql_cluster.start()
    assert wait_until(lambda: service.signed("GET", f"{service.v1}/phones").status_code == 200, 30)


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ListenError, match="is taken by another process"):
            listen(f"127.0.0.1:{other.getsockname()[1]}")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:99999", "192.0.2.1:0"])
def test_an_address_that_cannot_be_listened_on_is_named(address: str) -> None:
    with pytest.raises(ListenError, match=r"cannot listen on|is not an address of this machine"):
        listen(address)


# --- bodies ----------------------------------------


def test_a_body_that_does_not_end_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)

    async def never() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def read() -> None:
        with pytest.raises(CphError) as refused:
            await Body(never, {b"content-length": b"10"}, 100).read()
        assert refused.value.status == 408

    asyncio.run(read())


def test_a_client_that_goes_away_ends_the_reading() -> None:
    async def gone() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def read() -> None:
        body = Body(gone, {b"content-length": b"10"}, 100)
        with pytest.raises(ClientGoneError):
            await body.read()
        await body.drain()

    asyncio.run(read())


def test_draining_is_bounded() -> None:
    sent = 0

    async def endless() -> MutableMapping[str, Any]:
        nonlocal sent
        sent += 1000
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    asyncio.run(Body(endless, {b"transfer-encoding": b"chunked"}, 10_000).drain())
    assert sent <= bodies.DRAIN_TIMES_LIMIT * 10_000
