"""Where a server goes: availability zones, and a host with room. Room is counted from the rows of `generations`, so decide and
reserve under one `tx.lock("placement")`."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select

from opencph.store import tables
from opencph.store.database import Query, Transaction
from opencph.wire.errors import CphError

_NO_CAPACITY = "CPS.0066"
_NO_ZONE = "CPS.0136"

_h, _g = tables.hosts.c, tables.generations.c
_use = (
    select(_g.host_id, func.count().label("servers"), func.sum(_g.phone_count).label("phones"))
    .group_by(_g.host_id)
    .subquery("used")
)


class HostRoom(NamedTuple):
    """A host, what it can carry and what it carries."""

    host_id: str
    availability_zone: str
    phone_capacity: int
    server_capacity: int
    servers_used: int
    phones_used: int

    def fits(self, phone_count: int) -> bool:
        """Whether one more server with so many phones has room."""
        return self.servers_used < self.server_capacity and self.phones_used + phone_count <= self.phone_capacity


_ROOM = Query(
    select(
        _h.host_id,
        _h.availability_zone,
        _h.phone_capacity,
        _h.server_capacity,
        func.coalesce(_use.c.servers, 0),
        func.coalesce(_use.c.phones, 0),
    )
    .select_from(tables.hosts.outerjoin(_use, _use.c.host_id == _h.host_id))
    .where(_h.state == "active")
    .order_by(_h.create_ms, _h.host_id),
    HostRoom,
)


class Placement:
    """The active hosts with their room, as this transaction sees them; `take` counts what the caller is about to reserve."""

    def __init__(self, tx: Transaction) -> None:
        self.hosts = [row._replace(servers_used=int(row.servers_used), phones_used=int(row.phones_used)) for row in tx.rows(_ROOM)]
        self._found = tuple(self.hosts)

    def check_zone(self, availability_zone: str) -> None:
        """Raises CPS.0136 when no active host is in the zone."""
        zones = sorted({host.availability_zone for host in self.hosts})
        if availability_zone not in zones:
            raise CphError(
                _NO_ZONE, f"availability_zone {availability_zone!r} is unknown; use one of {', '.join(zones) or '(none)'}"
            )

    def take(self, phone_count: int, availability_zone: str | None, zones: list[str], avoid_host: str | None = None) -> HostRoom:
        """A host for one more server: in the zone, or without one in the first of `zones` that has room; the emptiest host there,
        and `avoid_host` only when no other has room. Raises CPS.0066.
        """
        order = [availability_zone] if availability_zone is not None else zones
        candidates = [host for host in self.hosts if host.fits(phone_count) and host.availability_zone in order]
        if not candidates:
            raise CphError(_NO_CAPACITY, self._full(phone_count, order))
        best = min(
            candidates,
            key=lambda host: (host.host_id == avoid_host, order.index(host.availability_zone), host.phones_used, host.host_id),
        )
        place = self.hosts.index(best)
        self.hosts[place] = best._replace(servers_used=best.servers_used + 1, phones_used=best.phones_used + phone_count)
        return best

    def _full(self, phone_count: int, zones: list[str]) -> str:
        free = "; ".join(
            f"{host.host_id} has room for {max(host.phone_capacity - host.phones_used, 0)} phones"
            f" and {max(host.server_capacity - host.servers_used, 0)} servers"
            for host in self._found
            if host.availability_zone in zones
        )
        taken = sum(host.servers_used for host in self.hosts) - sum(host.servers_used for host in self._found)
        more = f" beside the {taken} before it in this call" if taken else ""
        where = " or ".join(zones)
        return f"no host in {where} has room for a server of {phone_count} phones{more} ({free or 'no host is active there'})"
