"""How often a user may call an operation: the last calls of each, in the database, so that all api processes count together."""

from __future__ import annotations

import time

import msgspec
from sqlalchemy import bindparam, insert, select, update

from opencph.store.database import Database, Query, command, scalar
from opencph.store.tables import call_windows
from opencph.wire.errors import CphError

WINDOW_SECONDS = 60

_KEY = (call_windows.c.user_id == bindparam("of_user"), call_windows.c.operation == bindparam("of_operation"))
_CALLS: Query[str] = Query(select(call_windows.c.calls).where(*_KEY), scalar)
_KEEP = command(update(call_windows).where(*_KEY).values(calls=bindparam("calls")))
_BEGIN = command(
    insert(call_windows).values(user_id=bindparam("of_user"), operation=bindparam("of_operation"), calls=bindparam("calls"))
)
_calls_of = msgspec.json.Decoder(list[int])


def count_call(database: Database, user_id: str, operation: str, per_minute: int, now_ms: int | None = None) -> None:
    """Count one call. Raises CphError APIGW.0308 (429), and counts nothing, when the user made so many in the last minute."""
    key = {"of_user": user_id, "of_operation": operation}
    with database.write() as tx:
        tx.lock("call_windows")
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms  # after the wait: later than what others counted
        known = tx.row(_CALLS, **key)
        window_ms = WINDOW_SECONDS * 1000
        recent = [at for at in _calls_of.decode(known or "[]") if now_ms - window_ms < at <= now_ms + window_ms]
        if len(recent) >= per_minute:
            wait = max(1, -(-(recent[0] + window_ms - now_ms) // 1000))
            raise CphError(
                "APIGW.0308",
                f"{operation} may be called {per_minute} times in a minute by a user; try again in {wait} seconds",
                retry_seconds=wait,
            )
        calls = msgspec.json.encode([*recent, now_ms]).decode()
        if not tx.run(_KEEP, **key, calls=calls):
            tx.run(_BEGIN, **key, calls=calls)
