"""The queue is the table `jobs`: accept, claim, lease, record, finish. All statements of the engine are here; none is run here.

A lease is `lease_owner` and `lease_until_ms` by the database's own clock. Whoever gives, takes or renews leases does so under the
lock `jobs.lease`; whoever records or finishes names itself as the owner, so a worker that lost its lease writes nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, exists, func, insert, not_, select, update

from opencph.jobs import FAILED, RUNNING, SUCCEEDED, Job, JobFailedError, JobKind, NewJob
from opencph.store.database import Database, Query, Transaction, command, in_list, json_list, now_ms, scalar
from opencph.store.tables import jobs

#: jobs of one batch at most
BATCH_MAX = 500
#: jobs leased in one transaction, the last batch not counted; more are claimed by the next
CLAIM_MAX = 2_000
#: bytes of error_msg and execute_msg that are kept
MESSAGE_BYTES_MAX = 1024
LEASE_LOCK = "jobs.lease"


class Claim(NamedTuple):
    """Jobs of one lane, one kind and one progress, leased to a worker."""

    kind: str
    lane: str
    direction: str  # forward | undo
    step: str  # the last step that is done, or undone
    attempts: int  # this one included; the highest of the jobs'
    error: JobFailedError | None  # why it is being undone
    jobs: Sequence[Job]
    late: Mapping[str, JobFailedError]  # by job_id: why jobs will end as failed though they go forward


class State(NamedTuple):
    """How far a job is in the database."""

    job_id: str
    status: int
    direction: str
    step: str
    lease_owner: str | None


class _JobRow(NamedTuple):
    seq: int
    job_id: str
    project_id: str
    request_id: str
    kind: str
    lane: str
    server_id: str | None
    phone_id: str | None
    payload: str
    direction: str
    step: str
    attempts: int
    error_code: str | None
    error_msg: str | None
    create_ms: int


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


def _heads() -> Query[str]:
    """The oldest job of every lane that nobody works in, the oldest first. Hops from lane to lane in the index.

    Only scalar sub-selects: whatever a planner thinks of the sizes, each is one look into an index.
    """
    any_, waiting, leased, head = jobs.alias("a"), jobs.alias("w"), jobs.alias("l"), jobs.alias("h")
    lanes = select(func.min(any_.c.lane).label("lane")).where(any_.c.status == RUNNING).cte("lanes", recursive=True)
    following = select(func.min(any_.c.lane)).where(any_.c.status == RUNNING, any_.c.lane > lanes.c.lane).scalar_subquery()
    lanes = lanes.union_all(select(following).where(lanes.c.lane.is_not(None)))
    oldest = select(func.min(waiting.c.seq)).where(waiting.c.status == RUNNING, waiting.c.lane == lanes.c.lane).scalar_subquery()
    heads = (
        select(oldest.label("seq"))
        .select_from(lanes)
        .where(
            lanes.c.lane.is_not(None),
            not_(in_list(lanes.c.lane, "busy_lanes")),
            not_(
                exists().where(leased.c.lane == lanes.c.lane, leased.c.lease_owner.is_not(None), leased.c.lease_until_ms > now_ms())
            ),
        )
        .cte("heads")
        .prefix_with("MATERIALIZED")
    )
    run_after_ms = select(head.c.run_after_ms).where(head.c.seq == heads.c.seq).scalar_subquery()
    job_id = select(head.c.job_id).where(head.c.seq == heads.c.seq).scalar_subquery()
    return Query(
        select(job_id).select_from(heads).where(run_after_ms <= now_ms()).order_by(heads.c.seq).limit(bindparam("lanes_max")),
        scalar,
    )


_HEADS = _heads()
_ROWS: Query[_JobRow] = Query(
    select(*(jobs.c[name] for name in _JobRow._fields)).where(in_list(jobs.c.job_id, "ids")).order_by(jobs.c.seq), _JobRow
)
_PREFIX: Query[_JobRow] = Query(
    select(*(jobs.c[name] for name in _JobRow._fields))
    .where(jobs.c.status == RUNNING, jobs.c.lane == bindparam("lane_"))
    .order_by(jobs.c.seq)
    .limit(BATCH_MAX),
    _JobRow,
)
# Without the sums a planner that has no statistics would go through all running jobs instead of to those named.
_RUNNING = jobs.c.status + 0 == RUNNING
_MINE = (in_list(jobs.c.job_id, "ids"), func.coalesce(jobs.c.lease_owner, "") == bindparam("owner"), _RUNNING)
_LEASE: Query[str] = Query(
    update(jobs)
    .where(
        in_list(jobs.c.job_id, "ids"),
        _RUNNING,
        jobs.c.lease_owner.is_(None) | (jobs.c.lease_until_ms <= now_ms()),
    )
    .values(
        lease_owner=bindparam("owner"),
        lease_until_ms=now_ms() + bindparam("lease_ms"),
        attempts=jobs.c.attempts + 1,
    )
    .returning(jobs.c.job_id),
    scalar,
)
_RENEW: Query[str] = Query(
    update(jobs)
    .where(jobs.c.job_id.in_(select(jobs.c.job_id).where(*_MINE).with_for_update(skip_locked=True)))
    .values(lease_until_ms=now_ms() + bindparam("lease_ms"))
    .returning(jobs.c.job_id),
    scalar,
)
_RELEASE = command(
    update(jobs)
    .where(*_MINE)
    .values(
        lease_owner=None,
        lease_until_ms=0,
        attempts=jobs.c.attempts - 1,
        run_after_ms=now_ms() + bindparam("pause_ms"),
    )
)
_OWNERS: Query[str] = Query(select(jobs.c.lease_owner).where(jobs.c.lease_owner.is_not(None)).distinct(), scalar)
_DISOWN = command(
    update(jobs)
    .where(jobs.c.lease_owner.is_not(None), jobs.c.lease_owner == bindparam("owner"))
    .values(lease_owner=None, lease_until_ms=0)
)
_RECORD = command(
    update(jobs)
    .where(*_MINE)
    .values(direction=bindparam("new_direction"), step=bindparam("new_step"), lease_until_ms=now_ms() + bindparam("lease_ms"))
)
_KEEP_ERROR = command(update(jobs).where(*_MINE).values(error_code=bindparam("code"), error_msg=bindparam("message")))
_EXECUTE_MSG = command(update(jobs).where(jobs.c.job_id == bindparam("id")).values(execute_msg=bindparam("message")))
_SUCCEED = command(update(jobs).where(*_MINE).values(status=SUCCEEDED, lease_owner=None, lease_until_ms=0, end_ms=now_ms()))
_FAIL = command(
    update(jobs)
    .where(*_MINE)
    .values(
        status=FAILED,
        lease_owner=None,
        lease_until_ms=0,
        end_ms=now_ms(),
        error_code=bindparam("code"),
        error_msg=bindparam("message"),
    )
)
_STATES: Query[State] = Query(select(*(jobs.c[name] for name in State._fields)).where(in_list(jobs.c.job_id, "ids")), State)


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


def something_waits(database: Database, *, busy_lanes: Iterable[str] = ()) -> bool:
    """Whether `claim` would find work. Takes no lock."""
    return database.row(_HEADS, busy_lanes=json_list(busy_lanes), lanes_max=1) is not None


def claim(
    tx: Transaction,
    kinds: Mapping[str, JobKind],
    owner: str,
    *,
    lease_ms: int,
    lanes_max: int,
    busy_lanes: Iterable[str] = (),
) -> list[Claim]:
    """Lease the oldest work of up to `lanes_max` lanes that nobody works in; `busy_lanes` are left alone.

    Of a lane it takes the first job, and with it those that follow and are of the same kind and equally far, if the kind is
    batched: at most BATCH_MAX.
    """
    tx.lock(LEASE_LOCK)
    groups: list[list[_JobRow]] = []
    count = 0
    heads = tx.rows(_HEADS, busy_lanes=json_list(busy_lanes), lanes_max=lanes_max)
    for head in tx.rows(_ROWS, ids=json_list(heads)):
        kind = kinds.get(head.kind)
        group = [head] if kind is None or not kind.batched else _batch(tx, head)
        groups.append(group)
        count += len(group)
        if count >= CLAIM_MAX:
            break
    ids = [row.job_id for group in groups for row in group]
    if not ids:
        return []
    leased = set(tx.rows(_LEASE, ids=json_list(ids), owner=owner, lease_ms=lease_ms))
    claims, incomplete = [], []
    for group in groups:
        mine = [row for row in group if row.job_id in leased]
        if len(mine) == len(group):
            claims.append(_claim_of(group))
        else:  # finished or renewed since we looked
            incomplete += [row.job_id for row in mine]
    if incomplete:
        release(tx, owner, incomplete)
    return claims


def _batch(tx: Transaction, head: _JobRow) -> list[_JobRow]:
    """The first jobs of a lane, as many as are of one kind, equally far, and to end for the same reason."""
    progress = (head.kind, head.direction, head.step, head.error_code, head.error_msg)
    batch: list[_JobRow] = []
    for row in tx.rows(_PREFIX, lane_=head.lane):
        if (row.kind, row.direction, row.step, row.error_code, row.error_msg) != progress:
            break
        batch.append(row)
    return batch


def _claim_of(rows: Sequence[_JobRow]) -> Claim:
    head = rows[0]
    causes = {row.job_id: JobFailedError(row.error_code, row.error_msg or "") for row in rows if row.error_code}
    return Claim(
        kind=head.kind,
        lane=head.lane,
        direction=head.direction,
        step=head.step,
        attempts=max(row.attempts for row in rows) + 1,
        error=causes.get(head.job_id) if head.direction == "undo" else None,
        late=causes if head.direction == "forward" else {},
        jobs=[
            Job(
                job_id=row.job_id,
                project_id=row.project_id,
                request_id=row.request_id,
                kind=row.kind,
                lane=row.lane,
                server_id=row.server_id,
                phone_id=row.phone_id,
                payload=row.payload,
                attempts=row.attempts + 1,
                create_ms=row.create_ms,
            )
            for row in rows
        ],
    )


def renew(tx: Transaction, owner: str, ids: Sequence[str], *, lease_ms: int) -> set[str]:
    """Hold on to batches, of each of which `ids` names one running job; returns those of `ids` that another worker has taken.

    One live lease in a lane keeps the whole lane. A row that is locked is being recorded by this worker, which renews it too.
    """
    tx.lock(LEASE_LOCK)
    held = set(tx.rows(_RENEW, ids=json_list(ids), owner=owner, lease_ms=lease_ms))
    rest = [job_id for job_id in ids if job_id not in held]
    return {state.job_id for state in states(tx, rest) if state.status == RUNNING and state.lease_owner != owner} if rest else set()


def release(tx: Transaction, owner: str, ids: Sequence[str], *, pause_ms: int = 0) -> None:
    """Let go of jobs, so that any worker may go on with them, `pause_ms` from now at the earliest."""
    if ids:
        tx.lock(LEASE_LOCK)
        tx.run(_RELEASE, ids=json_list(ids), owner=owner, pause_ms=pause_ms)


def owners(database: Database) -> list[str]:
    """Every worker that has a lease, live or not."""
    return database.rows(_OWNERS)


def disown(tx: Transaction, owner: str) -> int:
    """Take all leases from a worker that is dead for certain; returns how many."""
    tx.lock(LEASE_LOCK)
    return tx.run(_DISOWN, owner=owner)


def record(tx: Transaction, owner: str, ids: Sequence[str], *, direction: str, step: str, lease_ms: int) -> bool:
    """Note that jobs have come as far as `step`, and renew their leases. False: not all of them are this worker's."""
    return tx.run(_RECORD, ids=json_list(ids), owner=owner, new_direction=direction, new_step=step, lease_ms=lease_ms) == len(ids)


def keep_errors(tx: Transaction, owner: str, errors: Mapping[str, JobFailedError]) -> None:
    """Note why jobs (by job_id) are being undone, or will end as failed; they are still running."""
    for (code, message), ids in _by_cause(errors).items():
        tx.run(_KEEP_ERROR, ids=json_list(ids), owner=owner, code=code, message=message)


def succeed(tx: Transaction, owner: str, ids: Sequence[str]) -> None:
    """End jobs with success."""
    if ids:
        tx.run(_SUCCEED, ids=json_list(ids), owner=owner)


def fail(tx: Transaction, owner: str, errors: Mapping[str, JobFailedError]) -> None:
    """End jobs as failed, each (by job_id) with its error."""
    for (code, message), ids in _by_cause(errors).items():
        tx.run(_FAIL, ids=json_list(ids), owner=owner, code=code, message=message)


def keep_execute_msgs(tx: Transaction, messages: Mapping[str, str]) -> None:
    """Keep what jobs (by job_id) have to tell their user, cut at MESSAGE_BYTES_MAX."""
    if messages:
        tx.run_many(_EXECUTE_MSG, [{"id": job_id, "message": _cut(message)} for job_id, message in messages.items()])


def states(tx: Transaction, ids: Sequence[str]) -> list[State]:
    """How far jobs are."""
    return tx.rows(_STATES, ids=json_list(ids))


def _by_cause(errors: Mapping[str, JobFailedError]) -> dict[tuple[str, str], list[str]]:
    """Jobs by code and message, so that many with the same cause are one statement."""
    same: dict[tuple[str, str], list[str]] = {}
    for job_id, error in errors.items():
        same.setdefault((error.code, _cut(error.message)), []).append(job_id)
    return same


def _cut(message: str) -> str:
    return message.encode()[:MESSAGE_BYTES_MAX].decode(errors="ignore")
