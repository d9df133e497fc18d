"""Options of sockets that every part may set. No I/O here."""

from __future__ import annotations

import socket
from contextlib import suppress


def do_not_pace(sock: socket.socket, ip: str) -> None:
    """Let a socket that stays on this machine send as fast as it can.

    Many systems have BBR as their default, which paces with timers. Over loopback that buys nothing and halves the throughput;
    Reno is in every kernel and every user may choose it. Accepted connections inherit it from their listener.
    """
    if ip.startswith("127.") or ip == "::1":
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
