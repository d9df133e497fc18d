"""What the end-to-end tests share: starting `opencph up` as a user would, and looking at its processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.running import StartUp, watched_directory
from opencph.testing import RunningCph, own_network, start_up

WAIT_SECONDS = 20.0


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool], str], None]:
    """Waits until something holds; fails with the text after WAIT_SECONDS."""

    def wait(holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:g} s: {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short path; at its end nothing may be left that runs on it."""
    with watched_directory() as path:
        yield path


@pytest.fixture
def start(directory: Path) -> Iterator[StartUp]:
    """`start()` runs `opencph up`; all that a test started is stopped at its end."""
    started: list[RunningCph] = []
    with ExitStack() as stack:
        network = stack.enter_context(own_network())

        def start_one(*arguments: str, data: Path | None = None, wait: bool = True, **settings: str) -> RunningCph:
            cph = start_up(data or directory / "data", network, *arguments, settings=settings)
            started.append(cph)
            if wait:
                cph.wait_until_ready()
            return cph

        yield start_one
        for cph in reversed(started):
            cph.stop()
