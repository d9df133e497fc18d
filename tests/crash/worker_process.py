"""A worker in a process of its own, to be killed: `worker_process.py SETTINGS_JSON`. Says `ready` when it claims jobs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from opencph import log
from opencph.settings import Settings
from opencph.worker import run_worker


def main() -> None:
    values = json.loads(sys.argv[1])
    settings = Settings(**{**values, "data": Path(values["data"])})
    log.configure("info", process="worker", directory=None)
    run_worker(settings, lambda: print("ready", flush=True))


if __name__ == "__main__":
    main()
