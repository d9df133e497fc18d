"""Connections into the phone's network: `adb forward` services, declared ports, and the relay of bytes between two sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from opencph.adb.device import Service, Stream

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

READ_BYTES = 256 * 1024
LAST_WORDS_SECONDS = 30  # for a socket to take what a peer sent before it hung up


class Relay:
    """Bytes between two sockets, both ways, with half-closed directions kept. What is cut short is reset: it has not ended."""

    def __init__(self, one: socket.socket, other: socket.socket) -> None:
        self._sockets = (one, other)

    async def run(self) -> None:
        """Until both directions ended."""
        one, other = self._sockets
        whole = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(one, other))
                group.create_task(self._copy(other, one))
            whole = True
        except* OSError:
            pass
        finally:
            for sock in self._sockets:
                if not whole:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.close()

    async def _copy(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, READ_BYTES):
            await loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)


async def connect(phone: Phone, target: str) -> socket.socket:
    """A connection to what listens inside: `tcp:PORT`, `localabstract:NAME`, `localfilesystem:PATH`. Raises OSError."""
    kind, _, name = target.partition(":")
    if kind == "localfilesystem":
        return await _connect_path(phone, name)
    sandbox = phone.sandbox
    if sandbox is None:
        raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return await sandbox.connect(target)


async def _connect_path(phone: Phone, path: str) -> socket.socket:
    """By way of the socket's own inode: no link that a phone makes leads out of it."""
    with phone.files.resolve(path) as place:
        if place.fd < 0 or not place.name:
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        fd = os.open(place.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        await asyncio.get_running_loop().sock_connect(sock, f"/proc/self/fd/{fd}")
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(fd)
    return sock


class SocketService(Service):
    """A stream whose bytes go to a socket, and the socket's to it. It begins when there is a socket, and is refused without one."""

    __slots__ = ("_closed", "_ready", "_sendable", "_socket", "_stream", "_task", "_waiting")

    answers_later = True

    def __init__(self) -> None:
        self._stream: Stream | None = None
        self._socket: socket.socket | None = None
        self._waiting: list[bytes] = []
        self._ready = asyncio.Event()
        self._sendable = asyncio.Event()
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    def start(self, stream: Stream, connecting: Awaitable[socket.socket]) -> None:
        """Carry bytes, once there is a socket."""
        self._stream = stream
        self._task = asyncio.get_running_loop().create_task(self._run(stream, connecting))

    def on_data(self, data: memoryview) -> bool:
        """Bytes for the socket; acknowledged when it took them."""
        self._waiting.append(bytes(data))
        self._sendable.set()
        return False

    def on_ready(self) -> None:
        """The peer took what we read."""
        self._ready.set()

    def on_close(self) -> None:
        """The peer hung up: what it sent before still gets there."""
        self._closed = True
        self._ready.set()
        self._sendable.set()
        if self._task is not None:
            asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._task.cancel)

    async def _run(self, stream: Stream, connecting: Awaitable[socket.socket]) -> None:
        try:
            sock = self._socket = await connecting
            self.connected(stream)
            async with asyncio.TaskGroup() as group:
                directions = {group.create_task(self._send(stream, sock)), group.create_task(self._receive(stream, sock))}
                _, other = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
                for task in other:  # ADB has no half-closed streams
                    task.cancel()
        except* OSError:
            pass
        finally:
            if self._socket is not None:
                self._socket.close()
                stream.close()
            else:
                stream.refuse()
            self.ended()

    def connected(self, stream: Stream) -> None:
        """There is a socket: the peer hears that its stream is open."""
        stream.accept()

    def ended(self) -> None:
        """The socket is closed."""

    async def _send(self, stream: Stream, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._waiting:
                await loop.sock_sendall(sock, self._waiting.pop(0))
                stream.acknowledge()
            if self._closed:
                return
            self._sendable.clear()
            await self._sendable.wait()

    async def _receive(self, stream: Stream, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(sock, READ_BYTES):
            stream.write(data)
            while not stream.idle and not self._closed:
                self._ready.clear()
                await self._ready.wait()


def open_forward(stream: Stream, phone: Phone, target: str) -> SocketService | None:
    """A stream to a socket inside the phone. None when nothing can listen there: a phone without processes has no sockets."""
    kind, _, name = target.partition(":")
    if not name or kind not in ("tcp", "localabstract", "localfilesystem") or phone.sandbox is None:
        return None
    service = SocketService()
    service.start(stream, connect(phone, target))
    return service
