"""Processes that write at once stay within the phone's disk, but for what they write between two looks (docs/handset.md)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from handset.one_phone import MIB, dial, need_sandbox, running

DISK = 256 * MIB


def test_four_writers_at_once_stop_at_the_disks_size(home: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(home / "p", data_bytes=DISK) as phone:
            adb = await dial(phone)
            line = "for i in 1 2 3 4; do dd if=/dev/zero of=/data/f$i bs=65536 2>/dev/null & done; wait"
            await adb.shell(line)
            phone.disk.forget()
            used = phone.disk.used()
            await adb.close()
            assert DISK * 0.5 < used <= DISK * 1.25, f"{used / MIB:.0f} MiB of {DISK / MIB:.0f}"

    asyncio.run(main())


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
