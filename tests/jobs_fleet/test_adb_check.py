"""The ADB check against sockets that answer, refuse, hang up, stay silent and speak something else."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from opencph.adb.messages import AUTH, AUTH_TOKEN, CNXN, VERSION, message
from opencph.fleet.adb_check import answers_adb, silent_phones

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


def _address() -> str:
    return f"127.{random.randrange(128, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


async def _serve(ip: str, answer: bytes | None, port: int = 0) -> tuple[asyncio.Server, int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, ip, port, reuse_address=True)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "answer", [message(CNXN, VERSION, 4096, b"device::"), message(AUTH, AUTH_TOKEN, 0, b"t" * 20)], ids=["open", "wants a key"]
)
def test_a_daemon_that_connects_or_asks_for_a_key_answers(answer: bytes) -> None:
    async def main() -> None:
        ip = _address()
        server, port = await _serve(ip, answer)
        async with server:
            assert await answers_adb(ip, 5, port) is None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "cause"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak ADB"), (b"", "hung up"), (None, "no ADB answer")],
    ids=["http", "hangs up", "silent"],
)
def test_what_does_not_speak_adb_is_named_with_its_cause(answer: bytes | None, cause: str) -> None:
    async def main() -> None:
        ip = _address()
        server, port = await _serve(ip, answer)
        async with server:
            assert cause in str(await answers_adb(ip, 0.3 if answer is None else 2, port))

    asyncio.run(main())


def test_a_phone_that_refuses_at_first_is_asked_again_until_it_is_up() -> None:
    async def main() -> None:
        ip = _address()
        with closing(socket.create_server((ip, 0))) as taken:
            port = taken.getsockname()[1]
        asking = asyncio.create_task(answers_adb(ip, 20, port))
        await asyncio.sleep(0.2)
        assert not asking.done()
        server, _ = await _serve(ip, message(CNXN, VERSION, 4096, b"device::"), port)
        async with server:
            assert await asking is None

    asyncio.run(main())


def test_the_time_limit_holds_for_a_phone_that_is_not_there() -> None:
    begun = time.monotonic()
    cause = asyncio.run(answers_adb(_address(), 0.3, 5555))
    assert "refused" in str(cause).lower()
    assert time.monotonic() - begun < 5


def test_of_many_phones_only_the_silent_ones_are_named() -> None:
    async def main() -> None:
        ip, other = _address(), _address()
        server, port = await _serve(ip, message(CNXN, VERSION, 4096, b"device::"))
        async with server:
            ips = {f"phone-{n}": ip for n in range(400)} | {"lost": other}
            assert set(await silent_phones(ips, 2, port)) == {"lost"}
            assert await silent_phones({}, 2, port) == {}

    asyncio.run(main())
