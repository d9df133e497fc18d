"""Public addresses: the rules of the EIP service, on the rows that servers use. Bandwidths are `bandwidths`'.

An EIP that came with a server goes with it and is bound all its life; the user's own can be bound to any VIP that has none, by its
port (`ports`).
"""

from __future__ import annotations

import time
from ipaddress import AddressValueError, IPv4Address
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, select, update

from opencph.fleet import Fleet, addresses, quotas
from opencph.fleet.generations import NETWORK
from opencph.fleet.ids import new_uuid
from opencph.fleet.statuses import ServerStatus
from opencph.fleet.times import now_ms
from opencph.iam import Caller
from opencph.neighbours import bandwidths, ports
from opencph.neighbours.bandwidths import EFFECTIVE_ID, EIPS_WITH_SERVER
from opencph.neighbours.paging import Page
from opencph.neighbours.ports import SERVING, port_id
from opencph.store import revisions, tables
from opencph.store.database import Query, Transaction, command, scalar
from opencph.wire.eip import (
    CreatedPublicip,
    CreatePublicipRequest,
    CreatePublicipResponse,
    ListPublicipsResponse,
    Publicip,
    PublicipResponse,
    UpdatePublicipRequest,
)
from opencph.wire.eip_checks import BAD_BANDWIDTH, BAD_EIP, PER, WHOLE
from opencph.wire.errors import CphError
from opencph.wire.server_checks import DEDICATED, SHARED
from opencph.wire.service_errors import network_error

NOT_FOUND, ALREADY_BOUND, PORT_TAKEN, STILL_BOUND = "VPC.0504", "VPC.0510", "VPC.0511", "VPC.0517"
QUOTA_EXCEEDED, POOL_EMPTY = "VPC.0521", "VPC.0532"
ACTIVE, BINDING, DOWN = "ACTIVE", "BINDING", "DOWN"

_e, _a, _g, _s, _b = tables.eips.c, tables.server_addresses.c, tables.generations.c, tables.servers.c, tables.bandwidths.c


class _Row(NamedTuple):
    eip_id: str
    type: str
    address: str
    auto_assigned: int
    generation_id: str | None
    create_ms: int
    alias: str | None
    own_bandwidth_id: str | None
    generation_state: str | None
    server_id: str | None
    number: int | None
    server_ip: str | None
    bandwidth_id: str | None
    bandwidth_name: str | None
    bandwidth_share_type: int | None
    bandwidth_size: int | None


_eips = (
    select(
        _e.eip_id,
        _e.type,
        _e.address,
        _e.auto_assigned,
        _e.generation_id,
        _e.create_ms,
        _e.alias,
        _e.bandwidth_id.label("own_bandwidth_id"),
        _g.state,
        _g.server_id,
        _a.number,
        _a.server_ip,
        _b.bandwidth_id,
        _b.name,
        _b.share_type,
        _b.size_mbit,
    )
    .select_from(
        EIPS_WITH_SERVER.outerjoin(
            tables.server_addresses, (_a.eip_id == _e.eip_id) & (_a.generation_id == _e.generation_id)
        ).outerjoin(tables.bandwidths, _b.bandwidth_id == EFFECTIVE_ID)
    )
    .where(_e.project_id == bindparam("of_project"))
)
_EIP = Query(_eips.where(_e.eip_id == bindparam("of_eip")), _Row)
_PAGE = Query(_eips.where(_e.eip_id > bindparam("marker")).order_by(_e.eip_id).limit(bindparam("limit")), _Row)
_ADDRESS_TAKEN: Query[str] = Query(select(_e.eip_id).where(_e.address == bindparam("address")), scalar)


_STATUS: Query[int] = Query(select(_s.status).where(_s.server_id == bindparam("of_server")), scalar)
_INSERT = command(insert(tables.eips).values({column.name: bindparam(column.name) for column in tables.eips.columns}))
_BIND = command(update(tables.eips).where(_e.eip_id == bindparam("of_eip")).values(generation_id=bindparam("to_generation")))
_NAME_AT_PORT = command(
    update(tables.server_addresses)
    .where(_a.generation_id == bindparam("of_generation"), _a.number == bindparam("of_number"))
    .values(eip_id=bindparam("new_eip"))
)
_ALIAS = command(update(tables.eips).where(_e.eip_id == bindparam("of_eip")).values(alias=bindparam("new_alias")))
_DELETE = command(delete(tables.eips).where(_e.eip_id == bindparam("of_eip")))


def create_publicip(fleet: Fleet, caller: Caller, body: CreatePublicipRequest) -> CreatePublicipResponse:
    """CreatePublicip: an address of the pool, with a bandwidth of its own or a shared one.

    Raises 409 VPC.0521 (quota), VPC.0532 (pool), VPC.0511 (port taken), 404 VPC.0306 (bandwidth), VPC.0701 (port), 400.
    """
    with fleet.database.write() as tx:
        tx.lock("placement")
        address = _new_address(tx, fleet, caller, body.ip_address)
        option, eip_id, now = body.bandwidth, new_uuid(), now_ms()
        if option.bandwidth_id is None:
            name = option.name or f"bandwidth-{eip_id[:8]}"
            bandwidth = bandwidths.insert_bandwidth(tx, caller, name, option.size_mbit, option.charge_mode, DEDICATED)
        else:
            bandwidth = bandwidths.find_bandwidth(tx, caller, option.bandwidth_id)
            if bandwidth.share_type != SHARED:
                raise network_error(400, BAD_BANDWIDTH, f"bandwidth.id {option.bandwidth_id} is not a shared bandwidth")
        tx.run(
            _INSERT,
            eip_id=eip_id,
            project_id=caller.project_id,
            type=body.type,
            address=address,
            auto_assigned=0,
            generation_id=None,
            create_ms=now,
            alias=body.alias,
            bandwidth_id=bandwidth.bandwidth_id,
        )
        if body.port_id is not None:
            _bind(tx, caller, eip_id, body.port_id)
    return CreatePublicipResponse(
        CreatedPublicip(
            id=eip_id,
            type=body.type,
            public_ip_address=address,
            status=DOWN if body.port_id is None else ACTIVE,
            tenant_id=caller.project_id,
            create_time=_time(now),
            bandwidth_size=bandwidth.size_mbit,
            enterprise_project_id="0",
            alias=body.alias,
        )
    )


def list_publicips(fleet: Fleet, caller: Caller, page: Page) -> ListPublicipsResponse:
    """ListPublicips."""
    with fleet.database.read() as tx:
        rows = tx.rows(_PAGE, of_project=caller.project_id, marker=page.marker, limit=page.rows)
    return ListPublicipsResponse(page.of(_publicip(caller, row) for row in rows))


def show_publicip(fleet: Fleet, caller: Caller, publicip_id: str) -> PublicipResponse:
    """ShowPublicip. Raises 404 VPC.0504."""
    with fleet.database.read() as tx:
        return PublicipResponse(_publicip(caller, _find(tx, caller, publicip_id)))


def update_publicip(fleet: Fleet, caller: Caller, publicip_id: str, body: UpdatePublicipRequest) -> PublicipResponse:
    """UpdatePublicip: bind, unbind, rename. Raises 404 VPC.0504, VPC.0701, 409 VPC.0510 or VPC.0511."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        row = _find(tx, caller, publicip_id)
        if body.alias is not None:
            tx.run(_ALIAS, of_eip=row.eip_id, new_alias=body.alias)
        if body.port_id == "":
            _unbind(tx, row)
        elif body.port_id is not None and body.port_id != _publicip(caller, row).port_id:
            if row.generation_id is not None:
                raise network_error(409, ALREADY_BOUND, f"EIP {row.address} is bound already; unbind it first")
            _bind(tx, caller, row.eip_id, body.port_id)
        return PublicipResponse(_publicip(caller, _find(tx, caller, publicip_id)))


def delete_publicip(fleet: Fleet, caller: Caller, publicip_id: str) -> None:
    """DeletePublicip: the address goes back to the pool, its own bandwidth with it. Raises 404 VPC.0504, 409 VPC.0517."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        row = _find(tx, caller, publicip_id)
        if row.generation_id is not None:
            how = "it goes with that" if row.auto_assigned else "unbind it first"
            raise network_error(409, STILL_BOUND, f"EIP {row.address} is bound to the cloud phone server {row.server_id}; {how}")
        tx.run(_DELETE, of_eip=row.eip_id)
        if row.own_bandwidth_id is not None and row.bandwidth_share_type == DEDICATED:
            tx.run(bandwidths.DELETE_BANDWIDTH, of_bandwidth=row.own_bandwidth_id)


def _new_address(tx: Transaction, fleet: Fleet, caller: Caller, wanted: str | None) -> str:
    try:
        quotas.check(tx, fleet, caller.project_id, quotas.Usage(0, 0, 1))
    except CphError as error:
        raise network_error(409, QUOTA_EXCEEDED, error.detail) from error
    if wanted is None:
        try:
            (address,) = addresses.free_eips(tx, fleet.hints, fleet.settings.network, 1)
        except CphError as error:
            raise network_error(409, POOL_EMPTY, error.detail) from error
        return address
    pool = addresses.carve(fleet.settings.network).eips
    try:
        asked = IPv4Address(wanted)
    except AddressValueError as error:
        raise network_error(400, BAD_EIP, f"publicip.ip_address {wanted!r}: must be an IPv4 address") from error
    if asked not in pool or asked in (pool.network_address, pool.broadcast_address):
        raise network_error(400, BAD_EIP, f"publicip.ip_address {wanted}: must be in the EIP pool, {pool}")
    if tx.row(_ADDRESS_TAKEN, address=wanted) is not None:
        raise network_error(409, BAD_EIP, f"publicip.ip_address {wanted} is taken")
    return wanted


def _bind(tx: Transaction, caller: Caller, eip_id: str, wanted: str) -> None:
    port = ports.find(tx, caller, UUID(wanted))
    if port is None:
        raise network_error(404, ports.NOT_FOUND, f"publicip.port_id {wanted} is no port of a cloud phone server of this project")
    if port.state != SERVING:
        raise network_error(409, ALREADY_BOUND, f"publicip.port_id {wanted} is being made; try again when its server is there")
    _check_still(port.server_id, port.status)
    if port.eip_id is not None:
        raise network_error(409, PORT_TAKEN, f"publicip.port_id {wanted} has an EIP already; unbind that first")
    tx.run(_BIND, of_eip=eip_id, to_generation=port.generation_id)
    tx.run(_NAME_AT_PORT, of_generation=port.generation_id, of_number=port.number, new_eip=eip_id)
    revisions.bump(tx, NETWORK)


def _unbind(tx: Transaction, row: _Row) -> None:
    if row.generation_id is None:
        return
    if row.auto_assigned:
        raise network_error(409, ALREADY_BOUND, f"EIP {row.address} came with the server {row.server_id} and stays bound to it")
    _check_still(row.server_id, tx.row(_STATUS, of_server=row.server_id))
    tx.run(_NAME_AT_PORT, of_generation=row.generation_id, of_number=row.number, new_eip=None)
    tx.run(_BIND, of_eip=row.eip_id, to_generation=None)
    revisions.bump(tx, NETWORK)


def _check_still(server_id: str | None, status: int | None) -> None:
    """A server that is being made, changed or deleted keeps its addresses for that time."""
    if status not in (ServerStatus.NORMAL, ServerStatus.ABNORMAL, ServerStatus.STOPPED):
        raise network_error(409, ALREADY_BOUND, f"server {server_id} has status {status}; try again when its job has ended")


def _find(tx: Transaction, caller: Caller, publicip_id: str) -> _Row:
    row = tx.row(_EIP, of_project=caller.project_id, of_eip=publicip_id.lower())
    if row is None:
        raise network_error(404, NOT_FOUND, f"EIP {publicip_id[:64]!r} does not exist in this project")
    return row


def _publicip(caller: Caller, row: _Row) -> Publicip:
    bound = row.generation_id is not None and row.number is not None
    return Publicip(
        id=row.eip_id,
        type=row.type,
        public_ip_address=row.address,
        status=DOWN if not bound else ACTIVE if row.generation_state == SERVING else BINDING,
        tenant_id=caller.project_id,
        create_time=_time(row.create_ms),
        enterprise_project_id="0",
        alias=row.alias or "",
        ip_version=4,
        public_border_group="center",
        allow_share_bandwidth_types=[],  # no call moves an EIP to a shared bandwidth
        bandwidth_id=row.bandwidth_id,
        bandwidth_name=row.bandwidth_name,
        bandwidth_share_type=None if row.bandwidth_share_type is None else (PER, WHOLE)[row.bandwidth_share_type],
        bandwidth_size=row.bandwidth_size,
        port_id=port_id(row.generation_id, row.number) if row.generation_id is not None and row.number is not None else None,
        private_ip_address=row.server_ip if bound else None,
    )


def _time(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms // 1000))
