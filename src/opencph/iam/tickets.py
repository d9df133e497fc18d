"""Tickets: signed leave to open the screen of one phone, for a short time: what they say, how they are made and verified. Whether
the phone still is what it was is the fleet's to know.

A ticket is `<payload>.<signature>`, both base64url: the payload is a msgpack `TicketClaims`, the signature HMAC-SHA256. The key is
`ticket` of the table `signing_keys`, so that tickets outlive restarts and any process verifies those of any other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time

import msgspec
from sqlalchemy import bindparam, insert, select

from opencph.store.database import Database, Query, StoreConflictError, command, scalar
from opencph.store.tables import signing_keys

KEY_NAME = "ticket"
KEY_BYTES = 32
TICKET_MAX_BYTES = 2048
TICKET_SECONDS = 600

_READ: Query[str] = Query(select(signing_keys.c.secret).where(signing_keys.c.name == KEY_NAME), scalar)
_ADD = command(insert(signing_keys).values(name=KEY_NAME, secret=bindparam("secret"), create_ms=bindparam("create_ms")))


class TicketError(Exception):
    """The ticket cannot be used; the message says why."""


class TicketClaims(msgspec.Struct, frozen=True, array_like=True):
    """What a ticket says. Times in milliseconds since the epoch."""

    project_id: str
    user_id: str
    phone_id: str
    client_type: str  # ANDROID | WINDOWS | H5_MOBILE | H5_PC | IOS
    session_id: str
    epoch: int  # of the encode server; restarting it voids the tickets before
    issued_ms: int
    expires_ms: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TicketClaims)


def ticket_key(database: Database) -> bytes:
    """The key of this installation; made at the first call. Raises StoreError."""
    found = database.row(_READ)
    if found is None:
        new = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
        try:
            with database.write() as tx:
                tx.run(_ADD, secret=new, create_ms=time.time_ns() // 1_000_000)
            found = new
        except StoreConflictError:  # another process was faster
            found = database.row(_READ)
            assert found is not None
    return base64.b64decode(found)


def issue(key: bytes, claims: TicketClaims) -> str:
    """Make a ticket."""
    payload = _encoder.encode(claims)
    return f"{_encode(payload)}.{_encode(_sign(key, payload))}"


def verify(key: bytes, ticket: str, now_ms: int) -> TicketClaims:
    """What a ticket says. Raises TicketError: malformed, not ours, expired."""
    if len(ticket) > TICKET_MAX_BYTES or not ticket.isascii():
        raise TicketError("the ticket is malformed")
    encoded, _, signature = ticket.partition(".")
    try:
        payload, given = _decode(encoded), _decode(signature)
    except (binascii.Error, ValueError):
        raise TicketError("the ticket is malformed") from None
    # The strict comparison of the encoded form leaves one spelling per ticket.
    expected = _encode(_sign(key, payload))
    if not hmac.compare_digest(given, _decode(expected)) or not hmac.compare_digest(expected, signature):
        raise TicketError("the ticket was not issued here")
    try:
        claims = _decoder.decode(payload)
    except msgspec.MsgspecError:
        raise TicketError("the ticket is of another version; get a new one") from None
    if now_ms >= claims.expires_ms:
        raise TicketError("the ticket has expired; get a new one")
    return claims


def _sign(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, b"opencph ticket 1\n" + payload, hashlib.sha256)


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(value: str) -> bytes:
    return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
