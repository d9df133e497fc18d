"""The queue is the table `jobs`: accept, claim, lease, record, finish. All statements of the engine are here; none is run here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, insert

from opencph.jobs import RUNNING, NewJob
from opencph.store.database import Transaction, command
from opencph.store.tables import jobs

_ACCEPT = command(
    insert(jobs).values(
        job_id=bindparam("job_id"),
        project_id=bindparam("project_id"),
        request_id=bindparam("request_id"),
        kind=bindparam("kind"),
        lane=bindparam("lane"),
        server_id=bindparam("server_id"),
        phone_id=bindparam("phone_id"),
        payload=bindparam("payload"),
        status=RUNNING,
        direction="forward",
        step="",
        attempts=0,
        run_after_ms=0,
        lease_until_ms=0,
        create_ms=bindparam("create_ms"),
    )
)


def accept(tx: Transaction, new: Sequence[NewJob]) -> list[str]:
    """Add jobs in the transaction that changes what they are about; returns their ids in the same order."""
    create_ms = time.time_ns() // 1_000_000
    ids = [secrets.token_hex(16) for _ in new]
    tx.run_many(
        _ACCEPT,
        [
            {
                "job_id": job_id,
                "project_id": job.project_id,
                "request_id": job.request_id,
                "kind": job.kind,
                "lane": job.lane,
                "server_id": job.server_id,
                "phone_id": job.phone_id,
                "payload": "{}" if job.payload is None else msgspec.json.encode(job.payload).decode(),
                "create_ms": create_ms,
            }
            for job_id, job in zip(ids, new, strict=True)
        ],
    )
    return ids
