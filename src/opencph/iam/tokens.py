"""Identity tokens: signed by us, so that any api process verifies one without asking anybody. What they say and how they are made.

The frame is that of `signed`, the key `token` of the table `signing_keys`. Whether the user still exists is `auth`'s to know.
"""

from __future__ import annotations

import secrets

import msgspec

from opencph.iam.signed import Frame, SignedError

TOKEN_MAX_BYTES = 4096


class TokenError(SignedError):
    """The token cannot be used; the message says why."""


class Claims(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. Times in milliseconds since the epoch."""

    user_id: str
    project_id: str  # "": the token is for the domain
    issued_ms: int
    expires_ms: int
    nonce: bytes


_frame = Frame("token", Claims, TOKEN_MAX_BYTES, TokenError)


def issue(key: bytes, user_id: str, project_id: str, now_ms: int, life_ms: int) -> tuple[str, Claims]:
    """Make a token."""
    claims = Claims(user_id, project_id, now_ms, now_ms + life_ms, secrets.token_bytes(8))
    return _frame.sign(key, claims), claims


def read(key: bytes, token: bytes, now_ms: int) -> Claims:
    """Verify a token. Raises TokenError: malformed, not ours, expired."""
    return _frame.read(key, token, now_ms)
