"""The worker, on both databases: steps in order, batches, failures, undo, the point of no return, fairness."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import bindparam, select

from opencph.jobs import FAILED, RUNNING, SUCCEEDED, Batch, Job, JobFailedError, JobKind, NewJob, Step
from opencph.jobs.engine import Worker
from opencph.jobs.queue import accept
from opencph.store.database import Database, Query, Transaction
from opencph.store.processes import new_process_id
from opencph.store.tables import jobs


class Row(NamedTuple):
    job_id: str
    status: int
    direction: str
    step: str
    error_code: str | None
    error_msg: str | None
    execute_msg: str | None
    lease_owner: str | None
    attempts: int
    end_ms: int | None


ROW = Query(select(*(jobs.c[name] for name in Row._fields)).where(jobs.c.job_id == bindparam("job_id")), Row)


def row_of(database: Database, job_id: str) -> Row:
    found = database.row(ROW, job_id=job_id)
    assert found is not None
    return found


def submit(database: Database, kind: str, lanes: Sequence[str] = ("lane",)) -> list[str]:
    with database.write() as tx:
        return accept(tx, [NewJob(project_id="p", request_id="r", kind=kind, lane=lane, server_id=lane) for lane in lanes])


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.005)


async def ended(database: Database, *ids: str) -> list[Row]:
    await until(lambda: all(row_of(database, job_id).status != RUNNING for job_id in ids))
    return [row_of(database, job_id) for job_id in ids]


@asynccontextmanager
async def working(database: Database, *kinds: JobKind, **options: Any) -> AsyncIterator[Worker]:
    options.setdefault("worker_id", new_process_id("worker"))
    worker = Worker(database, {kind.name: kind for kind in kinds}, **options)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await asyncio.wait_for(task, 15)


class Diary:
    """What was done, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def effect(self, text: str, error: Exception | None = None, times: int = 1_000) -> Callable[[Batch], Awaitable[None]]:
        left = times

        async def write(batch: Batch) -> None:
            nonlocal left
            self.entries.append(text)
            if error is not None and left > 0:
                left -= 1
                raise error

        return write

    def commit(self, text: str, error: Exception | None = None) -> Callable[[Transaction, Batch], None]:
        def write(tx: Transaction, batch: Batch) -> None:
            self.entries.append(text)
            if error is not None:
                raise error

        return write


def test_the_steps_run_in_order_and_the_job_succeeds(database: Database) -> None:
    diary = Diary()
    kind = JobKind(
        "k", (Step("a", effect=diary.effect("a")), Step("b", commit=diary.commit("b")), Step("c", effect=diary.effect("c")))
    )

    async def main() -> Row:
        async with working(database, kind):
            (row,) = await ended(database, *submit(database, "k"))
            return row

    row = asyncio.run(main())
    assert diary.entries == ["a", "b", "c"]
    assert (row.status, row.step, row.error_code, row.lease_owner, row.attempts) == (SUCCEEDED, "c", None, None, 1)
    assert row.end_ms is not None


def test_what_a_commit_writes_is_recorded_with_its_step_or_not_at_all(database: Database) -> None:
    diary = Diary()

    def write(tx: Transaction, batch: Batch) -> None:
        accept(tx, [NewJob(project_id="p", request_id="made", kind="other", lane="other")])
        raise JobFailedError("CPS.0066", "no room")

    kind = JobKind("k", (Step("a", commit=write), Step("b", effect=diary.effect("b"))))
    made = Query[str](select(jobs.c.job_id).where(jobs.c.request_id == "made"), lambda value: value)

    async def main() -> Row:
        async with working(database, kind):
            (row,) = await ended(database, *submit(database, "k"))
            return row

    row = asyncio.run(main())
    assert (row.status, row.error_code, row.error_msg) == (FAILED, "CPS.0066", "no room")
    assert database.rows(made) == []
    assert diary.entries == []


def test_a_failure_undoes_every_step_begun_last_first(database: Database) -> None:
    diary = Diary()
    seen: list[tuple[str, str, str]] = []
    kind = JobKind(
        "k",
        (
            Step("a", effect=diary.effect("a"), undo_effect=diary.effect("undo a"), undo_commit=diary.commit("undo a rows")),
            Step("b", commit=diary.commit("b"), undo_commit=diary.commit("undo b")),
            Step("c", effect=diary.effect("c")),
            Step("d", effect=diary.effect("d", JobFailedError("CPS.0099", "busy")), undo_effect=diary.effect("undo d")),
            Step("e", effect=diary.effect("e"), undo_effect=diary.effect("undo e")),
        ),
        on_failure=lambda tx, job, error: seen.append((job.kind, error.code, error.message)),
    )

    async def main() -> Row:
        async with working(database, kind):
            (row,) = await ended(database, *submit(database, "k"))
            return row

    row = asyncio.run(main())
    assert diary.entries == ["a", "b", "c", "d", "undo d", "undo b", "undo a", "undo a rows"]
    assert (row.status, row.direction, row.error_code, row.error_msg) == (FAILED, "undo", "CPS.0099", "busy")
    assert seen == [("k", "CPS.0099", "busy")]


def test_an_unexpected_error_fails_the_job_with_its_cause(database: Database) -> None:
    kind = JobKind("k", (Step("a", effect=Diary().effect("a", ZeroDivisionError("division by zero"))),))

    async def main() -> Row:
        async with working(database, kind):
            (row,) = await ended(database, *submit(database, "k"))
            return row

    row = asyncio.run(main())
    assert (row.status, row.error_code, row.error_msg) == (FAILED, "CPS.0003", "step 'a': division by zero")


def test_undoing_that_breaks_is_tried_again_until_it_succeeds(database: Database) -> None:
    diary = Diary()
    kind = JobKind(
        "k",
        (
            Step("a", effect=diary.effect("a"), undo_effect=diary.effect("undo", OSError("no"), times=2)),
            Step("b", effect=diary.effect("b", JobFailedError("CPS.0066", ""))),
        ),
    )

    async def main() -> Row:
        async with working(database, kind):
            (row,) = await ended(database, *submit(database, "k"))
            return row

    assert asyncio.run(main()).status == FAILED
    assert diary.entries == ["a", "b", "undo", "undo", "undo"]


def test_after_the_point_of_no_return_a_failing_step_is_tried_until_it_succeeds(database: Database) -> None:
    diary = Diary()
    kind = JobKind(
        "k",
        (
            Step("build", effect=diary.effect("build"), undo_effect=diary.effect("undo")),
            Step("swap", commit=diary.commit("swap")),
            Step("retire", effect=diary.effect("retire", JobFailedError("CPS.0003", "not yet"), times=2)),
            Step("release", commit=diary.commit("release")),
        ),
        point_of_no_return="swap",
    )

    async def main() -> Row:
        async with working(database, kind):
            (row,) = await ended(database, *submit(database, "k"))
            return row

    row = asyncio.run(main())
    assert (row.status, row.error_code) == (SUCCEEDED, None)
    assert diary.entries == ["build", "swap", "retire", "retire", "retire", "release"]


def test_the_step_of_no_return_itself_can_still_fail(database: Database) -> None:
    diary = Diary()
    kind = JobKind(
        "k",
        (
            Step("build", effect=diary.effect("build"), undo_effect=diary.effect("undo")),
            Step("swap", commit=diary.commit("swap", JobFailedError("CPS.0099", "moved"))),
        ),
        point_of_no_return="swap",
    )

    async def main() -> Row:
        async with working(database, kind):
            (row,) = await ended(database, *submit(database, "k"))
            return row

    assert asyncio.run(main()).error_code == "CPS.0099"
    assert diary.entries == ["build", "swap", "undo"]


def test_jobs_of_a_batched_kind_run_together_and_fail_alone(database: Database) -> None:
    batches: list[int] = []
    failed: list[str] = []

    async def boot(batch: Batch) -> None:
        batches.append(len(batch.jobs))
        batch.fail(batch.jobs[3].job_id, "CPS.0019", "phone 4 did not boot")
        batch.fail(batch.jobs[5].job_id, "CPS.0019", "phone 6 did not boot")
        for job in batch.alive:
            batch.execute_msgs[job.job_id] = "x" * 2_000 + job.job_id

    def finish(tx: Transaction, batch: Batch) -> None:
        assert len(batch.alive) == 8

    def on_failure(tx: Transaction, job: Job, error: JobFailedError) -> None:
        failed.append(f"{job.job_id} {error.message}")

    kind = JobKind("k", (Step("boot", effect=boot), Step("finish", commit=finish)), batched=True, on_failure=on_failure)
    ids = submit(database, "k", ["lane"] * 10)

    async def main() -> list[Row]:
        async with working(database, kind):
            return await ended(database, *ids)

    rows = asyncio.run(main())
    assert batches == [10]
    assert [row.status for row in rows] == [SUCCEEDED] * 3 + [FAILED, SUCCEEDED, FAILED] + [SUCCEEDED] * 4
    assert rows[3].error_msg == "phone 4 did not boot"
    assert failed == [f"{ids[3]} phone 4 did not boot", f"{ids[5]} phone 6 did not boot"]
    assert rows[0].execute_msg == "x" * 1_024
    assert rows[3].execute_msg is None


def test_a_batch_whose_jobs_all_failed_takes_no_further_step(database: Database) -> None:
    diary = Diary()

    async def boot(batch: Batch) -> None:
        for job in batch.jobs:
            batch.fail(job.job_id, "CPS.0019", "no")

    kind = JobKind(
        "k", (Step("boot", effect=boot, undo_effect=diary.effect("undo")), Step("b", effect=diary.effect("b"))), batched=True
    )

    async def main() -> list[Row]:
        async with working(database, kind):
            return await ended(database, *submit(database, "k", ["lane"] * 3))

    assert [row.status for row in asyncio.run(main())] == [FAILED] * 3
    assert diary.entries == []


def test_a_job_that_fails_late_is_tidied_up_after_and_ends_with_its_own_cause_though_its_worker_stops(database: Database) -> None:
    seen: list[tuple[list[str], list[str]]] = []
    bad, good = submit(database, "k", ["lane", "lane"])
    stopping = asyncio.Event()

    async def run(batch: Batch) -> None:
        batch.fail_late(bad, "CPS.0191", "said no")
        batch.execute_msgs[bad] = "printed"

    async def tidy(batch: Batch) -> None:
        seen.append(([job.job_id for job in batch.jobs], [job.job_id for job in batch.alive]))
        if not stopping.is_set():
            stopping.set()
            await asyncio.sleep(60)

    kind = JobKind(
        "k", (Step("run", effect=run), Step("tidy", effect=tidy), Step("end", commit=lambda tx, batch: None)), batched=True
    )

    async def main() -> None:
        async with working(database, kind):
            await asyncio.wait_for(stopping.wait(), 15)
            assert row_of(database, bad).status == RUNNING
        async with working(database, kind):
            failed, done = await ended(database, bad, good)
        assert (failed.status, failed.error_code, failed.error_msg, failed.execute_msg) == (
            FAILED,
            "CPS.0191",
            "said no",
            "printed",
        )
        assert (done.status, done.error_code) == (SUCCEEDED, None)

    asyncio.run(main())
    # each with its own cause, they go on apart
    assert seen == [([bad, good], [good]), ([bad], []), ([good], [good])]


def test_when_a_batch_fails_as_a_whole_each_job_keeps_its_own_cause(database: Database) -> None:
    async def boot(batch: Batch) -> None:
        batch.fail(batch.jobs[0].job_id, "CPS.0019", "its own")
        raise JobFailedError("CPS.0066", "of all")

    kind = JobKind("k", (Step("boot", effect=boot, undo_effect=Diary().effect("undo")),), batched=True)

    async def main() -> list[Row]:
        async with working(database, kind):
            return await ended(database, *submit(database, "k", ["lane"] * 2))

    assert [row.error_msg for row in asyncio.run(main())] == ["its own", "of all"]


def test_jobs_of_one_lane_run_one_after_the_other_in_their_order(database: Database) -> None:
    diary = Diary()
    at_once = 0

    def one(name: str) -> JobKind:
        async def effect(batch: Batch) -> None:
            nonlocal at_once
            at_once += 1
            assert at_once == 1
            diary.entries.append(f"{name} {len(batch.jobs)}")
            await asyncio.sleep(0.02)
            at_once -= 1

        return JobKind(name, (Step("a", effect=effect),), batched=name != "single")

    for kind in ("restart", "restart", "stop", "single", "single", "restart"):
        submit(database, kind)

    async def main() -> None:
        async with working(database, one("restart"), one("stop"), one("single")):
            await ended(database, *submit(database, "stop"))

    asyncio.run(main())
    assert diary.entries == ["restart 2", "stop 1", "single 1", "single 1", "restart 1", "stop 1"]


def test_a_slow_lane_does_not_delay_another(database: Database) -> None:
    release = asyncio.Event()

    async def effect(batch: Batch) -> None:
        if batch.job.lane == "slow":
            await release.wait()

    kind = JobKind("k", (Step("a", effect=effect),))

    async def main() -> None:
        async with working(database, kind):
            (slow, *_) = submit(database, "k", ["slow"] * 20)
            await ended(database, *submit(database, "k", [f"quick {n}" for n in range(20)]))
            assert row_of(database, slow).status == RUNNING
            release.set()
            await ended(database, slow)

    asyncio.run(main())


def test_a_lane_that_keeps_failing_does_not_delay_another(database: Database) -> None:
    diary = Diary()

    async def effect(batch: Batch) -> None:
        if batch.job.lane == "broken":
            raise OSError("still broken")

    kind = JobKind("k", (Step("swap", commit=diary.commit("swap")), Step("a", effect=effect)), point_of_no_return="swap")

    async def main() -> None:
        async with working(database, kind):
            (broken,) = submit(database, "k", ["broken"])
            await ended(database, *submit(database, "k", [f"good {n}" for n in range(20)]))
            assert row_of(database, broken).status == RUNNING

    asyncio.run(main())


def test_with_few_places_the_lane_that_waits_longest_comes_first(database: Database) -> None:
    diary = Diary()

    async def effect(batch: Batch) -> None:
        diary.entries.append(batch.job.lane)

    kind = JobKind("k", (Step("a", effect=effect),))
    ids = submit(database, "k", ["b", "a", "b", "c", "a"])

    async def main() -> None:
        async with working(database, kind, lanes_at_once=1):
            await ended(database, *ids)

    asyncio.run(main())
    assert diary.entries == ["b", "a", "b", "c", "a"]


def test_a_kind_that_no_worker_knows_fails_clearly(database: Database) -> None:
    async def main() -> Row:
        async with working(database):
            (row,) = await ended(database, *submit(database, "paint_phone"))
            return row

    row = asyncio.run(main())
    assert (row.status, row.error_code) == (FAILED, "CPS.0003")
    assert row.error_msg == "this version of the worker knows no jobs of kind 'paint_phone'"


@pytest.mark.parametrize(
    "kind",
    [
        JobKind("k", ()),
        JobKind("k", (Step("a"),)),
        JobKind("k", (Step("a", effect=Diary().effect("a"), commit=Diary().commit("a")),)),
        JobKind("k", (Step("a", effect=Diary().effect("a")), Step("a", effect=Diary().effect("a")))),
        JobKind("k", (Step("a", effect=Diary().effect("a")),), point_of_no_return="b"),
        JobKind("other", (Step("a", effect=Diary().effect("a")),)),
    ],
)
def test_a_kind_that_cannot_run_is_refused_at_once(kind: JobKind) -> None:
    with pytest.raises(ValueError, match="job kind 'k'"):
        Worker(None, {"k": kind}, worker_id="w")  # type: ignore[arg-type]


def test_a_clean_stop_hands_unfinished_work_to_another_worker_at_once(database: Database) -> None:
    diary = Diary()
    finish = asyncio.Event()

    async def effect(batch: Batch) -> None:
        diary.entries.append("b")
        if not finish.is_set():
            await asyncio.Event().wait()

    kind = JobKind("k", (Step("a", effect=diary.effect("a")), Step("b", effect=effect)))

    async def main() -> Row:
        (job_id,) = submit(database, "k")
        async with working(database, kind, lease_seconds=600):
            await until(lambda: "b" in diary.entries)
        row = row_of(database, job_id)
        assert (row.status, row.step, row.lease_owner, row.attempts) == (RUNNING, "a", None, 0)
        finish.set()
        async with working(database, kind, lease_seconds=600):
            (row,) = await ended(database, job_id)
            return row

    assert asyncio.run(main()).status == SUCCEEDED
    assert diary.entries == ["a", "b", "b"]
