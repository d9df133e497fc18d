"""Looking at a running OpenCPH from outside, as the end-to-end tests do."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import psutil

from opencph.testing import RunningCph


class StartUp(Protocol):
    """Starts `opencph up` on the test's own directory and network; ready unless told not to wait."""

    def __call__(self, *arguments: str, data: Path | None = None, wait: bool = True, **settings: str) -> RunningCph: ...


def processes_with(data: Path) -> list[psutil.Process]:
    """Every process that works on a data directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(data) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
