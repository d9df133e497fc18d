"""Floods before the SSH service of an EIP: who gets in all the same, who is sent away, and whether it is told why."""

from __future__ import annotations

import asyncio
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import asyncssh
import pytest

from gateway.gateway_world import SECONDS, Gateway, Network, TcpPhones, resident, sockets, wait_until
from gateway.ssh_client import Ssh, make_key

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Start = Callable[..., Gateway]
ADMISSION = "opencph.gateway.ssh_admission."
VERSION = b"SSH-2.0-flood\r\n"

if shutil.which("ssh") is None:
    pytest.skip("no ssh: install openssh-client", allow_module_level=True)


@pytest.fixture(autouse=True)
def descriptors() -> None:
    """Thousands of sockets in this process."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4500:
        pytest.skip(f"only {hard} open files are allowed here (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
def public(network: Network, tmp_path: Path, phones: TcpPhones) -> str:
    """The EIP of a server with a phone and the key pair of `mine.pem`."""
    network.keypair("mine", make_key(tmp_path / "mine.pem", "ed25519"))
    phone, public = network.ip(), network.ip()
    phones.listen(phone, 5555)
    phones.listen(phone, 5556)
    network.server(
        phone_ip_first=phone,
        server_ip=network.ip(),
        eip_id=network.eip(public),
        ports=(("web", 5556, False),),
        keypair_name="mine",
    )
    return public


@pytest.fixture
def ssh(network: Network, public: str, tmp_path: Path) -> Iterator[Ssh]:
    one = Ssh(network, public, tmp_path, tmp_path / "mine.pem")
    yield one
    one.end()


def _phone(network: Network) -> str:
    return f"{network.block}.2"


class Flood:
    """Connections that never log in."""

    def __init__(self, address: tuple[str, int], count: int, source: str = "127.0.0.1", says: bytes = b"") -> None:
        self.sockets = []
        for _ in range(count):
            sock = socket.create_connection(address, SECONDS, source_address=(source, 0))
            if says:
                with suppress(OSError):  # sent away already
                    sock.sendall(says)
            self.sockets.append(sock)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


def _told(sock: socket.socket) -> bytes:
    """All that the gateway says until it hangs up."""
    sock.settimeout(SECONDS)
    found = b""
    while data := sock.recv(4096):
        found += data
    return found


def test_two_thousand_connections_that_never_log_in_keep_nobody_out(
    network: Network, public: str, ssh: Ssh, gateway: Start
) -> None:
    running = gateway()
    before = sockets(running.process.pid), resident(running)
    target = f"{_phone(network)}:5555"
    with closing(Flood((public, network.ssh_port), 2000)):
        ssh.tunnel(target, options=("BindAddress=127.9.9.9",))  # another client
        ssh.tunnel(target, options=("BindAddress=127.0.0.1",))  # the flood's own address
        assert resident(running) - before[1] < 64 << 20
        assert "too many connections that do not log in" in running.log.read_text()
        assert running.log.read_text().count("\n") < 200, "the flood is told line by line"
    ssh.end()
    wait_until(lambda: sockets(running.process.pid) <= before[0], "sockets given back")


def test_a_flood_that_begins_to_speak_ssh_keeps_nobody_out(network: Network, public: str, ssh: Ssh, gateway: Start) -> None:
    running = gateway({ADMISSION + "STALLED_SECONDS": 1.0})
    with closing(Flood((public, network.ssh_port), 2000, says=VERSION)):
        for source in ("127.9.9.9", "127.0.0.1"):
            ssh.tunnel(f"{_phone(network)}:5555", options=(f"BindAddress={source}", "ConnectTimeout=30"))
    text = running.log.read_text()
    assert "your login stood still while others of your address waited" in text
    assert "Traceback" not in text
    assert resident(running) < 200 << 20


def test_a_flood_from_many_addresses_keeps_nobody_out(network: Network, public: str, ssh: Ssh, gateway: Start) -> None:
    running = gateway({ADMISSION + "OUTSIDE_MAX": 300, ADMISSION + "CONNECTIONS_PER_ADDRESS": 200})
    floods = [Flood((public, network.ssh_port), 1, f"127.9.{number // 200 + 1}.{number % 200 + 1}") for number in range(500)]
    ssh.tunnel(f"{_phone(network)}:5555")
    assert sockets(running.process.pid) < 600
    for flood in floods:
        flood.close()


def test_the_openssh_client_prints_why_it_is_sent_away(network: Network, public: str, ssh: Ssh, gateway: Start) -> None:
    running = gateway({ADMISSION + "CONNECTIONS_PER_CLIENT": 2})
    for _ in range(2):
        ssh.tunnel(f"{_phone(network)}:5555")
    for _ in range(5):
        status, said = ssh.run("-N")
        assert status == 255
        assert f"too many connections from {ssh.source} to this address: at most 2" in said
    ssh.processes[0].kill()
    ssh.processes[0].wait()
    wait_until(lambda: "tunnel closed" in running.log.read_text(), "its share given back")
    ssh.tunnel(f"{_phone(network)}:5555")
    ssh.tunnel(f"{_phone(network)}:5555", options=("BindAddress=127.9.9.9",))  # another client has its own share
    assert f'"peer": "{ssh.source}"' in running.log.read_text()


def test_an_address_that_is_full_of_logins_says_so(network: Network, public: str, ssh: Ssh, gateway: Start) -> None:
    gateway({ADMISSION + "CONNECTIONS_PER_ADDRESS": 2})
    for source in ("127.9.9.8", "127.9.9.9"):
        ssh.tunnel(f"{_phone(network)}:5555", options=(f"BindAddress={source}",))
    status, said = ssh.run("-N")
    assert status == 255
    assert "too many connections to this address: at most 2" in said


def test_who_says_nothing_or_stops_in_the_middle_of_a_login_is_cut(network: Network, public: str, gateway: Start) -> None:
    running = gateway({ADMISSION + "HELLO_SECONDS": 0.5, "opencph.gateway.ssh_server.LOGIN_SECONDS": 1.0})
    with (
        closing(Flood((public, network.ssh_port), 1)) as silent,
        closing(Flood((public, network.ssh_port), 1, says=VERSION)) as stuck,
    ):
        assert b"nothing was heard from you" in _told(silent.sockets[0])
        assert _told(stuck.sockets[0]).startswith(b"SSH-2.0-OpenCPH\r\n")
    wait_until(lambda: "Login timeout expired" in running.log.read_text(), "the reason in the log")


def test_who_waits_for_a_turn_too_long_is_told(network: Network, public: str, gateway: Start) -> None:
    gateway({ADMISSION + "QUEUE_SECONDS": 0.5, ADMISSION + "LOGINS_PER_CLIENT": 1})
    with closing(Flood((public, network.ssh_port), 2, says=VERSION)) as flood:
        assert b"too many logins at once from 127.0.0.1: at most 1" in _told(flood.sockets[1])


def test_a_client_that_keeps_sending_while_it_is_sent_away_is_read_for_a_short_time_only(
    network: Network, public: str, gateway: Start
) -> None:
    running = gateway({ADMISSION + "CONNECTIONS_PER_CLIENT": 0})
    before = sockets(running.process.pid)
    with closing(Flood((public, network.ssh_port), 1)) as flood:
        (sock,) = flood.sockets
        deadline, sent = time.monotonic() + SECONDS, 0
        with pytest.raises(OSError, match=r"reset|pipe"):
            while time.monotonic() < deadline:
                sent += sock.send(bytes(1 << 16))
        assert sent < 64 << 20
        wait_until(lambda: sockets(running.process.pid) <= before, "sockets given back")
    with closing(Flood((public, network.ssh_port), 500)):  # nor do many that stay are kept
        wait_until(lambda: sockets(running.process.pid) <= before, "sockets given back")


@pytest.mark.parametrize(("count", "pause"), [(400, 0.0), (120, 6.5)], ids=["many", "and the gateway stands still meanwhile"])
def test_many_logins_at_once_are_all_served(
    network: Network, public: str, gateway: Start, tmp_path: Path, count: int, pause: float
) -> None:
    """More than have a turn at a time; and that the gateway is slow is not held against those who wait for it."""
    running = gateway()
    key = asyncssh.read_private_key(tmp_path / "mine.pem")

    async def stand_still() -> None:
        await asyncio.sleep(0.3)  # some log in, the others wait for their turn
        running.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(pause)
        running.process.send_signal(signal.SIGCONT)

    async def run() -> list[bytes]:
        still = asyncio.create_task(stand_still()) if pause else None

        async def one() -> bytes:
            async with asyncssh.connect(
                public,
                network.ssh_port,
                username=network.project_id,
                client_keys=[key],
                known_hosts=None,
                config=None,
                login_timeout=60,
            ) as connection:
                reader, _writer = await connection.open_connection(_phone(network), 5556)
                line: bytes = await reader.readline()
                return line

        greetings = await asyncio.gather(*(one() for _ in range(count)))
        if still is not None:
            await still
        return greetings

    assert asyncio.run(run()) == [f"{_phone(network)}:5556\n".encode()] * count
    assert "turned away" not in running.log.read_text()
    assert resident(running) < 200 << 20


def test_whoever_guesses_keys_locks_nobody_out(network: Network, public: str, ssh: Ssh, gateway: Start, tmp_path: Path) -> None:
    """The same user name, and the same address: what is slow is the answer to a wrong key."""
    running = gateway()
    wrong = tmp_path / "wrong.pem"
    make_key(wrong, "ed25519")
    guesses = [ssh.command("-N", "-b", source, key=wrong) for source in ("127.9.9.9", "127.0.0.1") for _ in range(15)]
    guessing = [subprocess.Popen(each, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for each in guesses]
    try:
        wait_until(lambda: len(re.findall("wrong keys: answers are delayed", running.log.read_text())) >= 2, "delays")
        for source in ("127.9.9.8", "127.9.9.9", "127.0.0.1"):
            begun = time.monotonic()
            ssh.tunnel(f"{_phone(network)}:5555", options=(f"BindAddress={source}",))
            assert time.monotonic() - begun < SECONDS
    finally:
        for process in guessing:
            process.kill()
            process.wait()
