"""Admission of boots."""

from __future__ import annotations

import asyncio
import contextlib

from opencph.runtimes.builtin.limiter import Limiter


def test_no_more_than_the_limit_run_and_the_first_comes_first() -> None:
    async def go() -> None:
        limiter, used, most, order = Limiter(10), 0, 0, list[int]()

        async def work(number: int, units: int) -> None:
            nonlocal used, most
            async with limiter.of(units):
                order.append(number)
                used += min(units, 10)
                most = max(most, used)
                await asyncio.sleep(0)
                used -= min(units, 10)

        await asyncio.gather(*(work(number, units) for number, units in enumerate((4, 6, 10, 1, 25, 1, 9))))
        assert most == 10
        assert order == list(range(7))

    asyncio.run(go())


def test_who_gives_up_waiting_holds_nobody_up() -> None:
    async def go() -> None:
        limiter = Limiter(2)
        async with limiter.of(2):
            waiting = asyncio.create_task(_hold(limiter, 2))
            behind = asyncio.create_task(_hold(limiter, 1))
            await asyncio.sleep(0)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
        async with asyncio.timeout(5):
            await behind
            async with limiter.of(2):
                pass

    asyncio.run(go())


async def _hold(limiter: Limiter, units: int) -> None:
    async with limiter.of(units):
        pass
