"""Servers as their owner sees them: list, detail and name. What a server shows is its row and the generation it points at."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, func, literal_column, select, update

from opencph.fleet.filters import contains, fuzzy, given
from opencph.fleet.ids import default_security_group_id
from opencph.fleet.statuses import ServerStatus
from opencph.fleet.times import now_ms, utc_text
from opencph.store import tables
from opencph.store.database import Query, StoreConflictError, Transaction, Value, command, in_list, json_list, scalar
from opencph.wire.errors import CphError
from opencph.wire.server_actions import UpdateServerNameRequest, UpdateServerNameResponse
from opencph.wire.servers import (
    Address,
    ListCloudPhoneServersQuery,
    ListCloudPhoneServersResponse,
    Metadata,
    ServerBandWidth,
    ServerItem,
    ShareVolumeInfo,
    ShowCloudPhoneServerDetailResponse,
    Volume,
)

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

NETWORK_VERSION = "v2"  # every server has a tenant VPC
SHARED_STORAGE_VERSION = 1  # 2.0

_s, _g, _a, _b = tables.servers.c, tables.generations.c, tables.server_addresses.c, tables.bandwidths.c


class _ServerRow(NamedTuple):
    server_id: str
    name: str
    status: int
    generation_id: str
    order_id: str
    product_id: str
    charging_mode: int
    enterprise_project_id: str
    create_ms: int
    update_ms: int
    availability_zone: str
    server_model_name: str
    phone_model_name: str
    keypair_name: str | None
    vpc_id: str
    subnet_id: str
    bandwidth_id: str | None
    data_volume_type: str | None
    data_volume_gib: int | None
    share_volume_type: str | None
    share_volume_gib: int | None
    generation_create_ms: int
    vpc_cidr: str
    subnet_cidr: str


class _AddressRow(NamedTuple):
    generation_id: str
    server_ip: str
    public_ip: str | None


class _BandwidthRow(NamedTuple):
    name: str
    bandwidth_id: str
    size_mbit: int
    charge_mode: int
    share_type: int
    create_ms: int
    update_ms: int


_with_generation = tables.servers.outerjoin(tables.generations, _g.generation_id == _s.generation_id)


def _or_empty(column: ColumnElement[str]) -> ColumnElement[str]:
    return func.coalesce(column, literal_column("''"))


# A server whose generation has no row, as after a row was restored alone, is shown with what is known of it, and can be deleted.
_servers = select(
    _s.server_id,
    _s.name,
    _s.status,
    _s.generation_id,
    _s.order_id,
    _s.product_id,
    _s.charging_mode,
    _s.enterprise_project_id,
    _s.create_ms,
    _s.update_ms,
    _or_empty(_g.availability_zone),
    _or_empty(_g.server_model_name),
    _or_empty(_g.phone_model_name),
    _g.keypair_name,
    _or_empty(_g.vpc_id),
    _or_empty(_g.subnet_id),
    _g.bandwidth_id,
    _g.data_volume_type,
    _g.data_volume_gib,
    _g.share_volume_type,
    _g.share_volume_gib,
    _g.create_ms,
    _or_empty(tables.vpcs.c.cidr),
    _or_empty(tables.subnets.c.cidr),
).select_from(
    _with_generation.outerjoin(tables.vpcs, tables.vpcs.c.vpc_id == _g.vpc_id).outerjoin(
        tables.subnets, tables.subnets.c.subnet_id == _g.subnet_id
    )
)
_DETAIL = Query(_servers.where(_s.server_id == bindparam("server_id"), _s.project_id == bindparam("project_id")), _ServerRow)
_ADDRESSES = Query(
    select(_a.generation_id, _a.server_ip, tables.eips.c.address)
    .select_from(tables.server_addresses.outerjoin(tables.eips, tables.eips.c.eip_id == _a.eip_id))
    .where(in_list(_a.generation_id, "generation_ids"))
    .order_by(_a.generation_id, _a.number),
    _AddressRow,
)
_BANDWIDTH = Query(
    select(_b.name, _b.bandwidth_id, _b.size_mbit, _b.charge_mode, _b.share_type, _b.create_ms, _b.update_ms).where(
        _b.bandwidth_id == bindparam("bandwidth_id")
    ),
    _BandwidthRow,
)

_RENAME = command(
    update(tables.servers)
    .where(_s.server_id == bindparam("of_server"), _s.project_id == bindparam("of_project"), _s.status != ServerStatus.DELETED)
    .values(name=bindparam("new_name"), update_ms=bindparam("now"))
)

_FILTERS: dict[str, ColumnElement[bool]] = {
    "server_name": contains(_s.name, "server_name"),
    "server_id": _s.server_id == bindparam("server_id"),
    "phone_model_name": _g.phone_model_name == bindparam("phone_model_name"),
    "since_ms": _s.create_ms >= bindparam("since_ms"),
    "until_ms": _s.create_ms <= bindparam("until_ms"),
    "status": _s.status == bindparam("status"),
}


@lru_cache(maxsize=128)
def _list_queries(filters: frozenset[str]) -> tuple[Query[_ServerRow], Query[int]]:
    """The page and the count, for a set of filters."""
    conditions = [_s.project_id == bindparam("project_id"), *(_FILTERS[name] for name in sorted(filters))]
    source = _with_generation if "phone_model_name" in filters else tables.servers
    found = select(_s.seq).select_from(source).where(*conditions)  # a deep page skips over these alone
    seqs = found.order_by(_s.seq.desc()).limit(bindparam("limit")).offset(bindparam("offset")).subquery("page")
    page = _servers.where(_s.seq.in_(select(seqs.c.seq))).order_by(_s.seq.desc())
    return Query(page, _ServerRow), Query(select(func.count()).select_from(source).where(*conditions), scalar)


def list_cloud_phone_servers(
    fleet: Fleet, caller: Caller, request_id: str, query: ListCloudPhoneServersQuery
) -> ListCloudPhoneServersResponse:
    """A page of the project's servers, newest first (cph-api.md section 4, number 3)."""
    if query.network_version not in (None, NETWORK_VERSION):
        return ListCloudPhoneServersResponse(request_id=request_id, count=0, servers=[])
    used: dict[str, Value] = given(
        server_name=None if query.server_name is None else fuzzy(query.server_name),
        server_id=query.server_id,
        phone_model_name=query.phone_model_name,
        since_ms=None if query.create_since is None else query.create_since * 1000,
        until_ms=None if query.create_until is None else query.create_until * 1000 + 999,
        status=query.status,
    )
    page, total = _list_queries(frozenset(used))
    with fleet.database.read() as tx:
        rows = tx.rows(page, project_id=caller.project_id, limit=query.limit, offset=query.offset, **used)
        count = tx.row(total, project_id=caller.project_id, **used) or 0
        addresses = _addresses(tx, [row.generation_id for row in rows])
    return ListCloudPhoneServersResponse(
        request_id=request_id, count=count, servers=[_item(row, addresses[row.generation_id]) for row in rows]
    )


def show_cloud_phone_server_detail(
    fleet: Fleet, caller: Caller, request_id: str, server_id: str
) -> ShowCloudPhoneServerDetailResponse:
    """One server (cph-api.md section 4, number 4). Raises CPS.0015 when the project has none of that id."""
    with fleet.database.read() as tx:
        row = tx.row(_DETAIL, server_id=server_id, project_id=caller.project_id)
        if row is None:
            raise CphError("CPS.0015", f"server_id {server_id} does not exist in this project")
        addresses = _addresses(tx, [row.generation_id])[row.generation_id]
        bandwidth = None if row.bandwidth_id is None else tx.row(_BANDWIDTH, bandwidth_id=row.bandwidth_id)
    return ShowCloudPhoneServerDetailResponse(
        request_id=request_id,
        server_name=row.name,
        availability_zone=row.availability_zone,
        server_id=row.server_id,
        server_model_name=row.server_model_name,
        phone_model_name=row.phone_model_name,
        keypair_name=row.keypair_name or "",
        status=row.status,
        vpc_id=row.vpc_id,
        cidr=row.vpc_cidr,
        vpc_cidr=row.vpc_cidr,
        subnet_id=row.subnet_id,
        subnet_cidr=row.subnet_cidr,
        resource_project_id="",  # there is no resource tenant beside the caller's own project
        metadata=_metadata(row),
        addresses=addresses,
        band_widths=[] if bandwidth is None else [_bandwidth(bandwidth)],
        volumes=_volumes(row),
        share_volume_info=_share_volume(row),
        network_version=NETWORK_VERSION,
        enterprise_project_id=row.enterprise_project_id,
        security_groups=[default_security_group_id(caller.project_id)],
        create_time=utc_text(row.create_ms),
        update_time=utc_text(row.update_ms),
    )


def update_server_name(
    fleet: Fleet, caller: Caller, request_id: str, server_id: str, body: UpdateServerNameRequest
) -> UpdateServerNameResponse:
    """Rename a server; its phones keep their names (cph-api.md section 4, number 5).

    Raises CPS.0015, and CPS.0087 for a name that another server of the project has.
    """
    try:
        with fleet.database.write() as tx:
            renamed = tx.run(_RENAME, of_server=server_id, of_project=caller.project_id, new_name=body.server_name, now=now_ms())
    except StoreConflictError:
        taken = f"server_name: this project has a server {body.server_name!r} already; choose another name"
        raise CphError("CPS.0087", taken) from None
    if not renamed:
        raise CphError("CPS.0015", f"server_id {server_id} does not exist in this project")
    return UpdateServerNameResponse(request_id=request_id)


def _addresses(tx: Transaction, generation_ids: list[str]) -> dict[str, list[Address]]:
    """The addresses of generations, first VIP first; expired fields carry the same values as the new ones."""
    found: dict[str, list[Address]] = defaultdict(list)
    for row in tx.rows(_ADDRESSES, generation_ids=json_list(generation_ids)):
        public_ip = row.public_ip or ""
        found[row.generation_id].append(
            Address(intranet_ip=row.server_ip, access_ip=public_ip, server_ip=row.server_ip, public_ip=public_ip)
        )
    return found


def _metadata(row: _ServerRow) -> Metadata:
    return Metadata(order_id=row.order_id, product_id=row.product_id, charging_mode=row.charging_mode)


def _item(row: _ServerRow, addresses: list[Address]) -> ServerItem:
    return ServerItem(
        server_name=row.name,
        server_id=row.server_id,
        server_model_name=row.server_model_name,
        phone_model_name=row.phone_model_name,
        keypair_name=row.keypair_name or "",
        status=row.status,
        vpc_id=row.vpc_id,
        cidr=row.vpc_cidr,
        vpc_cidr=row.vpc_cidr,
        subnet_id=row.subnet_id,
        subnet_cidr=row.subnet_cidr,
        addresses=addresses,
        resource_project_id="",
        metadata=_metadata(row),
        network_version=NETWORK_VERSION,
        enterprise_project_id=row.enterprise_project_id,
        availability_zone=row.availability_zone,
        create_time=utc_text(row.create_ms),
        update_time=utc_text(row.update_ms),
    )


def _bandwidth(row: _BandwidthRow) -> ServerBandWidth:
    return ServerBandWidth(
        band_width_name=row.name,
        band_width_id=row.bandwidth_id,
        band_width_size=row.size_mbit,
        band_width_charge_mode=row.charge_mode,
        band_width_share_type=row.share_type,
        create_time=utc_text(row.create_ms),
        update_time=utc_text(row.update_ms),
    )


def _volumes(row: _ServerRow) -> list[Volume]:
    """One volume when a phone data volume was asked for (Terraform insists on exactly one), else none. Its ids are derived from the
    generation, whose phones it carries."""
    if row.data_volume_type is None or row.data_volume_gib is None:
        return []
    digest = blake2b(f"volume {row.generation_id}".encode(), digest_size=16)
    time = utc_text(row.generation_create_ms)
    return [
        Volume(
            volume_name=f"VOLUME_{digest.hexdigest()}",
            volume_id=str(UUID(bytes=digest.digest(), version=4)),
            volume_size=row.data_volume_gib,
            volume_type=row.data_volume_type,
            create_time=time,
            update_time=time,
        )
    ]


def _share_volume(row: _ServerRow) -> ShareVolumeInfo | None:
    if row.share_volume_type is None or row.share_volume_gib is None:
        return None
    return ShareVolumeInfo(volume_type=row.share_volume_type, size=row.share_volume_gib, version=SHARED_STORAGE_VERSION)
