"""Which api, worker and gateway processes are alive: the rows of `processes`, and what an id of a process proves about it.

A process id says where the process runs and when it started, so that a process of the same kernel can tell for certain that
it has ended. What the processes do is not here.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update

from opencph.store.database import Database, Query, Transaction, command
from opencph.store.tables import processes

ProcessKind = Literal["api", "worker", "gateway"]

HEARTBEAT_SECONDS = 2.0
#: a process that was silent for longer is taken for dead
ALIVE_SECONDS = 10.0


class Process(NamedTuple):
    """One row of `processes`. `applied_revision` is a gateway's: the newest `revisions.network` it serves, but for the addresses
    that it cannot open, which `missing` tells in words; it is empty when there are none."""

    process_id: str
    kind: str
    host_name: str
    pid: int
    start_ms: int
    heartbeat_ms: int
    applied_revision: int
    missing: str


_INSERT = command(
    insert(processes).values(
        {
            name: bindparam(name)
            for name in ("process_id", "kind", "host_name", "pid", "start_ms", "heartbeat_ms", "applied_revision")
        }
    )
)
_HEARTBEAT = command(update(processes).where(processes.c.process_id == bindparam("id")).values(heartbeat_ms=bindparam("now_ms")))
_APPLIED = command(
    update(processes)
    .where(processes.c.process_id == bindparam("id"))
    .values(heartbeat_ms=bindparam("now_ms"), applied_revision=bindparam("revision"), missing=bindparam("missing"))
)
_REMOVE = command(delete(processes).where(processes.c.process_id == bindparam("id")))
_HEARD_SINCE: Query[Process] = Query(
    select(*(processes.c[name] for name in Process._fields))
    .where(processes.c.kind == bindparam("kind"), processes.c.heartbeat_ms >= bindparam("since_ms"))
    .order_by(processes.c.start_ms, processes.c.process_id),
    Process,
)
_ALL: Query[Process] = Query(select(*(processes.c[name] for name in Process._fields)), Process)


def new_process_id(kind: ProcessKind) -> str:
    """An id for this process: `kind/host/kernel/pid/start/random`. Unique, also after a restart with the same pid."""
    return "/".join((kind, socket.gethostname(), _kernel(), str(os.getpid()), _start_of(os.getpid()) or "?", secrets.token_hex(4)))


def register(database: Database, kind: ProcessKind, *, process_id: str | None = None) -> str:
    """Add the row of this process, sweep away those of provably dead ones, and return the process id."""
    process_id = process_id or new_process_id(kind)
    now_ms = _now_ms()
    with database.write() as tx:
        for process in tx.rows(_ALL):
            if process.process_id == process_id or is_provably_dead(process.process_id):
                tx.run(_REMOVE, id=process.process_id)
        _insert(tx, process_id, kind, now_ms)
    return process_id


def heartbeat(database: Database, process_id: str) -> bool:
    """Say that this process is alive; call it every HEARTBEAT_SECONDS. False: the row is gone, register again."""
    with database.write() as tx:
        return tx.run(_HEARTBEAT, id=process_id, now_ms=_now_ms()) == 1


def applied(database: Database, process_id: str, revision: int, missing: str = "") -> bool:
    """Say that this gateway serves `revision` from now on, but for what is `missing`. False: the row is gone, register again."""
    with database.write() as tx:
        return tx.run(_APPLIED, id=process_id, now_ms=_now_ms(), revision=revision, missing=missing) == 1


def remove(database: Database, process_id: str) -> None:
    """Take the row away: the process is stopping."""
    with database.write() as tx:
        tx.run(_REMOVE, id=process_id)


def alive(source: Database | Transaction, kind: ProcessKind, *, within_seconds: float = ALIVE_SECONDS) -> list[Process]:
    """The processes of a kind that were heard of lately and are not provably dead, the oldest first."""
    found = source.rows(_HEARD_SINCE, kind=kind, since_ms=_now_ms() - int(within_seconds * 1000))
    return [process for process in found if not is_provably_dead(process.process_id)]


def is_provably_dead(process_id: str) -> bool:
    """True only when the process ran on this very kernel and has ended; False also means "cannot tell from here"."""
    parts = process_id.split("/")
    if len(parts) != 6 or parts[2] != _kernel() or parts[2] == "?" or not parts[3].isdigit() or parts[4] == "?":
        return False
    return _start_of(int(parts[3])) != parts[4]


def is_of_this_kernel(process_id: str) -> bool:
    """Whether the process runs, or ran, on this very kernel and in this pid namespace."""
    parts = process_id.split("/")
    return len(parts) == 6 and parts[2] == _kernel() != "?"


def try_writing(database: Database) -> None:
    """Write something that is nothing: a row that comes and goes in one transaction. Raises StoreError when it cannot be done."""
    probe = new_process_id("worker")
    with database.write() as tx:
        _insert(tx, probe, "worker", 0)
        tx.run(_REMOVE, id=probe)


def _insert(tx: Transaction, process_id: str, kind: ProcessKind, now_ms: int) -> None:
    tx.run(
        _INSERT,
        process_id=process_id,
        kind=kind,
        host_name=socket.gethostname(),
        pid=os.getpid(),
        start_ms=now_ms,
        heartbeat_ms=now_ms,
        applied_revision=0,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@cache
def _kernel() -> str:
    """Names one boot of one kernel and one pid namespace in it, the room in which a pid means something; "?" when unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13]
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "?"
    return f"{boot}-{''.join(c for c in namespace if c.isdigit())}"


def _start_of(pid: int) -> str | None:
    """When a process started, in ticks since boot; None when it has ended, also when nobody has reaped it yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else fields[19]
