"""Changing a server: ChangeCloudPhoneServer (seed page). Checks, then one transaction that reserves a second generation and queues
the job; the work itself is in `server_jobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, func, select, update

from opencph.fleet import requirements
from opencph.fleet.generations import reserve
from opencph.fleet.payloads import CHANGE_SERVER, ChangeServerJob
from opencph.fleet.placement import HostRoom, Placement
from opencph.fleet.requirements import Requirements
from opencph.fleet.retry import once_more_on_conflict
from opencph.fleet.statuses import ServerStatus
from opencph.fleet.times import now_ms
from opencph.jobs import NewJob
from opencph.jobs.queue import accept
from opencph.store import tables
from opencph.store.database import Query, Transaction, command
from opencph.wire.errors import CphError
from opencph.wire.servers import ChangeCloudPhoneServerRequest, ChangeCloudPhoneServerResponse

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

_s, _g = tables.servers.c, tables.generations.c


class _Current(NamedTuple):
    name: str
    status: int
    generation_id: str
    host_id: str
    availability_zone: str
    keypair_name: str | None
    last_number: int
    phone_model_name: str


_of_server = tables.generations.alias("of_server")
_CURRENT = Query(
    select(
        _s.name,
        _s.status,
        _s.generation_id,
        _g.host_id,
        _g.availability_zone,
        _g.keypair_name,
        select(func.max(_of_server.c.number)).where(_of_server.c.server_id == _s.server_id).scalar_subquery(),
        _g.phone_model_name,
    )
    .select_from(tables.servers.outerjoin(tables.generations, _g.generation_id == _s.generation_id))
    .where(_s.server_id == bindparam("server_id"), _s.project_id == bindparam("project_id")),
    _Current,
)
_CHANGING = command(  # guarded, so that of two calls at once one wins
    update(tables.servers)
    .where(_s.server_id == bindparam("of_server"), _s.status == ServerStatus.NORMAL)
    .values(status=ServerStatus.CHANGING, update_ms=bindparam("now"))
)


def change_cloud_phone_server(
    fleet: Fleet, caller: Caller, request_id: str, server_id: str, body: ChangeCloudPhoneServerRequest
) -> ChangeCloudPhoneServerResponse:
    """Switch a server to a new generation of phones (seed page). The server reads status 3 until the swap."""
    with fleet.database.read() as tx:
        _check(tx, fleet, caller.project_id, server_id, body)  # a change that cannot be does not wait for the writer's turn

    def change() -> ChangeCloudPhoneServerResponse:
        with fleet.database.write() as tx:
            tx.lock("placement")
            return _change(tx, fleet, caller, request_id, server_id, body)

    return once_more_on_conflict(change)


def _check(
    tx: Transaction, fleet: Fleet, project_id: str, server_id: str, body: ChangeCloudPhoneServerRequest
) -> tuple[_Current, Requirements, HostRoom]:
    current = tx.row(_CURRENT, server_id=server_id, project_id=project_id)
    if current is None:
        raise CphError("CPS.0015", f"server_id {server_id} does not exist in this project")
    if current.status != ServerStatus.NORMAL:
        raise _not_ready(server_id, current.status)
    if not current.phone_model_name:
        raise CphError("CPS.0099", f"server_id {server_id} is a bare server; it has no phones to be changed")
    required = requirements.check(
        tx,
        fleet,
        project_id,
        body,
        keypair_name=current.keypair_name if body.keypair_name is None else body.keypair_name,
        current_generation_id=current.generation_id,
    )
    placement = Placement(tx)
    if body.availability_zone is not None:
        placement.check_zone(body.availability_zone)
    requirements.check_quota(tx, fleet, project_id, required)
    zone = body.availability_zone or current.availability_zone
    return current, required, placement.take(required.model.phone_capacity, zone, [zone], avoid_host=current.host_id)


def _not_ready(server_id: str, status: int) -> CphError:
    state = "is being changed" if status == ServerStatus.CHANGING else f"has status {status}"
    return CphError("CPS.0099", f"server_id {server_id} {state}; it can be changed when its status is {ServerStatus.NORMAL}")


def _change(
    tx: Transaction, fleet: Fleet, caller: Caller, request_id: str, server_id: str, body: ChangeCloudPhoneServerRequest
) -> ChangeCloudPhoneServerResponse:
    current, required, host = _check(tx, fleet, caller.project_id, server_id, body)
    if not tx.run(_CHANGING, of_server=server_id, now=now_ms()):
        raise _not_ready(server_id, ServerStatus.CHANGING)
    number = current.last_number + 1
    plan = required.plan(server_id=server_id, server_name=current.name, project_id=caller.project_id, number=number, host=host)
    payload = ChangeServerJob(
        new_generation_id=reserve(tx, fleet, plan),
        old_generation_id=current.generation_id,
        enterprise_project_id=body.extend_param.enterprise_project_id if body.extend_param else "0",
    )
    job = NewJob(
        project_id=caller.project_id,
        request_id=request_id,
        kind=CHANGE_SERVER,
        lane=server_id,
        server_id=server_id,
        payload=payload,
    )
    (job_id,) = accept(tx, [job])
    return ChangeCloudPhoneServerResponse(request_id=request_id, server_id=server_id, job_id=job_id)
