"""A command of a job runs at most once in a phone, and its end is known to whoever asks later. With a real light phone."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from handset.one_phone import dial, need_sandbox, running, short_directory, until
from opencph.adb import transfers
from opencph.adb.client import Connection
from opencph.fleet import command_runs
from opencph.fleet.command_runs import LostError, forget, is_begun, only_reads, run_once
from opencph.handset.phone import Phone

FILE = "/data/local/tmp/lines"
NAP = f"7{random.randrange(10**6):06}"  # seconds; tells this test's processes from all others


@pytest.fixture
def home() -> Iterator[Path]:
    need_sandbox()
    directory = short_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def in_phone(home: Path, work: Callable[[Phone, Connection], Awaitable[None]], data_bytes: int = 64 << 20) -> None:
    """Do something with a phone that runs."""

    async def main() -> None:
        async with asyncio.timeout(60), running(home / "p", data_bytes=data_bytes) as phone, await dial(phone) as connection:
            await work(phone, connection)

    asyncio.run(main())


def everything() -> Iterator[psutil.Process]:
    """All processes, with their words."""
    for process in psutil.process_iter(["cmdline"]):
        process.info["cmdline"] = process.info["cmdline"] or []
        yield process


async def lines(connection: Connection) -> list[str]:
    return (await transfers.shell(connection, f"cat {FILE}", 1024)).text.decode().split()


def test_a_command_says_what_it_printed_and_its_exit_code_as_often_as_it_is_asked(home: Path) -> None:
    async def work(_: Phone, connection: Connection) -> None:
        line = f"echo one | tee -a {FILE}; echo 'two  words' >&2; exit 7"
        for attempt in (1, 2, 3):
            assert await run_once(connection, "job", attempt, line) == (b"one\ntwo  words\n", 7)
        assert await lines(connection) == ["one"]
        assert await run_once(connection, "other", 1, "echo more | head -c 2; true") == (b"mo", 0)

    in_phone(home, work)


def test_a_command_goes_on_when_its_connection_ends_and_is_waited_for(home: Path) -> None:
    async def work(phone: Phone, connection: Connection) -> None:
        line = f"echo one >>{FILE}; sleep 1; echo two >>{FILE}; echo said"
        async with await dial(phone) as first:
            begun = asyncio.create_task(run_once(first, "job", 1, line))
            await until(lambda: (home / "p" / FILE[1:]).exists())
            begun.cancel()
        assert await is_begun(connection, "job")
        assert await run_once(connection, "job", 2, line) == (b"said\n", 0)
        assert await lines(connection) == ["one", "two"]

    in_phone(home, work)


def test_a_command_that_a_phone_took_down_with_it_is_not_started_again(home: Path) -> None:
    async def work(phone: Phone, connection: Connection) -> None:
        line = f"echo one >>{FILE}; sleep 60"
        begun = asyncio.create_task(run_once(connection, "job", 1, line))
        await until(lambda: (home / "p" / FILE[1:]).exists() and (home / "p" / FILE[1:]).read_text())  # written, not only made
        begun.cancel()
        await phone.reboot()
        async with await dial(phone) as again:
            with pytest.raises(LostError, match="went down"):
                await run_once(again, "job", 2, line)
            assert await lines(again) == ["one"]

    in_phone(home, work)


def test_what_is_forgotten_leaves_nothing_and_ends_what_still_runs(home: Path) -> None:
    async def work(_: Phone, connection: Connection) -> None:
        await run_once(connection, "done", 1, f"echo one >>{FILE}")
        begun = asyncio.create_task(run_once(connection, "long", 1, f"echo two >>{FILE}; sleep {NAP}"))
        await until(lambda: (home / "p" / FILE[1:]).read_text().count("two"))
        begun.cancel()
        await forget(connection)
        assert (await transfers.look(connection, command_runs.HOME)).error
        await until(
            lambda: not any("sleep" in process.info["cmdline"] and NAP in process.info["cmdline"] for process in everything())
        )
        await forget(connection)  # nothing is there any more

    in_phone(home, work)


def test_a_command_that_fills_the_disk_ends_with_its_own_code(home: Path) -> None:
    async def work(_: Phone, connection: Connection) -> None:
        line = "cat /dev/zero >/data/local/tmp/full; sleep 0.5; echo said; exit 7"
        done = await run_once(connection, "job", 1, line)
        assert done.code == 7, done

    in_phone(home, work, data_bytes=8 << 20)


def test_a_full_disk_can_still_be_emptied_by_a_command(home: Path) -> None:
    async def work(_: Phone, connection: Connection) -> None:
        await transfers.shell(connection, "cat /dev/zero >/data/local/tmp/full", 100)
        assert (await run_once(connection, "job", 1, "rm /data/local/tmp/full")).code == 0
        assert (await transfers.look(connection, "/data/local/tmp/full")).error

    in_phone(home, work, data_bytes=8 << 20)


@pytest.mark.parametrize("line", ["getprop ro.product.model", "ls -l /data", "cat /data/f"])
def test_lines_that_only_read_leave_no_mark(line: str) -> None:
    assert only_reads(line)


@pytest.mark.parametrize("line", ["rm /data/f", "cat /data/f | tee /data/g", "ls & reboot", "setprop a b", "", "A=b ls"])
def test_lines_that_may_change_something_are_not_taken_for_readers(line: str) -> None:
    assert not only_reads(line)
