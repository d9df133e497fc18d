"""Encode servers: every cloud phone server has one, of type container, that opens its phones' screens. List and restart (cph-api.md
section 4, numbers 48 and 49). Restarting one voids every ticket issued before (`connections`): whoever watches must ask again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, case, func, insert, or_, select, update

from opencph.fleet.generations import NETWORK
from opencph.fleet.payloads import RESTART_ENCODE_SERVER
from opencph.fleet.publishing import wait_until_published
from opencph.fleet.statuses import ServerStatus
from opencph.jobs import Batch, Job, JobFailedError, JobKind, NewJob, Step, queue
from opencph.store import revisions, tables
from opencph.store.database import Query, Transaction, command, in_list, json_list
from opencph.wire.checks import HEX_ID_RULE
from opencph.wire.encode_servers import (
    CONTAINER,
    EncodeServer,
    EncodeServerJob,
    ListEncodeServersQuery,
    ListEncodeServersResponse,
    RestartEncodeServerRequest,
    RestartEncodeServerResponse,
)
from opencph.wire.errors import CphError, shown

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

CREATING, RUNNING, ABNORMAL, RESTARTING, FROZEN = 0, 1, 2, 3, 4
NAME_MAX_BYTES = 64
_MASK = 0xE4C0DE5E47E45E47E4C0DE5E47E45E47  # ids are those of the servers, turned over: no table, and either from the other
_ID = re.compile(r"[0-9a-f]{32}")

_s, _g, _a, _e = tables.servers.c, tables.generations.c, tables.server_addresses.c, tables.encode_servers.c


class _Row(NamedTuple):
    server_id: str
    server_name: str
    keypair_name: str | None
    server_ip: str
    server_ipv6: str | None
    status: int


_status = case(
    (_s.status == ServerStatus.FROZEN, FROZEN),
    (_s.status == ServerStatus.ABNORMAL, ABNORMAL),
    (_g.state != "serving", CREATING),
    (func.coalesce(_e.status, RUNNING) == RESTARTING, RESTARTING),
    else_=RUNNING,
)
_rows = (
    select(_s.server_id, _s.name, _g.keypair_name, _a.server_ip, _a.server_ipv6, _status)
    .join(tables.generations, _g.generation_id == _s.generation_id)
    .join(tables.server_addresses, (_a.generation_id == _s.generation_id) & (_a.number == 0))
    .outerjoin(tables.encode_servers, _e.server_id == _s.server_id)
    .where(_s.project_id == bindparam("of_project"), _s.status != ServerStatus.DELETED, _g.phone_count > 0)
)
_PAGE = Query(
    _rows.where(
        or_(bindparam("any_server") == 1, _s.server_id == bindparam("of_server")),
        or_(bindparam("any_status") == 1, _status == bindparam("of_status")),
    )
    .order_by(_s.seq.desc())
    .limit(bindparam("limit"))
    .offset(bindparam("offset")),
    _Row,
)
_SOME = Query(_rows.where(in_list(_s.server_id, "server_ids")), _Row)
_SET_STATUS = command(
    update(tables.encode_servers).where(_e.server_id == bindparam("of_server")).values(status=bindparam("new_status"))
)
_ADD = command(insert(tables.encode_servers).values(server_id=bindparam("of_server"), epoch=0, status=bindparam("new_status")))
_NEXT_EPOCH = command(update(tables.encode_servers).where(_e.server_id == bindparam("of_server")).values(epoch=_e.epoch + 1))


def turned(one_id: str) -> str:
    """The id of a server's encode server, or the other way round."""
    return f"{int(one_id, 16) ^ _MASK:032x}"


def list_encode_servers(fleet: Fleet, caller: Caller, request_id: str, query: ListEncodeServersQuery) -> ListEncodeServersResponse:
    """A page of the project's encode servers, newest first. There are none of type 0."""
    if query.type not in (None, CONTAINER):
        return ListEncodeServersResponse(request_id=request_id, encode_servers=[])
    rows = fleet.database.rows(
        _PAGE,
        of_project=caller.project_id,
        any_server=int(query.server_id is None),
        of_server=query.server_id or "",
        any_status=int(query.status is None),
        of_status=CREATING if query.status in (100, 1014) else query.status or 0,
        limit=query.limit,
        offset=query.offset,
    )
    return ListEncodeServersResponse(request_id=request_id, encode_servers=[_shown(row) for row in rows])


def restart_encode_server(
    fleet: Fleet, caller: Caller, request_id: str, body: RestartEncodeServerRequest
) -> RestartEncodeServerResponse:
    """Restart encode servers. What is wrong with one stands in its item: CPS.0121, CPS.0123, CPS.0124, CPS.0195."""
    server_ids = [turned(one) for one in body.encode_server_ids if _ID.fullmatch(one)]
    with fleet.database.write() as tx:
        tx.lock("placement")
        rows = tx.rows(_SOME, of_project=caller.project_id, server_ids=json_list(server_ids))
        found = {turned(row.server_id): row for row in rows}
        items: list[EncodeServerJob | NewJob] = []
        for encode_server_id in body.encode_server_ids:
            try:
                row = _ready(found.pop(encode_server_id, None), encode_server_id)
            except CphError as error:
                items.append(EncodeServerJob(encode_server_id=encode_server_id, error_code=error.code, error_msg=error.message))
                continue
            if not tx.run(_SET_STATUS, of_server=row.server_id, new_status=RESTARTING):
                tx.run(_ADD, of_server=row.server_id, new_status=RESTARTING)
            items.append(
                NewJob(
                    project_id=caller.project_id,
                    request_id=request_id,
                    kind=RESTART_ENCODE_SERVER,
                    lane=row.server_id,
                    server_id=row.server_id,
                )
            )
        job_ids = iter(queue.accept(tx, [item for item in items if isinstance(item, NewJob)]))
    return RestartEncodeServerResponse(
        request_id=request_id,
        jobs=[
            EncodeServerJob(encode_server_id=turned(item.server_id or ""), job_id=next(job_ids))
            if isinstance(item, NewJob)
            else item
            for item in items
        ],
    )


def kinds(fleet: Fleet) -> dict[str, JobKind]:
    """The kind `restart_encode_server`."""

    def restart(tx: Transaction, batch: Batch) -> None:
        tx.run(_NEXT_EPOCH, of_server=batch.job.lane)
        revisions.bump(tx, NETWORK)

    async def publish(batch: Batch) -> None:
        await wait_until_published(fleet.database)

    def finish(tx: Transaction, batch: Batch) -> None:
        tx.run(_SET_STATUS, of_server=batch.job.lane, new_status=RUNNING)

    def failed(tx: Transaction, job: Job, error: JobFailedError) -> None:
        tx.run(_SET_STATUS, of_server=job.lane, new_status=RUNNING)

    steps = (Step("restart", commit=restart), Step("publish", effect=publish), Step("finish", commit=finish))
    kind = JobKind(name=RESTART_ENCODE_SERVER, steps=steps, point_of_no_return="restart", on_failure=failed)
    return {RESTART_ENCODE_SERVER: kind}


def _ready(row: _Row | None, encode_server_id: str) -> _Row:
    if row is None:
        if not _ID.fullmatch(encode_server_id):
            raise CphError("CPS.0121", f"encode_server_id {shown(encode_server_id)} {HEX_ID_RULE}")
        raise CphError("CPS.0123", f"there is no encode server {encode_server_id} in this project, or it is named twice")
    if row.status == FROZEN:
        raise CphError("CPS.0195", f"encode server {encode_server_id}")
    if row.status in (CREATING, RESTARTING):
        state = "its server is being created" if row.status == CREATING else "it is being restarted"
        raise CphError("CPS.0124", f"encode server {encode_server_id}: {state}")
    return row


def _shown(row: _Row) -> EncodeServer:
    suffix = "-encode"
    stem = row.server_name.encode()[: NAME_MAX_BYTES - len(suffix)].decode(errors="ignore")
    return EncodeServer(
        encode_server_name=f"{stem}{suffix}",
        encode_server_id=turned(row.server_id),
        encode_server_ip=row.server_ip,
        server_id=row.server_id,
        keypair_name=row.keypair_name or "",
        type=CONTAINER,
        status=row.status,
        access_infos=[],  # no port of its own listens; screens are opened with the tickets of batch-connection
        encode_server_ipv6=row.server_ipv6,
    )
