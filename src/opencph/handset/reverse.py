"""`adb reverse`: ports inside the phone that lead to the computer at the other end of the ADB connection.

Source of the requests and answers: AOSP `packages/modules/adb/adb.cpp` (`handle_forward_request`) and `services.cpp`.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from opencph.adb.device import DeviceConnection, Service, Stream
from opencph.handset.config import HandsetError
from opencph.handset.forward import SocketService
from opencph.handset.listeners import Listener

if TYPE_CHECKING:
    from opencph.handset.phone import Phone
    from opencph.handset.sandbox import Sandbox

REVERSES_MAX = 64  # of one phone
TEXT_MAX = 0xFFFF  # bytes, whose number is four hexadecimal digits
CALLS_MAX = 128  # connections through one of them at once


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")[:TEXT_MAX]
    return f"{len(data):04x}".encode() + data


def _fail(text: str) -> bytes:
    return b"FAIL" + _text(text)


async def _ready(sock: socket.socket) -> socket.socket:
    return sock


class _Call(SocketService):
    """One connection from inside, on its way to the peer."""

    __slots__ = ("_reverse",)

    def __init__(self, reverse: Reverse) -> None:
        super().__init__()
        self._reverse = reverse

    def connected(self, stream: Stream) -> None:
        """It is the peer that has to agree."""

    def ended(self) -> None:
        """Counted no more."""
        self._reverse.calls.discard(self)


class _InnerListener(Listener):
    __slots__ = ()

    @property
    def port(self) -> int:
        return 0


class Reverse:
    """One listening socket inside the phone."""

    def __init__(self, sandbox: Sandbox, connection: DeviceConnection, source: str, destination: str, sock: socket.socket) -> None:
        self.connection = connection
        self.source = source
        self.destination = destination
        self.calls: set[_Call] = set()
        self._sandbox = sandbox
        sandbox.keepers.add(self)  # it must not go to sleep under its listener
        sock.setblocking(False)
        self._listener = _InnerListener(sock, self._accepted)

    def _accepted(self, sock: socket.socket, _: int) -> None:
        call = _Call(self)
        stream = self.connection.open(self.destination, call) if len(self.calls) < CALLS_MAX else None
        if stream is None:
            sock.close()
            return
        self.calls.add(call)
        call.start(stream, _ready(sock))

    @property
    def alive(self) -> bool:
        """Whether its sandbox lives."""
        return self._sandbox.alive

    def close(self) -> None:
        """Listen no more; what is connected stays so."""
        self._listener.close()
        self._sandbox.keepers.discard(self)


class ReverseService(Service):
    """The answer to one `reverse:` request."""

    __slots__ = ()


class Reverses:
    """Those of one running phone. A listener lives as long as the connection that asked for it, and its sandbox."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._all: dict[str, Reverse] = {}

    def open(self, stream: Stream, request: str) -> Service | None:
        """`forward:[norebind:]FROM;TO`, `killforward:FROM`, `killforward-all`, `list-forward`."""
        connection = stream.connection
        if connection is None:
            return None
        verb, _, rest = request.partition(":")
        if verb == "forward":
            self._phone.run(self._forward(stream, connection, rest))
            return ReverseService()
        self._forget_dead()
        if verb == "list-forward" and not rest:
            answer = _text("".join(f"(reverse) {each.source} {each.destination}\n" for each in self._all.values()))
        elif verb == "killforward-all" and not rest:
            self.close_all()
            answer = b"OKAY"
        elif verb == "killforward" and rest:
            known = self._all.pop(rest, None)
            if known is not None:
                known.close()
            answer = b"OKAY" if known is not None else _fail(f"listener '{rest}' not found")
        else:
            return None
        stream.write(answer)
        stream.close()
        return ReverseService()

    async def _forward(self, stream: Stream, connection: DeviceConnection, request: str) -> None:
        try:
            answer = await self._listen(connection, request)
        except HandsetError as error:
            answer = _fail(error.strerror or str(error))
        except OSError as error:
            answer = _fail(f"cannot bind listener: {error.strerror}")
        stream.write(answer)
        stream.close()

    async def _listen(self, connection: DeviceConnection, request: str) -> bytes:
        norebind = request.startswith("norebind:")
        source, separator, destination = request.removeprefix("norebind:").partition(";")
        kind, _, name = source.partition(":")
        if not separator or not destination or not name:
            return _fail("bad forward: " + request)
        if kind not in ("tcp", "localabstract"):
            return _fail(f"cannot bind listener: unknown socket specification: {source}")
        self._forget_dead()
        known = self._all.get(source)
        if known is not None:
            if norebind:
                return _fail(f"cannot rebind existing socket: {source}")
            known.destination, known.connection = destination, connection
            return b"OKAY"
        if len(self._all) >= REVERSES_MAX:
            return _fail(f"cannot bind listener: a phone has at most {REVERSES_MAX}")
        sandbox = await self._phone.enter_sandbox()
        sock = await sandbox.listen(source)
        chosen = ""
        if source == "tcp:0":
            chosen = str(sock.getsockname()[1])
            source = f"tcp:{chosen}"
        self._all[source] = Reverse(sandbox, connection, source, destination, sock)
        if not connection.online:  # it left while the sandbox was made
            self.forget(connection)
        return b"OKAY" + (_text(chosen) if chosen else b"")

    def _forget_dead(self) -> None:
        for source, each in tuple(self._all.items()):
            if not each.alive:
                each.close()
                del self._all[source]

    def forget(self, connection: DeviceConnection) -> None:
        """The connection is gone, and its listeners with it."""
        for source, each in tuple(self._all.items()):
            if each.connection is connection:
                each.close()
                del self._all[source]

    def close_all(self) -> None:
        """Listen no more."""
        for each in self._all.values():
            each.close()
        self._all.clear()
