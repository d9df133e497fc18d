"""Admission of work by its size, in order of arrival. Knows nothing of phones."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Limiter:
    """At most `limit` units at a time; who asks first is served first, so that big requests do not starve."""

    def __init__(self, limit: int) -> None:
        self.limit = max(1, limit)
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def of(self, units: int) -> AsyncIterator[None]:
        """Hold `units` (more than the limit count as the limit) while the block runs."""
        units = min(units, self.limit)
        if self._waiting or self._used + units > self.limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((units, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._release(units)  # admitted and cancelled in the same breath
                else:
                    self._waiting.remove((units, turn))
                    self._admit()
                raise
        else:
            self._used += units
        try:
            yield
        finally:
            self._release(units)

    def _release(self, units: int) -> None:
        self._used -= units
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._used + self._waiting[0][0] <= self.limit:
            units, turn = self._waiting.popleft()
            if not turn.done():
                self._used += units
                turn.set_result(None)
