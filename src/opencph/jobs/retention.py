"""Forget finished jobs after a time. Running ones are never touched."""

from __future__ import annotations

import time

from sqlalchemy import bindparam, delete, select

from opencph.store.database import Database, command
from opencph.store.tables import jobs

#: small, so that nobody waits for it
CHUNK = 500

_DELETE_OLDEST = command(
    delete(jobs).where(
        jobs.c.seq.in_(select(jobs.c.seq).where(jobs.c.end_ms < bindparam("before_ms")).order_by(jobs.c.end_ms).limit(CHUNK))
    )
)


def delete_finished(database: Database, retention_days: float) -> int:
    """Delete the jobs that ended more than `retention_days` ago, CHUNK per transaction; returns how many.

    Blocks: call it in a thread, some times a day. Raises StoreError.
    """
    before_ms = time.time_ns() // 1_000_000 - int(retention_days * 86_400_000)
    deleted = 0
    while True:
        with database.write() as tx:
            count = tx.run(_DELETE_OLDEST, before_ms=before_ms)
        deleted += count
        if count < CHUNK:
            return deleted
