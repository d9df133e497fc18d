"""The machine's disk is full, not the phone's: who asks gets a shell, or an answer that says why not, and nobody waits."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from handset.one_phone import dial, need_sandbox, running
from opencph.handset import sandbox as sandbox_module
from opencph.handset.sandbox import Sandbox

ANSWER_SECONDS = 20.0


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A file system of its own, of 2 MiB and 300 files."""
    options = "size=2m,nr_inodes=300"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", home], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system: {mounted.stderr.strip()}")
    yield home
    subprocess.run(["umount", "--lazy", home], check=True)


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)


def test_a_shell_needs_no_room_on_the_machines_disk(small_disk: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(small_disk / "p") as phone:
            _fill(small_disk / "filler")
            async with asyncio.timeout(ANSWER_SECONDS), await dial(phone) as adb:
                done = await adb.shell("echo alive | cat; grep MemTotal /proc/meminfo")
                assert done.code == 0 and done.stdout.startswith(b"alive\nMemTotal:"), (done.stdout, done.stderr)
                done = await adb.shell("echo a > /data/local/tmp/x")
                assert done.code != 0 and b"No space left on device" in done.stderr
            (small_disk / "filler").unlink()
            async with asyncio.timeout(ANSWER_SECONDS), await dial(phone) as adb:
                assert (await adb.shell("echo a > /data/local/tmp/x; cat /data/local/tmp/x")).stdout == b"a\n"

    asyncio.run(main())


def test_a_phone_whose_directories_cannot_be_made_says_so_at_once(small_disk: Path) -> None:
    need_sandbox()

    async def main() -> None:
        async with running(small_disk / "p") as phone, running(small_disk / "q", ip="127.77.3.2") as other:
            async with asyncio.timeout(ANSWER_SECONDS), await dial(other) as adb:
                assert (await adb.shell("echo used | cat")).stdout == b"used\n"
            fillers = (small_disk / f"filler{number}" for number in range(1000))
            with pytest.raises(OSError, match="No space left"):
                for filler in fillers:
                    filler.touch()
            async with asyncio.timeout(ANSWER_SECONDS), await dial(phone) as adb:
                done = await adb.shell("echo alive | cat")
                assert done.code != 0 and b"No space left on device" in done.stderr, (done.code, done.stdout, done.stderr)
            async with asyncio.timeout(ANSWER_SECONDS), await dial(other) as adb:
                assert (await adb.shell("echo alive | cat")).stdout == b"alive\n"
            for filler in small_disk.glob("filler*"):
                filler.unlink()
            async with asyncio.timeout(ANSWER_SECONDS), await dial(phone) as adb:
                assert (await adb.shell("echo alive | cat")).stdout == b"alive\n"

    asyncio.run(main())


def test_an_unexpected_error_ends_a_shell_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> Sandbox:
        raise RuntimeError("unheard of")

    monkeypatch.setattr(sandbox_module.Sandbox, "make", broken)

    async def main() -> None:
        async with running(home / "p") as phone, asyncio.timeout(ANSWER_SECONDS), await dial(phone) as adb:
            done = await adb.shell("echo alive | cat")
            assert done.code != 0 and b"see the log" in done.stderr

    asyncio.run(main())
