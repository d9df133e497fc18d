"""Thousands of listening sockets in one epoll set, each with what to do with its connections. Not what is done with them.

What cannot be opened now is tried again: an address in use may become free, an address may be added to the machine.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import Callable

import structlog

from opencph.gateway.relay import Address
from opencph.sockets import address_text, do_not_pace

#: Gets the accepted connection (non-blocking) and the address it came in on. Owns the connection.
OnAccept = Callable[[socket.socket, Address], None]

BACKLOG = 4096
#: Connections taken from one listener before the next listener has its turn.
ACCEPTS_PER_TURN = 16
RETRY_SECONDS = 1.0
#: Addresses that a report of what is missing names.
SHOWN_MISSING = 3
#: A pause in accepting when the process has no descriptors left; connections wait in the kernel meanwhile.
NO_DESCRIPTORS_SECONDS = 0.5

_IPV6_ONLY = getattr(socket, "IPV6_V6ONLY", 26)
_ADVICE = {
    errno.EADDRINUSE: "another program listens there: end it, or give this installation a `network` of its own",
    errno.EADDRNOTAVAIL: "this machine does not have that address; for IPv6: ip -6 route add local fd00::/48 dev lo",
    errno.EACCES: "this user may not listen there: choose a port from 1024 on",
    errno.EMFILE: "raise the limit of open files (ulimit -Hn) of the gateway",
}

_logger = structlog.get_logger("opencph.gateway")


class Listeners:
    """The addresses on which this process accepts connections."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._wanted: dict[Address, OnAccept] = {}
        self._open: dict[Address, socket.socket] = {}
        self._by_fd: dict[int, Address] = {}
        self._said: dict[Address, int] = {}  # the error that was logged last
        self._leaving = False
        self._retry: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._on_ready)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def missing(self) -> list[Address]:
        """Addresses that are wanted and cannot be opened at the moment."""
        return [] if self._leaving else [address for address in self._wanted if address not in self._open]

    def trouble(self) -> str:
        """What is missing, in words for people: how many, some of them, why and what to do. Empty when nothing is."""
        missing = self.missing
        if not missing:
            return ""
        number = self._said.get(missing[0], 0)
        why = f"{os.strerror(number)}; {_ADVICE.get(number, 'see the log')}" if number else "see the log"
        named = ", ".join(map(address_text, missing[:SHOWN_MISSING]))
        more = f" and {len(missing) - SHOWN_MISSING} more" if len(missing) > SHOWN_MISSING else ""
        return f"cannot listen on {named}{more}: {why}"

    def want(self, address: Address, on_accept: OnAccept) -> None:
        """Listen there from now on; when that cannot be, say so in the log and go on trying."""
        self._wanted[address] = on_accept
        if not self._leaving and address not in self._open and not self._try(address):
            self._retry_later()

    def unwant(self, address: Address) -> None:
        """Stop listening there. Connections that were accepted are not touched."""
        self._wanted.pop(address, None)
        self._said.pop(address, None)
        sock = self._open.pop(address, None)
        if sock is not None:
            self._epoll.unregister(sock.fileno())
            del self._by_fd[sock.fileno()]
            sock.close()

    def hold(self) -> None:
        """Accept nothing for a moment: the process has run out of descriptors."""
        if self._pause is None:
            _logger.error("out of file descriptors: connections wait", advice=_ADVICE[errno.EMFILE], listeners=len(self))
            self._loop.remove_reader(self._epoll.fileno())
            self._pause = self._loop.call_later(NO_DESCRIPTORS_SECONDS, self._go_on)

    def leave(self) -> None:
        """Take the connections that wait, and leave the addresses to another process. What was accepted goes on."""
        self._leaving = True
        for address, sock in self._open.items():
            while True:
                try:
                    connection, _peer = sock.accept()
                except OSError:
                    break
                connection.setblocking(False)
                self._wanted[address](connection, address)
            self._epoll.unregister(sock.fileno())
            sock.close()
        self._open.clear()
        self._by_fd.clear()

    def close(self) -> None:
        """Stop listening everywhere."""
        for address in list(self._wanted):
            self.unwant(address)
        for timer in (self._retry, self._pause):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _try(self, address: Address) -> bool:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._say(address, error)
            return False
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_ONLY, 1)
            do_not_pace(sock, address[0])
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            self._say(address, error)
            return False
        self._open[address] = sock
        self._by_fd[sock.fileno()] = address
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        if self._said.pop(address, None) is not None:
            _logger.info("listening after all", address=address_text(address))
        return True

    def _say(self, address: Address, error: OSError) -> None:
        """Once per address and cause; the next attempts are silent."""
        number = error.errno or 0
        if self._said.get(address) != number:
            self._said[address] = number
            advice = _ADVICE.get(number, "see the cause")
            _logger.warning("cannot listen", address=address_text(address), cause=error.strerror or str(error), advice=advice)

    def _retry_later(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_SECONDS, self._try_missing)

    def _try_missing(self) -> None:
        self._retry = None
        if [address for address in self.missing if not self._try(address)]:
            self._retry_later()

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._epoll.fileno(), self._on_ready)

    def _on_ready(self) -> None:
        for fd, _events in self._epoll.poll(0, 64):
            for _ in range(ACCEPTS_PER_TURN):
                address = self._by_fd.get(fd)
                if address is None or self._pause is not None:
                    break
                try:
                    connection, _peer = self._open[address].accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        self.hold()
                        return
                    continue  # the client has gone already
                connection.setblocking(False)
                self._wanted[address](connection, address)
