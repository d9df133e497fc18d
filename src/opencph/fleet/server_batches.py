"""Servers as the calls that work on several of them see them: reading them, and a job or a refusal for each. Which work is for the
modules of the calls: `server_restart`, `server_keypair`, `shares`, `share_filesystems`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import bindparam, func, literal_column, select

from opencph.fleet import Fleet
from opencph.fleet.statuses import ServerStatus
from opencph.iam import Caller
from opencph.jobs import NewJob, queue
from opencph.store import tables
from opencph.store.database import Query, Transaction, in_list, json_list
from opencph.wire.checks import HEX_ID_RULE
from opencph.wire.errors import CphError, shown
from opencph.wire.server_actions import ServerJob, ServerJobsResponse

_SERVER_ID = re.compile(r"[0-9a-f]{32}")
_s, _g = tables.servers.c, tables.generations.c
Wanted = TypeVar("Wanted")


class Server(NamedTuple):
    """A server, and what its generation is."""

    server_id: str
    name: str
    status: int
    generation_id: str
    generation_state: str  # "" when the generation has no row
    phone_count: int


_SERVERS: Query[Server] = Query(
    select(
        _s.server_id,
        _s.name,
        _s.status,
        _s.generation_id,
        func.coalesce(_g.state, literal_column("''")),
        func.coalesce(_g.phone_count, literal_column("0")),
    )
    .join(tables.generations, _g.generation_id == _s.generation_id, isouter=True)
    .where(_s.project_id == bindparam("of_project"), in_list(_s.server_id, "server_ids")),
    Server,
)


def accept(
    tx: Transaction,
    project_id: str,
    wanted: Sequence[tuple[str, Wanted]],
    not_ready: str,
    job_of: Callable[[Server, Wanted], NewJob],
) -> list[ServerJob]:
    """A job for each server that serves, its refusal for each other one, in the order of `wanted`.

    `not_ready` is the code of a server that is being created, changed or deleted. `job_of` may raise CphError: that is the
    server's refusal too. Call it under `tx.lock("placement")`.
    """
    well_formed = [server_id for server_id, _ in wanted if _SERVER_ID.fullmatch(server_id)]
    servers = {row.server_id: row for row in tx.rows(_SERVERS, of_project=project_id, server_ids=json_list(well_formed))}
    taken: set[str] = set()
    items: list[ServerJob | NewJob] = []
    for server_id, what in wanted:
        try:
            job = job_of(_ready(servers.get(server_id), server_id, taken, not_ready), what)
        except CphError as error:
            items.append(ServerJob(server_id=server_id, error_code=error.code, error_msg=error.message))
            continue
        taken.add(server_id)
        items.append(job)
    job_ids = iter(queue.accept(tx, [item for item in items if isinstance(item, NewJob)]))
    return [
        item if isinstance(item, ServerJob) else ServerJob(server_id=item.server_id or "", job_id=next(job_ids)) for item in items
    ]


def accept_sharing(
    fleet: Fleet,
    caller: Caller,
    request_id: str,
    server_ids: Sequence[str],
    kind: str,
    payload: msgspec.Struct,
    *,
    check: Callable[[Transaction, Server], None] = lambda _tx, _server: None,
) -> ServerJobsResponse:
    """The same job for each server, about what all its phones share. `check` may raise CphError: that is the server's refusal.

    A bare server, which has no phones to share anything with, is refused with CPS.0137.
    """
    with fleet.database.write() as tx:
        tx.lock("placement")

        def job_of(server: Server, _: None) -> NewJob:
            if not server.phone_count:
                raise CphError("CPS.0137", f"server {server.server_id} is a bare server: it has no phones")
            check(tx, server)
            return NewJob(
                project_id=caller.project_id,
                request_id=request_id,
                kind=kind,
                lane=server.server_id,
                server_id=server.server_id,
                payload=payload,
            )

        jobs = accept(tx, caller.project_id, [(server_id, None) for server_id in server_ids], "CPS.0099", job_of)
    return ServerJobsResponse(request_id=request_id, jobs=jobs)


def _ready(server: Server | None, server_id: str, taken: set[str], not_ready: str) -> Server:
    if server is None:
        if not _SERVER_ID.fullmatch(server_id):
            raise CphError("CPS.0097", f"server_id {shown(server_id)} {HEX_ID_RULE}")
        raise CphError("CPS.0015", f"server_id {server_id} does not exist in this project")
    if server_id in taken:
        raise CphError(not_ready, f"server {server_id} is named twice; its first item is being worked on")
    if server.status == ServerStatus.FROZEN:
        raise CphError("CPS.1028", f"server {server_id}")
    if server.status not in (ServerStatus.NORMAL, ServerStatus.ABNORMAL) or server.generation_state != "serving":
        raise CphError(not_ready, f"server {server_id} has status {server.status}; wait until it is {ServerStatus.NORMAL}")
    return server
