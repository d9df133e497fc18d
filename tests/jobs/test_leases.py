"""Leases: two workers share the work, a worker that lost its lease writes nothing, and a database that goes away loses no job."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import bindparam, func, select, text, update

from opencph.jobs import RUNNING, SUCCEEDED, Batch, JobKind, NewJob, Step, engine, queue, run
from opencph.jobs.engine import Worker
from opencph.jobs.failpoints import Death
from opencph.jobs.queue import accept
from opencph.jobs.retention import CHUNK, delete_finished
from opencph.store.database import Database, Query, StoreUnavailableError, Transaction, command, open_database, scalar
from opencph.store.migrate import migrate
from opencph.store.processes import new_process_id
from opencph.store.tables import jobs

if TYPE_CHECKING:
    from postgresql_cluster import PostgresqlCluster

STATUS: Query[int] = Query(select(jobs.c.status).where(jobs.c.job_id == bindparam("job_id")), scalar)
STEP: Query[str] = Query(select(jobs.c.step).where(jobs.c.job_id == bindparam("job_id")), scalar)
ATTEMPTS: Query[int] = Query(select(jobs.c.attempts).where(jobs.c.job_id == bindparam("job_id")), scalar)
COUNT: Query[int] = Query(select(func.count()).select_from(jobs), scalar)
UNFINISHED: Query[int] = Query(select(func.count()).select_from(jobs).where(jobs.c.status == RUNNING), scalar)
EXPIRE = command(update(jobs).where(jobs.c.lease_owner.is_not(None)).values(lease_until_ms=1))


def submit(database: Database, lanes: list[str], kind: str = "k") -> list[str]:
    with database.write() as tx:
        return accept(tx, [NewJob(project_id="p", request_id="r", kind=kind, lane=lane) for lane in lanes])


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.01)


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
        await asyncio.wait_for(task, 30)


def test_two_workers_do_every_job_once(database: Database) -> None:
    done: list[str] = []

    async def effect(batch: Batch) -> None:
        done.extend(job.job_id for job in batch.jobs)

    kind = JobKind("k", (Step("a", effect=effect), Step("b", commit=lambda tx, batch: None)), batched=True)
    second = open_database(database.url)

    async def main() -> None:
        async with working(database, kind), working(second, kind):
            ids = [job_id for n in range(10) for job_id in submit(database, [f"lane {lane}" for lane in range(40)])]
            await until(lambda: database.row(UNFINISHED) == 0)
            assert sorted(done) == sorted(ids)

    asyncio.run(main())
    second.close()


def test_two_claimers_at_once_never_get_the_same_lane(database: Database) -> None:
    submit(database, [f"lane {n % 50}" for n in range(200)])
    kinds = {"k": JobKind("k", (Step("a", commit=lambda tx, batch: None),), batched=True)}
    claimed: list[str] = []

    def claim(owner: str) -> None:
        for _ in range(30):
            with database.write() as tx:
                claims = queue.claim(tx, kinds, owner, lease_ms=60_000, lanes_max=3)
            claimed.extend(one.lane for one in claims)

    threads = [threading.Thread(target=claim, args=(f"worker {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(f"lane {n}" for n in range(50))


def test_a_job_whose_lease_ran_out_is_resumed_after_its_last_recorded_step(database: Database) -> None:
    entries: list[str] = []

    async def first(batch: Batch) -> None:
        entries.append("first")

    async def second(batch: Batch) -> None:
        entries.append("second")

    kind = JobKind("k", (Step("a", effect=first), Step("b", effect=second)))
    (job_id,) = submit(database, ["lane"])
    with database.write() as tx:
        (claim,) = queue.claim(tx, {"k": kind}, "a worker elsewhere", lease_ms=300, lanes_max=10)
        assert queue.record(tx, "a worker elsewhere", [job_id], direction="forward", step="a", lease_ms=300)
    assert claim.attempts == 1

    async def main() -> None:
        async with working(database, kind):
            await until(lambda: database.row(STATUS, job_id=job_id) == SUCCEEDED)

    asyncio.run(main())
    assert entries == ["second"]
    assert database.row(ATTEMPTS, job_id=job_id) == 2


def test_a_live_lease_is_respected(database: Database) -> None:
    submit(database, ["lane"])
    with database.write() as tx:
        assert len(queue.claim(tx, {}, "one", lease_ms=60_000, lanes_max=10)) == 1
        assert queue.claim(tx, {}, "two", lease_ms=60_000, lanes_max=10) == []
    assert not queue.something_waits(database)


def test_work_longer_than_the_lease_is_kept_by_its_heartbeat(database: Database) -> None:
    runs = 0

    async def effect(batch: Batch) -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(5)

    kind = JobKind("k", (Step("a", effect=effect),), batched=True)
    other = open_database(database.url)
    ids = submit(database, ["lane"] * 3)

    async def main() -> None:
        async with working(database, kind, lease_seconds=1.5), working(other, kind, lease_seconds=1.5):
            await until(lambda: all(database.row(STATUS, job_id=job_id) == SUCCEEDED for job_id in ids))

    asyncio.run(main())
    other.close()
    assert runs == 1
    assert database.row(ATTEMPTS, job_id=ids[0]) == 1


def test_a_worker_that_lost_its_lease_stops_and_records_nothing(database: Database) -> None:
    cancelled: list[str] = []
    entered = asyncio.Event()

    async def effect(batch: Batch) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(batch.job.job_id)
            raise

    kind = JobKind("k", (Step("a", effect=effect),))
    (job_id,) = submit(database, ["lane"])

    async def main() -> None:
        async with working(database, kind, lease_seconds=1.5):
            await asyncio.wait_for(entered.wait(), 10)
            with database.write() as tx:  # as if this process had been stopped for longer than the lease
                tx.run(EXPIRE)
                (claim,) = queue.claim(tx, {"k": kind}, "another", lease_ms=60_000, lanes_max=10)
            assert claim.jobs[0].job_id == job_id
            await until(lambda: cancelled == [job_id])
        assert database.row(STEP, job_id=job_id) == ""
        assert queue.owners(database) == ["another"]

    asyncio.run(main())


def test_a_commit_that_comes_after_the_lease_was_lost_is_rolled_back(database: Database) -> None:
    (job_id,) = submit(database, ["lane"])
    stolen: list[str] = []

    async def effect(batch: Batch) -> None:
        with database.write() as tx:
            tx.run(EXPIRE)
            stolen.extend(claim.lane for claim in queue.claim(tx, {}, "another", lease_ms=60_000, lanes_max=10))

    def finish(tx: Transaction, batch: Batch) -> None:
        accept(tx, [NewJob(project_id="p", request_id="r", kind="made", lane="made")])

    kind = JobKind("k", (Step("a", effect=effect), Step("b", commit=finish)))

    async def main() -> None:
        async with working(database, kind) as worker:
            await until(lambda: stolen == ["lane"] and not worker.busy)

    asyncio.run(main())
    assert database.row(STATUS, job_id=job_id) == RUNNING
    assert database.row(STEP, job_id=job_id) == ""
    assert database.row(COUNT) == 1


def test_an_effect_does_not_start_when_the_lease_was_lost_during_a_pause(database: Database) -> None:
    (job_id,) = submit(database, ["lane"])
    entries: list[str] = []

    async def effect(batch: Batch) -> None:
        entries.append(batch.job.job_id)

    class Pause(Death):
        def pass_by(self, kind: str, step: str, point: str, job_ids: Iterable[str]) -> None:
            if (step, point) == ("b", "before"):  # the process stands still here, and meanwhile:
                with database.write() as tx:
                    tx.run(EXPIRE)
                    queue.claim(tx, {}, "another", lease_ms=60_000, lanes_max=10)

    kind = JobKind("k", (Step("a", commit=lambda tx, batch: None), Step("b", effect=effect)))

    async def main() -> None:
        async with working(database, kind) as worker:
            worker.failpoint = Pause("", "", "", None)
            worker.lease_ms = 0  # every lease is an old one
            await until(lambda: queue.owners(database) == ["another"] and not worker.busy)

    asyncio.run(main())
    assert entries == []
    assert database.row(STEP, job_id=job_id) == "a"


def test_a_job_that_kills_every_worker_is_given_up(database: Database) -> None:
    (job_id,) = submit(database, ["lane"])
    undone: list[str] = []

    async def effect(batch: Batch) -> None:
        raise AssertionError("must not be tried again")

    async def undo(batch: Batch) -> None:
        undone.append(batch.job.job_id)

    kind = JobKind("k", (Step("boot", effect=effect, undo_effect=undo),))
    for _ in range(10):
        with database.write() as tx:
            assert len(queue.claim(tx, {"k": kind}, "a worker that dies", lease_ms=60_000, lanes_max=10)) == 1
            queue.disown(tx, "a worker that dies")

    message: Query[str] = Query(select(jobs.c.error_msg), scalar)

    async def main() -> None:
        async with working(database, kind):
            await until(lambda: database.row(STATUS, job_id=job_id) != RUNNING)

    asyncio.run(main())
    assert undone == [job_id]
    assert database.row(message) == "given up: the worker died 10 times in step 'boot'"


def test_a_database_that_goes_away_and_comes_back_loses_no_job(own_postgresql_cluster: PostgresqlCluster) -> None:
    cluster = own_postgresql_cluster
    url = cluster.create_database()
    migrate(url)
    database = open_database(url)
    effects: list[str] = []
    entered, leave = asyncio.Event(), asyncio.Event()

    async def effect(batch: Batch) -> None:
        effects.append(batch.job.job_id)
        entered.set()
        await leave.wait()

    failing: list[str] = []
    kind = JobKind(
        "k",
        (Step("a", effect=effect), Step("b", commit=lambda tx, batch: None)),
        on_failure=lambda tx, job, error: failing.append(error.message),
    )

    async def main() -> None:
        async with working(database, kind):
            ids = submit(database, ["one"])
            await asyncio.wait_for(entered.wait(), 10)
            await asyncio.to_thread(cluster.stop)
            leave.set()  # the effect ends while nothing can be recorded
            await asyncio.sleep(0.5)
            await asyncio.to_thread(cluster.start)
            await until(lambda: database.row(STATUS, job_id=ids[0]) == SUCCEEDED)
            ids += submit(database, ["two"])
            await until(lambda: database.row(STATUS, job_id=ids[1]) == SUCCEEDED)
            assert effects == ids
            assert failing == []

    asyncio.run(main())
    database.close()


def test_a_step_that_finds_the_database_busy_waits_and_is_taken_again(database: Database) -> None:
    tries = 0

    def commit(tx: Transaction, batch: Batch) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreUnavailableError("gone for a moment")

    kind = JobKind("k", (Step("a", commit=commit),))
    (job_id,) = submit(database, ["lane"])

    async def main() -> None:
        async with working(database, kind):
            await until(lambda: database.row(STATUS, job_id=job_id) == SUCCEEDED)

    asyncio.run(main())
    assert tries == 3


def test_finished_jobs_are_deleted_when_they_are_old(database: Database) -> None:
    ids = submit(database, ["lane"] * (CHUNK + 20))
    now_ms = time.time_ns() // 1_000_000
    age = command(
        update(jobs)
        .where(jobs.c.job_id == bindparam("id"))
        .values(status=SUCCEEDED, end_ms=bindparam("ended"), lease_owner=text("NULL"))
    )
    day = 86_400_000
    with database.write() as tx:
        tx.run_many(age, [{"id": job_id, "ended": now_ms - 31 * day} for job_id in ids[:-10]])
        tx.run_many(age, [{"id": job_id, "ended": now_ms - 29 * day} for job_id in ids[-10:-5]])
    assert delete_finished(database, 30) == len(ids) - 10
    assert database.row(COUNT) == 10
    assert delete_finished(database, 30) == 0


class _BrokenLog:
    """A log that fails whoever says one of these things for the first time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *failing: str) -> None:
        self.left = list(failing)
        for module in (engine, run):
            monkeypatch.setattr(module, "log", self)

    def info(self, said: str, **_more: object) -> None:
        if said in self.left:
            self.left.remove(said)
            raise OSError(28, "No space left on device")

    warning = error = exception = info


def test_a_job_whose_batch_broke_the_engine_goes_on_after_a_pause(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BROKEN_PAUSE_MS", 300)
    broken = _BrokenLog(monkeypatch, "job begun")
    kind = JobKind("k", (Step("a", effect=_nothing),))

    async def main() -> None:
        async with working(database, kind):
            (job_id,) = submit(database, ["lane"])
            await until(lambda: database.row(STATUS, job_id=job_id) == SUCCEEDED)

    asyncio.run(main())
    assert not broken.left


def test_a_lane_is_free_again_even_when_what_broke_it_cannot_be_logged(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = _BrokenLog(monkeypatch, "job begun", "a batch broke the engine")
    kind = JobKind("k", (Step("a", effect=_nothing),))

    async def main() -> None:
        async with working(database, kind, lease_seconds=1) as worker:
            (first,) = submit(database, ["lane"])
            await until(lambda: not broken.left and worker.busy == 0)
            (second,) = submit(database, ["lane"])
            for job_id in (first, second):
                await until(lambda job_id=job_id: database.row(STATUS, job_id=job_id) == SUCCEEDED)  # type: ignore[misc]

    asyncio.run(main())


async def _nothing(_batch: Batch) -> None:
    """An effect that is none."""
