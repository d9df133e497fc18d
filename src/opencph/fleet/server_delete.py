"""Accepting the deletion of servers. What the worker then does is in `server_jobs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, func, literal_column, or_, select, update

from opencph.fleet import Fleet
from opencph.fleet.payloads import DELETE_SERVER, DeleteServerJob
from opencph.fleet.statuses import ServerStatus
from opencph.fleet.times import now_ms
from opencph.iam import Caller
from opencph.jobs import NewJob, queue
from opencph.store import tables
from opencph.store.database import Query, Transaction, command, in_list, json_list
from opencph.wire.errors import CphError
from opencph.wire.servers import DeleteCloudPhoneServerRequest, DeleteCloudPhoneServerResponse

YEARLY_MONTHLY = 0
DELETABLE = (
    ServerStatus.ABNORMAL,
    ServerStatus.NORMAL,
    ServerStatus.FROZEN,
    ServerStatus.STOPPED,
    ServerStatus.STOP_FAILED,
)


class _Server(NamedTuple):
    server_id: str
    name: str
    status: int
    charging_mode: int
    generation_state: str  # "" when the generation has no row


_SERVERS: Query[_Server] = Query(
    select(
        tables.servers.c.server_id,
        tables.servers.c.name,
        tables.servers.c.status,
        tables.servers.c.charging_mode,
        func.coalesce(tables.generations.c.state, literal_column("''")),
    )
    .join(tables.generations, tables.generations.c.generation_id == tables.servers.c.generation_id, isouter=True)
    .where(tables.servers.c.project_id == bindparam("project_id"), in_list(tables.servers.c.server_id, "server_ids")),
    _Server,
)
_MARK_DELETED = command(
    update(tables.servers)
    .where(in_list(tables.servers.c.server_id, "server_ids"), or_(*(tables.servers.c.status == one for one in DELETABLE)))
    .values(status=ServerStatus.DELETED, update_ms=bindparam("now"))
)


def delete_cloud_phone_server(
    fleet: Fleet, caller: Caller, request_id: str, body: DeleteCloudPhoneServerRequest
) -> DeleteCloudPhoneServerResponse:
    """Delete up to 10 servers, all or none (cph-api.md section 4, operation 9: "only on-demand servers").

    Raises CphError: CPS.0015 an unknown server, CPS.0099 one that is not ready, CPS.0056 one billed by the year or month.
    """
    with fleet.database.write() as tx:
        job_id = accept_deletion(tx, caller.project_id, request_id, body.server_ids)
    return DeleteCloudPhoneServerResponse(request_id=request_id, job_id=job_id)


def accept_deletion(
    tx: Transaction, project_id: str, request_id: str, server_ids: Sequence[str], *, unsubscribed: bool = False
) -> str:
    """Mark the servers as deleted (status 6) and record the one job that removes them all; returns its id.

    `unsubscribed` is for the billing service, whose unsubscription is the way to delete servers billed by the year or month
    (cph-api.md 10.7). A purchase that failed was never delivered, and a server whose generation has no row serves nobody: these can
    be deleted whatever their billing.
    Raises CphError as `delete_cloud_phone_server`; nothing is changed then.
    """
    wanted = list(dict.fromkeys(server_ids))
    tx.lock("placement")
    found = {server.server_id: server for server in tx.rows(_SERVERS, project_id=project_id, server_ids=json_list(wanted))}
    for server_id in wanted:
        if server_id not in found:
            raise CphError("CPS.0015", f"server_ids: there is no server {server_id!r} in this project")
    for server in found.values():
        if server.status == ServerStatus.DELETED:
            raise CphError("CPS.0099", f"server {server.name!r} ({server.server_id}) is being deleted already")
        if server.status not in DELETABLE:
            raise CphError(
                "CPS.0099",
                f"server {server.name!r} ({server.server_id}) is being created or changed (status {server.status}); "
                "delete it when its job has ended",
            )
        delivered = server.generation_state == "serving"
        if server.charging_mode == YEARLY_MONTHLY and delivered and not unsubscribed:
            raise CphError(
                "CPS.0056",
                f"server {server.name!r} ({server.server_id}) is billed yearly/monthly (charging_mode 0) and only on-demand "
                "servers are deleted by this call; unsubscribe it with POST /v2/orders/subscriptions/resources/unsubscribe",
            )
    if tx.run(_MARK_DELETED, server_ids=json_list(wanted), now=now_ms()) != len(wanted):
        raise CphError("CPS.0099", "server_ids: a server has just changed its status; ask again")
    (job_id,) = queue.accept(
        tx,
        [
            NewJob(
                project_id=project_id,
                request_id=request_id,
                kind=DELETE_SERVER,
                lane=wanted[0],
                server_id=wanted[0],
                payload=DeleteServerJob(server_ids=tuple(wanted)),
            )
        ],
    )
    return job_id
