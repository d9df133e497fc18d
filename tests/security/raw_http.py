"""Bytes to an api process and what comes back, for tests of what no HTTP client would send."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.api_service import Service, start, stop

SECONDS = 60.0


@contextmanager
def service(number: int, **settings: object) -> Iterator[Service]:
    """An api process of the test's own, on SQLite. `number` chooses its addresses: one per test module."""
    data = Path(tempfile.mkdtemp(prefix="ocph-"))
    running = start(data, f"sqlite:///{data / 'opencph.db'}", f"127.{number}.0.0/16", **settings)
    try:
        yield running
        assert running.process.poll() is None, (data / "log").read_text()
    finally:
        code = stop(running)
        log = (data / "log").read_text()
        shutil.rmtree(data)
    assert code == 0, log
    assert "Traceback" not in log, log


def connect(service: Service, source: str = "") -> socket.socket:
    """A connection, from an address of one's own if need be."""
    return socket.create_connection(service.address, timeout=SECONDS, source_address=(source, 0) if source else None)


def answers(connection: socket.socket, count: int = 1) -> list[tuple[int, bytes]]:
    """Status and body of what comes back, until so many answers are there or the service hangs up."""
    found: list[tuple[int, bytes]] = []
    data = b""
    while len(found) < count:
        head, end, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: ([0-9]+)", head, re.I)
        if end and length is not None and len(rest) >= int(length[1]):
            found.append((int(head.split()[1]), rest[: int(length[1])]))
            data = rest[int(length[1]) :]
            continue
        try:
            piece = connection.recv(65536)
        except ConnectionError:
            break
        if not piece:
            break
        data += piece
    return found


def ask(service: Service, request: bytes, count: int = 1, source: str = "") -> list[tuple[int, bytes]]:
    """Send bytes on a connection of their own."""
    with connect(service, source) as connection:
        try:
            connection.sendall(request)
        except ConnectionError:
            return []
        return answers(connection, count)


def alive(service: Service, source: str = "") -> bool:
    """Whether the service serves a client that asks properly."""
    return ask(service, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", source=source)[:1] != []


def is_closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the service hangs up within a time."""
    deadline = time.monotonic() + seconds
    connection.settimeout(seconds)
    try:
        while time.monotonic() < deadline:
            if not connection.recv(65536):
                return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False
