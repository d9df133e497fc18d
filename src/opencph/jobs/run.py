"""One claimed batch on its way through its kind's steps: forward, and back when it fails. Claiming and leases are the engine's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from typing import Protocol

import structlog

from opencph.jobs import RUNNING, Batch, JobFailedError, JobKind, Step, queue
from opencph.jobs.committer import Committer
from opencph.jobs.failpoints import Failpoint
from opencph.metrics.families import JOB_SECONDS, JOBS
from opencph.store.database import Database, StoreBusyError, StoreUnavailableError, Transaction

#: claims of a job whose worker died each time, after which it is given up (before its point of no return)
ATTEMPTS_MAX = 10
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 5.0
INTERNAL_ERROR = "CPS.0003"

log = structlog.get_logger("opencph.jobs")


class LeaseLostError(Exception):
    """Another worker has these jobs now; this one must not go on with them."""


class StoppingError(Exception):
    """This worker is stopping; the jobs are for another one to go on with."""


class Surroundings(Protocol):
    """What a run needs of the worker that it runs in."""

    database: Database
    committer: Committer
    worker_id: str
    lease_ms: int
    failpoint: Failpoint | None
    stop: asyncio.Event

    async def make_sure_of(self, run: BatchRun) -> None:
        """Renew the lease if it may have run out. Raises LeaseLostError."""
        ...


def check_kind(name: str, kind: JobKind) -> None:
    """Raises ValueError when a kind cannot be run as it is declared."""
    names = [step.name for step in kind.steps]
    if name != kind.name or not names or "" in names or len(set(names)) != len(names):
        raise ValueError(f"job kind {name!r}: must be known by its name, and have steps with names of their own")
    if kind.point_of_no_return is not None and kind.point_of_no_return not in names:
        raise ValueError(f"job kind {name!r}: its point of no return {kind.point_of_no_return!r} is not one of its steps")
    for step in kind.steps:
        if (step.effect is None) == (step.commit is None):
            raise ValueError(f"job kind {name!r}, step {step.name!r}: must have either an effect or a commit")


class BatchRun:
    """The run of one batch. `open_ids` are the jobs that have not ended; the engine keeps up their leases."""

    def __init__(self, worker: Surroundings, kinds: Mapping[str, JobKind], claim: queue.Claim) -> None:
        self._worker = worker
        self._claim = claim
        self._kind = kinds.get(claim.kind)
        self._batch = Batch(jobs=claim.jobs, database=worker.database, late=dict(claim.late))
        self._jobs = {job.job_id: job for job in claim.jobs}
        self.lane = claim.lane
        self.open_ids = [job.job_id for job in claim.jobs]
        self._log = log

    def names(self) -> dict[str, object]:
        """What every log line of this batch carries. Of several jobs the first stands for all; the first line has their ids."""
        first, count = self._claim.jobs[0], len(self._claim.jobs)
        of_one = {
            "job_id": first.job_id,
            "kind": first.kind,
            "server_id": first.server_id,
            "phone_id": first.phone_id if count == 1 else None,
            "project_id": first.project_id,
            "request_id": first.request_id,
            "jobs": count if count > 1 else None,
        }
        return {name: value for name, value in of_one.items() if value}

    async def run(self) -> None:
        """Go on from the last recorded step to the end. Raises LeaseLostError or StoppingError when that is not to be.

        To be awaited in a task of its own: what is logged in it, also by threads and by a runtime, carries the job's names.
        """
        structlog.contextvars.bind_contextvars(**self.names())
        several = {
            "job_ids": [job.job_id for job in self._claim.jobs],
            "request_ids": sorted({job.request_id for job in self._claim.jobs}),
        }
        after = {"after": self._claim.step, "direction": self._claim.direction} if self._claim.step else {}
        self._log.info("job begun", attempt=self._claim.attempts, **after, **(several if len(self._claim.jobs) > 1 else {}))
        kind = self._kind
        if kind is None:
            error = JobFailedError(INTERNAL_ERROR, f"this version of the worker knows no jobs of kind {self._claim.kind!r}")
            await self._end_failed([], self._claim.step, error)
            return
        names = [step.name for step in kind.steps]
        if self._claim.step and self._claim.step not in names:
            error = JobFailedError(
                INTERNAL_ERROR, f"this version of the worker knows no step {self._claim.step!r} of {kind.name!r}"
            )
            await self._undo(len(names) - 1, error)
        elif self._claim.direction == "undo":
            last_undone = names.index(self._claim.step) if self._claim.step else len(names)
            await self._undo(last_undone - 1, self._claim.error or JobFailedError(INTERNAL_ERROR, ""), turned=True)
        else:
            await self._forward(names.index(self._claim.step) + 1 if self._claim.step else 0)

    # --- forward ----------------------------------------

    async def _forward(self, start: int) -> None:
        kind = self._kind
        assert kind is not None
        names = [step.name for step in kind.steps]
        no_return = names.index(kind.point_of_no_return) if kind.point_of_no_return else len(names)
        if self._claim.attempts > ATTEMPTS_MAX and start <= no_return:
            text = f"given up: the worker died {self._claim.attempts - 1} times in step {names[start]!r}"
            await self._undo(start, JobFailedError(INTERNAL_ERROR, text))
            return
        for index in range(start, len(names)):
            error = await self._take(index, until_done=index > no_return)
            if error is not None:
                await self._undo(index, error)
                return
            if not self.open_ids:
                break
        self._log.info("job ended", failed=len(self._batch.failures))

    async def _take(self, index: int, *, until_done: bool) -> JobFailedError | None:
        """Take one step, and record it. Returns why it cannot be done."""
        assert self._kind is not None
        step = self._kind.steps[index]
        last = index == len(self._kind.steps) - 1
        pauses = _pauses()
        while True:
            self._pass_by(step, "before")
            try:
                if step.effect is not None:
                    await self._act(step.effect)
                    self._pass_by(step, "after")
                await self._record(step, last)
            except (LeaseLostError, StoppingError):
                raise
            except (StoreBusyError, StoreUnavailableError) as error:
                self._log.warning("step waits for the database", step=step.name, error=str(error))
            except JobFailedError as error:
                if not until_done:
                    return error
                self._log.error("step failed, and must succeed", step=step.name, error=str(error))
            except Exception as error:
                self._log.exception("step broke", step=step.name)
                if not until_done:
                    return JobFailedError(INTERNAL_ERROR, f"step {step.name!r}: {str(error) or type(error).__name__}")
            else:
                self._pass_by(step, "recorded")
                return None
            await self._pause(next(pauses))

    async def _record(self, step: Step, last: bool) -> None:
        """Record a step in one transaction: its own commit, the jobs that failed in it, and the end after the last."""
        failed_before, told_before = dict(self._batch.failures), dict(self._batch.execute_msgs)

        def work(tx: Transaction) -> list[str]:
            self._batch.failures, self._batch.execute_msgs = dict(failed_before), dict(told_before)
            self._record_progress(tx, "forward", step.name)
            if step.commit is not None:
                step.commit(tx, self._batch)
                self._pass_by(step, "after")
            if last:
                self._batch.failures = self._batch.late | self._batch.failures
            failures = {job_id: error for job_id, error in self._batch.failures.items() if job_id in self.open_ids}
            self._end_as_failed(tx, failures)
            left = [job_id for job_id in self.open_ids if job_id not in failures]
            queue.keep_errors(tx, self._worker.worker_id, {one: error for one, error in self._batch.late.items() if one in left})
            self._keep_execute_msgs(tx, self.open_ids)  # at every step: who resumes after this one does not know them
            if last:
                queue.succeed(tx, self._worker.worker_id, left)
                left = []
            return left

        self._close(await self._commit(work, "forward", step.name, ends=last), "succeeded")
        self._batch.execute_msgs.clear()

    # --- back ----------------------------------------

    async def _undo(self, begun: int, error: JobFailedError, *, turned: bool = False) -> None:
        """Undo the steps from number `begun` down to the first, and end the jobs as failed."""
        assert self._kind is not None
        steps = self._kind.steps
        to_undo = [step for step in reversed(steps[: begun + 1]) if step.undo_effect or step.undo_commit]
        self._log.warning("job failed, undoing", error=str(error), steps=[step.name for step in to_undo])
        if not turned and any(step.undo_effect for step in to_undo):
            await self._turn(steps[begun + 1].name if begun + 1 < len(steps) else "", error)
        while to_undo:
            step = to_undo[0]
            self._pass_by(step, "undo_before")
            if step.undo_effect is not None:
                await self._until_done(step.undo_effect, step)
                self._pass_by(step, "undo_after")
            if not any(later.undo_effect for later in to_undo[1:]):
                break  # what is left touches the database only, and goes with the end
            await self._record_undone(step)
            self._pass_by(step, "undo_recorded")
            del to_undo[0]
        await self._end_failed(to_undo, steps[0].name, error)
        for step in to_undo:
            self._pass_by(step, "undo_recorded")

    async def _turn(self, step: str, error: JobFailedError) -> None:
        def work(tx: Transaction) -> list[str]:
            self._record_progress(tx, "undo", step)
            failures = {job_id: own for job_id, own in self._batch.failures.items() if job_id in self.open_ids}
            self._end_as_failed(tx, failures)
            left = [job_id for job_id in self.open_ids if job_id not in failures]
            queue.keep_errors(tx, self._worker.worker_id, dict.fromkeys(left, error))
            return left

        self._close(await self._commit_until_done(work, "undo", step), "failed")

    async def _record_undone(self, step: Step) -> None:
        def work(tx: Transaction) -> list[str]:
            self._record_progress(tx, "undo", step.name)
            if step.undo_commit is not None:
                step.undo_commit(tx, self._batch)
                self._pass_by(step, "undo_after")
            return self.open_ids

        await self._commit_until_done(work, "undo", step.name)

    async def _end_failed(self, to_undo: Sequence[Step], step: str, error: JobFailedError) -> None:
        def work(tx: Transaction) -> list[str]:
            self._record_progress(tx, "undo", step)
            for undone in to_undo:
                self._pass_by(undone, "undo_before")
                if undone.undo_commit is not None:
                    undone.undo_commit(tx, self._batch)
                    self._pass_by(undone, "undo_after")
            causes = self._batch.late | self._batch.failures
            self._end_as_failed(tx, {job_id: causes.get(job_id, error) for job_id in self.open_ids})
            self._keep_execute_msgs(tx, self.open_ids)
            return []

        self._close(await self._commit_until_done(work, "undo", step, ends=True), "failed")

    # --- the database ----------------------------------------

    def _record_progress(self, tx: Transaction, direction: str, step: str) -> None:
        worker = self._worker
        if not queue.record(tx, worker.worker_id, self.open_ids, direction=direction, step=step, lease_ms=worker.lease_ms):
            raise LeaseLostError

    def _end_as_failed(self, tx: Transaction, failures: Mapping[str, JobFailedError]) -> None:
        queue.fail(tx, self._worker.worker_id, failures)
        if self._kind is not None and self._kind.on_failure is not None:
            for job_id, error in failures.items():
                self._kind.on_failure(tx, self._jobs[job_id], error)

    def _keep_execute_msgs(self, tx: Transaction, ending: Iterable[str]) -> None:
        ids = set(ending)
        queue.keep_execute_msgs(tx, {job_id: text for job_id, text in self._batch.execute_msgs.items() if job_id in ids})

    def _close(self, left: list[str], outcome: str) -> None:
        """Only these are open from now on. The others are counted; those of them that failed by themselves did not succeed."""
        now_ms = time.time_ns() // 1_000_000
        for job_id in set(self.open_ids).difference(left):
            job = self._jobs[job_id]
            JOBS.add(job.kind, "failed" if job_id in self._batch.failures else outcome)
            JOB_SECONDS.observe(max(0, now_ms - job.create_ms) / 1000, job.kind)
        self.open_ids = left

    async def _commit(
        self, work: Callable[[Transaction], list[str]], direction: str, step: str, *, ends: bool = False
    ) -> list[str]:
        """Commit `work`, which records `step` or `ends` the jobs, however long the database is away; returns the jobs left open.

        Other errors than the database's absence are the caller's.
        """
        pauses, context = _pauses(), copy_context()
        unsure = False  # a commit whose answer was lost may have happened

        def work_once(tx: Transaction) -> list[str]:
            if unsure and (left := self._left_if_done(tx, direction, step, ends)) is not None:
                return left
            return work(tx)

        while True:
            try:
                return await self._worker.committer.run(lambda tx: context.run(work_once, tx))
            except (StoreBusyError, StoreUnavailableError) as error:
                unsure = True
                self._log.warning("commit waits for the database", step=step, error=str(error))
            await self._pause(next(pauses))

    def _left_if_done(self, tx: Transaction, direction: str, step: str, ends: bool) -> list[str] | None:
        left = [state for state in queue.states(tx, self.open_ids) if state.status == RUNNING]
        if not left:
            return []
        if not ends and all((state.direction, state.step) == (direction, step) for state in left):
            if any(state.lease_owner != self._worker.worker_id for state in left):
                raise LeaseLostError
            return [state.job_id for state in left]
        return None

    async def _commit_until_done(
        self, work: Callable[[Transaction], list[str]], direction: str, step: str, *, ends: bool = False
    ) -> list[str]:
        pauses = _pauses()
        while True:
            try:
                return await self._commit(work, direction, step, ends=ends)
            except (LeaseLostError, StoppingError):
                raise
            except Exception:
                self._log.exception("undoing broke, and must succeed", step=step)
            await self._pause(next(pauses))

    # --- the world ----------------------------------------

    async def _act(self, effect: Callable[[Batch], Awaitable[None]]) -> None:
        if self._worker.stop.is_set():
            raise StoppingError
        await self._worker.make_sure_of(self)
        await effect(self._batch)

    async def _until_done(self, effect: Callable[[Batch], Awaitable[None]], step: Step) -> None:
        pauses = _pauses()
        while True:
            try:
                await self._act(effect)
                return
            except (LeaseLostError, StoppingError):
                raise
            except Exception:
                self._log.exception("undoing broke, and must succeed", step=step.name)
            await self._pause(next(pauses))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._worker.stop.wait(), seconds)
        except TimeoutError:
            return
        raise StoppingError

    def _pass_by(self, step: Step, point: str) -> None:
        if self._worker.failpoint is not None:
            self._worker.failpoint.pass_by(self._claim.kind, step.name, point, [job.job_id for job in self._claim.jobs])


def _pauses() -> Iterator[float]:
    seconds = PAUSE_SECONDS_MIN
    while True:
        yield seconds
        seconds = min(seconds * 2, PAUSE_SECONDS_MAX)
