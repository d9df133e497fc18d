"""Asking what may hang, as a database does, for those who answer in time whatever becomes of it: probes and monitoring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Found = TypeVar("Found")

#: A look that takes longer has found out that the database does not answer.
LOOK_SECONDS = 2.0


class Look(Generic[Found]):
    """One question, for one event loop: asked in a thread of its own, so that nothing else waits, and once at a time.

    Who asks while it is being asked shares the answer. `found` gets every answer, also one that came too late for who asked.
    """

    def __init__(self, name: str, ask: Callable[[], Found], found: Callable[[Found], None] | None = None) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"opencph-{name}")
        self._ask = ask
        self._found = found
        self._asking: asyncio.Future[Found] | None = None

    async def answer(self) -> Found:
        """Raises TimeoutError when there is none within LOOK_SECONDS; the next who asks may get it."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().run_in_executor(self._thread, self._ask)
            self._asking.add_done_callback(self._answered)
        return await asyncio.wait_for(asyncio.shield(self._asking), LOOK_SECONDS)

    def _answered(self, done: asyncio.Future[Found]) -> None:
        self._asking = None
        if not done.cancelled() and done.exception() is None and self._found is not None:
            self._found(done.result())
