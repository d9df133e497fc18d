"""The phone's end of the commands that are called inside the sandbox, in shell-protocol packets. The other is `client.py`."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING

from opencph.adb import shell_protocol as wire
from opencph.handset.commands import COMMANDS, Context, run_command
from opencph.handset.listeners import Listener

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

BRIDGE_NAME = "opencph.handset"
ARGUMENTS, WANT_STDIN, LOG_TAGS = 16, 17, 18  # beside the packets of the shell protocol
PACKET_MAX = 256 * 1024
CALLS_MAX = 64
LEAVE_SECONDS = 10.0  # for the client to take the answer and go


class Bridge:
    """Listens inside the sandbox for as long as it lives."""

    def __init__(self, phone: Phone, sock: socket.socket) -> None:
        self._phone = phone
        sock.setblocking(False)
        self._calls = 0
        self._listener = _UnixListener(sock, self._accepted)

    def _accepted(self, connection: socket.socket, _: int) -> None:
        if self._calls >= CALLS_MAX:
            connection.close()
            return
        self._calls += 1
        self._phone.run(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        call: _Call | None = None
        try:
            reader, writer = await asyncio.open_connection(sock=connection, limit=PACKET_MAX)
            call = _Call(reader, writer)
            kind, data = await call.packet()
            log_tags = ""
            if kind == LOG_TAGS:
                log_tags = data.decode("utf-8", "replace")
                kind, data = await call.packet()
            argv = data.decode("utf-8", "surrogateescape").split("\0")
            if kind == ARGUMENTS and argv[0] in COMMANDS:
                code = await run_command(Context(self._phone, argv, call, log_tags))
                writer.write(wire.packet(wire.EXIT, bytes((code & 0xFF,))))
                async with asyncio.timeout(LEAVE_SECONDS):
                    while await reader.read(PACKET_MAX):  # input it still sends; hanging up now would cost it our answer
                        pass
        except TimeoutError:
            pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._calls -= 1
            if call is not None:
                call.close()
            else:
                connection.close()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


class _UnixListener(Listener):
    __slots__ = ()

    @property
    def port(self) -> int:
        return 0


class _Call:
    """One call: a command's standard streams over the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._asked = False

    async def packet(self) -> tuple[int, bytes]:
        kind, length = wire.HEADER.unpack(await self._reader.readexactly(wire.HEADER_BYTES))
        if length > PACKET_MAX:
            raise ConnectionError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        return kind, await self._reader.readexactly(length)

    def put(self, fd: int, data: bytes) -> None:
        for at in range(0, 0 if self._writer.is_closing() else len(data), PACKET_MAX):  # who left takes no more
            self._writer.write(wire.packet(fd, data[at : at + PACKET_MAX]))

    async def drain(self) -> None:
        if self._reader.at_eof():
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        await self._writer.drain()

    async def read(self) -> bytes:
        """Standard input is asked for when the command wants it: most leave it to the script around them."""
        if not self._asked:
            self._asked = True
            self._writer.write(wire.packet(WANT_STDIN))
        kind, data = await self.packet()
        return data if kind == wire.STDIN else b""

    def close(self) -> None:
        self._writer.close()
