"""Bodies that are JSON, or nearly, and made to hurt: answered by every operation that reads one, soon and without a 5xx."""

from __future__ import annotations

import pytest

from api.edge_client import World
from api.samples import NOBODYS, SAMPLES, path_of
from opencph.api.routes import ROUTES
from opencph.api.routing import Route

READING = [route for route in ROUTES if SAMPLES[route.operation].body]

BOMBS = {
    "deep lists": b"[" * 90_000,
    "deep objects": b'{"phones":' * 15_000 + b"1" + b"}" * 15_000,
    "deep in a field": b'{"phones":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a long number": b'{"count":' + b"9" * 100_000 + b"}",
    "a long exponent": b'{"count":1e999999999}',
    "a long fraction": b'{"count":0.' + b"1" * 100_000 + b"}",
    "a number beyond 64 bits": b'{"count":18446744073709551616,"limit":-9223372036854775809}',
    "NaN": b'{"count":NaN}',
    "Infinity": b'{"count":-Infinity}',
    "a lone surrogate": b'{"server_name":"\\ud800","phone_ids":["\\udfff"],"phones":[{"phone_id":"\\ud800"}]}',
    "bytes that are no UTF-8": b'{"server_name":"\xff\xfe","content":"\xc3\x28","\xed\xa0\x80":1}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "one key many times": b"{" + b",".join([b'"server_name":"a"'] * 9_000) + b"}",
    "many keys": b"{" + b",".join(b'"k%d":1' % number for number in range(12_000)) + b"}",
    "a long list": b'{"phone_ids":[' + b",".join([b'"x"'] * 40_000) + b'],"phones":[' + b",".join([b"{}"] * 20_000) + b"]}",
    "a long string": b'{"server_name":"' + b"a" * 150_000 + b'","content":"' + b"a" * 40_000 + b'"}',
    "NUL everywhere": b'{"server_name":"\\u0000","command":"\\u0000","\\u0000":"\\u0000"}',
    "two documents": b"{}{}",
    "a comment": b'{"a":1}/*x*/',
    "control characters": b'{"a":"\x01\x02\n"}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_every_operation_refuses_it(world: World, name: str) -> None:
    for route in READING:
        refused(world, route, BOMBS[name])


def refused(world: World, route: Route, body: bytes) -> None:
    path = path_of(route, {**NOBODYS, "resource_id": "x"}, world.mine.project_id)
    reply = world.call(route.method, path, body)
    assert 400 <= reply.status < 500, (route.operation, reply)
    assert reply.message and len(reply.message) < 4096, (route.operation, "the message repeats what was sent")


def test_of_a_key_that_comes_twice_the_last_counts(world: World) -> None:
    path = f"/v1/{world.mine.project_id}/cloud-phone/servers/{world.mine.ids['server_id']}"
    assert world.call("PUT", path, b'{"server_name":"first","server_name":"last"}').status == 200
    assert world.call("GET", path).body["server_name"] == "last"
