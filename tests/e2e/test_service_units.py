"""What the units in `deploy/` rely on: every part tells the service manager that it is ready, so that a rolling restart ends the
gateway that serves only when the other one can take over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from opencph.fleet import open_fleet
from opencph.fleet.generation_routes import mappings
from opencph.fleet.ids import new_id
from opencph.fleet.server_create import create_net2_cloud_phone_server
from opencph.iam import ADMIN, Caller
from opencph.preparation import prepare_database, prepare_directories, write_credentials
from opencph.runtimes.builtin import end_all
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import command
from opencph.testing import RunningCph, own_network, purchase, start_up
from opencph.wire.servers import CreateNet2CloudPhoneServerRequest

DEPLOY = Path(__file__).parents[2] / "deploy"
#: Longer than two gateways ever need to change on a busy machine; without READY=1 it was 4 s.
LONGEST_BREAK_SECONDS = 2.0
_CREDENTIALS = struct.Struct("3i")


class Manager:
    """What systemd does with `Type=notify` and `NotifyAccess=main`: listens to one unit's main process."""

    def __init__(self, stack: ExitStack, address: str) -> None:
        self.address = address
        self._socket = stack.enter_context(closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(address.replace("@", "\0", 1))

    def told(self, seconds: float) -> tuple[str, int]:
        """What it is told next, and by which process; "" when nothing is."""
        self._socket.settimeout(seconds)
        try:
            text, ancillary, _flags, _address = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        except (TimeoutError, BlockingIOError):
            return "", 0
        ((_level, _kind, data),) = ancillary
        return text.decode(), _CREDENTIALS.unpack(data)[0]


@pytest.mark.parametrize("command", ["up", "api", "worker", "gateway"])
def test_every_part_tells_the_service_manager_once_that_it_is_ready(
    directory: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    with ExitStack() as stack:
        network = stack.enter_context(own_network())
        address = f"@opencph-test-{os.getpid()}-{command}" if command == "worker" else str(directory / "notify")
        manager = Manager(stack, address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        data = directory / "data"
        broken = start_up(data, network, "--database", "postgresql://nobody@/none?host=/nowhere", command=command)
        assert broken.process.wait(60) == 1 and broken.stop() == 1
        assert manager.told(0) == ("", 0), "what is not ready does not say so"
        cph = start_up(data, network, command=command)
        stack.callback(end_all, data)
        stack.callback(cph.stop)
        assert manager.told(60) == ("READY=1", cph.process.pid), cph.output
        cph.wait_until_ready(5)
        assert cph.stop() == 0
        assert manager.told(0) == ("", 0)


def test_a_manager_that_has_gone_keeps_nobody_from_working(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "nobody"))
    with own_network() as network:
        cph = start_up(directory / "data", network, command="gateway")
        cph.wait_until_ready()
        assert cph.stop() == 0
    assert any("the service manager cannot be told" in line for line in cph.output)


class Unit:
    """One gateway as its unit runs it: started until READY=1, ended with SIGUSR1, and only then started again."""

    def __init__(self, stack: ExitStack, data: Path, network: str, name: str) -> None:
        self._data, self._network = data, network
        self.manager = Manager(stack, str(data.parent / f"notify-{name}"))
        self.running: RunningCph | None = None
        stack.callback(self.stop)

    def start(self) -> None:
        os.environ["NOTIFY_SOCKET"] = self.manager.address
        try:
            self.running = start_up(self._data, self._network, command="gateway")
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert self.manager.told(60) == ("READY=1", self.running.process.pid), self.running.output

    def stop(self) -> None:
        if self.running is not None and self.running.process.poll() is None:
            self.running.process.send_signal(signal.SIGUSR1)
            self.running.process.wait(45)
            self.running.stop()

    def restart(self) -> None:
        self.stop()
        self.start()


class Client(threading.Thread):
    """Connects again and again; remembers the longest time without a success."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.address, self.ending = address, threading.Event()
        self.connected = self.refused = 0
        self.longest = 0.0

    def run(self) -> None:
        last = time.monotonic()
        while not self.ending.wait(0.005):
            begun = time.monotonic()
            try:
                socket.create_connection(self.address, timeout=20).close()
            except OSError:
                self.refused += 1
                self.longest = max(self.longest, time.monotonic() - last)
            else:
                self.connected += 1
                last = max(last, begun)


def fill(data: Path, network: str) -> tuple[str, int]:
    """A database with one server that looks as if it ran. Returns an address that a gateway serves for it."""
    settings = Settings.load({"data": data, "network": network}, environ={})
    prepare_directories(settings)
    prepare_database(settings)
    write_credentials(settings, "http://127.0.0.1:0")
    known = json.loads((data / "credentials.json").read_text())
    caller = Caller(
        user_id="test",
        user_name="test",
        domain_id=known["domain_id"],
        domain_name=known["domain_name"],
        project_id=known["project_id"],
        role=ADMIN,
    )
    fleet = open_fleet(settings)
    body = msgspec.convert(purchase(known), CreateNet2CloudPhoneServerRequest)
    create_net2_cloud_phone_server(fleet, caller, new_id(), body)
    with fleet.database.write() as tx:
        tx.run(command(tables.generations.update().values(state="serving")))
        tx.run(command(tables.jobs.update().values(status=2, end_ms=0)))
        (route,) = mappings(tx)
    fleet.close()
    first = next(iter(route.mappings()))
    return first.listen_ip, first.listen_port


@contextmanager
def connecting(address: tuple[str, int]) -> Iterator[Client]:
    client = Client(address)
    client.start()
    try:
        yield client
    finally:
        client.ending.set()
        client.join(30)


def test_a_rolling_restart_of_two_gateways_as_their_units_do_it_leaves_clients_without_one_for_a_moment_only(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        network, data = stack.enter_context(own_network()), directory / "data"
        address = fill(data, network)
        units = [Unit(stack, data, network, name) for name in ("one", "two")]
        for unit in units:
            unit.start()
        with connecting(address) as client:
            for unit in units:
                unit.restart()
        with capsys.disabled():
            print(
                f"\nrolling restart of two gateways: {client.connected} connected, {client.refused} refused, {client.longest:.2f} s"
            )
        assert client.connected > 0 and client.longest < LONGEST_BREAK_SECONDS, vars(client)


def test_the_units_wait_for_what_the_parts_tell_and_systemd_understands_them(tmp_path: Path) -> None:
    for unit in sorted(DEPLOY.glob("*.service")):
        lines = unit.read_text().splitlines()
        assert {"Type=notify", "NotifyAccess=main"} <= set(lines), unit
        assert any(line.startswith("TimeoutStartSec=") for line in lines), unit
    if shutil.which("systemd-analyze") is None:
        return  # what is above holds all the same
    for unit in sorted(DEPLOY.iterdir()):  # which program they start is another machine's matter
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/opencph/.venv/bin/opencph", "/bin/true"))
    names = [unit.name.replace("@.", "@1.") for unit in sorted(DEPLOY.iterdir())]
    verified = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in names)], capture_output=True, text=True, check=False
    )
    ours = [line for line in verified.stderr.splitlines() if "opencph" in line]
    assert (verified.returncode, ours) == (0, []), verified.stderr
