"""One client's share of a phone's ADB port: by mapping and by tunnel together; other clients and other ports do not notice."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import asyncssh
import pytest

from gateway.gateway_world import SECONDS, Client, Gateway, Network, TcpPhones, wait_until
from gateway.ssh_client import make_key
from opencph.gateway.phone_share import ADB_PER_CLIENT
from opencph.handset.daemon import CONNECTIONS_MAX

once = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Start = Callable[..., Gateway]
SHARE = f"the client has {ADB_PER_CLIENT} connections to the ADB of this phone, which is its share"

if shutil.which("ssh-keygen") is None:
    pytest.skip("no ssh-keygen: install openssh-client", allow_module_level=True)


def _open(address: tuple[str, int], source: str) -> socket.socket:
    return socket.create_connection(address, SECONDS, source_address=(source, 0))


def _greeting(sock: socket.socket) -> str:
    """What the phone says first; empty: the connection was reset."""
    with suppress(ConnectionResetError):
        return sock.makefile().readline().rstrip("\n")
    return ""


def test_a_share_leaves_room_for_another_client() -> None:
    assert 2 * ADB_PER_CLIENT <= CONNECTIONS_MAX


@once
def test_one_client_cannot_have_all_connections_of_a_phones_adb(network: Network, gateway: Start, phones: TcpPhones) -> None:
    phone, second, vip = network.ip(), network.ip(), network.ip()
    network.server(phone_ip_first=phone, phone_count=2, server_ip=vip, ports=(("web", 20000, False),))
    for ip in (phone, second):
        phones.listen(ip, 5555)
        phones.listen(ip, 20000)
    running = gateway()
    with ExitStack() as open_ones:
        greedy = [open_ones.enter_context(_open((vip, 10000), "127.0.0.1")) for _ in range(ADB_PER_CLIENT)]
        assert [_greeting(sock) for sock in greedy] == [f"{phone}:5555"] * ADB_PER_CLIENT
        for _ in range(3):
            with suppress(ConnectionResetError), _open((vip, 10000), "127.0.0.1") as refused:
                assert _greeting(refused) == ""
        for address, source, expected in (
            ((vip, 10000), "127.0.0.8", f"{phone}:5555"),  # another client
            ((vip, 10001), "127.0.0.1", f"{phone}:20000"),  # another port of the phone
            ((vip, 10002), "127.0.0.1", f"{second}:5555"),  # another phone
        ):
            with _open(address, source) as sock:
                assert _greeting(sock) == expected
        wait_until(lambda: SHARE in running.log.read_text(), "the reason in the log")
        assert f'"to": "{phone}:5555"' in running.log.read_text()
        greedy[0].close()

        def served() -> bool:
            with suppress(ConnectionResetError), _open((vip, 10000), "127.0.0.1") as again:
                return _greeting(again) == f"{phone}:5555"
            return False

        wait_until(served, "the place that became free")


@once
def test_tunnels_count_as_their_client(network: Network, gateway: Start, phones: TcpPhones, tmp_path: Path) -> None:
    phone, vip, public = network.ip(), network.ip(), network.ip()
    network.keypair("mine", make_key(tmp_path / "mine.pem", "ed25519"))
    network.server(
        phone_ip_first=phone, server_ip=vip, eip_id=network.eip(public), ports=(("web", 5556, False),), keypair_name="mine"
    )
    phones.listen(phone, 5555)
    phones.listen(phone, 5556)
    running = gateway()

    async def connect(source: str) -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            public,
            network.ssh_port,
            username=network.project_id,
            client_keys=[str(tmp_path / "mine.pem")],
            known_hosts=None,
            config=None,
            local_addr=(source, 0),
        )

    async def run() -> None:
        greeting = f"{phone}:5555\n".encode()
        async with await connect("127.0.0.1") as one, await connect("127.0.0.1") as two, await connect("127.0.0.8") as other:
            half = ADB_PER_CLIENT // 2
            opened = [await each.open_connection(phone, 5555) for each in (one, two) for _ in range(half)]
            for each, ip, port in ((one, phone, 5555), (two, vip, 10000)):  # as itself, or by the name of its mapping
                with pytest.raises(asyncssh.ChannelOpenError, match=SHARE) as refused:
                    await each.open_connection(ip, port)
                assert refused.value.code == asyncssh.OPEN_RESOURCE_SHORTAGE
            reader, _ = await other.open_connection(phone, 5555)
            assert await reader.readline() == greeting
            reader, _ = await one.open_connection(phone, 5556)
            assert await reader.readline() == f"{phone}:5556\n".encode()
            with suppress(ConnectionResetError), _open((vip, 10000), "127.0.0.1") as refused_too:
                assert await asyncio.to_thread(_greeting, refused_too) == ""
            opened[-1][1].close()
            async with asyncio.timeout(SECONDS):
                while True:  # there is room again
                    with suppress(asyncssh.ChannelOpenError):
                        reader, _ = await two.open_connection(phone, 5555)
                        assert await reader.readline() == greeting
                        break

    asyncio.run(run())
    assert SHARE in running.log.read_text()

    def all_given_back() -> bool:
        with suppress(ConnectionResetError):
            clients = [Client(vip, 10000) for _ in range(ADB_PER_CLIENT)]
            found = [client.line() for client in clients]
            for client in clients:
                client.close()
            return found == [f"{phone}:5555"] * ADB_PER_CLIENT
        return False

    wait_until(all_given_back, "the shares of connections that have ended")
