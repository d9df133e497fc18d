"""A phone whose ADB port is full: who makes room, and who stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from handset.one_phone import dial, running
from opencph.adb import client
from opencph.handset.daemon import CONNECTIONS_MAX
from opencph.handset.phone import Phone


@asynccontextmanager
async def _silent(phone: Phone, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that never begin their handshake."""
    opened = [await asyncio.open_connection(phone.config.ip, phone.adb_port) for _ in range(count)]
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def test_connections_that_say_nothing_keep_nobody_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            running(tmp_path / "p") as phone,
            asyncio.timeout(15),
            _silent(phone, CONNECTIONS_MAX) as silent,
            await dial(phone) as adb,
        ):
            assert (await adb.shell("getprop ro.product.name")).stdout == b"handset\n"
            with suppress(ConnectionResetError):
                assert await silent[0].read() == b""  # the oldest has made room,
            assert not silent[1].at_eof()  # and no other
            async with _silent(phone, 3 * CONNECTIONS_MAX):  # nor do those that finished their handshake make room
                assert (await adb.shell("getprop ro.product.name")).stdout == b"handset\n"

    asyncio.run(main())


def test_connections_that_are_in_stay_when_the_phone_is_full(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "p") as phone, asyncio.timeout(30):
            inside = [await dial(phone) for _ in range(CONNECTIONS_MAX)]
            try:
                for _ in range(3):
                    reader, writer = await asyncio.open_connection(phone.config.ip, phone.adb_port)
                    with suppress(ConnectionResetError):
                        assert await reader.read() == b""
                    writer.close()
                assert (await inside[0].shell("getprop ro.product.name")).stdout == b"handset\n"
            finally:
                for adb in inside:
                    await adb.close()
            async with await _dial_again(phone) as adb:
                assert (await adb.shell("getprop ro.product.name")).stdout == b"handset\n"

    asyncio.run(main())


async def _dial_again(phone: Phone) -> client.Connection:
    """An ADB connection, as soon as there is room."""
    while True:
        with suppress(OSError, client.AdbError, EOFError):
            return await dial(phone)
        await asyncio.sleep(0.02)
