"""The target that is a tunnel: packets of an SSH client after its login, well enciphered and otherwise anything, through the lane
that moves the data of forwards (`gateway/ssh_lane.py`, `ssh_forward.py`). Packets before the login are asyncssh's business."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh
import structlog
from asyncssh.packet import Boolean, String, UInt32

from fuzz.targets import Target
from opencph.fleet.generation_routes import Route, RoutedAddress
from opencph.gateway.bandwidth import Limits
from opencph.gateway.listeners import Listeners
from opencph.gateway.phone_share import PhoneShares
from opencph.gateway.ssh_packets import shared_arena
from opencph.gateway.tunnels import Tunnels
from opencph.runtimes.builtin import BuiltinRuntime
from opencph.store.database import open_database
from opencph.store.migrate import migrate

SECONDS = 20.0
SSH_PORT = 8522
OPEN, ADJUST, DATA, EOF, CLOSE = 90, 93, 94, 96, 97
KEPT_OPEN = 50  # inputs on one connection, at most
CIPHERS = ("chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr")


class _Sink:
    """A channel of the client that takes whatever the gateway sends on it."""

    def process_packet(self, _kind: int, _number: int, _packet: object) -> bool:
        return True

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_arguments, **_named: None


class _Sinks(dict[int, Any]):
    """The client's channels: one for every number, so that no answer to a made-up packet makes the client hang up."""

    def __missing__(self, _number: int) -> _Sink:
        return _Sink()

    def get(self, number: int, default: Any = None) -> Any:
        return self[number]

    def __contains__(self, _number: object) -> bool:
        return False


class _Tunnel:
    """A gateway with one server whose phone echoes, and a client that is logged in."""

    def __init__(self) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        self.loop = asyncio.new_event_loop()
        self.raised: list[BaseException] = []
        self.loop.set_exception_handler(self._heard)
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.client: asyncssh.SSHClientConnection | None = None
        self.used = 0
        self.loop.run_until_complete(self._start())

    def _heard(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if (exception := context.get("exception")) is not None:
            self.raised.append(exception)

    async def _start(self) -> None:
        number = os.getpid() % 60000
        self.phone_ip = f"127.{251 + number // 30000}.{number // 250 % 120 + 1}.{number % 250 + 1}"
        first = int.from_bytes(socket.inet_aton(self.phone_ip), "big")
        route = Route(
            generation_id="0" * 32,
            server_id="1" * 32,
            project_id="2" * 32,
            phone_count=1,
            phone_count_per_ip=1,
            phone_ip_first=first,
            ports=(),
            public_key=self.key.export_public_key().decode(),
            bandwidth_id=None,
            bandwidth_mbit=None,
            addresses=(RoutedAddress(0, self.phone_ip, None, self.phone_ip, None, None),),
        )

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            writer.close()

        self.phone = await asyncio.start_server(echo, self.phone_ip, 5555)
        self.directory = tempfile.TemporaryDirectory(prefix="ocph-")
        url = f"sqlite:///{self.directory.name}/opencph.db"
        migrate(url)
        runtime = BuiltinRuntime(Path(self.directory.name), boots_at_once=1)  # has no phones: their other ports are closed
        self.tunnels = Tunnels(Listeners(), Limits(), PhoneShares(), open_database(url), SSH_PORT, lambda: runtime)
        self.tunnels.apply([route])

    async def connect(self, cipher: str) -> asyncssh.SSHClientConnection:
        """The client, connected anew when the last input has ended it."""
        if self.client is not None and (self.client.is_closed() or self.used >= KEPT_OPEN):
            self.client.abort()
            self.client = None
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*self.tunnels._tasks, return_exceptions=True)
            assert not self.tunnels._connections, "a connection that ended is still there"
            assert not shared_arena().pending, "bytes of connections that ended still count"
        if self.client is None:
            self.used = 0
            self.client = await asyncssh.connect(
                self.phone_ip,
                SSH_PORT,
                username="2" * 32,
                client_keys=[self.key],
                known_hosts=None,
                config=None,
                encryption_algs=[cipher],
            )
            self.client._channels = _Sinks()
        self.used += 1
        return self.client

    async def speak(self, data: bytes) -> None:
        """Send packets, then see that the gateway has heard them all or has hung up."""
        client = await self.connect(CIPHERS[(data[0] if data else 0) % len(CIPHERS)])
        opened = OPEN in data[1::1]
        for kind, payload in _packets(data[1:]):
            if client.is_closed() or client._transport is None:
                break
            if kind == OPEN and opened:
                target = String(self.phone_ip) + UInt32(5555) + String("127.0.0.1") + UInt32(1)
                client.send_packet(OPEN, String("direct-tcpip"), payload[:12].ljust(12, b"\1"), target + payload[12:])
            else:
                client.send_packet(kind, payload)
            await asyncio.sleep(0)
        with suppress(asyncssh.Error, ConnectionError):
            async with asyncio.timeout(SECONDS):
                closing = self.loop.create_task(client.wait_closed())
                asking = self.loop.create_task(_ask(client))
                await asyncio.wait((closing, asking), return_when=asyncio.FIRST_COMPLETED)
                for task in (closing, asking):
                    task.cancel()
                await asyncio.gather(closing, asking, return_exceptions=True)


async def _ask(client: asyncssh.SSHClientConnection) -> None:
    """An answer to a question shows that everything before it was read."""
    await client._make_global_request(b"keepalive@openssh.com")


def _packets(data: bytes) -> Iterable[tuple[int, bytes]]:
    """Kind, length, payload; and again. The client's own end and its key exchanges are left to asyncssh."""
    at = 0
    while at + 2 <= len(data):
        kind, size = data[at : at + 2]
        payload = data[at + 2 : at + 2 + size]
        at += 2 + size
        if kind > 0 and kind not in (20, 21, 30, 31):
            yield kind, payload


_tunnels: list[_Tunnel] = []


def tunnel(data: bytes) -> None:
    """The packets of one client. The gateway answers or hangs up; it raises nothing and keeps nothing."""
    if not _tunnels:
        _tunnels.append(_Tunnel())
    world = _tunnels[0]
    world.loop.run_until_complete(world.speak(data))
    if world.raised:
        raise world.raised.pop()


def _seeds() -> Iterable[bytes]:
    def one(kind: int, payload: bytes) -> bytes:
        return bytes([kind, len(payload)]) + payload

    opening = one(OPEN, struct.pack(">III", 7, 1 << 16, 1 << 15))
    for cipher in range(len(CIPHERS)):
        start = bytes([cipher]) + opening
        for channel in (0, 1, 0xFFFFFFFF):
            head = struct.pack(">I", channel)
            yield (
                start + one(DATA, head + struct.pack(">I", 5) + b"hello") + one(ADJUST, head + b"\xff\xff\xff\xff") + one(EOF, head)
            )
            yield start + one(DATA, head + struct.pack(">I", 900) + b"short") + one(CLOSE, head) + one(DATA, head + b"\0\0\0\1x")
            yield start + one(ADJUST, head) + one(ADJUST, head + b"\0\0\0\1more") + one(98, head + b"\0\0\0\4exec\1")
        yield start + one(80, String("x") + Boolean(True)) + one(2, String("ignore")) + one(3, UInt32(1)) + one(50, b"again")


TARGETS: dict[str, Target] = {"tunnel": Target(tunnel, _seeds, 2048)}
