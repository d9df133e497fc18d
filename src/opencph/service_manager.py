"""Tells the service manager that this process is ready, as sd_notify(3) describes: one datagram, where there is a manager.

The protocol is stable and has no more to it than this; its bindings for Python are a C extension or without a maintainer.
"""

from __future__ import annotations

import os
import socket

import structlog

_logger = structlog.get_logger("opencph.service_manager")


def tell_ready() -> None:
    """This process does from now on what it was started for. A manager that cannot be told is told of in the log."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifying:
            notifying.connect("\0" + address[1:] if address.startswith("@") else address)
            notifying.sendall(b"READY=1")
    except OSError as error:
        _logger.warning("the service manager cannot be told that this process is ready", socket=address, error=str(error))
