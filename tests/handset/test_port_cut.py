"""A connection to a port of an app in a phone that is powered off meanwhile: the reader must not take it for the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from handset.one_phone import dial, need_sandbox, running
from opencph.handset.phone import Phone

PORT = 38090


async def _reader(phone: Phone, first: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to PORT on which `first` has come, as soon as something listens there."""
    async with asyncio.timeout(15):
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(phone.config.ip, PORT)
                assert await reader.readexactly(len(first)) == first
                return reader, writer
            await asyncio.sleep(0.05)


def test_a_phone_that_is_stopped_resets_connections_in_the_middle_and_ends_those_that_are_over(tmp_path: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(tmp_path / "p", listen_ports=(PORT,)) as phone:
            async with await dial(phone) as adb:
                await adb.shell(f"nohup nc -L -p {PORT} sh -c 'echo begun; read word; echo $word' > /dev/null 2>&1 &")
            over, writer = await _reader(phone, b"begun\n")
            writer.write(b"over\n")
            assert await asyncio.wait_for(over.read(), 10) == b"over\n"  # a plain end
            writer.close()
            cut, _ = await _reader(phone, b"begun\n")
            await phone.stop()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(cut.read(), 10)

    asyncio.run(main())
