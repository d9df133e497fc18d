"""Reads request bodies: up to a size, within a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from opencph.wire.errors import CphError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: A body that is not complete by then is given up.
BODY_SECONDS = 60.0
#: What a client may still send of a body that is refused, so that it reads the refusal instead of a reset connection.
DRAIN_SECONDS = 5.0
DRAIN_TIMES_LIMIT = 4

#: What bodies that are being read or worked on may hold in all, as a multiple of the largest one.
BODIES_AT_ONCE = 16
#: The largest body of a request that nobody has to be known for.
OPEN_BODY_BYTES = 64 * 1024

TOO_LARGE = "request entity too large"


class ClientGoneError(Exception):
    """The client has closed the connection; there is nobody to answer."""


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body follows the headers (HTTP/1.1)."""
    length = headers.get(b"content-length")
    return (length is not None and length != b"0") or b"transfer-encoding" in headers


class Room:
    """Memory that the bodies of all requests share."""

    def __init__(self, limit_bytes: int) -> None:
        self.left_bytes = limit_bytes


class Body:
    """The body of one request, read once or thrown away. `leave` it at the end of the request."""

    __slots__ = ("_announced", "_held", "_limit_bytes", "_receive", "_room", "_seen", "ended", "taken")

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes], limit_bytes: int, room: Room | None = None) -> None:
        self._room = room or Room(limit_bytes * BODIES_AT_ONCE)
        self._held = 0
        self._receive = receive
        self._announced = int(headers.get(b"content-length", b"0"))
        self._limit_bytes = limit_bytes
        self._seen = 0
        self.taken = False  # somebody has begun to read it
        self.ended = False  # nothing more comes

    def limit(self, limit_bytes: int) -> None:
        """Allow no more than this."""
        self._limit_bytes = min(self._limit_bytes, limit_bytes)

    def leave(self) -> None:
        """Give back the room that it took."""
        self._room.left_bytes += self._held
        self._held = 0

    async def read(self) -> bytes:
        """The whole body. Raises CphError 413 when it is too large, whether it says so beforehand or not, 408 when it is too slow
        and 503 when all bodies together take too much memory; ClientGoneError."""
        self.taken = True
        if self._announced > self._limit_bytes:
            raise CphError("APIGW.0201", f"{TOO_LARGE}: {self._announced} bytes, at most {self._limit_bytes}", status=413)
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not self.ended:
                    piece = await self._piece()
                    self._held += len(piece)
                    self._room.left_bytes -= len(piece)
                    if self._room.left_bytes < 0:
                        raise CphError("CPS.0042", "too many large requests at once; try again in a moment")
                    pieces.append(piece)
                    if self._seen > self._limit_bytes:
                        raise CphError("APIGW.0201", f"{TOO_LARGE}: more than {self._limit_bytes} bytes", status=413)
        except TimeoutError:
            self.ended = True
            slow = f"request timeout: the body did not arrive in {BODY_SECONDS:.0f} seconds"
            raise CphError("APIGW.0201", slow, status=408) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def drain(self) -> None:
        """Read and forget what the client still sends, within bounds, so that it gets to read the answer."""
        with suppress(TimeoutError, ClientGoneError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.ended and self._seen < DRAIN_TIMES_LIMIT * self._limit_bytes:
                    await self._piece()

    async def _piece(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.ended = True
            raise ClientGoneError
        piece: bytes = message.get("body", b"")
        self._seen += len(piece)
        self.ended = not message.get("more_body")
        return piece
