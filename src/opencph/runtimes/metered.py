"""Counts the boots of any runtime, and how long they take. Changes nothing else about it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from opencph.metrics.families import BOOT_SECONDS, BOOTS
from opencph.runtimes import Runtime


def metered(runtime: Runtime) -> Runtime:
    """The same runtime, its boots counted."""
    return cast(Runtime, _Metered(runtime))


class _Metered:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    async def start(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        began, running = time.monotonic(), 0
        try:
            causes = await self._runtime.start(generation_id, phone_ids)
            running = len(phone_ids) - len(causes)
        finally:
            if running:
                BOOTS.add("running", by=running)
                BOOT_SECONDS.observe(time.monotonic() - began, times=running)
            if len(phone_ids) > running:
                BOOTS.add("failed", by=len(phone_ids) - running)
        return causes
