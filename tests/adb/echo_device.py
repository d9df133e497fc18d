"""A device with one service, `echo:`, for tests of the connection alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opencph.adb import auth, messages
from opencph.adb.device import DeviceConnection, Service, Stream


class Echo(Service):
    """Sends back what comes, and acknowledges when that was taken."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.closed = False

    def on_data(self, data: memoryview) -> bool:
        self.stream.write(bytes(data))
        return False

    def on_ready(self) -> None:
        self.stream.acknowledge()

    def on_close(self) -> None:
        self.closed = True


class EchoDevice:
    """Counts who is connected; `keys` are adb public key lines."""

    def __init__(self, keys: list[bytes] | None = None) -> None:
        self.keys = keys
        self.connections: set[DeviceConnection] = set()
        self.services: list[Echo] = []

    def banner(self) -> bytes:
        return messages.make_banner("device", {"ro.product.name": "echo"}, ("shell_v2",))

    def open(self, service: str, stream: Stream) -> Service | None:
        if service != "echo:":
            return None
        self.services.append(Echo(stream))
        return self.services[-1]

    def auth_required(self) -> bool:
        return self.keys is not None

    def check_signature(self, token: bytes, signature: bytes) -> bool:
        return any(auth.verify(auth.parse_public_key(key), token, signature) for key in self.keys or [])

    def offer_key(self, key: bytes) -> bool:
        return False

    def connected(self, connection: DeviceConnection) -> bool:
        self.connections.add(connection)
        return True

    def disconnected(self, connection: DeviceConnection) -> None:
        self.connections.discard(connection)


@asynccontextmanager
async def serving(device: EchoDevice) -> AsyncIterator[int]:
    """The device on a port of 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(lambda: DeviceConnection(device), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
