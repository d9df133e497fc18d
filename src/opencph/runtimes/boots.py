"""Counting boots: every runtime tells here what it booted, and how long each phone took. Phones that ran already are no boots."""

from __future__ import annotations

from collections.abc import Iterable

from opencph.metrics.families import BOOT_SECONDS, BOOTS


def count(seconds: Iterable[float], *, failed: int) -> None:
    """Phones that booted, each in so many seconds, and how many did not."""
    for one in seconds:
        BOOTS.add("running")
        BOOT_SECONDS.observe(one)
    if failed:
        BOOTS.add("failed", by=failed)
