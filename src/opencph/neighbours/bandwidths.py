"""Bandwidths: the rules of the EIP service for them, on the rows that servers use. EIPs themselves are `eip`'s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from opencph.fleet import Fleet
from opencph.fleet.generations import NETWORK
from opencph.fleet.ids import new_uuid
from opencph.fleet.times import now_ms, utc_text
from opencph.iam import Caller
from opencph.neighbours.paging import Page
from opencph.store import revisions, tables
from opencph.store.database import Query, Transaction, command, in_list, json_list, scalar
from opencph.wire.eip import (
    Bandwidth,
    BandwidthResponse,
    CreateSharedBandwidthRequest,
    ListBandwidthsResponse,
    PublicipInfo,
    UpdateBandwidthRequest,
)
from opencph.wire.eip_checks import BAD_BANDWIDTH, CHARGE_MODES, PER, SHARED_SIZE_MIN_MBIT, WHOLE
from opencph.wire.server_checks import SHARED
from opencph.wire.service_errors import network_error

NOT_FOUND, IN_USE = "VPC.0306", "VPC.0313"

_b, _e, _g = tables.bandwidths.c, tables.eips.c, tables.generations.c
#: An EIP has the bandwidth of the server that holds it, else its own.
EFFECTIVE_ID = func.coalesce(_g.bandwidth_id, _e.bandwidth_id)
EIPS_WITH_SERVER = tables.eips.outerjoin(tables.generations, _g.generation_id == _e.generation_id)


class BandwidthRow(NamedTuple):
    """A bandwidth as it is stored."""

    bandwidth_id: str
    name: str
    size_mbit: int
    charge_mode: int
    share_type: int
    create_ms: int
    update_ms: int


class _EipOfBandwidth(NamedTuple):
    bandwidth_id: str
    eip_id: str
    address: str
    type: str


_bandwidths = select(*(_b[field] for field in BandwidthRow._fields)).where(_b.project_id == bindparam("of_project"))
_BANDWIDTH = Query(_bandwidths.where(_b.bandwidth_id == bindparam("of_bandwidth")), BandwidthRow)
_PAGE = Query(
    _bandwidths.where(_b.bandwidth_id > bindparam("marker")).order_by(_b.bandwidth_id).limit(bindparam("limit")), BandwidthRow
)
_EIPS = Query(
    select(EFFECTIVE_ID, _e.eip_id, _e.address, _e.type)
    .select_from(EIPS_WITH_SERVER)
    .where(_e.project_id == bindparam("of_project"), in_list(EFFECTIVE_ID, "bandwidth_ids"))
    .order_by(_e.eip_id),
    _EipOfBandwidth,
)
_SERVER_USING: Query[str] = Query(
    select(_g.server_id)
    .where(or_(_g.bandwidth_id == bindparam("of_bandwidth"), _g.ipv6_bandwidth_id == bindparam("of_bandwidth")))
    .limit(1),
    scalar,
)
_EIP_USING: Query[str] = Query(select(_e.address).where(_e.bandwidth_id == bindparam("of_bandwidth")).limit(1), scalar)
INSERT_BANDWIDTH = command(
    insert(tables.bandwidths).values({column.name: bindparam(column.name) for column in tables.bandwidths.columns})
)
_UPDATE = command(
    update(tables.bandwidths)
    .where(_b.bandwidth_id == bindparam("of_bandwidth"))
    .values(name=bindparam("name"), size_mbit=bindparam("size_mbit"), update_ms=bindparam("now"))
)
DELETE_BANDWIDTH = command(delete(tables.bandwidths).where(_b.bandwidth_id == bindparam("of_bandwidth")))


def create_shared_bandwidth(fleet: Fleet, caller: Caller, body: CreateSharedBandwidthRequest) -> BandwidthResponse:
    """CreateSharedBandwidth."""
    with fleet.database.write() as tx:
        row = insert_bandwidth(tx, caller, body.name, body.size_mbit, body.charge_mode, SHARED)
    return BandwidthResponse(_bandwidth(caller, row, []))


def list_bandwidths(fleet: Fleet, caller: Caller, page: Page) -> ListBandwidthsResponse:
    """ListBandwidths: the servers' own, the EIPs' own, the shared ones."""
    if not {PER, WHOLE}.issuperset(page.filters.get("share_type", ())):
        raise network_error(400, BAD_BANDWIDTH, f"share_type: must be {PER} or {WHOLE}")
    with fleet.database.read() as tx:
        rows = tx.rows(_PAGE, of_project=caller.project_id, marker=page.marker, limit=page.rows)
        eips = _eips(tx, caller, [row.bandwidth_id for row in rows])
    return ListBandwidthsResponse(page.of(_bandwidth(caller, row, eips[row.bandwidth_id]) for row in rows))


def show_bandwidth(fleet: Fleet, caller: Caller, bandwidth_id: str) -> BandwidthResponse:
    """ShowBandwidth. Raises 404."""
    with fleet.database.read() as tx:
        row = find_bandwidth(tx, caller, bandwidth_id)
        eips = _eips(tx, caller, [row.bandwidth_id])
    return BandwidthResponse(_bandwidth(caller, row, eips[row.bandwidth_id]))


def update_bandwidth(fleet: Fleet, caller: Caller, bandwidth_id: str, body: UpdateBandwidthRequest) -> BandwidthResponse:
    """UpdateBandwidth: name and size, which the gateway follows. Raises 404."""
    with fleet.database.write() as tx:
        row = find_bandwidth(tx, caller, bandwidth_id)
        if row.share_type == SHARED and body.size_mbit is not None and body.size_mbit < SHARED_SIZE_MIN_MBIT:
            limit = f"a shared one has at least {SHARED_SIZE_MIN_MBIT} Mbit/s"
            raise network_error(400, BAD_BANDWIDTH, f"bandwidth.size {body.size_mbit}: {limit}")
        row = row._replace(
            name=row.name if body.name is None else body.name,
            size_mbit=row.size_mbit if body.size_mbit is None else body.size_mbit,
            update_ms=now_ms(),
        )
        tx.run(_UPDATE, of_bandwidth=row.bandwidth_id, name=row.name, size_mbit=row.size_mbit, now=row.update_ms)
        revisions.bump(tx, NETWORK)
        eips = _eips(tx, caller, [row.bandwidth_id])
    return BandwidthResponse(_bandwidth(caller, row, eips[row.bandwidth_id]))


def delete_shared_bandwidth(fleet: Fleet, caller: Caller, bandwidth_id: str) -> None:
    """DeleteSharedBandwidth. Raises 404, 400 for a dedicated one, 409 while a server or an EIP uses it."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        row = find_bandwidth(tx, caller, bandwidth_id)
        if row.share_type != SHARED:
            raise network_error(400, BAD_BANDWIDTH, f"bandwidth {row.bandwidth_id} is dedicated; it goes with its EIP or server")
        server_id = tx.row(_SERVER_USING, of_bandwidth=row.bandwidth_id)
        if server_id is not None:
            raise network_error(409, IN_USE, f"bandwidth {row.bandwidth_id} is used by the cloud phone server {server_id}")
        address = tx.row(_EIP_USING, of_bandwidth=row.bandwidth_id)
        if address is not None:
            raise network_error(409, IN_USE, f"bandwidth {row.bandwidth_id} has the EIP {address}; release that first")
        tx.run(DELETE_BANDWIDTH, of_bandwidth=row.bandwidth_id)


def insert_bandwidth(tx: Transaction, caller: Caller, name: str, size_mbit: int, charge_mode: int, share_type: int) -> BandwidthRow:
    """A new bandwidth of the user's own."""
    now = now_ms()
    row = BandwidthRow(new_uuid(), name, size_mbit, charge_mode, share_type, now, now)
    tx.run(INSERT_BANDWIDTH, project_id=caller.project_id, generation_id=None, **row._asdict())
    return row


def find_bandwidth(tx: Transaction, caller: Caller, bandwidth_id: str) -> BandwidthRow:
    """A bandwidth of the caller's project. Raises 404 VPC.0306."""
    row = tx.row(_BANDWIDTH, of_project=caller.project_id, of_bandwidth=bandwidth_id.lower())
    if row is None:
        raise network_error(404, NOT_FOUND, f"bandwidth {bandwidth_id[:64]!r} does not exist in this project")
    return row


def _eips(tx: Transaction, caller: Caller, bandwidth_ids: Sequence[str]) -> dict[str, list[PublicipInfo]]:
    found: dict[str, list[PublicipInfo]] = defaultdict(list)
    for row in tx.rows(_EIPS, of_project=caller.project_id, bandwidth_ids=json_list(bandwidth_ids)):
        info = PublicipInfo(publicip_id=row.eip_id, publicip_address=row.address, publicip_type=row.type)
        found[row.bandwidth_id].append(info)
    return found


def _bandwidth(caller: Caller, row: BandwidthRow, eips: list[PublicipInfo]) -> Bandwidth:
    shared = row.share_type == SHARED
    return Bandwidth(
        id=row.bandwidth_id,
        name=row.name,
        size=row.size_mbit,
        share_type=WHOLE if shared else PER,
        charge_mode=CHARGE_MODES[row.charge_mode],
        bandwidth_type="share" if shared else "bgp",
        publicip_info=eips,
        tenant_id=caller.project_id,
        created_at=utc_text(row.create_ms),
        updated_at=utc_text(row.update_ms),
    )
