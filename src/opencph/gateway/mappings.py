"""Port mappings: which address leads to which port of which phone, kept as the database says. How bytes travel is `relay.py`.

Only addresses of 127.0.0.0/8 and fd00::/8 are opened: a tenant subnet may have any range, also one that other machines use, and
is reached through the SSH tunnel.
"""

from __future__ import annotations

import resource
import socket
from collections import Counter
from collections.abc import Iterable

import structlog

from opencph.fleet.generation_routes import Route
from opencph.gateway.bandwidth import Limits
from opencph.gateway.listeners import Listeners
from opencph.gateway.phone_share import PhoneShares
from opencph.gateway.relay import Address, Relay, Relays, reset
from opencph.gateway.telling import Sparing
from opencph.sockets import address_text

#: Of the files that this process may open, so large a part may be connections of one client; each takes two.
CLIENT_SHARE = 1 / 4

_logger = structlog.get_logger("opencph.gateway.mappings")


def mappings_of(routes: Iterable[Route]) -> dict[Address, Address]:
    """Every address that leads to a phone, also those that cannot be opened on this machine."""
    found: dict[Address, Address] = {}
    for route in routes:
        ipv6 = {address.server_ip: address.server_ipv6 for address in route.addresses if address.server_ipv6}
        for mapping in route.mappings():
            target = (mapping.phone_ip, mapping.phone_port)
            found[mapping.listen_ip, mapping.listen_port] = target
            if not mapping.public and mapping.listen_ip in ipv6:
                found[ipv6[mapping.listen_ip], mapping.listen_port] = target
    return found


def limits_of(routes: Iterable[Route]) -> dict[str, tuple[str, int]]:
    """Every public address with a limit: the id and the Mbit/s of its bandwidth. Private addresses have none."""
    found: dict[str, tuple[str, int]] = {}
    for route in routes:
        for address in route.addresses:
            if address.public_ip and route.bandwidth_id and route.bandwidth_mbit:
                found[address.public_ip] = route.bandwidth_id, route.bandwidth_mbit
            elif address.public_ip and address.bandwidth_id and address.bandwidth_mbit:
                found[address.public_ip] = address.bandwidth_id, address.bandwidth_mbit
    return found


def is_ours(ip: str) -> bool:
    """Whether the platform may open listeners on this address."""
    return ip.startswith(("127.", "fd"))


class Mappings:
    """The mappings that are open, and the connections that run through them."""

    def __init__(self, listeners: Listeners, relays: Relays, limits: Limits, shares: PhoneShares) -> None:
        self._shares = shares
        self._listeners = listeners
        self._limits = limits
        self._relays = relays
        self._targets: dict[Address, Address] = {}
        self._running: dict[Address, set[Relay]] = {}
        self._clients: Counter[str] = Counter()
        self._most = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * CLIENT_SHARE / 2)
        self._sparing = Sparing()

    def __len__(self) -> int:
        return len(self._targets)

    def apply(self, wanted: dict[Address, Address]) -> None:
        """Make `wanted` the mappings. What stays the same is not touched; connections of what changed are cut."""
        for address in [address for address, target in self._targets.items() if wanted.get(address) != target]:
            del self._targets[address]
            if address not in wanted:
                self._listeners.unwant(address)
            for relay in list(self._running.get(address, ())):
                relay.abort("the address does not lead to that phone any more")
        for address, target in wanted.items():
            if address not in self._targets and is_ours(address[0]):
                self._targets[address] = target
                self._listeners.want(address, self._on_accept)

    def _on_accept(self, connection: socket.socket, address: Address) -> None:
        try:
            client = str(connection.getpeername()[0])
        except OSError:
            connection.close()  # gone already
            return
        target = self._targets[address]
        cause = self._shares.refusal(client, target)
        if self._clients[client] >= self._most:
            cause = f"the client has {self._most} connections, which is its share"
        if cause:
            self._tell("connection refused", address, target, client, cause)
            reset(connection)
            return
        self._clients[client] += 1
        give_back = self._shares.take(client, target)
        running = self._running.setdefault(address, set())

        def forget(relay: Relay) -> None:
            self._left(client)
            give_back()
            if relay.cause:
                self._tell("connection cut", address, target, client, relay.cause)
            running.discard(relay)
            if not running and self._running.get(address) is running:
                del self._running[address]

        relay = self._relays.join(connection, target, forget, self._limits.of(address[0]))
        if relay is not None:
            running.add(relay)
            return
        self._left(client)
        give_back()
        if not running:
            del self._running[address]

    def _left(self, client: str) -> None:
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    def _tell(self, event: str, address: Address, target: Address, client: str, cause: str) -> None:
        self._sparing.say(_logger.info, event, address=address_text(address), to=address_text(target), peer=client, cause=cause)
