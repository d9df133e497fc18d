"""How an SSH client is told why it cannot stay, and how a socket is closed so that it reads it. Knows nothing of who may stay.

A socket that is closed while bytes of the client wait in it resets the connection, and the client may lose what it was told. So
the sending half is closed first, and what the client still sends is thrown away: for a short time, and not without end.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

#: The first line of an SSH connection, ours (RFC 4253, 4.2).
VERSION = "OpenCPH"
VERSION_LINE = f"SSH-2.0-{VERSION}\r\n".encode()
#: SSH_DISCONNECT_TOO_MANY_CONNECTIONS (RFC 4253, 11.1).
TOO_MANY_CONNECTIONS = 12

#: What is thrown away of one client that was sent away, at most, and for how long.
DRAIN_BYTES, DRAIN_SECONDS = 256 * 1024, 2.0
#: Clients that are being sent away at a time; beyond it the oldest is closed at once.
DRAINS_MAX = 256
#: A gateway that ends waits so long for its clients to read why.
FINISH_SECONDS = 0.5
_PIECE_BYTES = 16 * 1024
_BLOCK_BYTES = 8
_MSG_DISCONNECT = 1


def disconnect_packet(reason: str, code: int = TOO_MANY_CONNECTIONS) -> bytes:
    """SSH_MSG_DISCONNECT as it is before any key exchange, in clear. A stock client prints the reason."""
    text = reason.encode()
    payload = struct.pack(">BII", _MSG_DISCONNECT, code, len(text)) + text + struct.pack(">I", 0)
    padding = _BLOCK_BYTES - (5 + len(payload)) % _BLOCK_BYTES
    if padding < 4:
        padding += _BLOCK_BYTES
    return struct.pack(">IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)


class Farewells:
    """Sockets that nothing is wanted of any more but that their clients have read the last of it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parting: dict[socket.socket, tuple[asyncio.TimerHandle, list[int]]] = {}
        self._nobody = asyncio.Event()

    def part(self, sock: socket.socket, last: bytes = b"") -> None:
        """Send `last`, as far as it goes at once, and close the socket once the client has hung up, or after DRAIN_SECONDS."""
        try:
            if last:
                sock.send(last)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            sock.close()
            return
        while len(self._parting) >= DRAINS_MAX:
            self._close(next(iter(self._parting)))
        self._parting[sock] = self._loop.call_later(DRAIN_SECONDS, self._close, sock), [DRAIN_BYTES]
        self._loop.add_reader(sock.fileno(), self._drain, sock)

    async def finish(self) -> None:
        """Wait for those that part, FINISH_SECONDS at most, then close them."""
        if self._parting:
            self._nobody.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nobody.wait(), FINISH_SECONDS)
        for sock in list(self._parting):
            self._close(sock)

    def _drain(self, sock: socket.socket) -> None:
        left = self._parting[sock][1]
        try:
            got = len(sock.recv(min(_PIECE_BYTES, left[0])))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            got = 0
        left[0] -= got
        if not got or left[0] <= 0:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        parting = self._parting.pop(sock, None)
        if parting is not None:
            parting[0].cancel()
            self._loop.remove_reader(sock.fileno())
            with suppress(OSError):
                sock.close()
            if not self._parting:
                self._nobody.set()
