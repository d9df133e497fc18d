"""A worker that is killed at any point: the next one goes on at once, every commit happens once, and the job ends as it should."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Awaitable, Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import select

from opencph.jobs import FAILED, RUNNING, SUCCEEDED, Batch, JobFailedError, JobKind, NewJob, Step, failpoints
from opencph.jobs.engine import Worker
from opencph.jobs.queue import accept
from opencph.store.database import Database, Query, Transaction, open_database, tuple_row
from opencph.store.processes import new_process_id
from opencph.store.tables import jobs


def _kinds(diary: Path) -> dict[str, JobKind]:
    """One kind that succeeds, one that fails at its last step, one that runs in batches."""

    def write(text: str) -> None:
        with diary.open("a") as file:
            file.write(text + "\n")

    def effect(text: str, fail: bool = False) -> Callable[[Batch], Awaitable[None]]:
        async def act(batch: Batch) -> None:
            write(text)
            if fail:
                raise JobFailedError("CPS.0066", "no room")

        return act

    def leave(tx: Transaction, name: str) -> None:
        """Leave a row that can exist only if this commit happened, and once only if it happened once."""
        accept(tx, [NewJob(project_id="marks", request_id=name, kind="mark", lane=f"mark {name}")])

    def mark(name: str) -> Callable[[Transaction, Batch], None]:
        return lambda tx, batch: leave(tx, name)

    change = JobKind(
        "change",
        (
            Step("build", effect=effect("build"), undo_effect=effect("undo build")),
            Step("swap", commit=mark("swap")),
            Step("retire", effect=effect("retire")),
            Step("release", commit=mark("release")),
        ),
        point_of_no_return="swap",
    )
    fail = JobKind(
        "fail",
        (
            Step("build", effect=effect("build"), undo_effect=effect("undo build"), undo_commit=mark("undo build")),
            Step("note", commit=mark("note"), undo_commit=mark("undo note")),
            Step("boot", effect=effect("boot", fail=True), undo_effect=effect("undo boot")),
        ),
        on_failure=lambda tx, job, error: leave(tx, f"failed {error.code}"),
    )
    batch = JobKind("batch", (Step("boot", effect=effect("boot")), Step("finish", commit=mark("finish"))), batched=True)
    forget = JobKind("mark", (Step("forget", effect=effect("")),))
    return {kind.name: kind for kind in (change, fail, batch, forget)}


def _work(url: str, diary: Path, environ: dict[str, str]) -> None:
    """A worker process; works until SIGTERM. Forked, which costs less than starting Python a hundred times."""
    os.environ.update(environ)

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        worker = Worker(open_database(url), _kinds(diary), worker_id=new_process_id("worker"), lease_seconds=60)
        await worker.run(stop)

    asyncio.run(main())


KINDS = _kinds(Path())
#: the last step of `fail` never succeeds, so there is no point after it
NEVER = {"fail:boot:after", "fail:boot:recorded"}
POINTS = [point for point in failpoints.points(KINDS.values()) if not point.startswith("mark:") and point not in NEVER]
UNDO_POINTS = failpoints.undo_points([KINDS["fail"]])
#: what a run without a crash leaves, by kind: effects, and marks of commits
EFFECTS = {
    "change": ["build", "retire"],
    "fail": ["build", "boot", "undo boot", "undo build"],
    "batch": ["boot"],
}
MARKS = {
    "change": {"swap", "release"},
    "fail": {"note", "undo note", "undo build", "failed CPS.0066"},
    "batch": {"finish"},
}
_ALL = Query(select(jobs.c.kind, jobs.c.status, jobs.c.request_id, jobs.c.lease_owner).order_by(jobs.c.seq), tuple_row)


def _start(database: Database, diary: Path, environ: dict[str, str]) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=_work, args=(database.url, diary, environ))
    process.start()
    return process


def _end(process: BaseProcess) -> int | None:
    """Wait for the end of a process, not for ever."""
    process.join(20)
    if process.exitcode is None:
        process.kill()
        process.join()
        pytest.fail("the worker did not end")
    return process.exitcode


def _wait_until_ended(database: Database, kind: str, worker: BaseProcess) -> None:
    deadline = time.monotonic() + 20  # a third of the lease: the next worker must not wait for it to run out
    while any(row[0] == kind and row[1] == RUNNING for row in database.rows(_ALL)):
        assert worker.exitcode is None
        assert time.monotonic() < deadline, database.rows(_ALL)
        time.sleep(0.01)


@pytest.mark.parametrize("point", [*POINTS, *UNDO_POINTS])
def test_a_worker_killed_at_any_point_is_succeeded_by_another(database: Database, tmp_path: Path, point: str) -> None:
    kind, step, when = point.split(":")
    diary, marker = tmp_path / "diary", tmp_path / "died"
    with database.write() as tx:
        accept(tx, [NewJob(project_id="p", request_id="r", kind=kind, lane="lane") for _ in range(3 if kind == "batch" else 1)])

    environ = {"OPENCPH_FAILPOINT": point, "OPENCPH_FAILPOINT_ONCE": str(marker)}
    assert _end(_start(database, diary, environ)) == -signal.SIGKILL
    assert marker.exists()
    if when != "recorded" or step != KINDS[kind].steps[-1].name:
        second = _start(database, diary, environ)
        try:
            _wait_until_ended(database, kind, second)
        finally:
            second.terminate()
            _end(second)

    rows = database.rows(_ALL)
    statuses = {row[1] for row in rows if row[0] == kind}
    assert statuses == {FAILED if kind == "fail" else SUCCEEDED}
    assert sorted(str(row[2]) for row in rows if row[0] == "mark") == sorted(MARKS[kind])
    assert not any(row[3] for row in rows if row[1] != RUNNING)
    done = [line for line in diary.read_text().splitlines() if line]
    assert [line for n, line in enumerate(done) if n == 0 or line != done[n - 1]] == EFFECTS[kind]
    assert len(done) - len(EFFECTS[kind]) == _done_twice(kind, step, when)


def _done_twice(kind: str, step: str, when: str) -> int:
    """How many effects the killed worker had done and could not record: one, if it died after an effect."""
    declared = next(one for one in KINDS[kind].steps if one.name == step)
    effect = {"after": declared.effect, "undo_after": declared.undo_effect}.get(when)
    return 0 if effect is None else 1
