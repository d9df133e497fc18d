"""Connections into the phone's network: `adb forward` services, declared ports, and the relay of bytes between two sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from opencph.adb.device import Service, Stream

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

READ_BYTES = 256 * 1024


class Relay:
    """Bytes between two sockets, both ways, with half-closed directions kept."""

    def __init__(self, one: socket.socket, other: socket.socket) -> None:
        self._sockets = (one, other)

    async def run(self) -> None:
        """Until both directions ended."""
        one, other = self._sockets
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(one, other))
                group.create_task(self._copy(other, one))
        except* OSError:
            pass
        finally:
            one.close()
            other.close()

    async def _copy(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, READ_BYTES):
            await loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)


class ForwardService(Service):
    """A stream to a socket inside the phone: `tcp:PORT`, `localabstract:NAME`."""

    __slots__ = ("_closed", "_phone", "_ready", "_socket", "_stream", "_task", "_waiting")

    @classmethod
    def open(cls, stream: Stream, phone: Phone, target: str) -> ForwardService | None:
        """None when nothing can listen there: a phone without processes has no sockets."""
        kind, _, name = target.partition(":")
        if phone.sandbox is None or kind not in ("tcp", "localabstract") or not name:
            return None
        return cls(stream, phone, target)

    def __init__(self, stream: Stream, phone: Phone, target: str) -> None:
        self._stream = stream
        self._phone = phone
        self._socket: socket.socket | None = None
        self._waiting: list[bytes] = []
        self._ready: asyncio.Event = asyncio.Event()
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run(target))

    def on_data(self, data: memoryview) -> bool:
        """Bytes for the socket; acknowledged when it took them."""
        self._waiting.append(bytes(data))
        self._ready.set()
        return False

    def on_ready(self) -> None:
        """The peer took what we read."""
        self._ready.set()

    def on_close(self) -> None:
        """The peer hung up."""
        self._closed = True
        self._task.cancel()

    async def _run(self, target: str) -> None:
        sandbox = self._phone.sandbox
        try:
            if sandbox is None:
                return
            self._socket = await sandbox.connect(target)
            async with asyncio.TaskGroup() as group:
                sender = group.create_task(self._send())
                await self._receive()
                sender.cancel()
        except* OSError:
            pass
        finally:
            if self._socket is not None:
                self._socket.close()
            self._stream.close()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._socket is not None
        while True:
            while self._waiting:
                await loop.sock_sendall(self._socket, self._waiting.pop(0))
                self._stream.acknowledge()
            self._ready.clear()
            await self._ready.wait()

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._socket is not None
        while data := await loop.sock_recv(self._socket, READ_BYTES):
            self._stream.write(data)
            while not self._stream.idle and not self._closed:
                self._ready.clear()
                await self._ready.wait()
