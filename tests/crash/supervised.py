"""`opencph up` for the crash matrix: `supervised.py ARGUMENTS`. The real one, but that it heals at once what dies again and again,
and looks more often at what should run, so that a case costs a second and not ten."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import SupportsIndex

from opencph import supervisor
from opencph.cli import main
from opencph.fleet import reconcile


def hurry() -> None:
    """Shorter waits of this process and those that it forks."""
    for module, name, value in (
        (supervisor, "BACK_OFF_SECONDS", (0.0,)),
        (reconcile, "RECONCILE_SECONDS", 0.5),
        (reconcile, "RETRY_FIRST_SECONDS", 0.5),
        (reconcile, "RETRY_MAX_SECONDS", 2.0),
    ):
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, value)


def sleep(seconds: SupportsIndex | float) -> None:
    """time.sleep by another system call: libfaketime breaks the one that Python uses."""
    select.select((), (), (), float(seconds))


if __name__ == "__main__":
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        time.sleep = sleep
    hurry()
    sys.argv[0] = "opencph"
    main()
