"""Buying servers: CreateNet2CloudPhoneServer. Checks, then one transaction that reserves and queues everything or nothing; the work
itself is in `server_jobs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import bindparam, insert, select

from opencph.fleet import orders, requirements
from opencph.fleet.generations import GenerationPlan, reserve
from opencph.fleet.ids import new_id, new_order_id, product_id
from opencph.fleet.naming import server_names
from opencph.fleet.payloads import CREATE_SERVER, CreateServerJob
from opencph.fleet.placement import HostRoom, Placement
from opencph.fleet.requirements import Requirements
from opencph.fleet.retry import once_more_on_conflict
from opencph.fleet.statuses import ServerStatus
from opencph.fleet.times import now_ms
from opencph.jobs import NewJob
from opencph.jobs.queue import accept
from opencph.store import tables
from opencph.store.database import Query, Transaction, command, in_list, json_list, scalar
from opencph.wire.errors import CphError
from opencph.wire.servers import CreateNet2CloudPhoneServerRequest, CreateNet2CloudPhoneServerResponse, ExtendParam

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

_s = tables.servers.c
_TAKEN_NAMES: Query[str] = Query(
    select(_s.name).where(_s.project_id == bindparam("project_id"), in_list(_s.name, "names")).order_by(_s.name), scalar
)
INSERT_SERVER = command(
    insert(tables.servers).values({column.name: bindparam(column.name) for column in _s if column.name != "seq"}).inline()
)


def create_net2_cloud_phone_server(
    fleet: Fleet, caller: Caller, request_id: str, body: CreateNet2CloudPhoneServerRequest
) -> CreateNet2CloudPhoneServerResponse:
    """Buy `count` servers at once: all of them, or none (cph-api.md section 4, number 1).

    The servers are visible at once with status 1; a job `create_server` each, tied together by the request id, boots them.
    """
    with fleet.database.read() as tx:
        _check(tx, fleet, caller.project_id, body)  # a purchase that cannot be does not wait for the writer's turn

    def buy() -> CreateNet2CloudPhoneServerResponse:
        with fleet.database.write() as tx:
            tx.lock("placement")
            return _buy(tx, fleet, caller, request_id, body)

    return once_more_on_conflict(buy)


def _check(
    tx: Transaction, fleet: Fleet, project_id: str, body: CreateNet2CloudPhoneServerRequest
) -> tuple[Requirements, list[HostRoom], list[str]]:
    names = check_names(tx, project_id, body.server_name, body.count)
    fleet.catalogue.server_model(body.server_model_name)
    required = requirements.check(
        tx, fleet, project_id, body, keypair_name=body.keypair_name, server_model_name=body.server_model_name
    )
    if required.eip_ids and body.count > 1:
        raise CphError("CPS.0239", f"public_ip.ids: one existing EIP cannot be bound to {body.count} servers; use public_ip.eip")
    placement = Placement(tx)
    if body.availability_zone is not None:
        placement.check_zone(body.availability_zone)
    requirements.check_quota(tx, fleet, project_id, required, body.count)
    zones = requirements.zone_order(fleet)
    hosts = [placement.take(required.model.phone_capacity, body.availability_zone, zones) for _ in names]
    return required, hosts, names


def check_names(tx: Transaction, project_id: str, server_name: str, count: int) -> list[str]:
    """What the servers of a purchase will be called. Raises CPS.0087 when a name is taken."""
    names = server_names(server_name, count)
    taken = tx.row(_TAKEN_NAMES, project_id=project_id, names=json_list(names))
    if taken is not None:
        raise CphError("CPS.0087", f"server_name: this project has a server {taken!r} already; choose another name")
    return names


def _buy(
    tx: Transaction, fleet: Fleet, caller: Caller, request_id: str, body: CreateNet2CloudPhoneServerRequest
) -> CreateNet2CloudPhoneServerResponse:
    required, hosts, names = _check(tx, fleet, caller.project_id, body)
    plan = required.plan(server_id="", server_name="", project_id=caller.project_id, number=1, host=hosts[0])
    product = product_id(body.server_model_name, body.phone_model_name)
    return enter(tx, fleet, caller, request_id, names=names, hosts=hosts, plan=plan, product_id=product, billing=body.extend_param)


def enter(
    tx: Transaction,
    fleet: Fleet,
    caller: Caller,
    request_id: str,
    *,
    names: Sequence[str],
    hosts: Sequence[HostRoom],
    plan: GenerationPlan,
    product_id: str,
    billing: ExtendParam,
) -> CreateNet2CloudPhoneServerResponse:
    """Write servers down that passed every check: one order, and for each its rows and its job. `plan` is completed for each."""
    order_id = new_order_id()
    server_ids: list[str] = []
    jobs: list[NewJob] = []
    for name, host in zip(names, hosts, strict=True):
        server_id, now = new_id(), now_ms()
        own = msgspec.structs.replace(
            plan, server_id=server_id, server_name=name, host_id=host.host_id, availability_zone=host.availability_zone
        )
        generation_id = reserve(tx, fleet, own)
        tx.run(
            INSERT_SERVER,
            server_id=server_id,
            project_id=caller.project_id,
            name=name,
            status=ServerStatus.CREATING,
            generation_id=generation_id,
            order_id=order_id,
            product_id=product_id,
            charging_mode=billing.charging_mode,
            enterprise_project_id=billing.enterprise_project_id,
            create_ms=now,
            update_ms=now,
        )
        server_ids.append(server_id)
        jobs.append(
            NewJob(
                project_id=caller.project_id,
                request_id=request_id,
                kind=CREATE_SERVER,
                lane=server_id,
                server_id=server_id,
                payload=CreateServerJob(generation_id=generation_id),
            )
        )
    orders.open_order(
        tx, order_id=order_id, project_id=caller.project_id, kind=orders.PURCHASE, product_id=product_id, server_ids=server_ids
    )
    accept(tx, jobs)
    return CreateNet2CloudPhoneServerResponse(
        request_id=request_id, order_id=order_id, product_id=product_id, server_ids=server_ids
    )
