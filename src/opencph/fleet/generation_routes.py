"""What a generation is to the gateway: its addresses, mappings and key. Reading only; `generations` makes and removes the rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import FromClause, Select, bindparam, func, select

from opencph.fleet import addresses
from opencph.fleet.generation_specs import StoredPort, stored_ports
from opencph.runtimes import ADB_PORT
from opencph.store import tables
from opencph.store.database import Query, Transaction, scalar

_g, _a, _kept = tables.generations.c, tables.server_addresses.c, tables.kept_public_keys.c
SERVING = "serving"


class RoutedAddress(NamedTuple):
    """A VIP and what is bound to it. `number` 0, 1, ...: phones number * phone_count_per_ip + 1 and on.

    The bandwidth is the EIP's own, which counts where the generation has none.
    """

    number: int
    server_ip: str
    server_ipv6: str | None
    public_ip: str | None
    bandwidth_id: str | None
    bandwidth_mbit: int | None


class Mapping(NamedTuple):
    """Connections to `listen_ip:listen_port` end at `phone_ip:phone_port`. `public`: on an EIP, else on a VIP."""

    listen_ip: str
    listen_port: int
    phone_ip: str
    phone_port: int
    public: bool


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A generation that serves, as the gateway needs it."""

    generation_id: str
    server_id: str
    project_id: str
    phone_count: int
    phone_count_per_ip: int
    phone_ip_first: int  # IPv4 as a number; phone n has phone_ip_first + n - 1
    ports: tuple[StoredPort, ...]
    public_key: str | None  # OpenSSH form; None: no key pair, no SSH
    bandwidth_id: str | None
    bandwidth_mbit: int | None
    addresses: tuple[RoutedAddress, ...]

    def mappings(self) -> Iterator[Mapping]:
        """Every IPv4 mapping: adb on the VIP, declared ports on the VIP and, when internet-accessible, on the EIP."""
        declared = tuple((index, port.listen_port, port.internet_accessible) for index, port in enumerate(self.ports, 1))
        for number, ip in addresses.numbered_ips(self.phone_ip_first, self.phone_count):
            vip = self.addresses[(number - 1) // self.phone_count_per_ip]
            phone_ip = addresses.ip_text(ip)
            base = addresses.access_port(number, self.phone_count_per_ip, len(declared), 0)
            yield Mapping(vip.server_ip, base, phone_ip, ADB_PORT, public=False)
            for index, listen_port, internet_accessible in declared:
                yield Mapping(vip.server_ip, base + index, phone_ip, listen_port, public=False)
                if internet_accessible and vip.public_ip is not None:
                    yield Mapping(vip.public_ip, base + index, phone_ip, listen_port, public=True)


class _RouteRow(NamedTuple):
    generation_id: str
    server_id: str
    project_id: str
    phone_count: int
    phone_count_per_ip: int
    phone_ip_first: int
    ports: str
    public_key: str | None
    bandwidth_id: str | None
    bandwidth_mbit: int | None


class _AddressRow(NamedTuple):
    generation_id: str
    number: int
    server_ip: str
    server_ipv6: str | None
    public_ip: str | None
    bandwidth_id: str | None
    bandwidth_mbit: int | None


_serving = tables.servers.join(tables.generations, tables.servers.c.generation_id == _g.generation_id)


def _routes(of: FromClause) -> Select[Any]:
    return select(
        _g.generation_id,
        _g.server_id,
        _g.project_id,
        _g.phone_count,
        _g.phone_count_per_ip,
        _g.phone_ip_first,
        _g.ports,
        func.coalesce(_kept.public_key, tables.keypairs.c.public_key),
        _g.bandwidth_id,
        tables.bandwidths.c.size_mbit,
    ).select_from(
        of.outerjoin(
            tables.keypairs,
            (tables.keypairs.c.project_id == _g.project_id) & (tables.keypairs.c.name == _g.keypair_name),
        )
        .outerjoin(tables.kept_public_keys, (_kept.generation_id == _g.generation_id) & (_kept.keypair_name == _g.keypair_name))
        .outerjoin(tables.bandwidths, tables.bandwidths.c.bandwidth_id == _g.bandwidth_id)
    )


def _routed_addresses(of: FromClause) -> Select[Any]:
    return select(
        _a.generation_id,
        _a.number,
        _a.server_ip,
        _a.server_ipv6,
        tables.eips.c.address,
        tables.bandwidths.c.bandwidth_id,
        tables.bandwidths.c.size_mbit,
    ).select_from(
        of.join(tables.server_addresses, _a.generation_id == _g.generation_id)
        .outerjoin(tables.eips, tables.eips.c.eip_id == _a.eip_id)
        .outerjoin(tables.bandwidths, tables.bandwidths.c.bandwidth_id == tables.eips.c.bandwidth_id)
    )


_of_one = _g.generation_id == bindparam("of_generation")
_ROUTES = Query(_routes(_serving).where(_g.state == SERVING).order_by(tables.servers.c.seq), _RouteRow)
_ROUTED_ADDRESSES = Query(_routed_addresses(_serving).where(_g.state == SERVING).order_by(_a.generation_id, _a.number), _AddressRow)
_of_server = tables.generations.alias("of_server")
_SERVED: Query[str] = Query(
    select(tables.servers.c.generation_id)
    .select_from(_of_server.join(tables.servers, tables.servers.c.server_id == _of_server.c.server_id))
    .where(_of_server.c.generation_id == bindparam("of_generation")),
    scalar,
)
_ROUTE = Query(_routes(tables.generations).where(_of_one), _RouteRow)
_ADDRESSES_OF_ROUTE = Query(_routed_addresses(tables.generations).where(_of_one).order_by(_a.number), _AddressRow)


def mappings(tx: Transaction) -> list[Route]:
    """Every generation that serves, with addresses, ports and key: all the gateway has to know, in two statements."""
    by_generation: dict[str, list[RoutedAddress]] = defaultdict(list)
    for row in tx.rows(_ROUTED_ADDRESSES):
        by_generation[row.generation_id].append(RoutedAddress(*row[1:]))
    return [_route(row, by_generation[row.generation_id]) for row in tx.rows(_ROUTES)]


def route(tx: Transaction, generation_id: str) -> Route | None:
    """One generation as the gateway would see it, whether it serves or not; None when it is gone."""
    row = tx.row(_ROUTE, of_generation=generation_id)
    if row is None:
        return None
    rows = tx.rows(_ADDRESSES_OF_ROUTE, of_generation=generation_id)
    return _route(row, [RoutedAddress(*address[1:]) for address in rows])


def serving_before(tx: Transaction, generation_id: str) -> Route | None:
    """The generation that serves while this one of the same server is built: the gateway has its addresses open."""
    served = tx.row(_SERVED, of_generation=generation_id)
    return None if served is None or served == generation_id else route(tx, served)


def _route(row: _RouteRow, routed: list[RoutedAddress]) -> Route:
    return Route(
        generation_id=row.generation_id,
        server_id=row.server_id,
        project_id=row.project_id,
        phone_count=row.phone_count,
        phone_count_per_ip=row.phone_count_per_ip,
        phone_ip_first=row.phone_ip_first,
        ports=stored_ports(row.ports),
        public_key=row.public_key,
        bandwidth_id=row.bandwidth_id,
        bandwidth_mbit=row.bandwidth_mbit,
        addresses=tuple(routed),
    )
