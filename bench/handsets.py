"""One handset by itself: shell, pull, pictures, files over 4 GiB; and what one phone's work costs the others of its process."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.adb_program import adb_program, noise, timed
from bench.client import Client
from bench.phones import _ips
from bench.starting import pss
from bench.table import Row, median, seconds
from opencph.adb import client, sync_protocol
from opencph.testing import opencph_up

GIB = 1 << 30
SHELLS, SHELL_SECONDS_MAX = 60, 0.040
ROUNDS = 3
RATE_MIN = 300e6
PICTURES, PICTURE_SECONDS_MAX = 30, 0.030
LARGE_BYTES = 4 * GIB + (64 << 20)
GROWTH_BYTES_MAX = 8 << 20
CALLS_MIN, DELAY_SECONDS_MAX = 200, 0.010


class Phone(NamedTuple):
    """A handset that runs, and adb connected to it."""

    process: int
    ip: str
    port: int
    directory: Path
    adb: Callable[..., bytes]


@contextmanager
def _handset(disk_bytes: int) -> Iterator[Phone]:
    ip = f"127.199.{os.getpid() % 250}.7"
    with tempfile.TemporaryDirectory(dir="/tmp") as directory, adb_program() as adb:
        home = Path(directory, "phone")
        words = [sys.executable, "-m", "opencph.handset", "--data", str(home), "--listen", f"{ip}:0", "--disk", str(disk_bytes)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            serial = process.stdout.readline().decode().split()[3]
            try:
                adb("connect", serial)
                yield Phone(process.pid, ip, int(serial.rpartition(":")[2]), home, lambda *given: adb("-s", serial, *given))
            finally:
                process.send_signal(signal.SIGTERM)


def daily(_: argparse.Namespace) -> list[Row]:
    """`adb shell true`, `adb push` and `adb pull` of 1 GiB, a picture after every change."""
    with _handset(4 * GIB) as phone:
        phone.adb("shell", "true")
        shells = [timed(lambda: phone.adb("shell", "true")) for _ in range(SHELLS)]
        reference = [timed(lambda: phone.adb("version")) for _ in range(SHELLS)]
        here, back = phone.directory.parent / "here", phone.directory.parent / "back"
        noise(here, GIB)
        pushes, pulls, copies = [], [], []
        for _round in range(ROUNDS):
            copies.append(GIB / timed(lambda: shutil.copyfile(here, back)))
            pushes.append(GIB / timed(lambda: phone.adb("push", str(here), "/data/local/tmp/file")))
            pulls.append(GIB / timed(lambda: phone.adb("pull", "/data/local/tmp/file", str(back))))
        pictures = asyncio.run(_pictures(phone))
    copy = median(copies)
    return [
        Row(
            "`adb shell true`, p50",
            seconds(median(shells)),
            f"{seconds(median(reference))}, `adb version`",
            f"{median(shells) / median(reference):.1f}",
            f"<= {SHELL_SECONDS_MAX * 1000:.0f} ms",
            median(shells) <= SHELL_SECONDS_MAX,
        ),
        *(
            Row(
                f"`adb {what}` of 1 GiB, one handset by itself",
                f"{median(rates) / 1e6:.0f} MB/s",
                f"{copy / 1e6:.0f} MB/s, cp of the file",
                f"{median(rates) / copy:.2f}",
                f">= {RATE_MIN / 1e6:.0f} MB/s",
                median(rates) >= RATE_MIN,
            )
            for what, rates in (("push", pushes), ("pull", pulls))
        ),
        Row(
            "`screencap -p` after a key, p50",
            seconds(median(pictures[0])),
            f"{seconds(median(pictures[1]))}, of a screen that did not change",
            f"{median(pictures[0]) / median(pictures[1]):.1f}",
            f"<= {PICTURE_SECONDS_MAX * 1000:.0f} ms",
            median(pictures[0]) <= PICTURE_SECONDS_MAX,
        ),
    ]


async def _pictures(phone: Phone) -> tuple[list[float], list[float]]:
    changed: list[float] = []
    same: list[float] = []
    async with await client.connect(phone.ip, phone.port) as adb:
        for _ in range(PICTURES):
            for times in (changed, same):
                begun = time.monotonic()
                assert (await adb.shell("screencap -p")).stdout.startswith(b"\x89PNG")
                times.append(time.monotonic() - begun)
            await adb.shell("input keyevent 187")
    return changed[1:], same[1:]


def large(_: argparse.Namespace) -> list[Row]:
    """Files over 4 GiB each way: how much the phone's process grows, and that nothing of them is lost."""
    rows = []
    with _handset(2 * LARGE_BYTES) as phone:
        here = phone.directory.parent / "here"
        with here.open("wb") as file:  # sparse: what counts is what passes the phone, which writes all of it
            file.truncate(LARGE_BYTES)
            file.seek(LARGE_BYTES - 8)
            file.write(b"the end.")
        phone.adb("push", "/etc/passwd", "/data/local/tmp/first")
        inside = phone.directory / "data/local/tmp/file"

        def push() -> None:
            phone.adb("push", str(here), "/data/local/tmp/file")
            with inside.open("rb") as file:
                file.seek(-8, os.SEEK_END)
                if inside.stat().st_size != LARGE_BYTES or file.read() != b"the end.":
                    raise RuntimeError(f"{inside.stat().st_size} bytes came of {LARGE_BYTES}")

        def pull() -> None:
            count, end = asyncio.run(_drained(phone, "/data/local/tmp/file"))
            if count != LARGE_BYTES or end != b"the end.":
                raise RuntimeError(f"{count} bytes came back of {LARGE_BYTES}, at the end {end!r}")

        for name, work in (("push", push), ("pull", pull)):
            before = pss([psutil.Process(phone.process)])
            taken = timed(work)
            grown = pss([psutil.Process(phone.process)]) - before
            rows.append(
                Row(
                    f"`{name}` of {LARGE_BYTES / GIB:.2f} GiB: growth of the phone's process",
                    f"{grown / 1e6:.1f} MB ({LARGE_BYTES / taken / 1e6:.0f} MB/s)",
                    f"{before / 1e6:.0f} MB, the process before",
                    f"{grown / before:.2f}",
                    f"<= {GROWTH_BYTES_MAX / 1e6:.0f} MB",
                    grown <= GROWTH_BYTES_MAX,
                )
            )
    return rows


async def _drained(phone: Phone, path: str) -> tuple[int, bytes]:
    """Pull a file and keep nothing of it: (bytes, the last eight)."""
    count, last = 0, b""
    async with await client.connect(phone.ip, phone.port) as adb:
        stream = await adb.open("sync:")
        await stream.write(sync_protocol.request(sync_protocol.RECV, path.encode()))
        while True:
            kind, length = sync_protocol.REQUEST.unpack(await stream.read_exactly(sync_protocol.REQUEST.size))
            if kind != sync_protocol.DATA:
                return count, last[-8:]
            last = bytes(await stream.read_exactly(length))
            count += length


def neighbours(_: argparse.Namespace) -> list[Row]:
    """`getprop` on one phone while another one takes a large push, or draws without end: in the same process, and in another."""
    rows = []
    with opencph_up() as cph, tempfile.TemporaryDirectory(dir="/tmp") as directory, adb_program() as adb:
        buyer = Client(cph.credentials)
        (mine,), (other,) = buyer.buy("mine"), buyer.buy("other")
        for server_id in (mine, other):
            buyer.wait_for_server(server_id)
        quiet, beside, elsewhere = *_ips(cph, mine)[:2], _ips(cph, other)[0]
        file = Path(directory, "file")
        noise(file, GIB)

        def push(ip: str) -> None:
            adb("connect", f"{ip}:5555")
            adb("-s", f"{ip}:5555", "push", str(file), "/data/local/tmp/file")

        def draw(ip: str) -> None:
            for _number in range(40):
                asyncio.run(_turn_and_draw(ip))

        asyncio.run(_calls(quiet, lambda: time.sleep(0.5)))
        for what, work in (("takes a push of 1 GiB", push), ("draws screens", draw)):
            measured: dict[str, list[float]] = {}
            for ip in (elsewhere, beside, elsewhere, beside):
                measured.setdefault(ip, []).extend(asyncio.run(_calls(quiet, lambda ip=ip, work=work: work(ip))))  # type: ignore[misc]
            here, there = (sorted(measured[ip])[int(len(measured[ip]) * 0.99)] for ip in (beside, elsewhere))
            delay = max(0.0, here - there)
            rows.append(
                Row(
                    f"`getprop` on a phone while another of its process {what}, p99",
                    f"{seconds(here)}, p50 {seconds(median(measured[beside]))}",
                    f"{seconds(there)}, p50 {seconds(median(measured[elsewhere]))}: one of another process does",
                    f"{here / there:.1f}",
                    f"<= {DELAY_SECONDS_MAX * 1000:.0f} ms more",
                    delay <= DELAY_SECONDS_MAX,
                )
            )
    return rows


async def _turn_and_draw(ip: str) -> None:
    async with await client.connect(ip) as adb:
        await adb.shell("input keyevent 187")
        await adb.shell("screencap -p")


async def _calls(ip: str, work: Callable[[], object]) -> list[float]:
    """How long each call took while `work` runs in a thread."""
    times: list[float] = []
    async with await client.connect(ip) as adb:
        working = asyncio.get_running_loop().run_in_executor(None, work)
        while not working.done() or len(times) < CALLS_MIN:
            begun = time.monotonic()
            await adb.shell("getprop ro.product.name")
            times.append(time.monotonic() - begun)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(working), 0.002)
    return times
