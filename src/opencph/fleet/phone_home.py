"""Which data directory built-in phones live in: a file there and a row of `homes` bear the same id.

The light phones of a database are on one machine, below one directory, and have loopback addresses. A worker with another
directory, or on another machine, would take every one of them for dead and make it anew, empty. So it must not start.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select

from opencph.fleet.times import now_ms
from opencph.settings import Settings
from opencph.store import processes
from opencph.store.database import Database, Query, Transaction, command, scalar
from opencph.store.tables import generations, homes

FILE = ".home"
LOCK = "phone_home"
#: A home that was taken so lately may have workers that are just starting.
FRESH_MS = 30_000
ELSEWHERE_POLL_SECONDS = 0.25


class AwayError(Exception):
    """The phones of this database do not live here. The message is one sentence that says where, and what to do."""


class Home(NamedTuple):
    """The row of `homes`."""

    home_id: str
    host_name: str
    directory: str
    seen_ms: int


_h = homes.c
_HOME: Query[Home] = Query(select(*(_h[name] for name in Home._fields)).where(_h.runtime == bindparam("of_runtime")), Home)
_DELETE = command(delete(homes).where(_h.runtime == bindparam("of_runtime")))
_INSERT = command(insert(homes).values({name: bindparam(name) for name in ("runtime", *Home._fields)}))
_GENERATIONS: Query[str] = Query(select(generations.c.generation_id), scalar)


def check_in(database: Database, settings: Settings) -> None:
    """Make sure that the phones live in `settings.data`; a database without phones takes it as their home.

    Waits up to 10 s for a worker of another machine that was killed. Raises AwayError.
    """
    if settings.runtime != "builtin":
        return
    deadline = time.monotonic() + processes.ALIVE_SECONDS + 1.0
    while (elsewhere := _worker_elsewhere(database)) is not None:
        if time.monotonic() > deadline:
            raise AwayError(
                f"a worker of this database runs on {elsewhere.host_name} (process {elsewhere.pid}), and built-in phones live on "
                "one machine: stop it, or run this worker there"
            )
        time.sleep(ELSEWHERE_POLL_SECONDS)
    with database.write() as tx:
        tx.lock(LOCK)
        home, here = tx.row(_HOME, of_runtime=settings.runtime), read(settings)
        ids = tx.rows(_GENERATIONS)
        has_phones = any((_directory(settings) / generation_id).is_dir() for generation_id in ids)
        if home is None:
            if ids and not has_phones:
                raise AwayError(_refusal(settings, None))
        elif here != home.home_id and (here is not None or not has_phones):
            in_use = now_ms() - home.seen_ms < FRESH_MS or any(processes.alive(tx, "worker"))
            if ids or (in_use and (home.host_name, home.directory) != (socket.gethostname(), str(settings.data))):
                raise AwayError(_refusal(settings, home))
        _settle(tx, settings, home.home_id if home is not None and here is None and has_phones else here)


def check(database: Database, settings: Settings) -> None:
    """The same for who only needs to be where the phones are, such as a gateway. Raises AwayError."""
    home = database.row(_HOME, of_runtime="builtin")
    if settings.runtime == "builtin" and home is not None and read(settings) != home.home_id:
        raise AwayError(_refusal(settings, home))


def adopt(database: Database, settings: Settings) -> None:
    """Make `settings.data` the home, whatever was it before: an operator says that the old one is lost, or has been moved.

    Raises AwayError while a worker runs.
    """
    with database.write() as tx:
        tx.lock(LOCK)
        for worker in processes.alive(tx, "worker"):
            raise AwayError(f"a worker runs on {worker.host_name} (process {worker.pid}): stop it first")
        _settle(tx, settings, read(settings))


def is_here(settings: Settings) -> bool:
    """Whether the directory of phones is there; not so when its disk is not mounted."""
    return read(settings) is not None


def read(settings: Settings) -> str | None:
    """The id in the file; None when there is none."""
    try:
        return (_directory(settings) / FILE).read_text().strip() or None
    except OSError:
        return None


def _settle(tx: Transaction, settings: Settings, home_id: str | None) -> None:
    path = _directory(settings) / FILE
    if home_id is None or read(settings) != home_id:
        home_id = home_id or secrets.token_hex(16)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"{FILE}.{os.getpid()}")
        fresh.write_text(home_id + "\n")
        fresh.chmod(0o600)
        fresh.replace(path)
    tx.run(_DELETE, of_runtime=settings.runtime)
    where = {"host_name": socket.gethostname(), "directory": str(settings.data)}
    tx.run(_INSERT, runtime=settings.runtime, home_id=home_id, seen_ms=now_ms(), **where)


def _directory(settings: Settings) -> Path:
    return settings.data / "builtin"


def _worker_elsewhere(database: Database) -> processes.Process | None:
    workers = processes.alive(database, "worker")
    return next((worker for worker in workers if not processes.is_of_this_kernel(worker.process_id)), None)


def _refusal(settings: Settings, home: Home | None) -> str:
    where = "in another directory" if home is None else f"in {home.directory} on {home.host_name}"
    return (
        f"the phones of this database live {where}, and {settings.data}/builtin holds none of them: start there, mount or restore "
        "that directory, or, when it is lost for good, give them this one with `opencph hosts adopt`"
    )
