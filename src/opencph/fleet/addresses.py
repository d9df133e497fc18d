"""Addresses: which are free, and how a phone is reached. Everything here that looks for a free address must be called under
`tx.lock("placement")`; taking it means inserting the row that names it (docs/architecture.md, "Addresses")."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from sqlalchemy import bindparam, select

from opencph.fleet.hints import Hints
from opencph.store.database import Query, Transaction, in_list, json_list, scalar, tuple_row
from opencph.store.networks import Carve
from opencph.store.networks import carve as _carve
from opencph.store.tables import eips, generations, server_addresses
from opencph.wire.errors import CphError

FIRST_ACCESS_PORT = 10_000
LAST_ACCESS_PORT = 65_535
#: Candidates asked about at once: the first window, and the largest.
WINDOW_FIRST, WINDOW_MAX = 32, 4_096

_INSUFFICIENT = "CPS.0241"

_LAST_BLOCK = Query(
    select(generations.c.phone_ip_first, generations.c.phone_count)
    .where(generations.c.phone_ip_first.between(bindparam("first"), bindparam("last")))
    .order_by(generations.c.phone_ip_first.desc())
    .limit(1),
    tuple_row,
)
_ALL_BLOCKS = Query(
    select(generations.c.phone_ip_first, generations.c.phone_count)
    .where(generations.c.phone_ip_first.between(bindparam("first"), bindparam("last")))
    .order_by(generations.c.phone_ip_first),
    tuple_row,
)
_TAKEN_IN_SUBNET: Query[str] = Query(
    select(server_addresses.c.server_ip).where(
        server_addresses.c.subnet_id == bindparam("subnet_id"), in_list(server_addresses.c.server_ip, "candidates")
    ),
    scalar,
)
_TAKEN_EIPS: Query[str] = Query(select(eips.c.address).where(in_list(eips.c.address, "candidates")), scalar)


def ip_text(number: int) -> str:
    """An IPv4 address from its number."""
    return socket.inet_ntoa(struct.pack("!I", number))


def ip_number(text: str) -> int:
    """An IPv4 address as a number."""
    return int(struct.unpack("!I", socket.inet_aton(text))[0])


@lru_cache(maxsize=64)
def carve(network: str) -> Carve:
    """The parts of `settings.network`."""
    return _carve(network)


# --- ports ---------------------------------------------------------------------


def access_port(number: int, phone_count_per_ip: int, port_count: int, index: int) -> int:
    """The port on the VIP that leads to a port of phone `number` (1, 2, ...).

    `index` 0 is `adb`, 1 .. `port_count` the declared ports in their order. Unique per VIP; constant while the generation lives.
    """
    return FIRST_ACCESS_PORT + (number - 1) % phone_count_per_ip * (1 + port_count) + index


def vip_count(phone_count: int, phone_count_per_ip: int) -> int:
    """How many VIPs a generation has."""
    return -(-phone_count // phone_count_per_ip)


def check_access_ports(phone_count_per_ip: int, port_count: int) -> None:
    """Raises CPS.0037 when so many ports of so many phones do not fit on one VIP."""
    room = LAST_ACCESS_PORT - FIRST_ACCESS_PORT + 1
    if phone_count_per_ip * (1 + port_count) > room:
        raise CphError(
            "CPS.0037",
            f"{port_count} ports and adb of {phone_count_per_ip} phones do not fit into the {room} access ports of one address; "
            f"declare at most {room // phone_count_per_ip - 1} ports or lower phone_count_per_ip",
        )


# --- phones --------------------------------------------------------------------


def free_phone_block(tx: Transaction, network: str, count: int) -> int:
    """The first number of `count` consecutive free phone addresses: behind the last block, or else in the first gap that is
    large enough. Raises CPS.0241."""
    phones = carve(network).phones
    first, last = int(phones.network_address) + 1, int(phones.broadcast_address) - 1
    newest = tx.row(_LAST_BLOCK, first=first, last=last)
    free = first if newest is None else _whole(newest[0]) + _whole(newest[1])
    if free + count - 1 <= last:
        return free
    free = first
    for block, size in tx.rows(_ALL_BLOCKS, first=first, last=last):
        if _whole(block) - free >= count:
            return free
        free = _whole(block) + _whole(size)
    raise CphError(_INSUFFICIENT, f"the phone network {phones} has no {count} consecutive free addresses; widen `network`")


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value


def phone_ipv6(phone_ip: int) -> str:
    """`fd00::` with the IPv4 address in the last 32 bits, as in the seed page: 10.237.0.61 -> fd00::aed:3d."""
    return str(IPv6Address((0xFD00 << 112) | phone_ip))


# --- VIPs and EIPs -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subnet:
    """What addresses of a subnet are made of."""

    subnet_id: str
    cidr: str
    gateway_ip: str
    ipv6_cidr: str | None


def _free(
    tx: Transaction, taken: Query[str], params: dict[str, str], network: IPv4Network, skip: str, count: int, hints: Hints, key: str
) -> list[str]:
    """Up to `count` free addresses of a network, beginning where this process found one last and going round once."""
    base, size = int(network.network_address) + 1, max(network.num_addresses - 2, 0)
    place = hints.next_address.get(key, 0) % size if size else 0
    looked, window, found = 0, max(WINDOW_FIRST, count), list[str]()
    while looked < size and len(found) < count:
        span = min(window, size - looked)
        candidates = [ip_text(base + (place + step) % size) for step in range(span)]
        used = set(tx.rows(taken, candidates=json_list(candidates), **params))
        for step, candidate in enumerate(candidates, 1):
            if candidate not in used and candidate != skip:
                found.append(candidate)
                if len(found) == count:
                    span = step
                    break
        looked += span
        place = (place + span) % size
        window = min(window * 2, WINDOW_MAX)
    hints.next_address[key] = place
    return found


def free_server_ips(tx: Transaction, hints: Hints, subnet: Subnet, count: int) -> list[str]:
    """Free addresses of a subnet, its gateway left out. Raises CPS.0241."""
    found = _free(
        tx,
        _TAKEN_IN_SUBNET,
        {"subnet_id": subnet.subnet_id},
        IPv4Network(subnet.cidr),
        subnet.gateway_ip,
        count,
        hints,
        subnet.subnet_id,
    )
    if len(found) < count:
        raise CphError(
            _INSUFFICIENT, f"subnet_id {subnet.subnet_id} ({subnet.cidr}) has {len(found)} free addresses, the server needs {count}"
        )
    return found


def free_eips(tx: Transaction, hints: Hints, network: str, count: int) -> list[str]:
    """Free addresses of the EIP pool. Raises CPS.0241."""
    pool = carve(network).eips
    found = _free(tx, _TAKEN_EIPS, {}, pool, "", count, hints, "eips")
    if len(found) < count:
        raise CphError(_INSUFFICIENT, f"the EIP pool {pool} has {len(found)} free addresses, {count} are needed")
    return found


def server_ipv6(subnet: Subnet, server_ip: str) -> str:
    """The IPv6 address beside a VIP: the subnet's IPv6 block with the IPv4 address (or, in a block longer than /96, its place in
    the subnet) in the last bits. Raises CPS.0241 when the block is too small for that."""
    assert subnet.ipv6_cidr is not None
    block = IPv6Network(subnet.ipv6_cidr)
    host = ip_number(server_ip)
    if host >= block.num_addresses:
        host -= int(IPv4Network(subnet.cidr).network_address)
    if host >= block.num_addresses:
        raise CphError(_INSUFFICIENT, f"the IPv6 block {block} of subnet_id {subnet.subnet_id} is too small; use a /64")
    return str(IPv6Address(int(block.network_address) + host))


def numbered_ips(first: int, count: int) -> Iterator[tuple[int, int]]:
    """(1, first), (2, first + 1), ...: the phones of a block."""
    return enumerate(range(first, first + count), 1)
