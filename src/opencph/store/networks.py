"""How one IPv4 block becomes the default subnet, the EIP pool and the phone network. Pure address arithmetic; nothing is stored.

Addresses are handed out by `fleet.addresses`; see docs/architecture.md, "Addresses".
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import NamedTuple

LOOPBACK = IPv4Network("127.0.0.0/8")
PREFIX_SHORTEST, PREFIX_LONGEST = 10, 20

#: One route makes every IPv6 address of ours local: `ip -6 route add local fd00::/48 dev lo`.
IPV6_BLOCK = "fd00::/48"
#: IPv6 of the default subnet. Phones have fd00::/96 with their IPv4 address in the last 32 bits, as in the seed page.
SUBNET_IPV6_CIDR = "fd00:0:0:1::/64"


class Carve(NamedTuple):
    """The parts of the block."""

    servers: IPv4Network  # first quarter: the default subnet
    eips: IPv4Network  # second quarter: the public addresses
    phones: IPv4Network  # second half


def carve(network: str) -> Carve:
    """Cut the block. Raises ValueError that says what is accepted."""
    try:
        block = IPv4Network(network)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise ValueError(f"network {network!r} is no IPv4 block such as 127.64.0.0/10: {error}") from error
    if not block.subnet_of(LOOPBACK) or not PREFIX_SHORTEST <= block.prefixlen <= PREFIX_LONGEST:
        raise ValueError(f"network {network!r} must lie in 127.0.0.0/8 and be /{PREFIX_SHORTEST} to /{PREFIX_LONGEST}")
    servers, eips, *_ = block.subnets(prefixlen_diff=2)
    _, phones = block.subnets(prefixlen_diff=1)
    return Carve(servers, eips, phones)
