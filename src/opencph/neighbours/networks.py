"""Which IPv4 blocks VPCs and subnets may have, and which IPv6 block a subnet gets. Pure arithmetic; the rows are `vpc`'s."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from opencph.fleet.addresses import carve
from opencph.store.networks import IPV6_BLOCK, LOOPBACK
from opencph.wire.service_errors import network_error
from opencph.wire.vpc_checks import BAD_SUBNET, BAD_SUBNET_CIDR, BAD_VPC

#: the ranges of the real service, and the one in which addresses of this machine are
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
#: left to what else runs on this machine
OWN_MACHINE = IPv4Network("127.0.0.0/16")
PREFIX_LONGEST = 28
NOT_IN_VPC, TAKEN_IN_VPC = "VPC.0203", "VPC.0204"


def check_vpc_cidr(cidr: str, network: str) -> None:
    """Raises VPC.0101 for a block that no VPC may have. `network` is the setting of that name."""
    block = IPv4Network(cidr)
    if block.prefixlen > PREFIX_LONGEST:
        raise network_error(400, BAD_VPC, f"vpc.cidr {cidr}: the prefix length must be at most {PREFIX_LONGEST}")
    if not any(block.subnet_of(range_) for range_ in (*PRIVATE, LOOPBACK)):
        ranges = ", ".join(map(str, (*PRIVATE, LOOPBACK)))
        raise network_error(400, BAD_VPC, f"vpc.cidr {cidr}: must lie in one of {ranges}")
    _check_loopback(block, network, "vpc.cidr", BAD_VPC)


def check_subnet(cidr: str, gateway_ip: str, vpc_cidr: str, network: str, siblings: Iterable[str], local: Iterable[str]) -> None:
    """Raises VPC.0203, VPC.0204, VPC.0212 or VPC.0201 for a subnet that does not fit.

    `siblings` are the blocks of the VPC's other subnets. `local` are those of all subnets that are addresses of this machine: each
    of its addresses is one socket, whoever asks for it, so those may not overlap in any VPC.
    """
    block = IPv4Network(cidr)
    if block.prefixlen > PREFIX_LONGEST:
        raise network_error(400, BAD_SUBNET_CIDR, f"subnet.cidr {cidr}: the prefix length must be at most {PREFIX_LONGEST}")
    if vpc_cidr and not block.subnet_of(IPv4Network(vpc_cidr)):
        raise network_error(400, NOT_IN_VPC, f"subnet.cidr {cidr} is not in the range of the VPC, {vpc_cidr}")
    if not vpc_cidr:
        check_vpc_cidr(cidr, network)
    for sibling in siblings:
        if block.overlaps(IPv4Network(sibling)):
            raise network_error(400, TAKEN_IN_VPC, f"subnet.cidr {cidr} overlaps with the subnet {sibling} of this VPC")
    _check_loopback(block, network, "subnet.cidr", BAD_SUBNET_CIDR)
    if block.subnet_of(LOOPBACK):
        for other in local:
            if block.overlaps(IPv4Network(other)):
                raise network_error(
                    400,
                    TAKEN_IN_VPC,
                    f"subnet.cidr {cidr}: addresses of this machine can be used once, and some are in use",
                )
    gateway = IPv4Address(gateway_ip)
    if gateway not in block or gateway in (block.network_address, block.broadcast_address):
        raise network_error(400, BAD_SUBNET, f"subnet.gateway_ip {gateway_ip}: must be an address for hosts in {cidr}")


def _check_loopback(block: IPv4Network, network: str, field: str, code: str) -> None:
    if not block.subnet_of(LOOPBACK):
        return
    parts = carve(network)
    for taken, what in ((OWN_MACHINE, "this machine's own"), (parts.eips, "the EIP pool"), (parts.phones, "the phone network")):
        if block.overlaps(taken):
            raise network_error(400, code, f"{field} {block} overlaps with {what}, {taken}")


def free_ipv6_cidr(taken: Iterable[str]) -> str | None:
    """The first /64 of the installation's IPv6 block that no subnet has; None when all are taken. Number 0 is the phones'."""
    used = set(taken)
    base = int(IPv6Network(IPV6_BLOCK).network_address)
    for number in range(1, 1 << 16):
        candidate = str(IPv6Network((base | number << 64, 64)))
        if candidate not in used:
            return candidate
    return None


def ipv6_gateway(ipv6_cidr: str) -> str:
    """The gateway's address in a subnet's IPv6 block."""
    return str(IPv6Network(ipv6_cidr).network_address + 1)
