"""Durable work: accept, claim, lease, run, resume, finish. Knows nothing of servers or phones: kinds of work are handed in.

A job is a row of the table `jobs`, inserted in the transaction that changes the resource's status (`jobs.accept`), so neither can
exist without the other. A `JobKind` is a name and a row of steps. A worker claims the next jobs of a *lane* (a server) that are of
one kind, as one `Batch`, holds a lease on them with a heartbeat, runs the steps in order and records each in the database. When a
lease expires any worker resumes after the last recorded step, so every step must be idempotent: it may run twice, never half.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from opencph.store.database import Database, Transaction

RUNNING, SUCCEEDED, FAILED = 1, 2, -1


class JobFailedError(Exception):
    """The work cannot be done; the job ends with this CPS code and message, after what was done is undone."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code} {message}")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One claimed job."""

    job_id: str
    project_id: str
    request_id: str
    kind: str
    lane: str
    server_id: str | None
    phone_id: str | None
    payload: str  # JSON; decode it with the kind's own struct
    attempts: int
    create_ms: int = 0  # when it was accepted


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to accept."""

    project_id: str
    request_id: str
    kind: str
    lane: str
    payload: msgspec.Struct | None = None
    server_id: str | None = None
    phone_id: str | None = None


@dataclass
class Batch:
    """The jobs that one run of a kind works on: all of one kind and one lane. Exactly one unless the kind is `batched`."""

    jobs: Sequence[Job]
    database: Database
    failures: dict[str, JobFailedError] = field(default_factory=dict)  # by job_id
    late: dict[str, JobFailedError] = field(default_factory=dict)  # by job_id; they fail, and only the last step says so
    execute_msgs: dict[str, str] = field(default_factory=dict)  # by job_id, at most 1024 bytes each are kept

    @property
    def job(self) -> Job:
        """The only job of a kind that is not batched."""
        (job,) = self.jobs
        return job

    @property
    def alive(self) -> Sequence[Job]:
        """The jobs that have not failed so far."""
        return [job for job in self.jobs if job.job_id not in self.failures and job.job_id not in self.late]

    def fail(self, job_id: str, code: str, message: str) -> None:
        """Take one job out of the batch: it ends failed when the step it failed in is recorded, the others go on."""
        self.failures[job_id] = JobFailedError(code, message)

    def fail_late(self, job_id: str, code: str, message: str) -> None:
        """One job has failed, and ends when the last step of its kind is recorded: those that follow have to tidy up after it, too.

        The cause is kept when this step is recorded. Later steps find the job in `jobs`, and not among those `alive`.
        """
        self.late[job_id] = JobFailedError(code, message)


@dataclass(frozen=True)
class Step:
    """One step of a kind. Give `effect` (touches the world; recorded after it returned) or `commit` (touches only the database;
    recorded in the same transaction), not both. `undo_*` takes it back, and must cope with a step that ran half or not at all.

    A commit runs in a thread and may run twice before it is committed once. An effect must not block the event loop, and must not
    read the database on it (`asyncio.to_thread`). Store errors that say "busy" or "unavailable" never fail a job: the step waits
    and is taken again."""

    name: str
    effect: Callable[[Batch], Awaitable[None]] | None = None
    commit: Callable[[Transaction, Batch], None] | None = None
    undo_effect: Callable[[Batch], Awaitable[None]] | None = None
    undo_commit: Callable[[Transaction, Batch], None] | None = None


@dataclass(frozen=True)
class JobKind:
    """A kind of work.

    Several jobs of a `batched` kind run as one batch, up to `jobs.queue.BATCH_MAX`. Any other exception than JobFailedError that a
    step raises fails the job with CPS.0003 and its cause, and is logged.

    Before `point_of_no_return` is recorded a failure runs the undo of every step begun, last first, and ends the job failed; from
    then on a failing step is tried again with growing pauses until it succeeds. `on_failure` runs in the transaction that ends jobs
    as failed (both for a whole batch and for single jobs of it), so that the resource's status and the job's agree.
    """

    name: str
    steps: tuple[Step, ...]
    batched: bool = False
    point_of_no_return: str | None = None  # name of the step
    on_failure: Callable[[Transaction, Job, JobFailedError], None] | None = None
