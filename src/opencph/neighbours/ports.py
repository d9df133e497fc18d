"""The ports of the VPC service: one for each VIP of a server, there as long as its generation. Only read; binding is `eip`'s.

A port's id is its generation's id and the VIP's number in one, so that no row is needed for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, or_, select

from opencph.fleet import Fleet
from opencph.fleet.ids import default_security_group_id, derived_uuid
from opencph.fleet.statuses import ServerStatus
from opencph.iam import Caller
from opencph.neighbours.paging import Page
from opencph.store import tables
from opencph.store.database import Query, Transaction
from opencph.wire.list_filters import ENTERPRISE_PROJECT, EVERY_ENTERPRISE_PROJECT, matching
from opencph.wire.service_errors import network_error
from opencph.wire.vpc import FixedIp, ListPortsResponse, Port, PortResponse
from opencph.wire.vpc_checks import BAD_PORT

NOT_FOUND = "VPC.0701"
ACTIVE, BUILD, DOWN = "ACTIVE", "BUILD", "DOWN"
SERVING, BUILDING = "serving", "building"
_NUMBER_BITS = 16  # of a port id that are the VIP's number
FIXED_IPS = "fixed_ips"
_FLAGS = ("admin_state_up", "enable_efi")

_a, _g, _s = tables.server_addresses.c, tables.generations.c, tables.servers.c


class Row(NamedTuple):
    """A VIP. `status` is its server's, None for one that has no row any more."""

    generation_id: str
    number: int
    server_id: str
    state: str
    subnet_id: str
    server_ip: str
    server_ipv6: str | None
    eip_id: str | None
    availability_zone: str
    ipv6_bandwidth_id: str | None
    status: int | None
    enterprise_project_id: str | None

    @property
    def port_id(self) -> str:
        """Its id."""
        return port_id(self.generation_id, self.number)


_rows = (
    select(
        *(_g.generation_id, _a.number, _g.server_id, _g.state, _a.subnet_id, _a.server_ip, _a.server_ipv6, _a.eip_id),
        *(_g.availability_zone, _g.ipv6_bandwidth_id, _s.status, _s.enterprise_project_id),
    )
    .select_from(
        tables.server_addresses.join(tables.generations, _g.generation_id == _a.generation_id).outerjoin(
            tables.servers, _s.server_id == _g.server_id
        )
    )
    .where(_g.project_id == bindparam("of_project"), or_(_g.state == SERVING, _g.state == BUILDING))
)
_ALL = Query(_rows, Row)
_NEAR = Query(_rows.where(_g.generation_id >= bindparam("first"), _g.generation_id <= bindparam("last")), Row)


def port_id(generation_id: str, number: int) -> str:
    """The port of a VIP: number 0, 1, ... of a generation."""
    return str(UUID(int=int(generation_id, 16) ^ number))


def find(tx: Transaction, caller: Caller, wanted: UUID) -> Row | None:
    """The VIP with a port id, of a generation that serves or is being built; None when the project has none."""
    first = wanted.int >> _NUMBER_BITS << _NUMBER_BITS
    last = first | (1 << _NUMBER_BITS) - 1
    near = tx.rows(_NEAR, of_project=caller.project_id, first=f"{first:032x}", last=f"{last:032x}")
    return next((row for row in near if row.port_id == str(wanted)), None)


def list_ports(fleet: Fleet, caller: Caller, page: Page) -> ListPortsResponse:
    """ListPorts, in the order of their ids. Raises 400 VPC.0702 for a filter that is malformed."""
    filters = dict(page.filters)
    for flag in _FLAGS:
        filters[flag] = [text.lower() for text in filters.pop(flag, ())]
        if not {"true", "false"}.issuperset(filters[flag]):
            raise network_error(400, BAD_PORT, f"{flag}: must be true or false")
    fixed_ips = _fixed_ip_filters(filters.pop(FIXED_IPS, ()))
    projects = set(filters.pop(ENTERPRISE_PROJECT, ()))
    with fleet.database.read() as tx:
        rows = tx.rows(_ALL, of_project=caller.project_id)
    ports = [
        _port(caller, row)
        for row in sorted(rows, key=lambda row: row.port_id)
        if row.port_id > page.marker
        and (not projects or not projects.isdisjoint((EVERY_ENTERPRISE_PROJECT, row.enterprise_project_id or "0")))
    ]
    asked = page._replace(filters={field: values for field, values in filters.items() if values})
    return ListPortsResponse(asked.of(port for port in ports if matching(port.fixed_ips, fixed_ips)))


def show_port(fleet: Fleet, caller: Caller, wanted: str) -> PortResponse:
    """ShowPort. Raises 404 VPC.0701."""
    try:
        found = UUID(wanted)
    except ValueError:
        found = None
    with fleet.database.read() as tx:
        row = None if found is None or str(found) != wanted.lower() else find(tx, caller, found)
    if row is None:
        raise network_error(404, NOT_FOUND, f"port {wanted[:64]!r} does not exist in this project")
    return PortResponse(_port(caller, row))


def _fixed_ip_filters(values: Collection[str]) -> Mapping[str, Sequence[str]]:
    """`ip_address=...` and `subnet_id=...`, each as often as one likes: one address of the port must fit both."""
    found: dict[str, list[str]] = {}
    for value in values:
        field, _, text = value.partition("=")
        if field not in FixedIp.__struct_fields__ or not text:
            raise network_error(400, BAD_PORT, "fixed_ips: must be ip_address=ADDRESS or subnet_id=ID")
        found.setdefault(field, []).append(text)
    return found


def _port(caller: Caller, row: Row) -> Port:
    fixed_ips = [FixedIp(derived_uuid("ipv4 subnet", row.subnet_id), row.server_ip)]
    if row.server_ipv6 is not None:
        fixed_ips.append(FixedIp(derived_uuid("ipv6 subnet", row.subnet_id), row.server_ipv6))
    return Port(
        id=row.port_id,
        network_id=row.subnet_id,
        fixed_ips=fixed_ips,
        device_id=row.server_id,
        device_owner=f"compute:{row.availability_zone}",
        tenant_id=caller.project_id,
        status=BUILD if row.state == BUILDING else DOWN if row.status == ServerStatus.STOPPED else ACTIVE,
        security_groups=[default_security_group_id(caller.project_id)],
        instance_id=row.server_id,
        zone_id=row.availability_zone,
        ipv6_bandwidth_id=row.ipv6_bandwidth_id,
    )
