"""The worker of the queue: claims batches, keeps up their leases, runs them at once, hands them back when it stops.

What happens to one batch is in `jobs.run`, what is asked of the database in `jobs.queue`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from opencph.jobs import JobKind, failpoints, queue
from opencph.jobs.committer import Committer
from opencph.jobs.run import BatchRun, LeaseLostError, StoppingError, check_kind
from opencph.store.database import Database, StoreError, StoreUnavailableError
from opencph.store.processes import is_provably_dead

Result = TypeVar("Result")

#: longest wait between two looks at the queue, should a change go unnoticed
POLL_SECONDS = 1.0
#: shortest wait after a look that found nothing
LOOK_PAUSE_SECONDS = 0.005
#: how often the watching thread looks whether the worker stops
WATCH_SECONDS = 0.25
#: how long a clean stop lets batches come to the end of their step
GRACE_SECONDS = 1.0
#: before a batch that broke in the engine itself is tried again
BROKEN_PAUSE_MS = 5_000

log = structlog.get_logger("opencph.jobs")


class Worker:
    """Runs the jobs of `kinds` from `database`.

    `worker_id` comes from `store.processes.new_process_id("worker")`, so that others of the same machine can tell when this
    process has died. Raises ValueError when a kind is declared in a way that cannot run.
    """

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, JobKind],
        *,
        worker_id: str,
        lease_seconds: float = 10.0,
        lanes_at_once: int = 256,
    ) -> None:
        for name, kind in kinds.items():
            check_kind(name, kind)
        self.database = database
        self.worker_id = worker_id
        self.lease_ms = int(lease_seconds * 1000)
        self.failpoint = failpoints.armed()
        self._kinds = kinds
        self._lanes_at_once = lanes_at_once
        self._running: dict[asyncio.Task[None], BatchRun] = {}
        self._renewed: dict[BatchRun, float] = {}  # when the lease was last known to hold

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then let go of what is unfinished, so that another worker can go on at once.

        Outlives the absence of the database. Run it once per Worker.
        """
        self.stop = stop
        self._over = False
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.committer = Committer(self.database)
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="jobs-lease")
        watching = threading.Thread(target=self._watch, name="jobs-watch", daemon=True)
        watching.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wake_to_stop())
                keeping = group.create_task(self._keep_leases())
                await self._claim_until_stopped()
                await self._hand_back()
                keeping.cancel()
        finally:
            self._over = True
            for task in self._running:
                task.cancel()
            await self._in_thread(watching.join)
            self.committer.close()
            self._executor.shutdown(wait=False)

    @property
    def busy(self) -> int:
        """How many batches are under way."""
        return len(self._running)

    # --- claiming ----------------------------------------

    async def _claim_until_stopped(self) -> None:
        while not self.stop.is_set():
            self._wake.clear()
            try:
                started = await self._claim()
            except StoreError as error:
                log.warning("no jobs can be claimed", error=str(error))
                started = False
                await self._wait(WATCH_SECONDS)
            if not started:
                await asyncio.sleep(LOOK_PAUSE_SECONDS)
                await self._wait(POLL_SECONDS)

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return

    async def _claim(self) -> bool:
        free = self._lanes_at_once - len(self._running)
        if free <= 0:
            return False
        busy = [run.lane for run in self._running.values()]
        now = _clock()
        claims = await self._in_thread(lambda: self._claim_some(free, busy))
        for claim in claims:
            run = BatchRun(self, self._kinds, claim)
            self._renewed[run] = now
            self._running[asyncio.create_task(self._run(run), name=f"job {claim.kind} {claim.lane}")] = run
        return bool(claims)

    def _claim_some(self, lanes_max: int, busy: Sequence[str]) -> list[queue.Claim]:
        if not queue.something_waits(self.database, busy_lanes=busy):
            return []
        with self.database.write() as tx:
            return queue.claim(tx, self._kinds, self.worker_id, lease_ms=self.lease_ms, lanes_max=lanes_max, busy_lanes=busy)

    async def _run(self, run: BatchRun) -> None:
        """Whatever happens here, in the end the lane is free, and who has the jobs is for the database to say."""
        task = asyncio.current_task()
        assert task is not None
        try:
            pause_ms = await self._run_as_far_as_it_goes(run)
            if run.open_ids:
                await self.committer.run(lambda tx: queue.release(tx, self.worker_id, run.open_ids, pause_ms=pause_ms))
        except StoreError as error:
            log.warning("jobs could not be handed back; their lease will run out", lane=run.lane, error=str(error))
        finally:
            self._running.pop(task, None)
            self._renewed.pop(run, None)
            self._wake.set()

    async def _run_as_far_as_it_goes(self, run: BatchRun) -> int:
        """Returns for how many milliseconds the jobs that are left open are to be left alone."""
        try:
            await run.run()
        except LeaseLostError:
            lost, run.open_ids = run.open_ids, []
            log.warning("another worker took over", lane=run.lane, jobs=lost[:5])
        except (StoppingError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("a batch broke the engine", lane=run.lane, jobs=run.open_ids[:5])
            return BROKEN_PAUSE_MS
        return 0

    async def _hand_back(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=GRACE_SECONDS)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    # --- leases ----------------------------------------

    async def _keep_leases(self) -> None:
        """Every third of a lease: renew ours, and free those of workers that are dead for certain."""
        while True:
            try:
                await self._in_thread(self._free_leases_of_the_dead)
                await self._renew(list(self._running.items()))
            except StoreError as error:
                log.warning("leases could not be renewed", error=str(error))
            await asyncio.sleep(self.lease_ms / 3000)

    async def _renew(self, held: Sequence[tuple[asyncio.Task[None], BatchRun]]) -> None:
        ids = [run.open_ids[0] for _, run in held if run.open_ids]
        if not ids:
            return
        now = _clock()

        def renew() -> set[str]:
            with self.database.write() as tx:
                return queue.renew(tx, self.worker_id, ids, lease_ms=self.lease_ms)

        lost = await self._in_thread(renew)
        for task, run in held:
            if lost.intersection(run.open_ids):
                gone, run.open_ids = run.open_ids, []
                task.cancel()
                log.warning("another worker took over", lane=run.lane, jobs=gone[:5])
            elif run in self._renewed:
                self._renewed[run] = now

    async def make_sure_of(self, run: BatchRun) -> None:
        """Renew the lease of `run` if it is old, as after a pause of this process. Raises LeaseLostError, StoreError."""
        now = _clock()
        if now - self._renewed[run] < self.lease_ms / 2000:
            return

        def renew() -> set[str]:
            with self.database.write() as tx:
                return queue.renew(tx, self.worker_id, run.open_ids[:1], lease_ms=self.lease_ms)

        if await self._in_thread(renew):
            raise LeaseLostError
        self._renewed[run] = now

    def _free_leases_of_the_dead(self) -> None:
        for owner in queue.owners(self.database):
            if owner != self.worker_id and is_provably_dead(owner):
                with self.database.write() as tx:
                    freed = queue.disown(tx, owner)
                log.info("took the jobs of a dead worker", worker=owner, jobs=freed)
                self._loop.call_soon_threadsafe(self._wake.set)

    # --- watching ----------------------------------------

    async def _wake_to_stop(self) -> None:
        await self.stop.wait()
        self._wake.set()

    def _watch(self) -> None:
        while not (self._over or self.stop.is_set()):
            try:
                changed = self.database.wait_for_change(WATCH_SECONDS)
            except StoreUnavailableError:
                time.sleep(WATCH_SECONDS)
                changed = True
            except StoreError as error:
                log.warning("changes cannot be watched", error=str(error))
                time.sleep(WATCH_SECONDS)
                changed = False
            if changed:
                self._loop.call_soon_threadsafe(self._wake.set)

    async def _in_thread(self, function: Callable[[], Result]) -> Result:
        return await self._loop.run_in_executor(self._executor, function)


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, and that nobody sets."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
