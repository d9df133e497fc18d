"""The hosts phones run on: the rows of `hosts`, from the operator's catalogue file or else one per zone of this machine."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, case, delete, func, insert, select, update

from opencph.fleet.catalogue import Catalogue
from opencph.fleet.times import now_ms
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Query, Transaction, Value, command, scalar

_h = tables.hosts.c

_HOST_IDS: Query[str] = Query(select(_h.host_id), scalar)
_INSERT = command(
    insert(tables.hosts).values(
        {name: bindparam(name) for name in _h.keys() if name != "drained"}  # noqa: SIM118 - a column collection, not a dict
    )
)
_UPDATE = command(
    update(tables.hosts)
    .where(_h.host_id == bindparam("of_host"))
    .values(
        availability_zone=bindparam("availability_zone"),
        runtime=bindparam("runtime"),
        phone_capacity=bindparam("phone_capacity"),
        server_capacity=bindparam("server_capacity"),
        state=case((_h.drained == 1, "draining"), else_=bindparam("state")),
    )
)
_DRAIN = command(update(tables.hosts).where(_h.host_id == bindparam("of_host")).values(state="draining"))
_DELETE = command(delete(tables.hosts).where(_h.host_id == bindparam("of_host")))
_GENERATIONS_ON: Query[int] = Query(
    select(func.count()).select_from(tables.generations).where(tables.generations.c.host_id == bindparam("of_host")), scalar
)


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A host as it should be."""

    host_id: str
    availability_zone: str
    runtime: str
    phone_capacity: int
    server_capacity: int
    state: str


def zones_of(settings: Settings) -> list[str]:
    """The availability zones of this machine, the default one first."""
    return [zone.strip() for zone in settings.availability_zones.split(",") if zone.strip()]


def wanted_hosts(settings: Settings, catalogue: Catalogue) -> list[HostEntry]:
    """The hosts there should be: those of the operator's file, or else this machine divided evenly among its zones.

    What does not divide goes to the first zones, so that the sum is exactly `host_phones` and `host_servers`.
    """
    if catalogue.hosts:
        return [
            HostEntry(
                host_id,
                host.availability_zone,
                host.runtime or settings.runtime,
                host.phone_capacity,
                host.server_capacity,
                host.state,
            )
            for host_id, host in catalogue.hosts.items()
        ]
    zones = zones_of(settings)
    phones, servers = _shares(settings.host_phones, len(zones)), _shares(settings.host_servers, len(zones))
    return [
        HostEntry(f"host-{zone}", zone, settings.runtime, phones[place], servers[place], "active")
        for place, zone in enumerate(zones)
    ]


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (1 if place < total % parts else 0) for place in range(parts)]


def sync_hosts(tx: Transaction, settings: Settings, catalogue: Catalogue) -> None:
    """Make the rows of `hosts` what `wanted_hosts` says. Called at every start.

    A host that is no longer wanted is deleted when nothing runs on it, else `draining`: what is there goes on, nothing new comes.
    """
    tx.lock("placement")
    present = set(tx.rows(_HOST_IDS))
    for host in wanted_hosts(settings, catalogue):
        values: dict[str, Value] = {
            "availability_zone": host.availability_zone,
            "runtime": host.runtime,
            "phone_capacity": host.phone_capacity,
            "server_capacity": host.server_capacity,
            "state": host.state,
        }
        if host.host_id in present:
            tx.run(_UPDATE, of_host=host.host_id, **values)
        else:
            tx.run(_INSERT, host_id=host.host_id, create_ms=now_ms(), **values)
        present.discard(host.host_id)
    for host_id in present:
        tx.run(_DRAIN if tx.row(_GENERATIONS_ON, of_host=host_id) else _DELETE, of_host=host_id)
