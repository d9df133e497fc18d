"""A rolling restart under load: every process of an installation is replaced while clients read, buy, change, restart and hold
connections open. Nothing accepted is lost, and nothing fails that a client would not try again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ConnectionException
from huaweicloudsdkcph.v1 import (
    ChangeCloudPhoneServerRequest,
    CphClient,
    CreateNet2CloudPhoneServerRequest,
    DeleteCloudPhoneServerRequest,
    ListCloudPhonesRequest,
    RestartCloudPhoneRequest,
    ShowCloudPhoneDetailRequest,
    ShowCloudPhoneServerDetailRequest,
    ShowJobRequest,
)

from api.vendor_clients import client_of
from e2e.running import PARTS, Eventually, StartUp, free_port, pids, refused, server_status
from opencph.testing import RunningCph, change, purchase

JOB_SECONDS = 90.0


class Load:
    """Threads that use an installation until told to end, and what they met."""

    def __init__(self, cph: RunningCph, server_id: str, changed_id: str) -> None:
        self.cph, self.server_id, self.changed_id = cph, server_id, changed_id
        self.done: Counter[str] = Counter()
        self.refused = 0
        self.failed: list[str] = []
        self.jobs: list[str] = []
        self.bought: list[str] = []
        self.ending = threading.Event()

    def run(self, name: str, act: Callable[[], None]) -> None:
        """Act again and again. A refused connection is tried again, as a client would; anything else is a failure."""
        while not self.ending.is_set():
            try:
                act()
                self.done[name] += 1
            except (ConnectionRefusedError, ConnectionException) as error:
                if "refused" in str(error):
                    self.refused += 1
                    time.sleep(0.05)
                else:
                    self.failed.append(f"{name}: {error!r}")
            except Exception as error:
                self.failed.append(f"{name}: {error!r}")

    def acts(self) -> dict[str, Callable[[], None]]:
        known, client, other = self.cph.credentials, client_of(self.cph, CphClient), client_of(self.cph, CphClient)
        phone_ids = [
            str(phone.phone_id)
            for phone in client.list_cloud_phones(ListCloudPhonesRequest(server_id=self.server_id, limit=100)).phones
        ]
        writer, buyer, changer = client_of(self.cph, CphClient), client_of(self.cph, CphClient), client_of(self.cph, CphClient)

        def show() -> None:
            client.show_cloud_phone_server_detail(ShowCloudPhoneServerDetailRequest(server_id=self.server_id))

        def list_phones() -> None:
            other.list_cloud_phones(ListCloudPhonesRequest(server_id=self.server_id, limit=100))

        def connect_anew() -> None:
            host, _, port = self.cph.endpoint.removeprefix("http://").rpartition(":")
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = connection.recv(4096)
                assert answer.startswith(b"HTTP/1.1 200 "), answer

        def restart() -> None:
            wanted = {"phones": [{"phone_id": phone_id} for phone_id in phone_ids[:3]]}
            jobs = writer.restart_cloud_phone(RestartCloudPhoneRequest(body=wanted)).jobs
            assert all(job.job_id for job in jobs), jobs
            self.jobs += [str(job.job_id) for job in jobs]
            self._await([str(job.job_id) for job in jobs])

        def buy() -> None:
            body = purchase(known, f"bought-{len(self.bought)}")
            (server_id,) = buyer.create_net2_cloud_phone_server(CreateNet2CloudPhoneServerRequest(body=body)).server_ids
            self.bought.append(str(server_id))
            self._until(lambda: server_status(buyer, server_id) in (2, 5))
            assert server_status(buyer, server_id) == 5
            buyer.delete_cloud_phone_server(DeleteCloudPhoneServerRequest(body={"server_ids": [server_id]}))
            self.ending.wait(1.0)

        def change_server() -> None:
            request = ChangeCloudPhoneServerRequest(server_id=self.changed_id, body=change(known))
            job_id = str(changer.change_cloud_phone_server(request).job_id)
            self.jobs.append(job_id)
            self._await([job_id])

        return {
            "show": show,
            "list": list_phones,
            "connect": connect_anew,
            "restart": restart,
            "buy": buy,
            "change": change_server,
        }

    def _await(self, job_ids: list[str]) -> None:
        client = client_of(self.cph, CphClient)
        for job_id in job_ids:
            self._until(lambda job_id=job_id: client.show_job(ShowJobRequest(job_id=job_id)).status != 1)  # type: ignore[misc]

    @staticmethod
    def _until(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + JOB_SECONDS
        while True:
            try:
                if holds():
                    return
            except (ConnectionRefusedError, ConnectionException) as error:
                if "refused" not in str(error):
                    raise
            assert time.monotonic() < deadline, f"not within {JOB_SECONDS:g} s"
            time.sleep(0.1)


@contextmanager
def echo_through_a_phone(serial: str, adb_port: int) -> Iterator[Callable[[str], str]]:
    """A shell in a phone that stays open; says what it is told."""
    environment = {"ANDROID_ADB_SERVER_PORT": str(adb_port), "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    connected = subprocess.run(["adb", "connect", serial], capture_output=True, text=True, env=environment, check=True)
    assert "connected to" in connected.stdout, connected.stdout
    shell = subprocess.Popen(
        ["adb", "-s", serial, "shell", "-T", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

    def echo(text: str) -> str:
        assert shell.stdin is not None and shell.stdout is not None
        shell.stdin.write(text + "\n")
        shell.stdin.flush()
        return _line(shell.stdout)

    try:
        yield echo
    finally:
        shell.kill()
        shell.wait()
        subprocess.run(["adb", "kill-server"], env=environment, check=False, stderr=subprocess.DEVNULL)


def _line(stream: IO[str]) -> str:
    found: list[str] = []
    reading = threading.Thread(target=lambda: found.append(stream.readline()), daemon=True)
    reading.start()
    reading.join(20)
    assert found, "the connection says nothing"
    return found[0].rstrip("\n")


def restart(cph: RunningCph) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opencph", "restart", "--data", str(cph.data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_a_rolling_restart_under_load_loses_nothing_and_fails_nothing(
    start: StartUp, database_url: str, eventually: Eventually, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("adb") is None:
        pytest.skip("no adb: sudo apt-get install adb")
    cph = start("--database", database_url, drain_seconds="60")
    client = client_of(cph, CphClient)
    servers = []
    for name in ("used", "changed"):
        bought = client.create_net2_cloud_phone_server(CreateNet2CloudPhoneServerRequest(body=purchase(cph.credentials, name)))
        servers.append(str(bought.server_ids[0]))
    for server_id in servers:
        eventually(lambda server_id=server_id: server_status(client, server_id) == 5, "server normal")  # type: ignore[misc]
    last = client.list_cloud_phones(ListCloudPhonesRequest(server_id=servers[0], limit=100)).phones[-1]
    shown = client.show_cloud_phone_detail(ShowCloudPhoneDetailRequest(phone_id=last.phone_id))
    (access,) = [info for info in shown.access_infos if info.type == "adb"]
    before, program = pids(cph), psutil.Process(cph.process.pid)
    load = Load(cph, *servers)
    threads = [threading.Thread(target=load.run, args=item, daemon=True) for item in load.acts().items()]
    with echo_through_a_phone(f"{access.server_ip}:{access.access_port}", free_port()) as echo:
        assert echo("before") == "before"
        for thread in threads:
            thread.start()
        told = [restart(cph), restart(cph)]
        assert echo("after") == "after"
        load.ending.set()
        for thread in threads:
            thread.join(JOB_SECONDS + 30)
            assert not thread.is_alive(), f"a client hangs; failed so far: {load.failed}"
    with capsys.disabled():
        print(f"\nrolling restart twice under load: {dict(load.done)}, {load.refused} refused, {len(load.failed)} failed")
    log = (cph.data / "logs" / "opencph.log").read_text().splitlines()[-40:]
    assert [(done.returncode, done.stderr) for done in told] == [(0, "")] * 2, log
    assert load.failed == [], log
    assert program.is_running() and program.pid == cph.process.pid
    assert set(before) == set(PARTS)
    eventually(lambda: not any(map(psutil.pid_exists, before.values())), "the old parts end, the gateway after its last connection")
    assert all(load.done[name] for name in load.acts()), load.done
    for job_id in load.jobs:
        job = client.show_job(ShowJobRequest(job_id=job_id))
        assert job.status == 2, job
    assert [server_status(client, server_id) for server_id in servers] == [5, 5]
    assert cph.stop() == 0


def test_a_program_that_does_not_start_replaces_nothing(start: StartUp, eventually: Eventually, directory: Path) -> None:
    settings = directory / "settings.toml"
    settings.write_text("token_hours = 5\n")
    cph = start("--config", str(settings))
    before = pids(cph)
    settings.write_text("token_hours = 0\n")
    done = restart(cph)
    assert done.returncode == 1
    assert "nothing is replaced" in done.stderr and "token_hours" in done.stderr
    assert pids(cph) == before
    settings.write_text("token_hours = 6\n")
    assert restart(cph).returncode == 0
    eventually(lambda: not set(before.values()) & set(pids(cph).values()), "the parts are other ones")
    assert cph.stop() == 0


def test_a_restart_of_what_does_not_run_says_so(directory: Path) -> None:
    command = [sys.executable, "-m", "opencph", "restart", "--data", str(directory / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.split(";")[0]) == (1, f"opencph restart: no `opencph up` runs on {directory}/none")


def test_an_installation_that_was_replaced_is_still_the_only_one_of_its_directory(start: StartUp) -> None:
    first = start()
    assert restart(first).returncode == 0
    assert f"another `opencph up` (process {first.process.pid})" in refused(start(wait=False))
    first.process.kill()  # the parts of the program that took over end with it, too
    first.process.wait()
    assert start().stop() == 0
