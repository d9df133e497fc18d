"""Contents on their way in: read in pieces into a file, unwrapped and checked as they come. Nothing of what they are for."""

from __future__ import annotations

import asyncio
import hashlib
import re
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import IO, Any

from opencph.api.bodies import ClientGoneError, Receive
from opencph.objects import PIECE_BYTES, ObjectError, ObjectStore, disk_error, spooled
from opencph.wire.object_signatures import STREAMED, UNSIGNED

OBJECT_BYTES_MAX = 16 << 30
#: A client that sends nothing for so long is given up.
SILENCE_SECONDS = 60.0
XML_BYTES_MAX = 4 << 20
#: Checksums in headers (`x-amz-checksum-...`) that are computed, and those that are not: they need another digest beside them.
CHECKED = ("crc32", "sha1", "sha256")
UNCHECKED = ("crc32c", "crc64nvme")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})(;[^\r\n]{0,256})?")


async def pieces(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it comes. Raises ClientGoneError, and ObjectError RequestTimeout when the client falls silent."""
    more = True
    while more:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await receive()
        except TimeoutError:
            raise ObjectError("RequestTimeout", f"nothing was sent for {SILENCE_SECONDS:.0f} seconds", 408) from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        more = bool(message.get("more_body"))
        if message.get("body"):
            yield message["body"]


async def unchunked(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The contents inside an aws-chunked body. Signatures of chunks and trailing checksums are left unread."""
    buffer = bytearray()
    left, ended = 0, False
    async for piece in body:
        if ended:
            continue  # trailers
        buffer += piece
        while buffer and not ended:
            if left:
                data = bytes(buffer[:left])
                del buffer[: len(data)]
                left -= len(data)
                yield data
                continue
            if buffer.startswith(b"\r\n"):
                del buffer[:2]
                continue
            line, end, _ = buffer.partition(b"\r\n")
            if not end:
                if len(buffer) > 1024:
                    raise ObjectError("IncompleteBody", "the body is not aws-chunked as its headers say")
                break
            found = _CHUNK.fullmatch(bytes(line))
            if found is None:
                raise ObjectError("IncompleteBody", "the body is not aws-chunked as its headers say")
            left = int(found.group(1), 16)
            del buffer[: len(line) + 2]
            ended = left == 0
    if not ended:
        raise ObjectError("IncompleteBody", "the aws-chunked body ended before its last chunk")


class Checks:
    """What the headers promise of the contents, and whether it was kept."""

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self.md5 = hashlib.md5(usedforsecurity=False)
        self._wanted_md5 = headers.get(b"content-md5", b"").strip()
        stated = (headers.get(b"x-amz-content-sha256") or headers.get(b"x-obs-content-sha256") or b"").decode("latin-1")
        self._wanted_sha256 = "" if stated in ("", UNSIGNED) or stated.startswith(STREAMED) else stated.lower()
        self._sha256 = hashlib.sha256()
        self._wanted = {name: value for name in CHECKED if (value := _checksum(headers, name))}
        self._crc32 = 0
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        stated = next((name for name in UNCHECKED if _checksum(headers, name)), "")
        if stated and not (self._wanted or self._wanted_md5 or self._wanted_sha256):
            rule = "cannot be checked here; send one of " + ", ".join(CHECKED) + ", Content-MD5 or the signed SHA-256"
            raise ObjectError("NotImplemented", f"x-amz-checksum-{stated} {rule}", 501)
        self.size = 0

    def add(self, data: bytes) -> None:
        """Count and digest the next piece."""
        self.size += len(data)
        self.md5.update(data)
        if self._wanted_sha256 or "sha256" in self._wanted:
            self._sha256.update(data)
        if "sha1" in self._wanted:
            self._sha1.update(data)
        if "crc32" in self._wanted:
            self._crc32 = zlib.crc32(data, self._crc32)

    def end(self) -> None:
        """Raises ObjectError when a promise was broken."""
        if self._wanted_md5 and b64encode(self.md5.digest()) != self._wanted_md5:
            raise ObjectError("BadDigest", "Content-MD5 is not the MD5 of the contents that arrived")
        if self._wanted_sha256 and self._sha256.hexdigest() != self._wanted_sha256:
            raise ObjectError("XAmzContentSHA256Mismatch", "the signed hash is not the SHA-256 of the contents that arrived")
        found = {"crc32": self._crc32.to_bytes(4, "big"), "sha1": self._sha1.digest(), "sha256": self._sha256.digest()}
        for name, value in self._wanted.items():
            if b64encode(found[name]) != value:
                raise ObjectError("BadDigest", f"x-amz-checksum-{name} is not the {name} of the contents that arrived")


def check_joined(headers: Mapping[bytes, bytes]) -> None:
    """Raises ObjectError NotImplemented for a checksum of the object that parts are joined to: none is computed of it."""
    for name in (*CHECKED, *UNCHECKED):
        if _checksum(headers, name):
            raise ObjectError(
                "NotImplemented", f"x-amz-checksum-{name}: checksums are of parts, not of what they are joined to", 501
            )


def _checksum(headers: Mapping[bytes, bytes], name: str) -> bytes:
    return (headers.get(b"x-amz-checksum-" + name.encode()) or headers.get(b"x-obs-checksum-" + name.encode(), b"")).strip()


def _contents(headers: Mapping[bytes, bytes], receive: Receive) -> AsyncIterator[bytes]:
    body = pieces(receive)
    stated = headers.get(b"x-amz-content-sha256", b"").decode("latin-1")
    if stated.startswith(STREAMED) or b"aws-chunked" in headers.get(b"content-encoding", b""):
        return unchunked(body)
    return body


async def small(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """A body that is a document. Raises ObjectError when it is too large or not what was promised."""
    checks = Checks(headers)
    whole = bytearray()
    async for data in _contents(headers, receive):
        checks.add(data)
        whole += data
        if len(whole) > XML_BYTES_MAX:
            raise ObjectError("EntityTooLarge", f"the body has more than {XML_BYTES_MAX} bytes", 413)
    checks.end()
    return bytes(whole)


async def take(store: ObjectStore, headers: Mapping[bytes, bytes], receive: Receive) -> tuple[IO[bytes], str]:
    """The contents as a spooled file, and their MD5 in hex. Raises ObjectError; then nothing is left of them."""
    announced: Any = headers.get(b"x-amz-decoded-content-length") or headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > OBJECT_BYTES_MAX:
        raise ObjectError("EntityTooLarge", f"an object has at most {OBJECT_BYTES_MAX} bytes", 413)
    file = await asyncio.to_thread(spooled, store)
    checks = Checks(headers)
    waiting = bytearray()

    def keep(data: bytes) -> None:
        try:
            checks.add(data)
            file.write(data)
        except OSError as error:
            raise disk_error(error) from error

    try:
        async for data in _contents(headers, receive):
            waiting += data
            if checks.size + len(waiting) > OBJECT_BYTES_MAX:
                raise ObjectError("EntityTooLarge", f"an object has at most {OBJECT_BYTES_MAX} bytes", 413)
            if len(waiting) >= PIECE_BYTES:
                await asyncio.to_thread(keep, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(keep, bytes(waiting))
        checks.end()
    except BaseException:
        with suppress(FileNotFoundError):
            file.close()
        raise
    return file, checks.md5.hexdigest()
