"""The same work on many things, some of them at a time. No rules."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

Thing = TypeVar("Thing")


async def for_each(things: Collection[Thing], work: Callable[[Thing], Awaitable[None]], *, at_once: int) -> None:
    """Do `work` on each, begun in their order, on `at_once` of them at a time. When one raises, the others are cancelled."""
    following = iter(things)

    async def one_after_another() -> None:
        for thing in following:
            await work(thing)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(things))):
            group.create_task(one_after_another())
