"""A command of a job runs at most once in a phone, and its end is known to whoever asks later. With a real light phone."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from handset.one_phone import dial, need_sandbox, running, short_directory, until
from opencph.adb import transfers
from opencph.adb.client import Connection
from opencph.fleet import command_runs
from opencph.fleet.command_runs import LostError, forget, is_begun, only_reads, printed, run_once
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


async def once(connection: Connection, job_id: str, attempts: int, line: str) -> tuple[int, bytes]:
    """The exit code of a line, and what it printed."""
    output = bytearray()
    return await run_once(connection, job_id, attempts, line, output), bytes(output)


async def begins_to_print(connection: Connection, length: int, output: Sequence[int] = ()) -> bytes:
    """What the command of `job` has printed when that is at least so long: here already, or still in its phone."""
    while True:
        said = bytes(output) or await printed(connection, "job")
        if len(said) >= length:
            return said
        await asyncio.sleep(0.05)


async def fill_disk(connection: Connection) -> None:
    """Until nothing more can be written, however small."""
    for line in ("cat /dev/zero >/data/local/tmp/full", "echo x >/data/local/tmp/more"):
        while (await transfers.shell(connection, line, 100)).code == 0:
            pass


def test_a_command_says_what_it_printed_and_its_exit_code_as_often_as_it_is_asked(home: Path) -> None:
    async def work(_: Phone, connection: Connection) -> None:
        line = f"echo one | tee -a {FILE}; echo 'two  words' >&2; exit 7"
        for attempt in (1, 2, 3):
            assert await once(connection, "job", attempt, line) == (7, b"one\ntwo  words\n")
        assert await lines(connection) == ["one"]
        assert await once(connection, "other", 1, "echo more | head -c 2; true") == (0, b"mo")

    in_phone(home, work)


def test_a_command_goes_on_when_its_connection_ends_and_is_waited_for(home: Path) -> None:
    async def work(phone: Phone, connection: Connection) -> None:
        line = f"echo one >>{FILE}; sleep 1; echo two >>{FILE}; echo said"
        async with await dial(phone) as first:
            begun = asyncio.create_task(once(first, "job", 1, line))
            await until(lambda: (home / "p" / FILE[1:]).exists())
            begun.cancel()
        assert await is_begun(connection, "job")
        assert await once(connection, "job", 2, line) == (0, b"said\n")
        assert await lines(connection) == ["one", "two"]

    in_phone(home, work)


def test_a_command_that_a_phone_took_down_with_it_is_not_started_again(home: Path) -> None:
    async def work(phone: Phone, connection: Connection) -> None:
        line = f"echo one >>{FILE}; sleep 60"
        begun = asyncio.create_task(once(connection, "job", 1, line))
        await until(lambda: (home / "p" / FILE[1:]).exists() and (home / "p" / FILE[1:]).read_text())  # written, not only made
        begun.cancel()
        await phone.reboot()
        async with await dial(phone) as again:
            with pytest.raises(LostError, match="went down"):
                await once(again, "job", 2, line)
            assert await lines(again) == ["one"]

    in_phone(home, work)


def test_what_is_forgotten_leaves_nothing_and_ends_what_still_runs(home: Path) -> None:
    async def work(_: Phone, connection: Connection) -> None:
        await once(connection, "done", 1, f"echo one >>{FILE}")
        begun = asyncio.create_task(once(connection, "long", 1, f"echo two >>{FILE}; sleep {NAP}"))
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
        done = await once(connection, "job", 1, line)
        assert done[0] == 7, done

    in_phone(home, work, data_bytes=8 << 20)


def test_a_full_disk_can_still_be_emptied_by_a_command(home: Path) -> None:
    async def work(_: Phone, connection: Connection) -> None:
        await fill_disk(connection)
        assert (await once(connection, "job", 1, "echo said; rm /data/local/tmp/full")) == (0, b"said\n")
        assert (await transfers.look(connection, "/data/local/tmp/full")).error

    in_phone(home, work, data_bytes=8 << 20)


@pytest.mark.parametrize("line", ["seq 1 5 && sleep 60", "seq 1 3; seq 4 5 >&2; sleep 60", "cat /dev/zero"])
def test_what_a_command_printed_is_there_before_it_ends(home: Path, line: str) -> None:
    async def work(phone: Phone, connection: Connection) -> None:
        output = bytearray()
        begun = asyncio.create_task(run_once(connection, "job", 1, line, output))
        async with await dial(phone) as other:
            said = await begins_to_print(other, 10, output)
        begun.cancel()
        assert said == b"1\n2\n3\n4\n5\n" or said.strip(b"\0") == b""

    in_phone(home, work)


def test_of_a_command_that_a_phone_took_down_with_it_the_output_is_known(home: Path) -> None:
    async def work(phone: Phone, connection: Connection) -> None:
        line = "echo one; sleep 60"
        begun = asyncio.create_task(once(connection, "job", 1, line))
        async with await dial(phone) as other:
            assert await begins_to_print(other, 4) == b"one\n"
        begun.cancel()
        await phone.reboot()
        async with await dial(phone) as again:
            output = bytearray()
            with pytest.raises(LostError):
                await run_once(again, "job", 2, line, output)
            assert output == b"one\n"

    in_phone(home, work)


def test_of_a_command_that_runs_on_a_full_disk_the_output_is_known_too(home: Path) -> None:
    async def work(phone: Phone, connection: Connection) -> None:
        await fill_disk(connection)
        output = bytearray()
        begun = asyncio.create_task(run_once(connection, "job", 1, "seq 1 3; sleep 60", output))
        await until(lambda: output == b"1\n2\n3\n")
        async with await dial(phone) as other:
            assert await printed(other, "job") == b"", "there is no room for a mark"
        begun.cancel()

    in_phone(home, work, data_bytes=8 << 20)


@pytest.mark.parametrize("line", ["getprop ro.product.model", "ls -l /data", "cat /data/f"])
def test_lines_that_only_read_leave_no_mark(line: str) -> None:
    assert only_reads(line)


@pytest.mark.parametrize("line", ["rm /data/f", "cat /data/f | tee /data/g", "ls & reboot", "setprop a b", "", "A=b ls"])
def test_lines_that_may_change_something_are_not_taken_for_readers(line: str) -> None:
    assert not only_reads(line)
