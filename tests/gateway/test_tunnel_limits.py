"""What an SSH client may ask of the gateway: ciphers, key exchanges, slow and greedy clients, wrong keys, logins that hang."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest

from gateway.gateway_world import (
    SECONDS,
    Client,
    Endless,
    Gateway,
    Network,
    TcpPhones,
    resident,
    sockets,
    until_the_end,
    wait_until,
)
from gateway.ssh_client import Ssh, make_key
from opencph.gateway.ssh_admission import LOGINS_PER_CLIENT
from opencph.gateway.ssh_guard import KEYS_PER_CONNECTION

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Start = Callable[..., Gateway]

if shutil.which("ssh") is None:
    pytest.skip("no ssh: install openssh-client", allow_module_level=True)


class Server:
    """A server with a phone, an EIP and the key pair in `key`."""

    def __init__(self, network: Network, key: Path) -> None:
        self.network, self.key = network, key
        self.phone, self.public = network.ip(), network.ip()
        network.keypair("mine", make_key(key, "ed25519"))
        network.server(
            phone_ip_first=self.phone,
            server_ip=network.ip(),
            eip_id=network.eip(self.public),
            ports=(("web", 5556, False),),
            keypair_name="mine",
        )

    async def connect(self, keys: list[asyncssh.SSHKey] | None = None) -> asyncssh.SSHClientConnection:
        """asyncssh as the client."""
        return await asyncssh.connect(
            self.public,
            self.network.ssh_port,
            username=self.network.project_id,
            client_keys=keys or [str(self.key)],
            known_hosts=None,
            config=None,
        )


@pytest.fixture
def server(network: Network, tmp_path: Path) -> Server:
    return Server(network, tmp_path / "mine.pem")


@pytest.fixture
def ssh(network: Network, server: Server, tmp_path: Path) -> Iterator[Ssh]:
    one = Ssh(network, server.public, tmp_path, server.key)
    yield one
    one.end()


def _echoes(ssh: Ssh, port: int, size: int, pieces: int = 1) -> None:
    """Bytes go there and back at the same time unharmed."""
    client = Client(ssh.local, port)
    client.line()
    client.socket.settimeout(60)
    data = os.urandom(size // 8) * 8

    def send() -> None:
        for number in range(pieces):
            client.socket.sendall(data[number * size // pieces : (number + 1) * size // pieces])
        client.socket.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    received = client.file.read()
    sender.join()
    assert len(received) == size + len(b"bye\n")
    assert hashlib.sha256(received[:size]).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("cipher", ["chacha20-poly1305@openssh.com", "aes128-ctr"])
def test_a_client_that_reads_late_gets_every_byte(server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones, cipher: str) -> None:
    """The window is used up meanwhile, and must be seen to open again whoever reads the packet that says so."""
    phones.listen(server.phone, 5555)
    gateway()
    (port,) = ssh.tunnel(f"{server.phone}:5555", options=(f"Ciphers={cipher}",))
    client = Client(ssh.local, port)
    client.line()
    client.socket.settimeout(60)
    data, sent = os.urandom(1 << 20), [0]

    def send() -> None:
        for _ in range(48):
            client.socket.sendall(data)
            sent[0] += 1
        client.socket.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    before, until = -1, time.monotonic() + 20
    while sender.is_alive() and sent[0] != before and time.monotonic() < until:
        before = sent[0]
        time.sleep(0.5)  # no progress for so long: everything on the way is full
    received = client.file.read()
    sender.join()
    assert received == data * 48 + b"bye\n"


@pytest.mark.parametrize(
    "cipher", ["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"]
)
def test_bytes_survive_every_cipher(server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones, cipher: str) -> None:
    phones.listen(server.phone, 5555)
    gateway()
    (port,) = ssh.tunnel(f"{server.phone}:5555", options=(f"Ciphers={cipher}",))
    _echoes(ssh, port, 16 << 20)
    _echoes(ssh, port, 30_000, pieces=3_000)


@pytest.mark.parametrize("cipher", ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr"])
def test_bytes_survive_many_key_exchanges_in_the_middle(
    server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones, cipher: str
) -> None:
    phones.listen(server.phone, 5555)
    gateway()
    (port,) = ssh.tunnel(f"{server.phone}:5555", options=(f"Ciphers={cipher}", "RekeyLimit=1M"))
    _echoes(ssh, port, 16 << 20)


def test_a_client_without_compression_of_ours_and_with_its_own_is_served(
    server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones
) -> None:
    phones.listen(server.phone, 5555)
    gateway()
    (port,) = ssh.tunnel(f"{server.phone}:5555", options=("Compression=yes",))
    _echoes(ssh, port, 1 << 20)


def test_twenty_forwards_of_one_connection_do_not_mix(server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones) -> None:
    phones.listen(server.phone, 5555)
    gateway()
    (port,) = ssh.tunnel(f"{server.phone}:5555")
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _echoes(ssh, port, 1 << 20)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_phone_that_does_not_read_and_a_client_that_does_not_cost_little_and_disturb_nobody(
    server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones
) -> None:
    phones.listen(server.phone, 5556)
    deaf = socket.create_server((server.phone, 5555))
    running = gateway()
    to_deaf, to_phone = ssh.tunnel(f"{server.phone}:5555", f"{server.phone}:5556")
    before = resident(running)
    lazy = [Client(ssh.local, to_phone) for _ in range(5)] + [Client(ssh.local, to_deaf) for _ in range(5)]
    for client in lazy:
        client.socket.setblocking(False)
        deadline = time.monotonic() + 0.7
        while time.monotonic() < deadline:  # the echo comes back and is never read, or nobody takes it
            try:
                client.socket.send(bytes(1 << 16))
            except BlockingIOError:
                time.sleep(0.05)
                if client.socket.fileno() < 0:
                    break
    assert resident(running) - before < 64 << 20
    other = Client(ssh.local, to_phone)
    other.socket.settimeout(SECONDS)
    assert other.line() == f"{server.phone}:5556"
    assert other.say("still here") == "still here"
    deaf.close()


def test_a_client_that_sends_rubbish_after_the_login_is_cut_and_nobody_else(
    server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones
) -> None:
    phones.listen(server.phone, 5555)
    running = gateway()
    (port,) = ssh.tunnel(f"{server.phone}:5555")
    kept = Client(ssh.local, port)
    kept.line()

    async def run() -> None:
        async with await server.connect() as connection:
            assert connection._transport is not None
            connection._transport.write(os.urandom(1 << 16))
            async with asyncio.timeout(SECONDS):
                await connection.wait_closed()

    with suppress(asyncssh.Error, ConnectionError):
        asyncio.run(run())
    assert kept.say("undisturbed") == "undisturbed"
    wait_until(lambda: "Max packet size" in running.log.read_text() or "MAC verification" in running.log.read_text(), "the reason")


def test_more_data_than_was_granted_ends_the_connection(server: Server, gateway: Start, phones: TcpPhones) -> None:
    phones.listen(server.phone, 5555)
    running = gateway()

    async def run() -> None:
        async with await server.connect() as connection:
            _reader, writer = await connection.open_connection(server.phone, 5555)
            writer.channel._send_window = 1 << 30  # a client that counts as it likes
            writer.write(bytes(64 << 20))
            async with asyncio.timeout(SECONDS):
                await connection.wait_closed()

    with suppress(asyncssh.Error, ConnectionError):
        asyncio.run(run())
    wait_until(lambda: "Window exceeded" in running.log.read_text(), "the reason")


def test_a_client_that_tries_many_keys_is_sent_away_and_slowed_down(server: Server, gateway: Start) -> None:
    running = gateway()
    wrong = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(KEYS_PER_CONNECTION + 2)]

    async def run() -> float:
        begun = time.monotonic()
        with pytest.raises(asyncssh.PermissionDenied, match="Too many authentication failures"):
            async with await server.connect(wrong):
                pass
        taken = time.monotonic() - begun
        async with await server.connect():  # the right key comes in at once all the same
            pass
        return taken

    assert asyncio.run(run()) > 1.0
    assert "wrong keys: answers are delayed" in running.log.read_text()


def test_clients_that_never_log_in_do_not_keep_another_server_shut(
    network: Network, server: Server, gateway: Start, phones: TcpPhones, tmp_path: Path
) -> None:
    other = Server(network, tmp_path / "other.pem")
    phones.listen(other.phone, 5555)
    running = gateway()
    before = sockets(running.process.pid)
    silent = [socket.create_connection((server.public, network.ssh_port), 10) for _ in range(LOGINS_PER_CLIENT * 3)]

    async def run() -> bytes:
        async with await other.connect() as connection:
            reader, _writer = await connection.open_connection(other.phone, 5555)
            greeting: bytes = await reader.readline()
        return greeting

    network.keypair("mine", other.key.with_suffix(".pem.pub").read_text().strip())
    running.serves()
    assert asyncio.run(run()) == f"{other.phone}:5555\n".encode()
    for sock in silent:
        sock.close()
    wait_until(lambda: sockets(running.process.pid) <= before, "sockets given back")


def test_a_thousand_tunnels_are_open_at_once_within_bounded_memory(server: Server, gateway: Start, phones: TcpPhones) -> None:
    phones.listen(server.phone, 5555)
    running = gateway()

    async def run() -> int:
        turn = asyncio.Semaphore(20)
        options = await asyncssh.SSHClientConnectionOptions.construct(
            username=server.network.project_id, client_keys=[str(server.key)], known_hosts=None, config=None
        )

        async def one() -> asyncssh.SSHClientConnection:
            async with turn:
                return await asyncssh.connect(server.public, server.network.ssh_port, options=options)

        connections = await asyncio.gather(*(one() for _ in range(1000)))
        reader, _writer = await connections[-1].open_connection(server.phone, 5555)
        assert await reader.readline() == f"{server.phone}:5555\n".encode()
        held = resident(running)
        for connection in connections:
            connection.abort()
        return held

    assert asyncio.run(run()) < 200 << 20


def test_a_flood_of_forwards_is_refused_one_by_one_and_fills_neither_memory_nor_log(
    server: Server, gateway: Start, phones: TcpPhones
) -> None:
    phones.listen(server.phone, 5555)
    running = gateway()
    before = resident(running)

    async def run() -> bytes:
        async with await server.connect() as connection:

            async def one() -> None:
                with pytest.raises(asyncssh.ChannelOpenError, match="is not a phone"):
                    await connection.open_connection("127.0.0.1", 22)

            await asyncio.gather(*(one() for _ in range(2000)))
            reader, _writer = await connection.open_connection(server.phone, 5555)
            greeting: bytes = await reader.readline()
        return greeting

    assert asyncio.run(run()) == f"{server.phone}:5555\n".encode()
    assert resident(running) - before < 64 << 20
    assert 0 < running.log.read_text().count("forward refused") <= 50


SERVER = "opencph.gateway.ssh_server."


def test_a_client_that_does_not_answer_any_more_is_dropped(server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones) -> None:
    phones.listen(server.phone, 5555)
    running = gateway({SERVER + "KEEPALIVE_SECONDS": 0.5, SERVER + "KEEPALIVE_MISSES": 4})
    before = sockets(running.process.pid)
    (port,) = ssh.tunnel(f"{server.phone}:5555")
    alive = Client(ssh.local, port)
    alive.line()
    (process,) = ssh.processes
    time.sleep(4.0)  # longer than the keep-alive takes: who answers stays
    assert alive.say("still here") == "still here"
    process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: "not responding to keepalive" in running.log.read_text(), "the reason in the log")
        wait_until(lambda: sockets(running.process.pid) <= before, "sockets given back")
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_connection_has_so_many_forwards_and_no_more(server: Server, gateway: Start, phones: TcpPhones) -> None:
    phones.listen(server.phone, 5555)
    running = gateway({SERVER + "FORWARDS_PER_CONNECTION": 8})

    async def run() -> None:
        async with await server.connect() as connection:
            opened = [await connection.open_connection(server.phone, 5555) for _ in range(8)]
            with pytest.raises(asyncssh.ChannelOpenError, match="at most 8 forwards per connection") as refused:
                await connection.open_connection(server.phone, 5555)
            assert refused.value.code == asyncssh.OPEN_RESOURCE_SHORTAGE
            for reader, _writer in opened:
                assert await reader.readline() == f"{server.phone}:5555\n".encode()
            opened[0][1].close()
            await opened[0][1].wait_closed()
            async with asyncio.timeout(SECONDS):
                while True:  # there is room again
                    with suppress(asyncssh.ChannelOpenError):
                        await connection.open_connection(server.phone, 5555)
                        break

    asyncio.run(run())
    assert "at most 8 per connection" in running.log.read_text()


def test_forwards_asked_for_all_at_once_are_counted_too(server: Server, gateway: Start, phones: TcpPhones) -> None:
    phones.listen(server.phone, 5555)
    gateway({SERVER + "FORWARDS_PER_CONNECTION": 8})

    found: list[object] = []

    async def run() -> None:
        async with await server.connect() as connection:
            asked = (connection.open_connection(server.phone, 5555) for _ in range(60))
            found.extend(await asyncio.gather(*asked, return_exceptions=True))

    asyncio.run(run())
    refused = [each for each in found if isinstance(each, asyncssh.ChannelOpenError)]
    assert len(found) - len(refused) == 8
    assert {each.reason for each in refused} == {"at most 8 forwards per connection"}


def test_the_user_is_the_project_id_or_its_first_32_characters(
    network: Network, gateway: Start, phones: TcpPhones, tmp_path: Path
) -> None:
    network.use_project("p" * 32 + "-and-more")
    server = Server(network, tmp_path / "mine.pem")
    phones.listen(server.phone, 5555)
    gateway()
    ssh = Ssh(network, server.public, tmp_path, server.key)
    for user, lets_in in (
        (network.project_id, True),
        ("p" * 32, True),
        ("p" * 31, False),
        ("p" * 33, False),
        ("p" * 32 + "-", False),
    ):
        status, said = ssh.run("-T", user=user)
        assert status == 255 if not lets_in else status != 0
        assert ("Permission denied (publickey)" in said) is not lets_in
        assert ("administratively prohibited" in said) is lets_in


def test_a_connection_is_told_why_it_is_cut(network: Network, server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones) -> None:
    phones.listen(server.phone, 5555)
    running = gateway()
    ssh.tunnel(f"{server.phone}:5555")
    network.unbind(server.public)
    wait_until(lambda: "this address does not lead to the server any more" in ssh.said(), "the reason at the client")
    wait_until(lambda: "this address does not lead to the server any more" in running.log.read_text(), "the reason in the log")


def test_a_transfer_in_a_tunnel_is_cut_and_not_hung_when_its_phone_dies_and_the_log_says_why(
    server: Server, ssh: Ssh, gateway: Start, phones: TcpPhones
) -> None:
    endless = Endless(server.phone, 5555)
    phones.listen(server.phone, 5556)
    running = gateway()
    to_endless, to_phone = ssh.tunnel(f"{server.phone}:5555", f"{server.phone}:5556")
    kept = Client(ssh.local, to_phone)
    assert kept.line() == f"{server.phone}:5556"
    with socket.create_connection((ssh.local, to_endless), SECONDS) as busy:
        assert busy.recv(1 << 16)
        endless.die()
        until_the_end(busy)
    wait_until(lambda: "the phone has gone: Connection reset by peer" in running.log.read_text(), "the reason in the log")
    assert kept.say("undisturbed") == "undisturbed"
