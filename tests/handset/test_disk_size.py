"""Processes that write at once stay within the phone's disk, but for what they write between two looks (docs/handset.md)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from handset.one_phone import MIB, dial, need_sandbox, running

DISK = 256 * MIB
LOOK_SECONDS = 0.05  # how often the disk is looked at when little is left (docs/handset.md)


@asynccontextmanager
async def longest_wait() -> AsyncIterator[list[float]]:
    """How long the event loop was kept from its turn, in seconds: whoever looks at the disk waited as long."""
    longest = [0.0]

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            longest[0] = max(longest[0], time.monotonic() - began)

    ticking = asyncio.create_task(tick())
    try:
        yield longest
    finally:
        ticking.cancel()


def test_four_writers_at_once_stop_at_the_disks_size(home: Path) -> None:
    need_sandbox()

    async def main(directory: Path) -> tuple[float, int]:
        async with running(directory, data_bytes=DISK) as phone:
            adb = await dial(phone)
            line = "for i in 1 2 3 4; do dd if=/dev/zero of=/data/f$i bs=65536 2>/dev/null & done; wait"
            async with longest_wait() as longest:
                await adb.shell(line)
            phone.disk.forget()
            used = phone.disk.used()
            await adb.close()
            return longest[0], used

    # The bound is that of looks that come in time: where the machine kept the phone from looking, it is tried again.
    tries = [asyncio.run(main(home / "p0"))]
    while tries[-1][0] >= LOOK_SECONDS and len(tries) < 8:
        tries.append(asyncio.run(main(home / f"p{len(tries)}")))
    in_time = [used for waited, used in tries if waited < LOOK_SECONDS]
    used = max(in_time) if in_time else min(used for _, used in tries)
    assert DISK * 0.5 < used <= DISK * 1.25, f"{used / MIB:.0f} MiB of {DISK / MIB:.0f}: {tries}"


def test_one_writer_beside_files_that_are_only_open_gets_all_that_is_left(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p", data_bytes=64 * MIB) as phone:
            adb = await dial(phone)
            hold = "exec 3>/data/a 4>/data/b; echo x >&3; echo x >&4; sleep 1"
            done = await adb.shell(f"{hold}; dd if=/dev/zero of=/data/big bs=65536 count=960; echo $?")
            await adb.close()
            assert done.stdout.strip() == b"0", done.stderr

    asyncio.run(main())
