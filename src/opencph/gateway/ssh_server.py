"""One SSH client: who it is and what it may open. How bytes travel is `ssh_lane`. Needs asyncssh; `tunnels` imports it late."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, NoReturn, cast

import asyncssh
import structlog
from structlog.contextvars import bind_contextvars

from opencph.gateway.bandwidth import Limit
from opencph.gateway.flows import tunnelled
from opencph.gateway.phone_share import PhoneShares
from opencph.gateway.relay import Address
from opencph.gateway.ssh_admission import Guest
from opencph.gateway.ssh_farewell import VERSION, Farewells
from opencph.gateway.ssh_forward import Forward, window_bytes
from opencph.gateway.ssh_guard import KEYS_PER_CONNECTION, Guard
from opencph.gateway.ssh_lane import Lane, LaneConnection
from opencph.gateway.ssh_packets import DATA_BYTES
from opencph.gateway.telling import Sparing
from opencph.metrics.families import LOGINS_REFUSED
from opencph.runtimes import Runtime, RuntimeFaultError
from opencph.sockets import address_text, do_not_pace

if TYPE_CHECKING:
    from opencph.gateway.tunnels import Entrance

BANNER = "Authorized users only. All activities may be monitored and reported.\r\n"
USER_CHARACTERS = 32  # of the project id
LOGIN_SECONDS = 30
KEEPALIVE_SECONDS = 30
KEEPALIVE_MISSES = 3
CONNECT_SECONDS = 10.0
FORWARDS_PER_CONNECTION = 1000
#: What was refused to one connection, or failed, and is told line by line in the log; a flood of it is not.
TOLD_PER_CONNECTION = 50
TOLD_PATH = 200  # characters of what the client asked for
ONLY_FORWARDS = "this gateway only forwards connections to phones: ssh -N -L PORT:PHONE_IP:5555"
#: The AEAD ciphers are moved by `ssh_lane`; the others are for old clients.
CIPHERS = (
    "chacha20-poly1305@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)

_logger = structlog.get_logger("opencph.gateway.ssh")


class SshServer:
    """Speaks SSH on connections that were accepted elsewhere."""

    def __init__(
        self,
        host_key: bytes,
        entrance: Callable[[str], Entrance | None],
        limit: Callable[[str], Limit],
        shares: PhoneShares,
        runtime: Runtime,
        connections: dict[Connection, str],
        farewells: Farewells,
    ) -> None:
        self._entrance, self._limit, self._shares = entrance, limit, shares
        self._runtime, self._connections, self._farewells = runtime, connections, farewells
        self._guard, self._sparing = Guard(), Sparing()
        self._options = asyncssh.SSHServerConnectionOptions(
            server_factory=asyncssh.SSHServer,  # `serve` gives each connection an owner of its own
            server_host_keys=[asyncssh.import_private_key(host_key)],
            server_version=VERSION,
            encryption_algs=CIPHERS,
            compression_algs=["none"],
            login_timeout=LOGIN_SECONDS,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_MISSES,
            public_key_auth=True,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_host=None,
            agent_forwarding=False,
            x11_forwarding=False,
            allow_pty=False,
            allow_scp=False,
            line_editor=False,
        )

    async def serve(self, guest: Guest, ip: str, logged_in: Callable[[], None]) -> None:
        """Serve one client, which has our first line already, to its end; closes its socket.

        `ip` is the EIP it came in on; `logged_in` is called when it is in.
        """
        bind_contextvars(connection_id=secrets.token_hex(8))  # for all that is logged about this client
        owner = Connection(ip, self._entrance, self._limit(ip), self._shares, self._runtime, self._guard, self._sparing, logged_in)
        connection = LaneConnection(asyncio.get_running_loop(), self._options)
        connection._protocol_factory = lambda: owner
        self._connections[owner] = ip
        guest.cut = lambda reason: owner.cut(reason, asyncssh.DISC_TOO_MANY_CONNECTIONS)
        try:
            lane = Lane(guest.sock, connection, self._farewells)
            guest.busy = lambda: lane.busy
            lane.start()
            await owner.ended
        except OSError:
            guest.sock.close()  # it had gone before there was a lane
            raise
        finally:
            guest.cut, guest.busy = None, lambda: False
            del self._connections[owner]
            connection.abort()


class Connection(asyncssh.SSHServer):
    """What one client may do: log in with the server's key, forward to the server's phones."""

    def __init__(
        self,
        ip: str,
        entrance: Callable[[str], Entrance | None],
        limit: Limit,
        shares: PhoneShares,
        runtime: Runtime,
        guard: Guard,
        sparing: Sparing,
        logged_in: Callable[[], None],
    ) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ip = ip
        self._entrance, self._limit, self._guard, self._logged_in = entrance, limit, guard, logged_in
        self._shares, self._runtime, self._sparing = shares, runtime, sparing
        self._cause: str | None = None  # why we ended it
        self._unproven = ""  # why it is not in, once it has named a user
        self._user = ""
        self._peer = ""
        self._keys: set[bytes] = set()
        self._in = False
        self._connection: LaneConnection | None = None
        self._context = copy_context()
        self._told = 0
        self._forwards = 0  # from the client's asking for one to its end
        found = entrance(ip)
        self.identity = found.identity if found is not None else None

    def cut(self, reason: str, code: int = asyncssh.DISC_SERVICE_NOT_AVAILABLE) -> None:
        """End the connection and its forwards, and say why."""
        if self._connection is not None:
            self._cause = reason
            self._context.copy().run(self._connection.disconnect, code, reason)  # whoever cuts it: the log is about this one

    def cut_what_moved(self) -> None:
        """End the forwards that would lead elsewhere, or nowhere, if they were opened now."""
        entrance = self._entrance(self._ip)
        if self._connection is None or entrance is None:
            return
        for forward in list(self._connection.lane.forwards.values()):
            if entrance.target(*forward.asked) != forward.target:
                _logger.info("forward cut: the phone is gone", address=self._ip, to=address_text(forward.asked))
                forward.cut()

    # --- asyncssh.SSHServer ----------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = cast(LaneConnection, conn)
        self._peer = conn.get_extra_info("peername")[0]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._in:
            tunnelled.open -= 1
        else:
            LOGINS_REFUSED.add("key")
        cause = str(exc) if exc else self._cause
        if self._in and self.identity is not None:
            _logger.info(
                "tunnel closed", address=self._ip, server_id=self.identity[0], user=self._user, peer=self._peer, cause=cause
            )
        else:
            who = {"address": self._ip, "peer": self._peer, "user": self._user or None}
            why = "; ".join(filter(None, (self._unproven, cause)))
            self._sparing.say(_logger.info, "ssh client not let in", **who, cause=why or "it hung up")
        if not self.ended.done():
            self.ended.set_result(None)

    def begin_auth(self, username: str) -> bool:
        if not self._user:
            assert self._connection is not None
            self._connection.send_auth_banner(BANNER)
            self._unproven = "no key was offered"
        self._user = username
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._unproven = self._refusal(username, key)
        if not self._unproven:
            self._unproven = "the key was not proven"
            return True
        self._keys.add(key.public_data)
        delay = self._guard.failed((self._peer, self._ip))
        if delay:
            _logger.warning("wrong keys: answers are delayed", address=self._ip, peer=self._peer, user=username, seconds=delay)
            await asyncio.sleep(delay)
        if len(self._keys) >= KEYS_PER_CONNECTION:
            raise asyncssh.PermissionDenied(f"Too many authentication failures: {KEYS_PER_CONNECTION} keys")
        return False

    def _refusal(self, username: str, key: asyncssh.SSHKey) -> str:
        """Why this user does not come in with this key, for the log; empty: it does."""
        entrance = self._entrance(self._ip)
        if entrance is None or entrance.identity != self.identity or not entrance.route.public_key:
            return "this address does not lead to the server any more"
        try:
            expected = asyncssh.import_public_key(entrance.route.public_key)
        except asyncssh.KeyImportError as error:
            _logger.error("the key pair of a server cannot be used", server_id=entrance.route.server_id, error=str(error))
            return "the key pair of the server cannot be used"
        project_id = entrance.route.project_id
        if username not in (project_id, project_id[:USER_CHARACTERS]):
            return "wrong user: it is the id of the server's project"
        return "" if key.public_data == expected.public_data else "wrong key: it is not the one of the server's key pair"

    def auth_completed(self) -> None:
        assert self.identity is not None
        self._in = True
        tunnelled.came += 1
        tunnelled.open += 1
        self._keys.clear()
        self._guard.succeeded((self._peer, self._ip))
        self._logged_in()
        _logger.info("tunnel opened", address=self._ip, server_id=self.identity[0], user=self._user, peer=self._peer)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> tuple[asyncssh.SSHTCPChannel[bytes], asyncssh.SSHTCPSession[bytes]]:
        entrance, asked = self._entrance(self._ip), (dest_host, dest_port)
        target = entrance.target(*asked) if entrance is not None else None
        if entrance is None or target is None:
            self._tell("forward refused", address_text(asked), "not a phone or an access address of this server")
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
                f"{address_text(asked)} is not a phone or an access address of this server",
            )
        assert self._connection is not None
        forwards = self._forwards
        if forwards >= FORWARDS_PER_CONNECTION:
            self._tell("forward refused", address_text(asked), f"at most {FORWARDS_PER_CONNECTION} per connection")
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_RESOURCE_SHORTAGE, f"at most {FORWARDS_PER_CONNECTION} forwards per connection"
            )
        crowded = self._shares.refusal(self._peer, target)
        if crowded:
            self._tell("forward refused", address_text(asked), crowded)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, crowded)
        channel = self._connection.create_tcp_channel(window=window_bytes(self._limit, forwards), max_pktsize=DATA_BYTES)
        self._forwards += 1
        give_back = self._shares.take(self._peer, target)
        inside = None if entrance.carries(target) else entrance.route.generation_id

        def over() -> None:
            self._forwards -= 1
            give_back()

        # asyncssh takes an awaitable here as well; its annotation does not say so
        return channel, cast("asyncssh.SSHTCPSession[bytes]", self._forward(self._connection, asked, target, inside, over))

    async def _forward(
        self, connection: LaneConnection, asked: Address, target: Address, inside: str | None, over: Callable[[], None]
    ) -> asyncssh.SSHTCPSession[bytes]:
        """Connect to the phone; `over` is called once, when the forward has ended or never began.

        `inside`: the generation whose runtime makes the connection, for a port that the phone's address does not carry.
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                sock = await (_connect(target) if inside is None else self._runtime.connect(inside, *target))
            _tune(sock, target)
        except (OSError, TimeoutError, RuntimeFaultError) as error:
            over()
            self._tell("forward failed", address_text(asked), str(error) or "the phone does not answer")
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error) or "the phone does not answer") from error
        except BaseException:
            over()
            raise
        if self.ended.done():  # its client has gone meanwhile
            over()
            sock.close()
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the connection has ended")

        def cut(cause: str) -> None:
            self._tell("forward cut", address_text(asked), cause)

        return Forward(connection.lane, sock, asked, target, self._limit, cut, over)

    def session_requested(self) -> NoReturn:
        self._refuse("a session: shell, command, subsystem or agent")

    def unix_connection_requested(self, dest_path: str) -> NoReturn:
        self._refuse(f"a unix socket: {dest_path[:TOLD_PATH]}")

    def tun_requested(self, unit: int | None) -> NoReturn:
        self._refuse("a network device")

    def tap_requested(self, unit: int | None) -> NoReturn:
        self._refuse("a network device")

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        self._tell("refused", f"a remote forward: {address_text((listen_host[:TOLD_PATH], listen_port))}", ONLY_FORWARDS)
        return False  # SSH has no words for why

    def unix_server_requested(self, listen_path: str) -> bool:
        self._tell("refused", f"a remote forward: {listen_path[:TOLD_PATH]}", ONLY_FORWARDS)
        return False

    def _refuse(self, asked: str) -> NoReturn:
        self._tell("refused", asked, ONLY_FORWARDS)
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, ONLY_FORWARDS)

    def _tell(self, event: str, asked: str, cause: str) -> None:
        self._told += 1
        if self._told <= TOLD_PER_CONNECTION:
            more = {"more": "is not told"} if self._told == TOLD_PER_CONNECTION else {}
            who = {"address": self._ip, "peer": self._peer, "user": self._user}
            _logger.info(event, **who, asked=asked, cause=cause, **more)


def _tune(sock: socket.socket, target: Address) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    do_not_pace(sock, target[0])


async def _connect(target: Address) -> socket.socket:
    """Connect to a port that the phone's address carries. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        with suppress(OSError):
            sock.close()
        raise
    return sock
