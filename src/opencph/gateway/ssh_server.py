"""One SSH client: who it is, what it may open, and the bytes of its forwards. Needs asyncssh; `tunnels` imports it late."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import asyncssh
import structlog

from opencph.sockets import do_not_pace

if TYPE_CHECKING:
    from opencph.gateway.tunnels import Entrance

BANNER = "Authorized users only. All activities may be monitored and reported.\r\n"
USER_CHARACTERS = 32  # of the project id
LOGIN_SECONDS = 30
KEEPALIVE_SECONDS = 30
KEEPALIVE_MISSES = 3
CONNECT_SECONDS = 10.0
FORWARDS_PER_CONNECTION = 1000
#: What an SSH client may have in flight per forward; OpenSSH's own default.
WINDOW_BYTES = 2 * 1024 * 1024

_logger = structlog.get_logger("opencph.gateway.ssh")


class SshServer:
    """Speaks SSH on connections that were accepted elsewhere."""

    def __init__(self, host_key: bytes, entrance: Callable[[str], Entrance | None], connections: dict[Connection, str]) -> None:
        self._options = asyncssh.SSHServerConnectionOptions(
            server_factory=lambda: Connection(entrance, connections),
            server_host_keys=[asyncssh.import_private_key(host_key)],
            server_version="OpenCPH",
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

    async def serve(self, sock: socket.socket, ip: str) -> None:
        """Serve one client to its end. `ip` is the EIP it came in on."""
        try:
            connection = await asyncssh.run_server(sock, options=self._options)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            _logger.info("ssh client not let in", address=ip, cause=str(error))
            return
        try:
            await connection.wait_closed()
        finally:
            connection.abort()


class Connection(asyncssh.SSHServer):
    """What one client may do: log in with the server's key, forward to the server's phones."""

    def __init__(self, entrance: Callable[[str], Entrance | None], connections: dict[Connection, str]) -> None:
        self._entrance = entrance
        self._connections = connections
        self._ip = ""
        self._user = ""
        self._connection: asyncssh.SSHServerConnection | None = None
        self.identity: tuple[str, str, str | None] | None = None
        self.forwards = 0

    def cut(self, reason: str) -> None:
        """End the connection and its forwards."""
        if self._connection is not None:
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, reason)
            self._connection.abort()

    # --- asyncssh.SSHServer ----------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._ip = conn.get_extra_info("sockname")[0]
        entrance = self._entrance(self._ip)
        self.identity = entrance.identity if entrance is not None else None
        self._connections[self] = self._ip

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.pop(self, None)
        if self.identity is not None:
            _logger.info("tunnel closed", address=self._ip, server_id=self.identity[0], cause=str(exc) if exc else None)

    def begin_auth(self, username: str) -> bool:
        self._user = username
        assert self._connection is not None
        self._connection.send_auth_banner(BANNER)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        entrance = self._entrance(self._ip)
        if entrance is None or entrance.identity != self.identity or not entrance.route.public_key:
            return False
        try:
            expected = asyncssh.import_public_key(entrance.route.public_key)
        except asyncssh.KeyImportError as error:
            _logger.error("the key pair of a server cannot be used", server_id=entrance.route.server_id, error=str(error))
            return False
        project_id = entrance.route.project_id
        return username in (project_id, project_id[:USER_CHARACTERS]) and key.public_data == expected.public_data

    def auth_completed(self) -> None:
        assert self._connection is not None and self.identity is not None
        peer = self._connection.get_extra_info("peername")
        _logger.info("tunnel opened", address=self._ip, server_id=self.identity[0], user=self._user, peer=peer[0])

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> asyncssh.SSHTCPSession[bytes]:
        entrance = self._entrance(self._ip)
        target = entrance.target(dest_host, dest_port) if entrance is not None else None
        if target is None:
            _logger.info("forward refused", address=self._ip, to=f"{dest_host}:{dest_port}")
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
                f"{dest_host}:{dest_port} is not a phone or an access address of this server",
            )
        if self.forwards >= FORWARDS_PER_CONNECTION:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_RESOURCE_SHORTAGE, f"at most {FORWARDS_PER_CONNECTION} forwards per connection"
            )
        # asyncssh takes an awaitable here as well; its annotation does not say so
        return cast("asyncssh.SSHTCPSession[bytes]", self._forward(target))

    async def _forward(self, target: tuple[str, int]) -> asyncssh.SSHTCPSession[bytes]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _transport, phone = await loop.create_connection(_PhoneSide, *target)
        except (OSError, TimeoutError) as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error) or "the phone does not answer") from error
        return _ChannelSide(self, phone)


class _PhoneSide(asyncio.Protocol):
    """The TCP connection to the phone."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self.done = False  # it will send no more
        self.client_done = False
        self._early = bytearray()  # came before the channel was open: pausing does not stop the very first read
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()  # until the channel is open
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        do_not_pace(sock, sock.getpeername()[0])

    def join(self, channel: asyncssh.SSHTCPChannel[bytes]) -> None:
        """The channel is open: bytes may flow."""
        assert self.transport is not None
        self.channel = channel
        if self._early:
            channel.write(bytes(self._early))
            self._early.clear()
        if self.done:
            channel.write_eof()
        if self._lost:
            channel.close()
        else:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.channel is None:
            self._early += data
        elif not self.channel.is_closing():
            self.channel.write(data)

    def eof_received(self) -> bool:
        self.done = True
        if self.channel is not None and not self.channel.is_closing():
            self.channel.write_eof()
            self._close_when_done()
        return True  # the other way stays open

    def client_eof(self) -> None:
        """The client will send no more."""
        assert self.transport is not None
        self.client_done = True
        if not self.transport.is_closing():
            self.transport.write_eof()
            self._close_when_done()

    def _close_when_done(self) -> None:
        if self.done and self.client_done and self.channel is not None:
            self.channel.close()

    def pause_writing(self) -> None:
        if self.channel is not None:
            self.channel.pause_reading()

    def resume_writing(self) -> None:
        if self.channel is not None:
            self.channel.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self.channel is not None:
            self.channel.close()


class _ChannelSide(asyncssh.SSHTCPSession[bytes]):
    """The SSH channel to the client."""

    def __init__(self, connection: Connection, phone: _PhoneSide) -> None:
        self._connection = connection
        self._phone = phone
        assert phone.transport is not None
        self._transport = phone.transport
        connection.forwards += 1

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._phone.join(self._channel)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._transport.write(data)

    def eof_received(self) -> bool:
        self._phone.client_eof()
        return True  # the other way stays open

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.forwards -= 1
        self._transport.close()
