"""The same work on many things, some of them at a time."""

from __future__ import annotations

import asyncio

import pytest

from opencph.fleet.pools import for_each


async def _work_on(number: int, at_once: int) -> tuple[list[int], int]:
    """What was begun, in that order, and the most that were worked on at the same time."""
    begun: list[int] = []
    now = most = 0

    async def work(thing: int) -> None:
        nonlocal now, most
        begun.append(thing)
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    await for_each(range(number), work, at_once=at_once)
    return begun, most


@pytest.mark.parametrize(("number", "at_once", "most"), [(0, 3, 0), (1, 3, 1), (3, 3, 3), (10, 3, 3), (10, 1, 1)])
def test_each_is_worked_on_once_in_order_and_no_more_at_a_time_than_may_be(number: int, at_once: int, most: int) -> None:
    assert asyncio.run(_work_on(number, at_once)) == (list(range(number)), most)


def test_when_one_raises_the_others_are_cancelled_and_no_more_is_begun() -> None:
    begun: list[int] = []
    cancelled: list[int] = []

    async def work(thing: int) -> None:
        begun.append(thing)
        if thing == 1:
            raise ValueError(thing)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(thing)
            raise

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(for_each(range(5), work, at_once=2))
    assert [str(error) for error in caught.value.exceptions] == ["1"]
    assert begun == [0, 1] and cancelled == [0]
