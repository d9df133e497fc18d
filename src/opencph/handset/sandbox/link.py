"""The host's side of the spawner: one per process, forked when first needed, gone with the last sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

import msgspec

from opencph.handset.config import HandsetError
from opencph.handset.sandbox import spawner
from opencph.handset.sandbox.messages import FDS_MAX, MESSAGE_BYTES, Create, Destroy, Event, Request, Sockets, Spawn

KILLED = 137  # the exit code of what ended with its sandbox

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Event)


class Link:
    """Requests to the spawner and what it reports."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (mine, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MESSAGE_BYTES)
        self._pid = os.fork()
        if not self._pid:
            spawner.serve(theirs)
        theirs.close()
        mine.setblocking(False)
        self._sock = mine
        self._next = 0
        self._waiting: dict[tuple[int, int], asyncio.Future[tuple[Event, list[int]]]] = {}
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._gone: dict[int, Callable[[], None]] = {}
        self._loop.add_reader(mine.fileno(), self._receive)

    def number(self) -> int:
        """A fresh number for a sandbox or a request."""
        self._next += 1
        return self._next

    def _send(self, request: Request, fds: list[int]) -> None:
        try:
            socket.send_fds(self._sock, [_encoder.encode(request)], fds)
        except OSError as error:
            raise HandsetError(error.errno, f"the process that starts sandboxes does not listen: {error.strerror}") from None

    async def _ask(self, key: tuple[int, int], request: Request, fds: list[int]) -> tuple[Event, list[int]]:
        future: asyncio.Future[tuple[Event, list[int]]] = self._loop.create_future()
        self._waiting[key] = future
        try:
            self._send(request, fds)
            event, received = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                for fd in future.result()[1]:
                    os.close(fd)
            raise
        finally:
            self._waiting.pop(key, None)
        if event.what == "failed":
            raise HandsetError(5, event.text)
        return event, received

    async def create(self, request: Create, gone: Callable[[], None]) -> tuple[int, str]:
        """Make a sandbox; `gone` is called when it ended. Raises HandsetError.

        Returns the pid of its first process, and why it has no way out though one was asked for.
        """
        event, _ = await self._ask((request.box, 0), request, [])
        self._gone[request.box] = gone
        return event.number, event.text

    async def spawn(self, request: Spawn, fds: list[int]) -> tuple[int, asyncio.Future[int], int]:
        """Start a process: (pid on this machine, exit code to come, the terminal's descriptor or -1). Raises HandsetError."""
        exited: asyncio.Future[int] = self._loop.create_future()
        self._exits[request.id] = exited
        try:
            event, received = await self._ask((request.box, request.id), request, fds)
        except BaseException:
            self._exits.pop(request.id, None)
            raise
        return event.number, exited, received[0] if received else -1

    async def socket(self, request: Sockets) -> socket.socket:
        """A socket in the sandbox's network. Raises HandsetError."""
        _, received = await self._ask((request.box, request.id), request, [])
        return socket.socket(fileno=received[0])

    def destroy(self, box: int) -> None:
        """Kill everything in the sandbox; `gone` follows."""
        with contextlib.suppress(HandsetError):
            self._send(Destroy(box), [])

    def _receive(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._sock, MESSAGE_BYTES, FDS_MAX)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._lost()
                return
            event = _decoder.decode(data)
            if event.what == "exited":
                exited = self._exits.pop(event.id, None)
                if exited is not None and not exited.done():
                    exited.set_result(event.number)
            elif event.what == "gone":
                self._ended(event.box)
            else:
                future = self._waiting.pop((event.box, event.id), None)
                if future is not None and not future.done():
                    future.set_result((event, fds))
                else:
                    for fd in fds:
                        os.close(fd)

    def _ended(self, box: int) -> None:
        gone = self._gone.pop(box, None)
        for (number, request), future in list(self._waiting.items()):
            if number == box and not future.done():
                future.set_result((Event("failed", box, request, text="the sandbox has ended"), []))
        if gone is not None:
            gone()

    def _lost(self) -> None:
        """The spawner died: with it everything it had made."""
        self.close()
        for box in [*self._gone, *(box for box, _ in self._waiting)]:
            self._ended(box)

    def close(self) -> None:
        """Let the spawner go."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        for exited in self._exits.values():
            if not exited.done():
                exited.set_result(KILLED)
        self._exits.clear()

    @property
    def open(self) -> bool:
        """Whether the spawner lives."""
        return self._sock.fileno() >= 0

    def usable(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it lives and belongs to this event loop."""
        return self.open and self._loop is loop


_links: list[Link] = []
_users: set[object] = set()


def take(user: object) -> Link:
    """The link of this process and event loop, for as long as `user` needs it."""
    if not _links or not _links[0].usable(asyncio.get_running_loop()):
        _links[:] = [Link()]
        _users.clear()
    _users.add(user)
    return _links[0]


def release(user: object) -> None:
    """`user` needs it no more; the last one ends it."""
    _users.discard(user)
    if not _users and _links:
        _links.pop().close()
