"""What becomes of phones: buy, change, restart, many at once, and files pushed to one. Through the vendor's SDK and real ADB."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

from huaweicloudsdkcph.v1 import RestartCloudPhoneRequest

from bench.adb_program import adb_program, noise, timed
from bench.client import RUNNING, Client
from bench.starting import processes_of, pss
from bench.table import Row, median, seconds
from opencph.fleet.adb_check import silent_phones
from opencph.testing import PHONES_PER_SERVER, RunningCph, opencph_up

ROUNDS = 5
BUY_SECONDS_MAX, CHANGE_SECONDS_MAX = 1.5, 2.5
RESTARTED, RESTART_ACCEPT_SECONDS_MAX, RESTART_SECONDS_MAX = 1_000, 0.3, 2.0
PHONE_BYTES_MAX = 400_000
SERVERS_PER_CALL = 10
PUSH_BYTES, PUSH_RATE_MIN = 1 << 30, 300e6
POLL_SECONDS = 0.01


def _forks(count: int) -> float:
    """The reference of a boot: how long it takes to start and end so many programs, one after the other."""
    begun = time.monotonic()
    for _ in range(count):
        subprocess.run(["/bin/true"], check=True)
    return time.monotonic() - begun


def _commit(count: int, directory: Path) -> float:
    """The reference of accepting: one transaction of so many rows in a SQLite file on the same disk, with fsync."""
    connection = sqlite3.connect(directory / "reference.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, text TEXT)")
    begun = time.monotonic()
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO rows (text) VALUES (?)", [("x" * 200,)] * count)
    connection.execute("COMMIT")
    taken = time.monotonic() - begun
    connection.close()
    return taken


def _all_answer(ips: list[str]) -> None:
    silent = asyncio.run(silent_phones({ip: ip for ip in ips}))
    if silent:
        raise RuntimeError(f"{len(silent)} of {len(ips)} phones do not answer ADB: {next(iter(silent.items()))}")


def _ips(cph: RunningCph, server_id: str | None = None) -> list[str]:
    """The phones' own addresses, from the database: the API tells them one phone at a time."""
    connection = sqlite3.connect(f"file:{cph.data}/opencph.db?mode=ro", uri=True)
    where, values = ("AND s.server_id = ?", (server_id,)) if server_id else ("", ())
    sql = "SELECT p.phone_ip FROM phones p JOIN servers s ON s.generation_id = p.generation_id WHERE p.status = 2 "
    rows = connection.execute(sql + where, values).fetchall()
    connection.close()
    return [ip for (ip,) in rows]


def buy_and_change(_: argparse.Namespace) -> list[Row]:
    """Buy a server of 60 phones, then change it, several times."""
    bought, changed, reference = [], [], []
    with opencph_up() as cph:
        client = Client(cph.credentials)
        for number in range(ROUNDS + 1):
            forks = _forks(PHONES_PER_SERVER)
            begun = time.monotonic()
            (server_id,) = client.buy(f"bench-{number}")
            client.wait_for_server(server_id)
            _all_answer(_ips(cph, server_id))
            buy = time.monotonic() - begun
            change = timed(lambda server_id=server_id: client.wait_for_job(client.change(server_id)))  # type: ignore[misc]
            if number:  # the first warms up
                reference.append(forks)
                bought.append(buy)
                changed.append(change)
    base = median(reference)
    return [
        Row(
            f"{what}, {PHONES_PER_SERVER} phones",
            seconds(median(times)),
            f"{seconds(base)}, {PHONES_PER_SERVER} x /bin/true",
            f"{median(times) / base:.1f}",
            f"<= {most} s",
            median(times) <= most,
        )
        for what, times, most in (
            ("buy a server: call to all running and answering ADB", bought, BUY_SECONDS_MAX),
            ("change a server: call to job success", changed, CHANGE_SECONDS_MAX),
        )
    ]


def _buy_many(client: Client, count: int) -> None:
    """Buy so many servers and wait until all are normal."""
    server_ids: list[str] = []
    while len(server_ids) < count:
        server_ids += client.buy(f"many-{len(server_ids)}", min(SERVERS_PER_CALL, count - len(server_ids)))
    for server_id in server_ids:
        client.wait_for_server(server_id, 300.0)


def restart(_: argparse.Namespace) -> list[Row]:
    """Restart 1,000 phones in one request."""
    accepted, finished, reference = [], [], []
    with opencph_up(settings={"quota_phones": "20000", "host_phones": "40000"}) as cph:
        client = Client(cph.credentials)
        _buy_many(client, -(-RESTARTED // PHONES_PER_SERVER))
        phone_ids = [phone.phone_id for phone in client.phones()][:RESTARTED]
        body = {"phones": [{"phone_id": phone_id} for phone_id in phone_ids]}
        connection = sqlite3.connect(f"file:{cph.data}/opencph.db?mode=ro", uri=True)
        running = "SELECT count(*) FROM phones WHERE status = ?"
        all_phones = connection.execute("SELECT count(*) FROM phones").fetchone()[0]
        for number in range(ROUNDS + 1):
            commit = _commit(RESTARTED, cph.data)
            begun = time.monotonic()
            answer = client.sdk.restart_cloud_phone(RestartCloudPhoneRequest(body=body))
            accept = time.monotonic() - begun
            refused = [job for job in answer.jobs if job.error_code]
            if refused or len(answer.jobs) != RESTARTED:
                raise RuntimeError(f"{len(answer.jobs)} jobs, {len(refused)} refused: {refused[:1]}")
            while connection.execute(running, (RUNNING,)).fetchone()[0] < all_phones:
                time.sleep(POLL_SECONDS)
            finish = time.monotonic() - begun
            _all_answer(_ips(cph))
            if number:
                reference.append(commit)
                accepted.append(accept)
                finished.append(finish)
        connection.close()
    base = median(reference)
    return [
        Row(
            f"restart {RESTARTED:,} phones in one request: {what}",
            seconds(median(times)),
            f"{seconds(base)}, one commit of {RESTARTED:,} rows",
            f"{median(times) / base:.1f}",
            f"<= {most} s",
            median(times) <= most,
        )
        for what, times, most in (
            ("accepted", accepted, RESTART_ACCEPT_SECONDS_MAX),
            ("all running again", finished, RESTART_SECONDS_MAX),
        )
    ]


def memory(options: argparse.Namespace) -> list[Row]:
    """Boot many phones; what all processes hold, divided by phones."""
    servers = -(-options.phones // PHONES_PER_SERVER)
    limits = {
        "quota_phones": "40000",
        "host_phones": "80000",
        "quota_servers": "2000",
        "host_servers": "2000",
        "quota_eips": "2000",
    }
    with opencph_up(settings=limits) as cph:
        client = Client(cph.credentials)
        idle = pss(processes_of(cph.process.pid, str(cph.data)))
        begun = time.monotonic()
        _buy_many(client, servers)
        booted = time.monotonic() - begun
        ips = _ips(cph)
        if len(ips) < options.phones:
            raise RuntimeError(f"{len(ips)} phones run, {options.phones} were asked for")
        _all_answer(ips)
        each = pss(processes_of(cph.process.pid, str(cph.data))) / len(ips)
    return [
        Row(
            f"{options.phones:,} light phones on one machine, answering ADB: memory of all processes per phone",
            f"{each / 1000:.0f} KB ({len(ips):,} phones, bought in {seconds(booted)})",
            f"{idle / 1e6:.0f} MB, the same processes without phones",
            f"{each * len(ips) / idle:.1f}",
            f"<= {PHONE_BYTES_MAX // 1000} KB",
            each <= PHONE_BYTES_MAX and len(ips) >= options.phones,
        )
    ]


def push(_: argparse.Namespace) -> list[Row]:
    """`adb push` of 1 GiB with the machine's adb; the reference is a plain copy of the same file."""
    rates, copies = [], []
    with opencph_up() as cph, tempfile.TemporaryDirectory(dir="/tmp") as directory, adb_program() as adb:
        client = Client(cph.credentials)
        (server_id,) = client.buy("push")
        client.wait_for_server(server_id)
        serial = f"{_ips(cph, server_id)[0]}:5555"
        file, copy = Path(directory) / "file", Path(directory) / "copy"
        noise(file, PUSH_BYTES)
        adb("connect", serial)
        for _round in range(3):
            copies.append(PUSH_BYTES / timed(lambda: shutil.copyfile(file, copy)))
            rates.append(PUSH_BYTES / timed(lambda: adb("-s", serial, "push", str(file), "/data/local/tmp/file")))
    rate, base = median(rates), median(copies)
    return [
        Row(
            "`adb push` of 1 GiB to a handset",
            f"{rate / 1e6:.0f} MB/s",
            f"{base / 1e6:.0f} MB/s, cp of the file",
            f"{rate / base:.2f}",
            f">= {PUSH_RATE_MIN / 1e6:.0f} MB/s",
            rate >= PUSH_RATE_MIN,
        )
    ]
