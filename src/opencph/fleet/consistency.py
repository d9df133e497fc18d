"""Rows that contradict each other, as after a hand in the database or the restoring of an old backup: found, put right or told.

Nothing here asks the runtime; what it has and the rows do not, or the other way round, is `reconcile`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, bindparam, exists, func, not_, select, update

from opencph.fleet import Fleet, findings, generations, orders
from opencph.fleet.filters import among
from opencph.fleet.statuses import SERVER_STATES, PhoneStatus, ServerStatus
from opencph.fleet.times import now_ms
from opencph.jobs import RUNNING
from opencph.store import tables
from opencph.store.database import Query, Transaction, command, in_list, json_list, scalar

#: Servers that some job works on, and what they are without that job.
_AFTER: Mapping[int, int] = {
    ServerStatus.CREATING: ServerStatus.ABNORMAL,
    ServerStatus.CHANGING: ServerStatus.NORMAL,
    ServerStatus.DELETED: ServerStatus.ABNORMAL,
    ServerStatus.STARTING: ServerStatus.NORMAL,
}
_SETTLED = (ServerStatus.NORMAL, ServerStatus.ABNORMAL, ServerStatus.FROZEN)
_AT_WORK = (PhoneStatus.CREATING, PhoneStatus.RESETTING, PhoneStatus.RESTARTING, PhoneStatus.STOPPING)
#: Rows of one kind that are looked at in one round.
_MOST = 1_000


class _Stuck(NamedTuple):
    server_id: str
    status: int
    generation_id: str
    state: str | None


class _Pair(NamedTuple):
    """Something, and the server that it is about."""

    name: str
    server_id: str


class _Found(msgspec.Struct, frozen=True):
    """What a look through the rows found."""

    stuck: list[_Stuck]  # servers on which no job works though they say so
    stuck_phones: list[_Pair]
    pointing_nowhere: list[_Pair]  # servers whose generation has no row
    serverless: list[_Pair]  # generations whose server has no row
    few_phones: list[_Pair]  # generations that have not the phones they say
    no_eip: list[_Pair]  # addresses that name an EIP which has no row
    no_bandwidth: list[_Pair]
    left_behind: list[str]  # ids of generations without a row that other rows name, and no server


_g, _s, _p, _j = tables.generations.c, tables.servers.c, tables.phones.c, tables.jobs.c
_a, _e, _b = tables.server_addresses.c, tables.eips.c, tables.bandwidths.c


def _is_worked_on(server_id: ColumnElement[str]) -> ColumnElement[bool]:
    return exists().where(_j.status == RUNNING, _j.lane == server_id)


_STUCK: Query[_Stuck] = Query(
    select(_s.server_id, _s.status, _s.generation_id, _g.state)
    .join(tables.generations, _g.generation_id == _s.generation_id, isouter=True)
    .where(among(_s.status, _AFTER), not_(_is_worked_on(_s.server_id)))
    .limit(_MOST),
    _Stuck,
)
_JOBS_NAMING: Query[int] = Query(
    select(func.count()).select_from(tables.jobs).where(_j.status == RUNNING, _j.payload.contains(bindparam("name"))), scalar
)
_STUCK_PHONES: Query[_Pair] = Query(
    select(_p.phone_id, _p.server_id)
    .join(tables.servers, _s.generation_id == _p.generation_id)
    .where(among(_p.status, _AT_WORK), among(_s.status, _SETTLED), not_(_is_worked_on(_s.server_id)))
    .limit(_MOST),
    _Pair,
)
_POINTING_NOWHERE: Query[_Pair] = Query(
    select(_s.generation_id, _s.server_id).where(not_(exists().where(_g.generation_id == _s.generation_id))).limit(_MOST), _Pair
)
_SERVERLESS: Query[_Pair] = Query(
    select(_g.generation_id, _g.server_id).where(not_(exists().where(_s.server_id == _g.server_id))).limit(_MOST), _Pair
)
_FEW_PHONES: Query[_Pair] = Query(
    select(_g.generation_id, _g.server_id)
    .join(tables.servers, _s.generation_id == _g.generation_id)
    .where(
        select(func.count())
        .select_from(tables.phones)
        .where(_p.generation_id == _g.generation_id)
        .correlate(tables.generations)
        .scalar_subquery()
        != _g.phone_count
    )
    .limit(_MOST),
    _Pair,
)
_NO_EIP: Query[_Pair] = Query(
    select(_a.server_ip, _g.server_id)
    .join(tables.generations, _g.generation_id == _a.generation_id)
    .where(_a.eip_id.is_not(None), not_(exists().where(_e.eip_id == _a.eip_id)))
    .limit(_MOST),
    _Pair,
)
_NO_BANDWIDTH: Query[_Pair] = Query(
    select(_g.bandwidth_id, _g.server_id)
    .where(_g.bandwidth_id.is_not(None), not_(exists().where(_b.bandwidth_id == _g.bandwidth_id)))
    .limit(_MOST),
    _Pair,
)
_NAMING_NO_GENERATION: tuple[Query[str], ...] = tuple(
    Query(
        select(column)
        .where(
            column.is_not(None),
            not_(exists().where(_g.generation_id == column)),
            not_(exists().where(_s.generation_id == column)),
        )
        .distinct()
        .limit(_MOST),
        scalar,
    )
    for column in (_p.generation_id, _a.generation_id, _e.generation_id, _b.generation_id)
)
_SERVER_STATUS = command(
    update(tables.servers)
    .where(_s.server_id == bindparam("of_server"), _s.status == bindparam("old_status"))
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_CREATION_FAILED = command(
    update(tables.phones)
    .where(_p.generation_id == bindparam("of_generation"), _p.status == PhoneStatus.CREATING)
    .values(status=PhoneStatus.CREATE_FAILED, update_ms=bindparam("now"))
)
_PHONES_ABNORMAL = command(
    update(tables.phones)
    .where(in_list(_p.phone_id, "phone_ids"), among(_p.status, _AT_WORK))
    .values(status=PhoneStatus.ABNORMAL, update_ms=bindparam("now"))
)


def check(fleet: Fleet) -> set[str]:
    """Look through the rows once; put right what can be, and write down all that was found.

    Returns the servers that stay abnormal (2) until an operator has put them right. Raises StoreError.
    """
    with fleet.database.read() as tx:
        if not _count(_look(tx)):
            return set()
    with fleet.database.write() as tx:
        tx.lock("placement")
        found = _look(tx)  # what was a contradiction a moment ago may have been one moment's
        _put_right(tx, found)
        _tell(tx, found)
        return {pair.server_id for pair in (*found.pointing_nowhere, *found.few_phones)}


def _look(tx: Transaction) -> _Found:
    # a deletion of several servers is one job in the lane of the first: the others are named by it
    stuck = [row for row in tx.rows(_STUCK) if not tx.row(_JOBS_NAMING, name=row.server_id)]
    return _Found(
        stuck=stuck,
        stuck_phones=tx.rows(_STUCK_PHONES),
        pointing_nowhere=tx.rows(_POINTING_NOWHERE),
        serverless=tx.rows(_SERVERLESS),
        few_phones=tx.rows(_FEW_PHONES),
        no_eip=tx.rows(_NO_EIP),
        no_bandwidth=tx.rows(_NO_BANDWIDTH),
        left_behind=sorted({generation_id for query in _NAMING_NO_GENERATION for generation_id in tx.rows(query)}),
    )


def _count(found: _Found) -> int:
    rows: Iterable[list[Any]] = msgspec.structs.astuple(found)
    return sum(map(len, rows))


def _put_right(tx: Transaction, found: _Found) -> None:
    now = now_ms()
    for row in found.stuck:
        new = ServerStatus.NORMAL if row.state == "serving" and row.status == ServerStatus.CREATING else _AFTER[row.status]
        tx.run(_SERVER_STATUS, of_server=row.server_id, old_status=row.status, new_status=new, now=now)
        if new == ServerStatus.ABNORMAL and row.status == ServerStatus.CREATING:
            tx.run(_CREATION_FAILED, of_generation=row.generation_id, now=now)
            orders.settle(tx, [row.server_id], orders.PURCHASE, delivered=False)
        state = SERVER_STATES.get(row.status, row.status)
        told = f"server {row.server_id} was {state} ({row.status}) and no job works on it: it is {SERVER_STATES[new]} ({new}) now"
        findings.report(tx, "contradiction", told, row.server_id)
    if found.stuck_phones:
        tx.run(_PHONES_ABNORMAL, phone_ids=json_list(phone.name for phone in found.stuck_phones), now=now)
        for server_id in sorted({phone.server_id for phone in found.stuck_phones}):
            count = sum(phone.server_id == server_id for phone in found.stuck_phones)
            told = f"{count} phones of server {server_id} were at work and no job works on them: they are abnormal (-7) now"
            findings.report(tx, "contradiction", told, server_id)
    for generation_id in found.left_behind:
        generations.delete_rows(tx, generation_id)
        told = f"rows of generation {generation_id}, which does not exist, are deleted; EIPs of the user's own are free again"
        findings.report(tx, "removed", told)


def _tell(tx: Transaction, found: _Found) -> None:
    """What nobody but an operator can put right. A server that has not all it needs is abnormal (2)."""
    now = now_ms()
    why = {
        "the generation {name} that serves it has no row: restore the database, or delete the server": found.pointing_nowhere,
        "its generation {name} has not all its phones in the database: restore it, or change the server": found.few_phones,
        "its address {name} is bound to an EIP that has no row: restore the database, or change the server": found.no_eip,
        "its bandwidth {name} has no row: restore the database, or change the server": found.no_bandwidth,
    }
    for text, pairs in why.items():
        for pair in pairs:
            findings.report(tx, "contradiction", f"server {pair.server_id}: {text.format(name=pair.name)}", pair.server_id)
    for pair in (*found.pointing_nowhere, *found.few_phones):
        abnormal = ServerStatus.ABNORMAL
        tx.run(_SERVER_STATUS, of_server=pair.server_id, old_status=ServerStatus.NORMAL, new_status=abnormal, now=now)
    for pair in found.serverless:
        told = (
            f"generation {pair.name} belongs to server {pair.server_id}, which has no row: restore the database; its data is kept"
        )
        findings.report(tx, "contradiction", told, pair.server_id)
