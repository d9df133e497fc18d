"""Group commit: database work of many batches that is due at the same moment goes into one transaction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from opencph.store.database import Database, StoreBusyError, StoreUnavailableError, Transaction

Result = TypeVar("Result")
Work = Callable[[Transaction], Any]

#: pieces of work in one transaction
GROUP_MAX = 64
#: transactions at a time; SQLite has one writer, and on PostgreSQL one that waits for a lock must not hold up the others
THREADS = {"sqlite": 1, "postgresql": 4}


class Committer:
    """Runs work in transactions, in threads of its own. Used from one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads_max = THREADS[database.dialect]
        self._executor = ThreadPoolExecutor(self._threads_max, thread_name_prefix="jobs-commit")
        self._queue: deque[tuple[Work, asyncio.Future[Any]]] = deque()
        self._active = 0

    async def run(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` in a transaction and return its result once that is committed.

        Raises what `work` raised (then nothing of it has happened) or StoreError; after StoreUnavailableError it may have been
        committed all the same. `work` may run twice before it is committed once, so it must leave nothing behind in memory.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((work, future))
        self._start()
        return await future

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._active < self._threads_max:
            group = [self._queue.popleft() for _ in range(min(GROUP_MAX, len(self._queue)))]
            group = [(work, future) for work, future in group if not future.done()]  # not those that were cancelled
            if not group:
                continue
            self._active += 1
            flushed = loop.run_in_executor(self._executor, self._flush, [work for work, _ in group])
            flushed.add_done_callback(lambda done, futures=[future for _, future in group]: self._finish(done, futures))  # type: ignore[misc]

    def _finish(
        self, flushed: asyncio.Future[list[tuple[Any, BaseException | None]]], futures: Sequence[asyncio.Future[Any]]
    ) -> None:
        self._active -= 1
        if flushed.cancelled():  # closed
            for future in futures:
                future.cancel()
            return
        for (result, error), future in zip(flushed.result(), futures, strict=True):
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        self._start()

    def _flush(self, group: Sequence[Work]) -> list[tuple[Any, BaseException | None]]:
        try:
            with self._database.write() as tx:
                results = [(work(tx), None) for work in group]
        except BaseException as error:
            nobody_can_write = isinstance(error, StoreUnavailableError) or (
                isinstance(error, StoreBusyError) and self._database.dialect == "sqlite"
            )
            if len(group) == 1 or nobody_can_write:
                return [(None, error) for _ in group]
            # One of them cannot: each alone, so that only that one learns of it.
            return [outcome for work in group for outcome in self._flush([work])]
        return list(results)

    def close(self) -> None:
        """Let go of the threads; work under way ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)
