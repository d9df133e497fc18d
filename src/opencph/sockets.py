"""Sockets that more than one part makes or sets: the listening one of the HTTP endpoint, options, and how addresses are written.
Nothing is served here."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

BACKLOG = 1024


class ListenError(Exception):
    """Nothing can listen on this address. The message is one sentence that says why and what to do."""


def listen(address: str) -> socket.socket:
    """A listening socket on HOST:PORT, not blocking; port 0 takes a free one. Raises ListenError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not (host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ListenError(f"cannot listen on {address}: it must be HOST:PORT, the port 0 to 65535")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}; give --listen HOST:PORT") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        reasons = {
            errno.EADDRINUSE: f"port {port} of {host} is taken by another process; stop it, or give --listen HOST:PORT",
            errno.EADDRNOTAVAIL: f"{host} is not an address of this machine; give one with --listen HOST:PORT",
            errno.EACCES: f"port {port} needs root; give one above 1023 with --listen HOST:PORT",
        }
        other = f"cannot listen on {address}: {error.strerror}; give --listen HOST:PORT"
        raise ListenError(reasons.get(error.errno or 0, other)) from error
    return listening


def stop_accepting(listening: socket.socket) -> None:
    """Let this process accept no more connections from a socket that others listen on too; what was accepted goes on.

    Every descriptor of it in this process, also those of libraries that accept from it, becomes one of a socket that nobody
    can connect to. Closing them would not do: who waits for the socket in an epoll set would still be woken, and accept.
    """
    number = os.fstat(listening.fileno()).st_ino
    family = listening.family
    with socket.socket(family, socket.SOCK_STREAM) as nobodys:
        nobodys.setblocking(False)
        nobodys.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        nobodys.listen(1)
        for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            with suppress(OSError):
                found = os.fstat(descriptor)
                if stat.S_ISSOCK(found.st_mode) and found.st_ino == number:
                    os.dup2(nobodys.fileno(), descriptor, inheritable=False)


def address_text(address: tuple[str, int]) -> str:
    """An address and its port as people write them, "[host]:port" for IPv6."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def do_not_pace(sock: socket.socket, ip: str) -> None:
    """Let a socket that stays on this machine send as fast as it can.

    Many systems have BBR as their default, which paces with timers. Over loopback that buys nothing and halves the throughput;
    Reno is in every kernel and every user may choose it. Accepted connections inherit it from their listener.
    """
    if ip.startswith("127.") or ip == "::1":
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
