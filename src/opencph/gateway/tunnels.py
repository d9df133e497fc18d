"""SSH tunnels: the way to phones from outside, on every EIP (cph-api.md 10.8). Forwards connections and does nothing else.

The user is the project id, the key that of the server's key pair, and the server is the one whose EIP was connected to: its
phones and its own addresses can be reached, nothing beside them. asyncssh is imported when the first client comes.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from opencph.fleet.generation_routes import Route
from opencph.gateway.bandwidth import Limits
from opencph.gateway.host_keys import host_key
from opencph.gateway.listeners import Listeners
from opencph.gateway.mappings import is_ours, mappings_of
from opencph.gateway.relay import Address
from opencph.store.database import Database, StoreError

if TYPE_CHECKING:
    from opencph.gateway.ssh_server import Connection, SshServer

#: Connections to one EIP at a time, and how many of one client may be logging in there; others of it wait for their turn.
CONNECTIONS_PER_ADDRESS = 2000
LOGINS_PER_CLIENT = 50
#: So long a client waits for its turn to log in.
QUEUE_SECONDS = 60.0
#: A flood is worth one line in the log in so many seconds.
WARN_SECONDS = 1.0

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

    def __init__(self, listeners: Listeners, limits: Limits, database: Database, port: int) -> None:
        self._listeners = listeners
        self._limits = limits
        self._database = database
        self._port = port
        self._entrances: dict[str, Entrance] = {}  # by EIP
        self._server: SshServer | None = None
        self._starting = asyncio.Lock()
        self._connections: dict[Connection, str] = {}
        self._clients: Counter[str] = Counter()
        self._logins: dict[tuple[str, str], tuple[asyncio.Semaphore, set[socket.socket]]] = {}  # by client and EIP
        self._warned = 0.0
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

    def _on_accept(self, connection: socket.socket, address: Address) -> None:
        if self._clients[address[0]] >= CONNECTIONS_PER_ADDRESS:
            if time.monotonic() - self._warned > WARN_SECONDS:
                self._warned = time.monotonic()
                _logger.warning("ssh clients turned away: too many", address=address[0], most=CONNECTIONS_PER_ADDRESS)
            with suppress(OSError):
                connection.send(b"Too many connections to this address\r\n")
            connection.close()
            return
        self._clients[address[0]] += 1
        task = asyncio.get_running_loop().create_task(self._greet(connection, address[0]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _greet(self, sock: socket.socket, ip: str) -> None:
        """Serve one client to its end."""
        who = _peer(sock), ip
        logins, theirs = self._logins.setdefault(who, (asyncio.Semaphore(LOGINS_PER_CLIENT), set()))
        theirs.add(sock)
        logging_in = False

        def logged_in() -> None:
            nonlocal logging_in
            if logging_in:
                logging_in = False
                logins.release()

        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await logins.acquire()
            logging_in = True
            server = await self._ssh_server()
            await server.serve(sock, ip, logged_in)
        except TimeoutError:
            _logger.warning("ssh client gave its turn up: too many log in at once", address=ip, most=LOGINS_PER_CLIENT)
        except (StoreError, OSError) as error:
            _logger.warning("ssh", address=ip, error=str(error))
        finally:
            logged_in()
            theirs.discard(sock)
            if not theirs:
                self._logins.pop(who, None)
            sock.close()
            self._clients[ip] -= 1
            if not self._clients[ip]:
                del self._clients[ip]

    async def _ssh_server(self) -> SshServer:
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.to_thread(self._make_ssh_server)
        return self._server

    def _make_ssh_server(self) -> SshServer:
        """Takes some tenths of a second, for the import; until then the process does without asyncssh's memory."""
        from opencph.gateway.ssh_server import SshServer

        return SshServer(host_key(self._database), self.entrance, self._limits.of, self._connections)


def _peer(sock: socket.socket) -> str:
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""  # gone already
