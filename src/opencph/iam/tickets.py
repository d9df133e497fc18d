"""Tickets: signed leave to open the screen of one phone, for a short time: what they say, how they are made and verified. Whether
the phone still is what it was is the fleet's to know.

The frame is that of `signed`; the key is `ticket` of the table `signing_keys`.
"""

from __future__ import annotations

import base64
import secrets
import time

import msgspec
from sqlalchemy import bindparam, insert, select

from opencph.iam.signed import Frame, SignedError
from opencph.store.database import Database, Query, StoreConflictError, command, scalar
from opencph.store.tables import signing_keys

KEY_NAME = "ticket"
KEY_BYTES = 32
TICKET_MAX_BYTES = 2048
TICKET_SECONDS = 600

_READ: Query[str] = Query(select(signing_keys.c.secret).where(signing_keys.c.name == KEY_NAME), scalar)
_ADD = command(insert(signing_keys).values(name=KEY_NAME, secret=bindparam("secret"), create_ms=bindparam("create_ms")))


class TicketError(SignedError):
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


_frame = Frame("ticket", TicketClaims, TICKET_MAX_BYTES, TicketError)


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
    return _frame.sign(key, claims)


def verify(key: bytes, ticket: str, now_ms: int) -> TicketClaims:
    """What a ticket says. Raises TicketError: malformed, not ours, expired."""
    return _frame.read(key, ticket.encode("utf-8", "replace"), now_ms)
