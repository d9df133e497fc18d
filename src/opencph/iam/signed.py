"""Texts that we sign ourselves: the one frame of tokens and tickets. What they say, and for whom, those modules know.

A signed text is `<payload>.<signature>`, both base64url without padding: the payload is msgpack, the signature HMAC-SHA256 over a
label and the payload. The label says what kind of text it is, so that none can be passed off as another. Keys are rows of
`signing_keys`: they outlive restarts, and every process verifies what any other has signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Generic, Protocol, TypeVar

import msgspec

SIGNATURE_BYTES = 32


class SignedError(Exception):
    """The text cannot be used; the message says why."""


class Expiring(Protocol):
    """What every signed text says."""

    @property
    def expires_ms(self) -> int:
        """When it ends, in milliseconds since the epoch."""
        ...


Claims = TypeVar("Claims", bound=Expiring)


class Frame(Generic[Claims]):
    """Signs and verifies texts of one kind. `kind` is what messages call it; `error` is raised, made from a message."""

    def __init__(self, kind: str, claims: type[Claims], max_bytes: int, error: type[SignedError]) -> None:
        self._kind, self._max_bytes, self._error = kind, max_bytes, error
        self._label = f"opencph {kind} 1\n".encode()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(claims)

    def sign(self, key: bytes, claims: Claims) -> str:
        """The text."""
        payload = self._encoder.encode(claims)
        return f"{_encode(payload)}.{_encode(self._signature(key, payload))}"

    def read(self, key: bytes, text: bytes, now_ms: int) -> Claims:
        """What a text says. Raises the frame's error: malformed, not ours, of another version, expired."""
        if len(text) > self._max_bytes:
            raise self._error(f"the {self._kind} is longer than {self._max_bytes} bytes")
        encoded, dot, signature = text.partition(b".")
        try:
            payload, given = _decode(encoded), _decode(signature)
        except (binascii.Error, ValueError):
            raise self._error(f"the {self._kind} is malformed") from None
        if not dot or len(given) != SIGNATURE_BYTES:
            raise self._error(f"the {self._kind} is malformed")
        # The comparison of the encoded form leaves one spelling per text.
        expected = self._signature(key, payload)
        if not hmac.compare_digest(given, expected) or not hmac.compare_digest(_encode(expected).encode(), signature):
            raise self._error(f"the {self._kind} was not issued here")
        try:
            claims = self._decoder.decode(payload)
        except msgspec.MsgspecError:
            raise self._error(f"the {self._kind} is of another version; get a new one") from None
        if now_ms >= claims.expires_ms:
            raise self._error(f"the {self._kind} has expired; get a new one")
        return claims

    def _signature(self, key: bytes, payload: bytes) -> bytes:
        return hmac.digest(key, self._label + payload, hashlib.sha256)


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(value: bytes) -> bytes:
    return base64.b64decode(value + b"=" * (-len(value) % 4), altchars=b"-_", validate=True)
