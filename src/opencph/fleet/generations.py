"""Generations: reserve one, release one, make one serve. The rows *are* the reservation of quota, capacity and addresses; nothing
is counted anywhere else (docs/architecture.md, "Generations"). How others read them: `generation_specs`, `generation_routes`."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Table, bindparam, delete, insert, select, update
from sqlalchemy.sql.elements import BindParameter

from opencph.fleet import addresses
from opencph.fleet.addresses import Subnet
from opencph.fleet.generation_routes import SERVING, Mapping, Route, RoutedAddress, mappings
from opencph.fleet.generation_specs import StoredPort, property_texts, spec, stored_ports
from opencph.fleet.ids import new_id, new_uuid
from opencph.fleet.imei import imei
from opencph.fleet.naming import phone_name, phone_name_stem
from opencph.fleet.statuses import PhoneStatus, ServerStatus
from opencph.fleet.times import now_ms
from opencph.store import revisions, tables
from opencph.store.database import Query, Transaction, Value, command, scalar

if TYPE_CHECKING:
    from opencph.fleet import Fleet

__all__ = [
    "DedicatedBandwidth",
    "GenerationPlan",
    "Mapping",
    "Route",
    "RoutedAddress",
    "StoredPort",
    "Volume",
    "delete_rows",
    "mappings",
    "of_server",
    "property_texts",
    "release",
    "reserve",
    "spec",
    "stored_ports",
    "swap",
]

BUILDING, RETIRING = "building", "retiring"
NETWORK, SERVERS = "network", "servers"  # names in `revisions`: what the gateway serves; which phones are to be seen


class DedicatedBandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """A bandwidth to be made with the generation, in Mbit/s."""

    size_mbit: int
    charge_mode: int


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A disk of a generation, in GiB."""

    volume_type: str
    size_gib: int


class GenerationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A generation that passed every check: what `reserve` writes down."""

    server_id: str
    project_id: str
    server_name: str
    number: int  # 1, 2, ...
    host_id: str
    availability_zone: str
    server_model_name: str
    phone_model_name: str
    image_id: str
    phone_count: int
    phone_count_per_ip: int
    vpc_id: str
    subnet: Subnet
    ipv6_enable: bool = False
    ipv6_bandwidth_id: str | None = None
    #: An existing shared bandwidth, or one to be made; None without public address.
    bandwidth: str | DedicatedBandwidth | None = None
    #: Existing EIPs, free or held by the generation of this server that serves now.
    eip_ids: tuple[str, ...] = ()
    #: EIPs to be assigned beside those.
    eip_type: str = "5_bgp"
    eip_count: int = 0
    keypair_name: str | None = None
    ports: tuple[StoredPort, ...] = ()
    property: str = ""
    #: Size of every phone's data disk in GiB.
    phone_data_gib: int
    data_volume: Volume | None = None  # as asked for; None: the flavor's own disk
    share_volume: Volume | None = None


def _insert(table: Table, *left_out: str) -> Query[tuple[Value, ...]]:
    columns: dict[str, BindParameter[Any]] = {
        column.name: bindparam(column.name) for column in table.columns if column.name not in left_out
    }
    return command(insert(table).values(columns).inline())


_g, _p, _a = tables.generations.c, tables.phones.c, tables.server_addresses.c
_GENERATION: BindParameter[str] = bindparam("of_generation")
_SERVER: BindParameter[str] = bindparam("of_server")
_named_by_generation = select(_a.eip_id).where(_a.generation_id == _GENERATION, _a.eip_id.is_not(None)).scalar_subquery()

INSERT_GENERATION = _insert(tables.generations)
INSERT_BANDWIDTH = _insert(tables.bandwidths)
INSERT_EIP = _insert(tables.eips, "alias", "bandwidth_id")
INSERT_ADDRESS = _insert(tables.server_addresses)
INSERT_PHONE = _insert(tables.phones, "seq")
HOLD_FREE_EIP = command(
    update(tables.eips)
    .where(tables.eips.c.eip_id == bindparam("of_eip"), tables.eips.c.generation_id.is_(None))
    .values(generation_id=_GENERATION)
)
_PROJECT_OF: Query[str] = Query(select(_g.project_id).where(_g.generation_id == _GENERATION), scalar)
DELETE_PHONES = command(delete(tables.phones).where(_p.generation_id == _GENERATION))
DELETE_ADDRESSES = command(delete(tables.server_addresses).where(_a.generation_id == _GENERATION))
DELETE_AUTO_EIPS = command(delete(tables.eips).where(tables.eips.c.generation_id == _GENERATION, tables.eips.c.auto_assigned == 1))
FREE_OWN_EIPS = command(update(tables.eips).where(tables.eips.c.generation_id == _GENERATION).values(generation_id=None))
DELETE_KEPT_KEYS = command(delete(tables.kept_public_keys).where(tables.kept_public_keys.c.generation_id == _GENERATION))
DELETE_BANDWIDTH = command(delete(tables.bandwidths).where(tables.bandwidths.c.generation_id == _GENERATION))
DELETE_GENERATION = command(delete(tables.generations).where(_g.generation_id == _GENERATION))
GENERATION_SERVES = command(
    update(tables.generations).where(_g.generation_id == _GENERATION, _g.server_id == _SERVER).values(state=SERVING)
)
OTHERS_RETIRE = command(
    update(tables.generations)
    .where(_g.server_id == _SERVER, _g.generation_id != _GENERATION, _g.state == SERVING)
    .values(state=RETIRING)
)
POINT_AT = command(
    update(tables.servers)
    .where(tables.servers.c.server_id == _SERVER)
    .values(generation_id=_GENERATION, status=ServerStatus.NORMAL, update_ms=bindparam("now"))
)
UNNAME_EIPS = command(  # the generations before no longer name the EIPs that this one takes over
    update(tables.server_addresses).where(_a.generation_id != _GENERATION, _a.eip_id.in_(_named_by_generation)).values(eip_id=None)
)
_OF_SERVER: Query[str] = Query(select(tables.servers.c.generation_id).where(tables.servers.c.server_id == _SERVER), scalar)
TAKE_EIPS = command(update(tables.eips).where(tables.eips.c.eip_id.in_(_named_by_generation)).values(generation_id=_GENERATION))


def reserve(tx: Transaction, fleet: Fleet, plan: GenerationPlan) -> str:
    """Write a generation down as `building`: addresses, EIPs, bandwidth, phones (status 1, creating). Returns its id.

    Call it under `tx.lock("placement")`, after the checks. Raises CPS.0241 when addresses run out.
    """
    generation_id, now = new_id(), now_ms()
    # A bare server has no block of phone addresses (a number below all of them keeps its place), and one VIP.
    bare = plan.phone_count == 0
    first = -1 - secrets.randbits(48) if bare else addresses.free_phone_block(tx, fleet.settings.network, plan.phone_count)
    vips = 1 if bare else addresses.vip_count(plan.phone_count, plan.phone_count_per_ip)
    server_ips = addresses.free_server_ips(tx, fleet.hints, plan.subnet, vips)
    shared = plan.bandwidth if isinstance(plan.bandwidth, str) else None
    dedicated = plan.bandwidth if isinstance(plan.bandwidth, DedicatedBandwidth) else None
    bandwidth_id = new_uuid() if dedicated else shared
    tx.run(
        INSERT_GENERATION,
        generation_id=generation_id,
        server_id=plan.server_id,
        project_id=plan.project_id,
        number=plan.number,
        state=BUILDING,
        host_id=plan.host_id,
        availability_zone=plan.availability_zone,
        server_model_name=plan.server_model_name,
        phone_model_name=plan.phone_model_name,
        image_id=plan.image_id,
        phone_count=plan.phone_count,
        phone_count_per_ip=plan.phone_count_per_ip,
        phone_ip_first=first,
        vpc_id=plan.vpc_id,
        subnet_id=plan.subnet.subnet_id,
        ipv6_enable=int(plan.ipv6_enable),
        ipv6_bandwidth_id=plan.ipv6_bandwidth_id,
        bandwidth_id=bandwidth_id,
        keypair_name=plan.keypair_name,
        ports=msgspec.json.encode(plan.ports).decode(),
        property=plan.property,
        data_volume_type=plan.data_volume.volume_type if plan.data_volume else None,
        data_volume_gib=plan.data_volume.size_gib if plan.data_volume else None,
        share_volume_type=plan.share_volume.volume_type if plan.share_volume else None,
        share_volume_gib=plan.share_volume.size_gib if plan.share_volume else None,
        create_ms=now,
    )
    if dedicated and bandwidth_id:
        tx.run(
            INSERT_BANDWIDTH,
            bandwidth_id=bandwidth_id,
            project_id=plan.project_id,
            name=f"bandwidth-{generation_id[:8]}",
            size_mbit=dedicated.size_mbit,
            charge_mode=dedicated.charge_mode,
            share_type=0,
            generation_id=generation_id,
            create_ms=now,
            update_ms=now,
        )
    eip_ids = _reserve_eips(tx, fleet, plan, generation_id, now)
    tx.run_many(
        INSERT_ADDRESS,
        [
            {
                "generation_id": generation_id,
                "number": number,
                "subnet_id": plan.subnet.subnet_id,
                "server_ip": server_ip,
                "server_ipv6": addresses.server_ipv6(plan.subnet, server_ip) if plan.ipv6_enable else None,
                "eip_id": eip_ids[number] if number < len(eip_ids) else None,
            }
            for number, server_ip in enumerate(server_ips)
        ],
    )
    stem = phone_name_stem(plan.server_name)
    tx.run_many(
        INSERT_PHONE,
        [
            {
                "phone_id": (phone_id := new_id()),
                "project_id": plan.project_id,
                "server_id": plan.server_id,
                "generation_id": generation_id,
                "number": number,
                "name": phone_name(stem, number),
                "status": PhoneStatus.CREATING,
                "image_id": plan.image_id,
                "imei": imei(ip, phone_id),
                "phone_ip": addresses.ip_text(ip),
                "phone_ipv6": addresses.phone_ipv6(ip) if plan.ipv6_enable else None,
                "property": plan.property,
                "custom_property": "",
                "traffic_type": "direct",
                "data_volume_gib": plan.phone_data_gib,
                "create_ms": now,
                "update_ms": now,
            }
            for number, ip in addresses.numbered_ips(first, plan.phone_count)
        ],
    )
    revisions.bump(tx, SERVERS)
    return generation_id


def _reserve_eips(tx: Transaction, fleet: Fleet, plan: GenerationPlan, generation_id: str, now: int) -> list[str]:
    for eip_id in plan.eip_ids:
        tx.run(HOLD_FREE_EIP, of_eip=eip_id, of_generation=generation_id)
    made = [new_uuid() for _ in range(plan.eip_count)]
    if made:
        free = addresses.free_eips(tx, fleet.hints, fleet.settings.network, len(made))
        tx.run_many(
            INSERT_EIP,
            [
                {
                    "eip_id": eip_id,
                    "project_id": plan.project_id,
                    "type": plan.eip_type,
                    "address": address,
                    "auto_assigned": 1,
                    "generation_id": generation_id,
                    "create_ms": now,
                }
                for eip_id, address in zip(made, free, strict=True)
            ],
        )
    return [*plan.eip_ids, *made]


def of_server(tx: Transaction, server_id: str) -> str | None:
    """The generation that a server points at; None when there is no such server."""
    return tx.row(_OF_SERVER, of_server=server_id)


def release(tx: Transaction, generation_id: str) -> None:
    """Delete every row of a generation. EIPs and bandwidth that were made for it go with it, the user's own EIPs are free again.

    A generation that is gone already stays gone. The caller sees to it that no server points at it.
    """
    if tx.row(_PROJECT_OF, of_generation=generation_id) is not None:
        delete_rows(tx, generation_id)


def delete_rows(tx: Transaction, generation_id: str) -> None:
    """What `release` does, also for rows that were left when the row of their generation went."""
    for query in (
        DELETE_PHONES,
        DELETE_ADDRESSES,
        DELETE_AUTO_EIPS,
        FREE_OWN_EIPS,
        DELETE_BANDWIDTH,
        DELETE_KEPT_KEYS,
        DELETE_GENERATION,
    ):
        tx.run(query, of_generation=generation_id)
    revisions.bump(tx, NETWORK)
    revisions.bump(tx, SERVERS)


def swap(tx: Transaction, server_id: str, generation_id: str) -> None:
    """Make a generation the one that serves: the server points at it and is normal (5), EIPs that it names move to it, the one
    before is `retiring`. Again with the same generation: nothing more happens.

    Raises LookupError when the server has no such generation.
    """
    if not tx.run(GENERATION_SERVES, of_generation=generation_id, of_server=server_id):
        raise LookupError(f"server {server_id} has no generation {generation_id}")
    tx.run(POINT_AT, of_server=server_id, of_generation=generation_id, now=now_ms())
    tx.run(OTHERS_RETIRE, of_server=server_id, of_generation=generation_id)
    tx.run(UNNAME_EIPS, of_generation=generation_id)
    tx.run(TAKE_EIPS, of_generation=generation_id)
    revisions.bump(tx, NETWORK)
    revisions.bump(tx, SERVERS)
