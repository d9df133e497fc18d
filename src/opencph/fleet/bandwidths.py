"""Bandwidths of a project as CPH shows them: list, and resize the shared ones (cph-api.md section 4, numbers 50 and 51)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, select, update

from opencph.fleet.generations import NETWORK
from opencph.fleet.times import now_ms, utc_text
from opencph.store import revisions, tables
from opencph.store.database import Query, command, scalar
from opencph.wire.bandwidths import (
    ShowBandwidthDetailQuery,
    ShowBandwidthDetailResponse,
    UpdateBandwidthRequest,
    UpdateBandwidthResponse,
)
from opencph.wire.errors import CphError
from opencph.wire.server_checks import SHARED
from opencph.wire.servers import ServerBandWidth

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

_b = tables.bandwidths.c


class _Row(NamedTuple):
    name: str
    bandwidth_id: str
    size_mbit: int
    charge_mode: int
    share_type: int
    create_ms: int
    update_ms: int


_PAGE = Query(
    select(_b.name, _b.bandwidth_id, _b.size_mbit, _b.charge_mode, _b.share_type, _b.create_ms, _b.update_ms)
    .where(_b.project_id == bindparam("project_id"))
    .order_by(_b.create_ms.desc(), _b.bandwidth_id)
    .limit(bindparam("limit"))
    .offset(bindparam("offset")),
    _Row,
)
_SHARE_TYPE: Query[int] = Query(
    select(_b.share_type).where(_b.bandwidth_id == bindparam("of_bandwidth"), _b.project_id == bindparam("of_project")), scalar
)
_RESIZE = command(
    update(tables.bandwidths)
    .where(_b.bandwidth_id == bindparam("of_bandwidth"))
    .values(size_mbit=bindparam("new_size"), update_ms=bindparam("now"))
)


def show_bandwidth_detail(
    fleet: Fleet, caller: Caller, request_id: str, query: ShowBandwidthDetailQuery
) -> ShowBandwidthDetailResponse:
    """A page of the project's bandwidths, of servers and shared ones, newest first."""
    rows = fleet.database.rows(_PAGE, project_id=caller.project_id, limit=query.limit, offset=query.offset)
    return ShowBandwidthDetailResponse(
        request_id=request_id,
        band_widths=[
            ServerBandWidth(
                band_width_name=row.name,
                band_width_id=row.bandwidth_id,
                band_width_size=row.size_mbit,
                band_width_charge_mode=row.charge_mode,
                band_width_share_type=row.share_type,
                create_time=utc_text(row.create_ms),
                update_time=utc_text(row.update_ms),
            )
            for row in rows
        ],
    )


def update_bandwidth(
    fleet: Fleet, caller: Caller, request_id: str, bandwidth_id: str, body: UpdateBandwidthRequest
) -> UpdateBandwidthResponse:
    """Resize a shared bandwidth. Raises CPS.0115 unknown, CPS.0160 dedicated."""
    with fleet.database.write() as tx:
        share_type = tx.row(_SHARE_TYPE, of_bandwidth=bandwidth_id, of_project=caller.project_id)
        if share_type is None:
            raise CphError("CPS.0115", f"band_width_id {bandwidth_id} does not exist in this project")
        if share_type != SHARED:
            raise CphError("CPS.0160", f"band_width_id {bandwidth_id} is the dedicated bandwidth of one server")
        tx.run(_RESIZE, of_bandwidth=bandwidth_id, new_size=body.band_width_size, now=now_ms())
        revisions.bump(tx, NETWORK)  # the gateways shape by it
    return UpdateBandwidthResponse(request_id=request_id)
