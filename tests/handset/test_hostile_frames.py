"""A phone against peers that send rubbish: it never dies, never hangs, and still serves everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handset.one_phone import dial, running
from opencph.adb import messages
from opencph.adb.messages import AUTH, CLSE, CNXN, OKAY, OPEN, WRTE
from opencph.handset.phone import Phone

SERVICES = [
    b"sync:",
    b"shell,v2,raw:cat",
    b"exec:cat",
    b"shell:logcat",
    b"reverse:list-forward",
    b"abb:package\0list",
    b"track-jdwp",
]
frame = st.tuples(
    st.sampled_from([CNXN, AUTH, OPEN, OKAY, WRTE, CLSE]),
    st.integers(0, 4) | st.just(0xFFFFFFFF),
    st.integers(0, 4) | st.just(0xFFFFFFFF),
    st.binary(max_size=200) | st.sampled_from([name + b"\0" for name in SERVICES]) | st.just(struct.pack("<i", -1)),
)


@asynccontextmanager
async def _survives(phone: Phone) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(phone.config.ip, phone.adb_port)
    try:
        yield reader, writer
        async with asyncio.timeout(15), await dial(phone) as adb:
            assert (await adb.shell("getprop ro.product.name")).stdout == b"handset\n"
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(frame, max_size=25), delayed=st.booleans(), greet=st.booleans())
def test_any_frames_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, frames: list[tuple[int, int, int, bytes]], delayed: bool, greet: bool
) -> None:
    async def main() -> None:
        async with running(tmp_path_factory.mktemp("f") / "p") as phone, _survives(phone) as (_, writer):
            if greet:
                features = ("shell_v2", "delayed_ack") if delayed else ("shell_v2",)
                banner = messages.make_banner("host", {}, features)
                writer.write(messages.message(CNXN, messages.VERSION, messages.MAX_PAYLOAD, banner))
            for command, one, two, payload in frames:
                writer.write(messages.message(command, one, two, payload))
            with contextlib.suppress(ConnectionError):
                await writer.drain()

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400), service=st.sampled_from(SERVICES))
def test_any_bytes_into_any_service(tmp_path_factory: pytest.TempPathFactory, data: bytes, service: bytes) -> None:
    async def main() -> None:
        async with running(tmp_path_factory.mktemp("f") / "p") as phone, await dial(phone) as adb:
            stream = await adb.open(service.decode())
            with contextlib.suppress(Exception):
                async with asyncio.timeout(0.05):
                    await stream.write(data)
                    await stream.read()
            assert (await adb.shell("getprop ro.product.name")).stdout == b"handset\n"

    asyncio.run(main())


def test_a_peer_that_overruns_its_window_is_thrown_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    async def main() -> None:
        async with running(tmp_path_factory.mktemp("f") / "p") as phone, _survives(phone) as (reader, writer):
            banner = messages.make_banner("host", {}, ("shell_v2", "delayed_ack"))
            writer.write(messages.message(CNXN, messages.VERSION, messages.MAX_PAYLOAD, banner))
            writer.write(messages.message(OPEN, 1, 1 << 20, b"shell,v2,raw:logcat\0"))
            with contextlib.suppress(ConnectionError):
                for _ in range(64):  # logcat reads no input: nothing is ever acknowledged
                    writer.write(messages.header(WRTE, 1, 1, 1 << 20) + struct.pack("<BI", 0, 1 << 20) + bytes((1 << 20) - 5))
                    await writer.drain()
                async with asyncio.timeout(15):
                    while await reader.read(65536):
                        pass

    asyncio.run(main())
