"""The setting `phone_network` on its way to the phones of a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from handset.one_phone import need_sandbox
from opencph.adb import client
from opencph.handset.sandbox import outgoing
from opencph.runtimes.choice import make_runtime
from opencph.settings import Settings
from runtimes.phones import generation, ids


def test_phones_of_a_server_have_the_way_out_that_the_setting_gives_them_at_their_next_start(data: Path) -> None:
    need_sandbox()
    if lacks := outgoing.missing():
        pytest.skip(f"no outgoing network: {lacks}")

    async def devices(network: str) -> list[str]:
        runtime = make_runtime(msgspec.structs.replace(Settings(), data=data, phone_network=network))
        await runtime.create(spec)
        assert await runtime.stop(spec.generation_id, ids(spec)) == {}
        assert await runtime.start(spec.generation_id, ids(spec)) == {}
        async with await client.connect(spec.phones[0].ip, 5555) as adb, asyncio.timeout(30):
            lines = (await adb.shell("cat /proc/net/dev | tail -n +3")).stdout.decode().splitlines()
        return sorted(line.partition(":")[0].strip() for line in lines)

    async def main() -> None:
        assert await devices("off") == ["lo"]
        assert await devices("internet") == [outgoing.DEVICE, "lo"]
        assert await devices("off") == ["lo"]
        await make_runtime(msgspec.structs.replace(Settings(), data=data)).remove(spec.generation_id)

    spec = generation()
    asyncio.run(main())
