"""How long `opencph up` takes on an empty directory, and what all its processes hold."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench.postgresql import own_postgresql
from bench.table import Row, median, seconds
from opencph.testing import opencph_up

ROUNDS = 5
READY_SECONDS_MAX = 1.5
MEMORY_BYTES_MAX = 180e6
POSTGRESQL_RATIO_MAX = 2.0


def processes_of(pid: int, data: str) -> list[psutil.Process]:
    """A running `up`, its parts, and the phone processes of its data directory, which are nobody's children."""
    found = {pid: psutil.Process(pid)}
    for child in psutil.Process(pid).children(recursive=True):
        found[child.pid] = child
    for process in psutil.process_iter():
        try:
            holds = data in " ".join(process.cmdline()) or process.pid in found or process.ppid() in found
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if holds:
            found[process.pid] = process
            for child in process.children(recursive=True):
                found[child.pid] = child
    return list(found.values())


def pss(processes: list[psutil.Process]) -> int:
    """Bytes that the processes hold, shared pages counted once."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def held(pid: int, name: str) -> int:
    """Bytes that a process holds, counted as VmRSS, VmHWM or RssAnon of /proc/PID/status are. Raises OSError when it is gone."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise ProcessLookupError(pid)


def ready_postgresql(_: argparse.Namespace) -> list[Row]:
    """The same on an empty database of a PostgreSQL of our own, beside SQLite, in turns."""
    times, beside = [], []
    with own_postgresql() as create_database:
        for _round in range(ROUNDS):
            with opencph_up() as cph:
                beside.append(cph.ready_seconds)
            with opencph_up("--database", create_database()) as cph:
                times.append(cph.ready_seconds)
    taken, base = median(times), median(beside)
    return [
        Row(
            "`up` on an empty PostgreSQL to `ready`",
            seconds(taken),
            f"{seconds(base)} on SQLite",
            f"{taken / base:.2f}",
            f"<= {POSTGRESQL_RATIO_MAX:.1f} of SQLite",
            taken / base <= POSTGRESQL_RATIO_MAX,
        )
    ]


def ready(_: argparse.Namespace) -> list[Row]:
    """Start to `ready`, on an empty directory each time."""
    times, memory, bare = [], [], []
    for _round in range(ROUNDS):
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", "import sqlalchemy, granian, asyncio, uvloop"], check=True)
        bare.append(time.monotonic() - begun)
        with opencph_up() as cph:
            times.append(cph.ready_seconds)
            memory.append(pss(processes_of(cph.process.pid, str(cph.data))))
    idle = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert idle.stdout is not None
    idle.stdout.readline()
    one = pss([psutil.Process(idle.pid)])
    idle.communicate(b"\n")
    taken, held, base = median(times), median(memory), median(bare)
    return [
        Row(
            "`up` on an empty directory to `ready`",
            seconds(taken),
            f"{seconds(base)} to import its libraries",
            f"{taken / base:.1f}",
            f"<= {READY_SECONDS_MAX} s",
            taken <= READY_SECONDS_MAX,
        ),
        Row(
            "memory of all processes of an idle `up`",
            f"{held / 1e6:.0f} MB",
            f"{one / 1e6:.1f} MB, one bare Python",
            f"{held / one:.1f}",
            f"<= {MEMORY_BYTES_MAX / 1e6:.0f} MB",
            held <= MEMORY_BYTES_MAX,
        ),
    ]
