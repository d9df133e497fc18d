"""Rows that contradict each other, as after a hand in the database or the restoring of an old backup: found, put right or told.

Nothing here asks the runtime; what it has and the rows do not, or the other way round, is `reconcile`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, exists, func, not_, or_, select, update

from opencph.fleet import Fleet, findings, generations, orders
from opencph.fleet.addresses import ip_text, phone_ipv6
from opencph.fleet.filters import among
from opencph.fleet.generation_routes import SERVING
from opencph.fleet.statuses import SERVER_STATES, PhoneStatus, ServerStatus
from opencph.fleet.times import now_ms
from opencph.jobs import RUNNING
from opencph.store import revisions, tables
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
#: What a phone of a server that was made may be without a job.
_LASTING = (
    PhoneStatus.RUNNING,
    PhoneStatus.STOPPED,
    PhoneStatus.FROZEN,
    PhoneStatus.ABNORMAL,
    PhoneStatus.RESET_FAILED,
    PhoneStatus.RESTART_FAILED,
    PhoneStatus.STOP_FAILED,
)
#: Rows of one kind that are looked at in one round.
_MOST = 1_000
_LAST_IP = 2**32 - 1


class _Stuck(NamedTuple):
    server_id: str
    status: int
    generation_id: str
    state: str | None


class _Pair(NamedTuple):
    """Something, and the server that it is about."""

    name: str
    server_id: str


class _PhoneRow(NamedTuple):
    """A phone, and what its generation says of it."""

    phone_id: str
    number: int
    server_id: str
    project_id: str
    phone_ip: str
    phone_ipv6: str | None
    generation_id: str
    phone_count: int
    phone_ip_first: int
    ipv6_enable: int
    own_server_id: str
    own_project_id: str

    @property
    def own_ip(self) -> str:
        """The address that its number has in the block of the generation: the one that it listens on."""
        return ip_text(self.phone_ip_first + self.number - 1)

    @property
    def own_ipv6(self) -> str | None:
        return phone_ipv6(self.phone_ip_first + self.number - 1) if self.ipv6_enable else None

    @property
    def is_own(self) -> bool:
        """Whether it has its own addresses, server and project."""
        return (
            self.phone_ip == self.own_ip
            and self.phone_ipv6 == self.own_ipv6
            and (self.server_id, self.project_id) == (self.own_server_id, self.own_project_id)
        )


class _Found(msgspec.Struct, frozen=True):
    """What a look through the rows found."""

    stuck: list[_Stuck]  # servers on which no job works though they say so
    stuck_phones: list[_Pair]
    pointing_nowhere: list[_Pair]  # servers whose generation has no row
    serverless: list[_Pair]  # generations whose server has no row
    few_phones: list[_Pair]  # generations that have not the phones they say
    no_eip: list[_Pair]  # addresses that name an EIP which has no row
    no_bandwidth: list[_Pair]
    misled: list[_PhoneRow]  # phones with another's address, server or project
    other_block: list[_Pair]  # generations of which no phone has an address of the block
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
    .join(tables.generations, _g.generation_id == _p.generation_id, isouter=True)
    .where(
        or_(among(_p.status, _AT_WORK), and_(_g.state == SERVING, not_(among(_p.status, _LASTING)))),
        among(_s.status, _SETTLED),
        not_(_is_worked_on(_s.server_id)),
    )
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
_PHONES: Query[_PhoneRow] = Query(
    select(
        _p.phone_id,
        _p.number,
        _p.server_id,
        _p.project_id,
        _p.phone_ip,
        _p.phone_ipv6,
        _g.generation_id,
        _g.phone_count,
        _g.phone_ip_first,
        _g.ipv6_enable,
        _g.server_id,
        _g.project_id,
    ).join(tables.generations, _g.generation_id == _p.generation_id),
    _PhoneRow,
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
    .where(in_list(_p.phone_id, "phone_ids"), not_(among(_p.status, _LASTING)))
    .values(status=PhoneStatus.ABNORMAL, update_ms=bindparam("now"))
)
_PHONE_IS_OWN = command(
    update(tables.phones)
    .where(_p.phone_id == bindparam("of_phone"))
    .values(
        server_id=bindparam("own_server_id"),
        project_id=bindparam("own_project_id"),
        phone_ip=bindparam("own_ip"),
        phone_ipv6=bindparam("own_ipv6"),
        update_ms=bindparam("now"),
    )
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
    misled, other_block, misnumbered = _strayed(tx)
    few_phones = tx.rows(_FEW_PHONES)
    return _Found(
        stuck=stuck,
        stuck_phones=tx.rows(_STUCK_PHONES),
        pointing_nowhere=tx.rows(_POINTING_NOWHERE),
        serverless=tx.rows(_SERVERLESS),
        few_phones=[*few_phones, *(pair for pair in misnumbered if pair not in few_phones)],
        misled=misled,
        other_block=other_block,
        no_eip=tx.rows(_NO_EIP),
        no_bandwidth=tx.rows(_NO_BANDWIDTH),
        left_behind=sorted({generation_id for query in _NAMING_NO_GENERATION for generation_id in tx.rows(query)}),
    )


def _strayed(tx: Transaction) -> tuple[list[_PhoneRow], list[_Pair], list[_Pair]]:
    """Phones that have another's address, server or project; generations whose phones all have addresses that are not of their
    block; generations with phones of numbers that they have not."""
    misled: dict[str, list[_PhoneRow]] = {}
    misnumbered: set[_Pair] = set()
    elsewhere: set[_Pair] = set()
    for phone in tx.rows(_PHONES):
        if not 1 <= phone.number <= phone.phone_count:
            misnumbered.add(_Pair(phone.generation_id, phone.own_server_id))
        elif not 0 < phone.phone_ip_first <= _LAST_IP - phone.phone_count:
            elsewhere.add(_Pair(phone.generation_id, phone.own_server_id))
        elif not phone.is_own:
            misled.setdefault(phone.generation_id, []).append(phone)
    for generation_id, phones in list(misled.items()):
        if len(phones) == phones[0].phone_count > 1 and all(phone.phone_ip != phone.own_ip for phone in phones):
            elsewhere.add(_Pair(generation_id, phones[0].own_server_id))  # the block is what is wrong
            del misled[generation_id]
    return [phone for phones in misled.values() for phone in phones][:_MOST], sorted(elsewhere), sorted(misnumbered)


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
            told = f"{count} phones of server {server_id} were in a state that only a job gives, and have none: they are -7 now"
            findings.report(tx, "contradiction", told, server_id)
    for one in found.misled:
        own = {"own_server_id": one.own_server_id, "own_project_id": one.own_project_id}
        tx.run(_PHONE_IS_OWN, of_phone=one.phone_id, own_ip=one.own_ip, own_ipv6=one.own_ipv6, now=now, **own)
        told = (
            f"phone {one.phone_id} of server {one.own_server_id} had another's address, server or project ({one.phone_ip}, "
            f"{one.server_id}, {one.project_id}): it has its own again, {one.own_ip}; restart it if it does not answer there"
        )
        findings.report(tx, "contradiction", told, one.own_server_id)
    if found.misled:
        revisions.bump(tx, generations.NETWORK)
        revisions.bump(tx, generations.SERVERS)
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
        "the phones of its generation {name} have other addresses than it says: restore the database, or change the server": (
            found.other_block
        ),
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
