"""Bandwidth of public addresses: token buckets that many connections share, each in its turn. Knows nothing of sockets.

The limit of a server, or of the servers that share a bandwidth, holds for all its public traffic together, and for each direction
by itself, as it does for an EIP. Who finds the bucket empty waits in a queue and is called back when there is a portion for it;
portions are small and the queue is served in turns, so that connections that want all they can get share evenly.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from typing import Protocol

BYTES_PER_MBIT = 125_000
#: What may be sent at once after a pause, in seconds of the rate; also what a late timer can make up for.
BURST_SECONDS = 0.05
#: One portion: so many seconds of the rate, within these bounds.
PORTION_SECONDS = 0.004
PORTION_BYTES_MIN, PORTION_BYTES_MAX = 4 * 1024, 256 * 1024
_TICK_SECONDS = 0.001


class Waiter(Protocol):
    """Who wants to move bytes."""

    @property
    def go_on(self) -> Callable[[], None]:
        """Called when a portion is there: take it at once."""
        ...


class Bucket:
    """One direction of one bandwidth."""

    def __init__(self, rate: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: dict[Waiter, Context] = {}
        self._turn: Waiter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rate = rate  # bytes per second
        self._filled = time.monotonic()
        self._size()
        self._tokens = float(self._portion)

    def set_rate(self, rate: float) -> None:
        """Another rate from now on, in bytes per second."""
        self._fill()
        self._rate = rate
        self._size()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._later()

    def take(self, waiter: Waiter, most: int) -> int:
        """How many of `most` bytes may go now. 0: `waiter` is called when it may ask again."""
        if waiter in self._queue:
            return 0
        if not self._queue or self._turn is waiter:
            self._turn = None
            self._fill()
            wanted = min(most, self._portion)
            if self._tokens >= wanted:
                self._tokens -= wanted
                return wanted
        self._queue[waiter] = copy_context()  # what it logs when it goes on is about it, not about who set the timer
        self._later()
        return 0

    def give_back(self, count: int) -> None:
        """So many of the bytes taken were not needed."""
        self._tokens += count

    def leave(self, waiter: Waiter) -> None:
        """It wants nothing any more."""
        self._queue.pop(waiter, None)

    def _size(self) -> None:
        self._portion = int(min(max(self._rate * PORTION_SECONDS, PORTION_BYTES_MIN), PORTION_BYTES_MAX))
        self._burst = max(self._rate * BURST_SECONDS, self._portion)

    def _fill(self) -> None:
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._filled) * self._rate, self._burst)
        self._filled = now

    def _later(self) -> None:
        if self._queue and self._timer is None:
            delay = max((self._portion - self._tokens) / self._rate, _TICK_SECONDS)
            self._timer = self._loop.call_later(delay, self._serve)

    def _serve(self) -> None:
        self._timer = None
        self._fill()
        while self._queue and self._tokens >= self._portion:
            waiter = next(iter(self._queue))
            context = self._queue.pop(waiter)
            self._turn = waiter
            context.run(waiter.go_on)
            self._turn = None
        self._later()


class Limit:
    """What holds for one public address at the moment; connections keep it and look every time."""

    __slots__ = ("inbound", "mbit", "outbound")

    def __init__(self) -> None:
        self.mbit: int | None = None
        self.inbound: Bucket | None = None  # to the phones
        self.outbound: Bucket | None = None


class Limits:
    """The limits of all public addresses."""

    def __init__(self) -> None:
        self._limits: dict[str, Limit] = {}
        self._buckets: dict[str, tuple[Bucket, Bucket]] = {}
        self._rates: dict[str, int] = {}

    def of(self, ip: str) -> Limit:
        """The limit of an address; it stays this object."""
        return self._limits.setdefault(ip, Limit())

    def apply(self, wanted: Mapping[str, tuple[str, int]]) -> None:
        """Address -> id of its bandwidth and Mbit/s. Addresses that are not named have no limit."""
        rates = dict(wanted.values())
        for bandwidth_id, mbit in rates.items():
            known = self._rates.get(bandwidth_id)
            if known is None:
                self._buckets[bandwidth_id] = Bucket(mbit * BYTES_PER_MBIT), Bucket(mbit * BYTES_PER_MBIT)
            elif known != mbit:
                for bucket in self._buckets[bandwidth_id]:
                    bucket.set_rate(mbit * BYTES_PER_MBIT)
        for bandwidth_id in self._buckets.keys() - rates.keys():
            del self._buckets[bandwidth_id]  # who waits in it is still served
        self._rates = rates
        for ip, limit in list(self._limits.items()):
            if ip not in wanted:
                limit.mbit = limit.inbound = limit.outbound = None
        for ip, (bandwidth_id, mbit) in wanted.items():
            limit = self.of(ip)
            limit.mbit = mbit
            limit.inbound, limit.outbound = self._buckets[bandwidth_id]
