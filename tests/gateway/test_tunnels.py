"""SSH tunnels through a gateway process, with the OpenSSH client."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest

from gateway.gateway_world import SECONDS, Client, Gateway, Network, TcpPhones, wait_until
from gateway.ssh_client import Ssh, make_key

once = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Start = Callable[[], Gateway]
PORTS = (("web", 20000, False),)

if shutil.which("ssh") is None:
    pytest.skip("no ssh: install openssh-client", allow_module_level=True)


class Server:
    """A server with two phones and an EIP."""

    def __init__(self, network: Network, keypair_name: str) -> None:
        self.phone, self.second, self.vip, self.public = (network.ip() for _ in range(4))
        self.eip_id = network.eip(self.public)
        self.server_id = network.server(
            phone_ip_first=self.phone, phone_count=2, server_ip=self.vip, eip_id=self.eip_id, ports=PORTS, keypair_name=keypair_name
        )


@pytest.fixture
def key(tmp_path: Path, network: Network) -> Path:
    """The user's private key; the public half is the key pair `mine`."""
    network.keypair("mine", make_key(tmp_path / "mine.pem"))
    return tmp_path / "mine.pem"


@pytest.fixture
def server(network: Network, key: Path) -> Server:
    return Server(network, "mine")


@pytest.fixture
def ssh(network: Network, server: Server, tmp_path: Path, key: Path) -> Iterator[Ssh]:
    one = Ssh(network, server.public, tmp_path, key)
    yield one
    one.end()


def test_a_tunnel_reaches_adb_the_declared_ports_and_the_access_ports(
    server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones
) -> None:
    for ip, port in ((server.phone, 5555), (server.phone, 20000), (server.second, 20000)):
        phones.listen(ip, port)
    gateway()
    local = ssh.tunnel(f"{server.phone}:5555", f"{server.phone}:20000", f"{server.vip}:10003", f"{server.vip}:10000")
    for port, greeting in zip(
        local, (f"{server.phone}:5555", f"{server.phone}:20000", f"{server.second}:20000", f"{server.phone}:5555"), strict=True
    ):
        client = Client(ssh.local, port)
        assert client.line() == greeting
        assert client.say("through the tunnel") == "through the tunnel"
        client.socket.shutdown(socket.SHUT_WR)
        assert client.line() == "bye"
        assert client.line() == ""
    assert "Authorized users only. All activities may be monitored and reported." in ssh.said()


@once
def test_a_program_of_the_machine_at_the_address_of_a_phone_is_no_program_in_the_phone(
    server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones
) -> None:
    """A service of the machine that listens on all addresses (its own sshd, a database) listens on those of phones too."""
    phones.listen(server.phone, 31234)
    phones.listen("0.0.0.0", (everywhere := 40000 + random.randrange(9000)))
    running = gateway()
    for local in ssh.tunnel(f"{server.phone}:31234", f"{server.phone}:{everywhere}"):
        assert Client(ssh.local, local).line() == ""
    wait_until(lambda: running.log.read_text().count('"forward failed"') >= 2, "both refusals in the log")
    assert "Connection refused" in ssh.said()


@once
def test_many_bytes_survive_the_tunnel(server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones) -> None:
    phones.listen(server.phone, 5555)
    gateway()
    (port,) = ssh.tunnel(f"{server.phone}:5555")
    client = Client(ssh.local, port)
    client.line()
    data = os.urandom(1 << 20) * 8
    client.socket.settimeout(60)

    def send() -> None:
        client.socket.sendall(data)
        client.socket.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    received = client.file.read()
    sender.join()
    assert received == data + b"bye\n"


@once
def test_a_vip_of_a_foreign_range_is_reached_through_the_tunnel(
    network: Network, key: Path, tmp_path: Path, gateway: Start, phones: TcpPhones
) -> None:
    phone, public = network.ip(), network.ip()
    network.server(phone_ip_first=phone, server_ip="192.0.2.9", eip_id=network.eip(public), keypair_name="mine")
    phones.listen(phone, 5555)
    gateway()
    ssh = Ssh(network, public, tmp_path, key)
    try:
        (port,) = ssh.tunnel("192.0.2.9:10000")
        assert Client(ssh.local, port).line() == f"{phone}:5555"
    finally:
        ssh.end()


@once
def test_nothing_beside_the_servers_own_phones_can_be_reached(
    network: Network, server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones
) -> None:
    other = Server(network, "mine")
    phones.listen(other.phone, 5555)
    phones.listen(server.vip, 22222)
    gateway()
    targets = [
        f"{other.phone}:5555",  # another server of the same project
        f"{other.vip}:10000",
        f"{server.vip}:22222",  # no mapping
        "127.0.0.1:22",
        "localhost:5555",
        "0.0.0.0:5555",
        "[::1]:5555",
        f"{server.public}:{network.ssh_port}",
    ]
    for port in ssh.tunnel(*targets):
        client = Client(ssh.local, port)
        assert client.is_cut()
        client.close()
    # The listening test of tunnel() itself has opened one more than these.
    assert ssh.said().count("administratively prohibited") >= len(targets)


@once
def test_only_the_project_id_with_the_servers_key_comes_in(
    network: Network, server: Server, ssh: Ssh, tmp_path: Path, gateway: Start
) -> None:
    network.keypair("other", make_key(tmp_path / "other.pem", "ed25519"))
    running = gateway()
    for user, key, options, reason in (
        (uuid.uuid4().hex, ssh.key, (), "wrong user: it is the id of the server's project"),
        ("root", ssh.key, (), "wrong user: it is the id of the server's project"),
        (network.project_id, tmp_path / "other.pem", (), "wrong key: it is not the one of the server's key pair"),
        (network.project_id, ssh.key, ("-o", "PubkeyAuthentication=no"), "no key was offered"),
    ):
        begun = len(running.log.read_text())
        status, said = ssh.run("-N", *options, user=user, key=key)
        assert status == 255
        assert "Permission denied (publickey)" in said

        def told(begun: int = begun) -> str | None:
            lines = running.log.read_text()[begun:].splitlines()
            return next((line for line in lines if "ssh client not let in" in line), None)

        line = wait_until(told, "the line in the log")
        assert reason in line and f'"user": "{user}"' in line and '"peer": "127.0.0.1"' in line


REFUSED = "this gateway only forwards connections to phones"


@once
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-T",), ""),
        (("-tt",), ""),
        ((), "id"),
        (("-s",), "sftp"),
        (("-s",), "anything"),
        (("-A",), "id"),
        (("-X",), "id"),
    ],
    ids=["shell", "terminal", "command", "sftp", "subsystem", "agent", "x11"],
)
def test_a_session_is_refused_in_words_and_in_the_log(
    network: Network, server: Server, ssh: Ssh, gateway: Start, arguments: tuple[str, ...], words: str
) -> None:
    running = gateway()
    status, said = ssh.run(*arguments, words=words)
    assert status != 0
    assert f"administratively prohibited: {REFUSED}" in said
    (line,) = [json.loads(line) for line in running.log.read_text().splitlines() if '"refused"' in line]
    assert line["asked"] == "a session: shell, command, subsystem or agent"
    assert REFUSED in line["cause"]
    assert (line["user"], line["peer"]) == (network.project_id, "127.0.0.1")


@once
def test_files_are_not_served(server: Server, ssh: Ssh, gateway: Start) -> None:
    gateway()
    for program in ("sftp", "scp"):
        flags = [
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-i",
            str(ssh.key),
            "-o",
            "BatchMode=yes",
        ]
        place = f"{ssh.network.project_id}@{ssh.public}:/etc/passwd"
        command = [program, *flags, "-P", str(ssh.network.ssh_port), place, *([str(ssh.directory)] if program == "scp" else [])]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode != 0
        assert REFUSED in done.stderr
        assert not (ssh.directory / "passwd").exists()


@once
def test_remote_forwards_are_refused_and_told(network: Network, server: Server, ssh: Ssh, gateway: Start, tmp_path: Path) -> None:
    running = gateway()
    for asked in ("127.0.0.1:0:127.0.0.1:22", f"{tmp_path}/there.sock:127.0.0.1:22", f"{tmp_path}/there.sock:{tmp_path}/here.sock"):
        status, said = ssh.run("-N", "-R", asked)
        assert status == 255
        assert "forwarding failed" in said
    lines = [json.loads(line) for line in running.log.read_text().splitlines() if '"refused"' in line]
    assert [line["asked"] for line in lines] == ["a remote forward: 127.0.0.1:0"] + [f"a remote forward: {tmp_path}/there.sock"] * 2
    assert {(line["user"], line["peer"]) for line in lines} == {(network.project_id, "127.0.0.1")}
    assert not (tmp_path / "there.sock").exists()


@once
def test_a_unix_socket_of_the_host_cannot_be_reached(
    network: Network, server: Server, ssh: Ssh, gateway: Start, tmp_path: Path
) -> None:
    running = gateway()
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(tmp_path / "there.sock"))
        there.listen()
        ssh.tunnel(f"{server.phone}:5555", options=(f"LocalForward {tmp_path}/here.sock {tmp_path}/there.sock",))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)

            def connected() -> bool:
                with suppress(FileNotFoundError, ConnectionRefusedError):  # it is not there yet, or nobody listens at it yet
                    client.connect(str(tmp_path / "here.sock"))
                    return True
                return False

            wait_until(connected, "the client's socket")
            assert client.recv(1) == b""
        there.settimeout(0.2)
        with pytest.raises(TimeoutError):
            there.accept()
    assert f"administratively prohibited: {REFUSED}" in ssh.said()
    assert f"a unix socket: {tmp_path}/there.sock" in running.log.read_text()


@once
def test_a_network_device_is_refused(network: Network, server: Server, gateway: Start, key: Path) -> None:
    running = gateway()

    async def run() -> None:
        async with asyncssh.connect(
            server.public,
            network.ssh_port,
            username=network.project_id,
            client_keys=[str(key)],
            known_hosts=None,
            config=None,
        ) as connection:
            for open_device in (connection.open_tun, connection.open_tap):
                with pytest.raises(asyncssh.ChannelOpenError, match=REFUSED) as refused:
                    await open_device()
                assert refused.value.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED

    asyncio.run(run())
    assert running.log.read_text().count("a network device") == 2


@once
def test_the_host_key_stays_the_same_after_a_restart(server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones) -> None:
    phones.listen(server.phone, 5555)
    first = gateway()
    ssh.tunnel(f"{server.phone}:5555")
    assert first.end() == 0
    gateway()
    ssh.tunnel(f"{server.phone}:5555")  # a changed key would be refused: it is in known_hosts
    assert len(set((ssh.directory / "known_hosts").read_text().splitlines())) == 1


def test_at_a_change_the_tunnel_leads_to_the_new_phones_and_a_new_key_is_for_new_connections(
    network: Network, server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones, tmp_path: Path
) -> None:
    new, new_vip = network.ip(), network.ip()
    for ip in (server.phone, new):
        phones.listen(ip, 5555)
    running = gateway()
    old_port, new_port = ssh.tunnel(f"{server.phone}:5555", f"{new}:5555")
    assert Client(ssh.local, old_port).line() == f"{server.phone}:5555"
    assert Client(ssh.local, new_port).is_cut()
    old = Client(ssh.local, old_port)
    assert old.line() == f"{server.phone}:5555"
    revision = network.change(
        server.server_id, phone_ip_first=new, server_ip=new_vip, eip_id=server.eip_id, ports=PORTS, keypair_name="mine"
    )
    running.serves(revision)
    assert old.is_cut()  # though the old phone is still there
    assert Client(ssh.local, new_port).line() == f"{new}:5555"
    assert Client(ssh.local, old_port).is_cut()
    network.keypair("mine", make_key(tmp_path / "new.pem"))
    running.serves()
    assert Client(ssh.local, new_port).line() == f"{new}:5555"
    status, said = ssh.run("-N")
    assert status == 255
    assert "Permission denied" in said


@once
def test_a_phone_that_is_not_there_fails_the_forward_and_not_the_tunnel(
    server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones
) -> None:
    gateway()
    dead, alive = ssh.tunnel(f"{server.phone}:5555", f"{server.second}:5555")
    assert Client(ssh.local, dead).is_cut()
    phones.listen(server.second, 5555)
    assert Client(ssh.local, alive).line() == f"{server.second}:5555"
