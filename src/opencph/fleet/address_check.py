"""Whether the addresses of a new generation are free on this machine, asked before a server points at it. `gateway/` listens."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator

from opencph.fleet.generation_routes import Route

_IPV6_ONLY = getattr(socket, "IPV6_V6ONLY", 26)
#: (address, port), as sockets take it
Pair = tuple[str, int]

ADVICE = "another program listens there (`ss -ltnp` shows it): end it, or give this installation another block with OPENCPH_NETWORK"


def listened_on(leads: Route, ssh_port: int) -> Iterator[Pair]:
    """Every address and port that the gateway opens for a generation: mappings on VIPs and EIPs, SSH on EIPs."""
    ipv6 = {address.server_ip: address.server_ipv6 for address in leads.addresses if address.server_ipv6}
    for mapping in leads.mappings():
        yield mapping.listen_ip, mapping.listen_port
        if not mapping.public and (beside := ipv6.get(mapping.listen_ip)):
            yield beside, mapping.listen_port
    if leads.public_key:
        for address in leads.addresses:
            if address.public_ip:
                yield address.public_ip, ssh_port


def taken(pairs: Iterable[Pair]) -> list[Pair]:
    """Those on which another program listens: they cannot be bound the way the gateway binds.

    Addresses that the gateway does not open, or that this machine does not have, are not looked at: nobody here can take them.
    """
    return [pair for pair in pairs if pair[0].startswith(("127.", "fd")) and _is_taken(pair)]


def _is_taken(pair: Pair) -> bool:
    family = socket.AF_INET6 if ":" in pair[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, _IPV6_ONLY, 1)
        try:
            probe.bind(pair)
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
