"""The reference of the HTTP rows: a constant body of a phone's size, on the same HTTP server. `python -m bench.bare BYTES`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server

BODY = b'{"phone": "' + b"x" * (int(sys.argv[1]) - 13) + b'"}'
HEADERS = [(b"content-type", b"application/json"), (b"x-request-id", b"0" * 32)]


async def constant(_scope: Any, _receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    """The whole application."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})


async def serve() -> None:
    """Serve on a free port, and say on which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(constant, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False)
    print(f"http://127.0.0.1:{port}", flush=True)
    await server.serve()


if __name__ == "__main__":
    uvloop.run(serve())
