"""How soon a dead worker's jobs go on, how soon a phone's status follows reality, and what a rolling restart costs clients."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
from huaweicloudsdkcph.v1 import (
    CphClient,
    ListCloudPhonesRequest,
    ShowCloudPhoneDetailRequest,
    ShowCloudPhoneServerDetailRequest,
)

from bench.client import Client
from bench.postgresql import own_postgresql
from bench.table import Row, median, seconds
from opencph.fleet.adb_check import silent_phones
from opencph.handset.control import HOST_LOCK
from opencph.handset.host import lock_holder
from opencph.jobs.failpoints import Halt
from opencph.testing import RunningCph, opencph_up, own_network, start_up

ROUNDS = 3
TAKEOVER_SECONDS_MAX = 10.0
HUNG_SECONDS = 5  # of the `up` whose worker freezes; 20 by default
STATUS_SECONDS_MAX = 10.0
WAIT_SECONDS = 60.0


def takeover(_: argparse.Namespace) -> list[Row]:
    """A worker is killed, or stopped so that only its lease tells, while it works for a server; another one finishes.

    On PostgreSQL, which several workers need that are not of one `up`; and an `up` on SQLite whose only worker freezes.
    """
    with own_postgresql() as create_database:
        times = {
            death: median([_takeover(number, create_database()) for _round in range(ROUNDS)]) for death, number in _DEATHS.items()
        }
        alone = median([_takeover(None, create_database()) for _round in range(ROUNDS)])
    rows = [
        Row(
            f"jobs of a worker that is {death} go on in another one",
            seconds(taken),
            f"{seconds(alone)}, the same purchase undisturbed, on PostgreSQL",
            f"{taken / alone:.1f}",
            f"<= {TAKEOVER_SECONDS_MAX:.0f} s and the work",
            taken - alone <= TAKEOVER_SECONDS_MAX,
        )
        for death, taken in times.items()
    ]
    frozen, whole = (median([_frozen_in_a_write(freeze=freeze) for _round in range(ROUNDS)]) for freeze in (True, False))
    rows.append(
        Row(
            "jobs of an `up` go on whose worker freezes holding SQLite's write lock",
            seconds(frozen),
            f"{seconds(whole)}, the same purchase undisturbed; OPENCPH_HUNG_SECONDS={HUNG_SECONDS}",
            f"{frozen / whole:.1f}",
            f"<= {HUNG_SECONDS} + {TAKEOVER_SECONDS_MAX:.0f} s and the work",
            frozen - whole <= HUNG_SECONDS + TAKEOVER_SECONDS_MAX,
        )
    )
    return rows


_DEATHS = {"killed": signal.SIGKILL, "stopped (SIGSTOP)": signal.SIGSTOP}


def _frozen_in_a_write(*, freeze: bool) -> float:
    """Seconds from the worker's freezing (from the purchase, without that) to the end of the purchase."""
    with tempfile.TemporaryDirectory(prefix="cph-", dir="/tmp") as directory:
        halt = Halt(Path(directory))
        with opencph_up(settings={"hung_seconds": str(HUNG_SECONDS), "failpoint_directory": directory}) as cph:
            buyer = Client(cph.credentials)
            _until_normal(buyer.sdk, *buyer.buy("warm"))
            if freeze:
                halt.arm("create_server:serve:after")  # in the transaction of that step
            begun = time.monotonic()
            (server_id,) = buyer.buy("frozen")
            if freeze:
                _until(halt.is_reached, "the worker is in the middle of a write")
                (worker,) = [one for one in psutil.Process(cph.process.pid).children() if one.name() == "opencph-worker"]
                worker.suspend()
                begun = time.monotonic()
            _until_normal(buyer.sdk, server_id)
            return time.monotonic() - begun


def _takeover(number: signal.Signals | None, database: str) -> float:
    """Seconds from the death of the worker (from the purchase, without one) to the end of the purchase."""
    with ExitStack() as stack:
        network = stack.enter_context(own_network())
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cph-", dir="/tmp", ignore_cleanup_errors=True)))
        stack.callback(_end_phones, data)

        def start(part: str) -> RunningCph:
            found = start_up(data, network, "--database", database, command=part)
            stack.callback(_end, found)
            _until(lambda: any(line.startswith("ready ") for line in found.output), f"{part} ready")
            return found

        api, first, second = start("api"), start("worker"), start("worker")
        start("gateway")
        buyer = Client(api.credentials)
        _until_normal(buyer.sdk, *buyer.buy("warm"))
        # only the first of the two works when it dies
        os.kill(second.process.pid, signal.SIGSTOP)
        begun = time.monotonic()
        (server_id,) = buyer.buy("taken")
        if number is not None:
            _until(lambda: _has_home(data, 2), "the second server is being made")
            os.kill(first.process.pid, number)
            begun = time.monotonic()
        os.kill(second.process.pid, signal.SIGCONT)
        _until_normal(buyer.sdk, server_id)
        return time.monotonic() - begun


def _has_home(data: Path, count: int) -> bool:
    return len([path for path in (data / "builtin").iterdir() if not path.name.startswith(".")]) >= count


def abnormal(_: argparse.Namespace) -> list[Row]:
    """From `kill -9` and SIGSTOP of a phone host to -7, and from the moment a phone answers ADB again to 2."""
    rows = []
    for harm, number in _DEATHS.items():
        down, up, whole = (median(times) for times in zip(*_harm(number), strict=True))
        for what, taken in (("to -7", down), ("from answering again to 2", up)):
            rows.append(
                Row(
                    f"status of 60 phones whose host is {harm}: {what}",
                    seconds(taken),
                    f"{seconds(whole)} from harm to 60 phones running",
                    f"{taken / whole:.2f}",
                    f"<= {STATUS_SECONDS_MAX:.0f} s",
                    taken <= STATUS_SECONDS_MAX,
                )
            )
    return rows


def _harm(number: signal.Signals) -> list[tuple[float, float, float]]:
    """Seconds until a phone reads -7, from its answer on ADB until all read 2, and from the harm until then; of each round."""
    rounds = []
    with opencph_up() as cph:
        buyer = Client(cph.credentials)
        client = buyer.sdk
        (server_id,) = buyer.buy("harmed")
        _until_normal(client, server_id)
        first = client.list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=1)).phones[0]
        shown = client.show_cloud_phone_detail(ShowCloudPhoneDetailRequest(phone_id=first.phone_id))
        ip = str(shown.access_infos[0].phone_ip)
        (home,) = [path for path in (cph.data / "builtin").iterdir() if not path.name.startswith(".")]
        for _round in range(ROUNDS):
            _until(lambda: _statuses(client, server_id) == {2}, "all phones run")
            host = lock_holder(home / HOST_LOCK)
            assert host is not None
            begun = time.monotonic()
            os.kill(host, number)
            _until(lambda: -7 in _statuses(client, server_id), "a phone is abnormal")
            down = time.monotonic()
            _until(lambda: not asyncio.run(silent_phones({"phone": ip})), "a phone answers")
            answers = time.monotonic()
            _until(lambda: _statuses(client, server_id) == {2}, "all phones run again")
            rounds.append((down - begun, time.monotonic() - answers, time.monotonic() - begun))
    return rounds


def rolling(_: argparse.Namespace) -> list[Row]:
    """`opencph restart` while clients read without a pause, on kept connections and on new ones."""
    with opencph_up() as cph:
        buyer = Client(cph.credentials)
        client = buyer.sdk
        (server_id,) = buyer.buy("read")
        _until_normal(client, server_id)
        host, _colon, port = cph.endpoint.removeprefix("http://").rpartition(":")
        counts, failed, ending = [0, 0], [], threading.Event()

        def read() -> None:
            client.list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=100))

        def connect() -> None:
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if not connection.recv(4096).startswith(b"HTTP/1.1 200 "):
                    raise OSError("no answer")

        def run(place: int, act: Callable[[], None]) -> None:
            while not ending.is_set():
                try:
                    act()
                    counts[place] += 1
                except Exception as error:
                    failed.append(repr(error))

        threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate((read, connect))]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "opencph", "restart", "--data", str(cph.data)], check=True, capture_output=True)
        taken = time.monotonic() - begun
        ending.set()
        for thread in threads:
            thread.join()
        return [
            Row(
                "requests that failed in a rolling restart of everything",
                f"{len(failed)} of {sum(counts) + len(failed):,}",
                f"{seconds(cph.ready_seconds)} to start it, {seconds(taken)} to replace it",
                f"{taken / cph.ready_seconds:.1f}",
                "0",
                not failed,
            )
        ]


def _until_normal(client: CphClient, server_id: str) -> None:
    request = ShowCloudPhoneServerDetailRequest(server_id=server_id)
    _until(lambda: int(client.show_cloud_phone_server_detail(request).status) == 5, "the server is normal")


def _statuses(client: CphClient, server_id: str) -> set[int]:
    phones = client.list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=100)).phones
    return {int(phone.status) for phone in phones}


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {WAIT_SECONDS:.0f} s: {what}")
        time.sleep(0.02)


def _end(cph: RunningCph) -> None:
    if cph.process.poll() is None:
        os.kill(cph.process.pid, signal.SIGCONT)
    cph.stop()


def _end_phones(data: Path) -> None:
    from opencph.runtimes.builtin import end_all

    end_all(data)
