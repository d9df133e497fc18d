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

TOO_LARGE = "request entity too large"


class ClientGoneError(Exception):
    """The client has closed the connection; there is nobody to answer."""


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body follows the headers (HTTP/1.1)."""
    length = headers.get(b"content-length")
    return (length is not None and length != b"0") or b"transfer-encoding" in headers


class Body:
    """The body of one request, read once or thrown away."""

    __slots__ = ("_announced", "_limit_bytes", "_receive", "_seen", "ended", "taken")

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes], limit_bytes: int) -> None:
        self._receive = receive
        self._announced = int(headers.get(b"content-length", b"0"))
        self._limit_bytes = limit_bytes
        self._seen = 0
        self.taken = False  # somebody has begun to read it
        self.ended = False  # nothing more comes

    async def read(self) -> bytes:
        """The whole body. Raises CphError 413 when it is too large, whether it says so beforehand or not, and 408 when it is too
        slow; ClientGoneError."""
        self.taken = True
        if self._announced > self._limit_bytes:
            raise CphError("APIGW.0201", f"{TOO_LARGE}: {self._announced} bytes, at most {self._limit_bytes}", status=413)
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not self.ended:
                    pieces.append(await self._piece())
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
