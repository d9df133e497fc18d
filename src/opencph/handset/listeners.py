"""Listening sockets of a phone: one raw socket and one callback each, so that thousands cost little. Protocols live elsewhere."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from opencph.handset.config import HandsetError
from opencph.sockets import address_text, do_not_pace

log = logging.getLogger(__name__)

IPV6_FREEBIND = 78  # linux/in6.h; Python has no name for it
BACKLOG = 128
ACCEPTS_AT_ONCE = 16
PAUSE_SECONDS = 0.5  # after running out of file descriptors


def bind(address: str, port: int) -> socket.socket:
    """A listening socket. Raises HandsetError that names the address, in `filename` too, and what to do."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        do_not_pace(sock, address)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        where = address_text((address, port))
        if error.errno == errno.EADDRINUSE:
            cause = f"{where} is taken by another program; end it (`ss -ltnp` shows it) or use another `network` (OPENCPH_NETWORK)"
        elif error.errno == errno.EADDRNOTAVAIL:
            cause = f"{where} is no address of this machine; use one of 127.0.0.0/8, or `ip address add {address} dev lo`"
        elif error.errno == errno.EACCES:
            cause = f"{where} needs privileges; use a port above 1023"
        else:
            cause = f"cannot listen on {where}: {error.strerror}"
        raise HandsetError(error.errno, cause, where) from None
    return sock


async def connected_pair(address: str) -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection of an address with itself, which nobody else can be: unlike other pairs it passes resets on.

    Raises HandsetError, OSError.
    """
    loop = asyncio.get_running_loop()
    with bind(address, 0) as listener:
        one = socket.socket(listener.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            do_not_pace(one, address)
            one.bind((address, 0))
            await loop.sock_connect(one, listener.getsockname())
            while True:
                other, peer = await loop.sock_accept(listener)
                if peer == one.getsockname():
                    other.setblocking(False)
                    return one, other
                other.close()  # somebody of this machine who tried all ports
        except BaseException:
            one.close()
            raise


class Listener:
    """Accepts connections on a bound socket until closed."""

    __slots__ = ("_accepted", "_loop", "_paused", "sock")

    def __init__(self, sock: socket.socket, accepted: Callable[[socket.socket, int], None]) -> None:
        """`accepted` gets the connection and the port that it came in by."""
        self.sock = sock
        self._accepted = accepted
        self._loop = asyncio.get_running_loop()
        self._paused: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self._accept)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.sock.getsockname()[1])

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, _ = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("cannot accept a connection: %s; trying again in %s s", error, PAUSE_SECONDS)
                self._loop.remove_reader(self.sock.fileno())
                self._paused = self._loop.call_later(PAUSE_SECONDS, self._resume)
                return
            connection.setblocking(False)
            self._accepted(connection, self.port)

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self.sock.fileno(), self._accept)

    def close(self) -> None:
        """Listen no more."""
        if self._paused is not None:
            self._paused.cancel()
        else:
            self._loop.remove_reader(self.sock.fileno())
        self.sock.close()
