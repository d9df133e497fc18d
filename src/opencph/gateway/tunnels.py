"""SSH tunnels: the way to phones from outside, on every EIP (cph-api.md 10.8). Forwards connections and does nothing else.

The user is the project id, the key that of the server's key pair, and the server is the one whose EIP was connected to: its
phones and its own addresses can be reached, nothing beside them. asyncssh is imported when the first client comes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import structlog

from opencph.fleet.generation_routes import Route
from opencph.gateway.bandwidth import Limits
from opencph.gateway.host_keys import host_key
from opencph.gateway.listeners import Listeners
from opencph.gateway.mappings import is_ours, mappings_of
from opencph.gateway.phone_share import PhoneShares
from opencph.gateway.relay import Address
from opencph.gateway.ssh_admission import Door, Doors, GoneError, Guest, TurnedAwayError
from opencph.gateway.ssh_farewell import VERSION_LINE, Farewells, disconnect_packet
from opencph.gateway.telling import Sparing
from opencph.metrics.families import LOGINS_REFUSED
from opencph.runtimes import ADB_PORT, Runtime
from opencph.store.database import Database, StoreError

if TYPE_CHECKING:
    from opencph.gateway.ssh_server import Connection, SshServer

_logger = structlog.get_logger("opencph.gateway.ssh")


class Entrance:
    """What an EIP leads to: the server it is bound to, who may come in, and what can be reached through it."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self._mapped: dict[Address, Address] | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """What must stay the same for a connection to stay: the server and its project. A new key is for new connections."""
        return self.route.server_id, self.route.project_id

    def carries(self, target: Address) -> bool:
        """Whether the phone's own address carries this port: ADB and the declared ones. The others are the runtime's to reach."""
        return target[1] == ADB_PORT or any(port.listen_port == target[1] for port in self.route.ports)

    def target(self, ip: str, port: int) -> Address | None:
        """Where a forward to `ip:port` ends: any port of a phone of this server, or what an own address maps it to."""
        try:
            number = int.from_bytes(socket.inet_pton(socket.AF_INET, ip), "big")
        except OSError:
            number = -1
        if 0 <= number - self.route.phone_ip_first < self.route.phone_count and 0 < port < 65536:
            return ip, port
        if self._mapped is None:
            self._mapped = mappings_of([self.route])
        return self._mapped.get((ip, port))


class Tunnels:
    """The SSH service on every EIP that is bound to a server with a key pair."""

    def __init__(
        self,
        listeners: Listeners,
        limits: Limits,
        shares: PhoneShares,
        database: Database,
        port: int,
        runtime: Callable[[], Runtime],
    ) -> None:
        """`runtime` makes what reaches into phones; called once, in a thread, when the first client comes."""
        self._listeners = listeners
        self._limits, self._shares = limits, shares
        self._database = database
        self._port = port
        self._make_runtime = runtime
        self._entrances: dict[str, Entrance] = {}  # by EIP
        self._server: SshServer | None = None
        self._starting = asyncio.Lock()
        self._connections: dict[Connection, str] = {}
        self._doors = Doors()
        self._farewells = Farewells()
        self._sparing = Sparing()
        self._tasks: set[asyncio.Task[None]] = set()

    def apply(self, routes: Iterable[Route]) -> None:
        """Make `routes` what the EIPs lead to. Connections stay where server, project and key did."""
        wanted = {
            address.public_ip: Entrance(route)
            for route in routes
            if route.public_key
            for address in route.addresses
            if address.public_ip and is_ours(address.public_ip)
        }
        before, self._entrances = self._entrances, wanted
        for ip in before.keys() - wanted.keys():
            self._listeners.unwant((ip, self._port))
        for connection, ip in list(self._connections.items()):
            entrance = wanted.get(ip)
            if entrance is None or entrance.identity != connection.identity:
                connection.cut("this address does not lead to the server any more")
            else:
                connection.cut_what_moved()
        for ip in wanted.keys() - before.keys():
            self._listeners.want((ip, self._port), self._on_accept)

    def __len__(self) -> int:
        """Clients that are being served."""
        return len(self._tasks)

    def entrance(self, ip: str) -> Entrance | None:
        """What an EIP leads to at the moment."""
        return self._entrances.get(ip)

    async def close(self) -> None:
        """Cut every tunnel."""
        for connection in list(self._connections):
            connection.cut("the gateway is stopping")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._farewells.finish()

    def _on_accept(self, connection: socket.socket, address: Address) -> None:
        guest = Guest(connection)
        door = self._doors.door(address[0])
        try:
            door.enter(guest)
        except TurnedAwayError as error:
            self._turn_away(guest, address[0], error, VERSION_LINE)
            return
        task = asyncio.get_running_loop().create_task(self._greet(door, guest, address[0]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _greet(self, door: Door, guest: Guest, ip: str) -> None:
        """Serve one client to its end."""
        try:
            server = await self._turn(door, guest, ip)
            if server is not None:
                await server.serve(guest, ip, lambda: door.logged_in(guest))
        except OSError as error:
            self._sparing.say(_logger.warning, "ssh", address=ip, peer=guest.client, error=str(error))
        finally:
            door.leave(guest)

    async def _turn(self, door: Door, guest: Guest, ip: str) -> SshServer | None:
        """Wait until it may log in. None: it may not, and its socket is cared for."""
        try:
            await door.turn(guest)
            return await self._ssh_server()
        except TurnedAwayError as error:
            self._turn_away(guest, ip, error)
        except GoneError:
            guest.sock.close()
        except StoreError as error:
            self._sparing.say(_logger.warning, "ssh", address=ip, peer=guest.client, error=str(error))
            guest.sock.close()
        except BaseException:
            guest.sock.close()
            raise
        return None

    def _turn_away(self, guest: Guest, ip: str, reason: TurnedAwayError, greeting: bytes = b"") -> None:
        LOGINS_REFUSED.add("crowded")
        self._sparing.say(_logger.warning, "ssh client turned away", address=ip, peer=guest.client, cause=str(reason))
        self._farewells.part(guest.sock, greeting + disconnect_packet(str(reason)))

    async def _ssh_server(self) -> SshServer:
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.to_thread(self._make_ssh_server)
        return self._server

    def _make_ssh_server(self) -> SshServer:
        """Takes some tenths of a second, for the import; until then the process does without asyncssh's memory."""
        from opencph.gateway.ssh_server import SshServer

        host = host_key(self._database)
        runtime = self._make_runtime()
        return SshServer(host, self.entrance, self._limits.of, self._shares, runtime, self._connections, self._farewells)
