"""Phones as their owner sees them: list and detail. Only phones of the generation a server points at are to be seen.

The detail is the hottest read of the platform: one statement for the phone itself, and the rest from `cards`. A list without
filter, or of one server, costs the same however many phones there are: `hints.phone_order` says where the page begins.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, bindparam, func, select

from opencph.fleet.addresses import access_port
from opencph.fleet.cards import READ_REVISION, REVISION, Card, card_of
from opencph.fleet.filters import contains, fuzzy, given
from opencph.fleet.hints import PhoneOrder
from opencph.fleet.images import version_of
from opencph.fleet.times import utc_text
from opencph.store import revisions, tables
from opencph.store.database import Query, Transaction, Value, scalar
from opencph.wire.errors import CphError
from opencph.wire.phones import (
    ListCloudPhonesQuery,
    ListCloudPhonesResponse,
    PhoneAccessInfo,
    PhoneDataVolume,
    PhoneItem,
    ShowCloudPhoneDetailResponse,
)

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller

ORDINARY = 0  # `type` of a phone; 1 would be a trial
PROJECTS_REMEMBERED = 256
SERVERS = "servers"  # the revision that moves when other phones are to be seen

_p, _s, _g = tables.phones.c, tables.servers.c, tables.generations.c


# --- detail ----------------------------------------------------------------------


class _Detail(NamedTuple):
    name: str
    server_id: str
    generation_id: str
    image_id: str
    status: int
    number: int
    phone_ip: str
    phone_ipv6: str | None
    property: str
    custom_property: str
    data_volume_gib: int
    imei: str
    traffic_type: str
    create_ms: int
    update_ms: int
    revision: int


_DETAIL = Query(
    select(
        _p.name,
        _p.server_id,
        _p.generation_id,
        _p.image_id,
        _p.status,
        _p.number,
        _p.phone_ip,
        _p.phone_ipv6,
        _p.property,
        _p.custom_property,
        _p.data_volume_gib,
        _p.imei,
        _p.traffic_type,
        _p.create_ms,
        _p.update_ms,
        REVISION,
    ).where(_p.phone_id == bindparam("phone_id"), _p.project_id == bindparam("project_id")),
    _Detail,
)


@lru_cache(maxsize=1024)
def _custom_property(text: str) -> dict[str, str]:
    return msgspec.json.decode(text, type=dict[str, str]) if text else {}


def access_infos(number: int, phone_ip: str, phone_ipv6: str | None, card: Card) -> list[PhoneAccessInfo]:
    """How each port of phone `number` is reached: `adb` and every declared port in its order (seed page, cph-api.md 10.4).

    Public addresses are given for internet-accessible ports only; IPv6 when the NIC has it.
    """
    ports, per_ip = card.ports, card.phone_count_per_ip
    server_ip, server_ipv6, eip = card.addresses[(number - 1) // per_ip]
    port = access_port(number, per_ip, len(ports) - 1, 0)
    infos: list[PhoneAccessInfo] = []
    for name, listen_port, public in ports:
        public_ip = eip if public else ""
        infos.append(
            PhoneAccessInfo(
                type=name,
                device_ip=phone_ip,
                phone_ip=phone_ip,
                listen_port=listen_port,
                access_ip=public_ip,
                public_ip=public_ip,
                intranet_ip=server_ip,
                server_ip=server_ip,
                access_port=port,
                phone_ipv6=phone_ipv6,
                server_ipv6=server_ipv6,
            )
        )
        port += 1
    return infos


def show_cloud_phone_detail(fleet: Fleet, caller: Caller, request_id: str, phone_id: str) -> ShowCloudPhoneDetailResponse:
    """One phone (seed page). Raises CPS.0005 when the project has none of that id to be seen."""
    row = fleet.database.row(_DETAIL, phone_id=phone_id, project_id=caller.project_id)
    card = None if row is None else card_of(fleet.database, fleet, row.generation_id, row.revision)
    if row is None or card is None:
        raise CphError("CPS.0005", f"phone_id {phone_id} does not exist in this project")
    return ShowCloudPhoneDetailResponse(
        request_id=request_id,
        phone_name=row.name,
        server_id=row.server_id,
        phone_id=phone_id,
        image_id=row.image_id,
        image_version=version_of(fleet.database, fleet, row.image_id),
        vnc_enable="false",
        phone_model_name=card.phone_model_name,
        status=row.status,
        access_infos=access_infos(row.number, row.phone_ip, row.phone_ipv6, card),
        property=row.property,
        custom_property=_custom_property(row.custom_property),
        metadata=card.metadata,
        phone_data_volume=PhoneDataVolume(volume_type=card.volume_type, volume_size=row.data_volume_gib),
        imei=row.imei,
        type=ORDINARY,
        traffic_type=row.traffic_type,
        volume_mode=card.volume_mode,
        availability_zone=card.availability_zone,
        has_encrypt=False,
        create_time=utc_text(row.create_ms),
        update_time=utc_text(row.update_ms),
    )


# --- list ------------------------------------------------------------------------


class _Item(NamedTuple):
    name: str
    server_id: str
    generation_id: str
    phone_id: str
    image_id: str
    status: int
    imei: str
    traffic_type: str
    create_ms: int
    update_ms: int


_items = select(
    _p.name,
    _p.server_id,
    _p.generation_id,
    _p.phone_id,
    _p.image_id,
    _p.status,
    _p.imei,
    _p.traffic_type,
    _p.create_ms,
    _p.update_ms,
)
_PAGE_OF_GENERATION = Query(
    _items.where(_p.generation_id == bindparam("generation_id"), _p.number <= bindparam("number"))
    .order_by(_p.number.desc())
    .limit(bindparam("limit")),
    _Item,
)


class _Run(NamedTuple):
    generation_id: str
    phone_count: int


_RUN_OF_SERVER = Query(
    select(_g.generation_id, _g.phone_count)
    .select_from(tables.servers.join(tables.generations, _g.generation_id == _s.generation_id))
    .where(_s.server_id == bindparam("server_id"), _s.project_id == bindparam("project_id")),
    _Run,
)
_RUNS = Query(
    select(_g.generation_id, _g.phone_count)
    .select_from(
        tables.servers.join(tables.generations, _g.generation_id == _s.generation_id).join(
            tables.phones, (_p.generation_id == _s.generation_id) & (_p.number == 1)
        )
    )
    .where(_s.project_id == bindparam("project_id"))
    .order_by(_p.seq.desc()),
    _Run,
)

_visible = tables.phones.join(tables.servers, _s.generation_id == _p.generation_id)
_FILTERS: dict[str, ColumnElement[bool]] = {
    "phone_name": contains(_p.name, "phone_name"),
    "server_id": _p.server_id == bindparam("server_id"),
    "status": _p.status == bindparam("status"),
}


@lru_cache(maxsize=16)
def _filtered_queries(filters: frozenset[str]) -> tuple[Query[_Item], Query[int]]:
    conditions = [_p.project_id == bindparam("project_id"), *(_FILTERS[name] for name in sorted(filters))]
    page = _items.select_from(_visible).where(*conditions).order_by(_p.seq.desc()).limit(bindparam("limit"))
    total = select(func.count()).select_from(_visible).where(*conditions)
    return Query(page.offset(bindparam("offset")), _Item), Query(total, scalar)


def list_cloud_phones(fleet: Fleet, caller: Caller, request_id: str, query: ListCloudPhonesQuery) -> ListCloudPhonesResponse:
    """A page of the project's phones, newest first: the latest generation's, its highest number first (section 4, number 15)."""
    if query.type not in (None, ORDINARY):
        return ListCloudPhonesResponse(request_id=request_id, count=0, phones=[])
    with fleet.database.read() as tx:
        if query.phone_name is not None or query.status is not None:
            count, rows = _filtered(tx, caller.project_id, query)
        elif query.server_id is not None:
            count, rows = _of_server(tx, caller.project_id, query.server_id, query)
        else:
            count, rows = _of_project(tx, fleet, caller.project_id, query)
        phones = _phones(tx, fleet, rows)
    return ListCloudPhonesResponse(request_id=request_id, count=count, phones=phones)


def _of_project(tx: Transaction, fleet: Fleet, project_id: str, query: ListCloudPhonesQuery) -> tuple[int, list[_Item]]:
    """The runs that the page touches, one after the other."""
    order = _order(tx, fleet, project_id)
    rows: list[_Item] = []
    place = bisect_right(order.before, query.offset) - 1
    offset = query.offset
    while place < len(order.generation_ids) and offset < order.total and len(rows) < query.limit:
        rows += tx.rows(
            _PAGE_OF_GENERATION,
            generation_id=order.generation_ids[place],
            number=order.phone_counts[place] - (offset - order.before[place]),
            limit=query.limit - len(rows),
        )
        place, offset = place + 1, query.offset + len(rows)
    return order.total, rows


def _order(tx: Transaction, fleet: Fleet, project_id: str) -> PhoneOrder:
    """The generations to be seen, newest first. Remembered until any server appears, changes or goes."""
    revision = revisions.read(tx, SERVERS)
    remembered = fleet.hints.phone_order.get(project_id)
    if remembered is not None and remembered.revision == revision:
        return remembered
    runs = tx.rows(_RUNS, project_id=project_id)
    counts = tuple(run.phone_count for run in runs)
    order = PhoneOrder(
        revision=revision,
        generation_ids=tuple(run.generation_id for run in runs),
        phone_counts=counts,
        before=tuple(accumulate(counts, initial=0))[:-1],
        total=sum(counts),
    )
    fleet.hints.remember(project_id, order, PROJECTS_REMEMBERED)
    return order


def _of_server(tx: Transaction, project_id: str, server_id: str, query: ListCloudPhonesQuery) -> tuple[int, list[_Item]]:
    run = tx.row(_RUN_OF_SERVER, server_id=server_id, project_id=project_id)
    if run is None:
        return 0, []
    number = run.phone_count - query.offset
    return run.phone_count, tx.rows(_PAGE_OF_GENERATION, generation_id=run.generation_id, number=number, limit=query.limit)


def _filtered(tx: Transaction, project_id: str, query: ListCloudPhonesQuery) -> tuple[int, list[_Item]]:
    used: dict[str, Value] = given(
        phone_name=None if query.phone_name is None else fuzzy(query.phone_name),
        server_id=query.server_id,
        status=query.status,
    )
    page, total = _filtered_queries(frozenset(used))
    rows = tx.rows(page, project_id=project_id, limit=query.limit, offset=query.offset, **used)
    return tx.row(total, project_id=project_id, **used) or 0, rows


def _phones(tx: Transaction, fleet: Fleet, rows: list[_Item]) -> list[PhoneItem]:
    revision = tx.row(READ_REVISION) or 0
    cards = {generation_id: card_of(tx, fleet, generation_id, revision) for generation_id in {row.generation_id for row in rows}}
    phones: list[PhoneItem] = []
    for row in rows:
        card = cards[row.generation_id]
        assert card is not None  # the same snapshot said that a server points at it
        phones.append(
            PhoneItem(
                phone_name=row.name,
                server_id=row.server_id,
                phone_id=row.phone_id,
                phone_model_name=card.phone_model_name,
                image_id=row.image_id,
                image_version=version_of(tx, fleet, row.image_id),
                vnc_enable="false",
                status=row.status,
                type=ORDINARY,
                imei=row.imei,
                traffic_type=row.traffic_type,
                volume_mode=card.volume_mode,
                availability_zone=card.availability_zone,
                metadata=card.metadata,
                has_encrypt=False,
                create_time=utc_text(row.create_ms),
                update_time=utc_text(row.update_ms),
            )
        )
    return phones
