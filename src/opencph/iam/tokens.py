"""Identity tokens: signed by us, so that any api process verifies one without asking anybody. What they say and how they are made.

A token is `<payload>.<signature>`, both base64url: the payload is a msgpack `Claims`, the signature HMAC-SHA256, key `token`
of the table `signing_keys`. Whether the user still exists is `auth`'s to know.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

import msgspec

TOKEN_MAX_BYTES = 4096
SIGNATURE_BYTES = 32


class TokenError(Exception):
    """The token cannot be used; the message says why."""


class Claims(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. Times in milliseconds since the epoch."""

    user_id: str
    project_id: str  # "": the token is for the domain
    issued_ms: int
    expires_ms: int
    nonce: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Claims)


def issue(key: bytes, user_id: str, project_id: str, now_ms: int, life_ms: int) -> tuple[str, Claims]:
    """Make a token."""
    claims = Claims(user_id, project_id, now_ms, now_ms + life_ms, secrets.token_bytes(8))
    payload = _encoder.encode(claims)
    return f"{_encode(payload)}.{_encode(_sign(key, payload))}", claims


def read(key: bytes, token: bytes, now_ms: int) -> Claims:
    """Verify a token. Raises TokenError: malformed, not ours, expired."""
    if len(token) > TOKEN_MAX_BYTES:
        raise TokenError(f"the token is longer than {TOKEN_MAX_BYTES} bytes")
    encoded, dot, signature = token.partition(b".")
    try:
        payload, given = _decode(encoded), _decode(signature)
    except (binascii.Error, ValueError):
        raise TokenError("the token is malformed") from None
    if not dot or len(given) != SIGNATURE_BYTES:
        raise TokenError("the token is malformed")
    # The strict comparison of the encoded form leaves one spelling per token.
    if not hmac.compare_digest(given, _sign(key, payload)) or _encode(given).encode() != signature:
        raise TokenError("the token was not issued here")
    try:
        claims = _decoder.decode(payload)
    except msgspec.MsgspecError:
        raise TokenError("the token is of another version; get a new one") from None
    if now_ms >= claims.expires_ms:
        raise TokenError("the token has expired; get a new one")
    return claims


def _sign(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, b"opencph token 1\n" + payload, hashlib.sha256)


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(value: bytes) -> bytes:
    return base64.b64decode(value + b"=" * (-len(value) % 4), altchars=b"-_", validate=True)
