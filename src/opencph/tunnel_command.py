"""`opencph tunnel PHONE`: opens an SSH tunnel to a phone's ADB and says how to connect. The other end is `gateway/`."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, or_, select

from opencph.gateway.host_keys import host_key
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Database, Query, StoreError, open_database

if TYPE_CHECKING:
    import asyncssh

LOCAL = "127.0.0.1"
ADB_PORT = 5555
KEEPALIVE_SECONDS = 30


class _Way(NamedTuple):
    """A phone and how it is reached."""

    phone_id: str
    phone_name: str
    phone_ip: str
    number: int
    phone_count_per_ip: int
    server_id: str
    server_name: str
    project_id: str
    keypair_name: str | None
    generation_id: str


class _Address(NamedTuple):
    number: int
    server_ip: str
    public_ip: str | None


_p, _g, _s, _a = tables.phones.c, tables.generations.c, tables.servers.c, tables.server_addresses.c
_PHONES = Query(
    select(
        _p.phone_id,
        _p.name,
        _p.phone_ip,
        _p.number,
        _g.phone_count_per_ip,
        _s.server_id,
        _s.name,
        _g.project_id,
        _g.keypair_name,
        _g.generation_id,
    )
    .join(tables.generations, _g.generation_id == _p.generation_id)
    .join(tables.servers, _s.generation_id == _g.generation_id)
    .where(or_(_p.phone_id == bindparam("phone"), _p.name == bindparam("phone")))
    .limit(2),
    _Way,
)
_ADDRESSES = Query(
    select(_a.number, _a.server_ip, tables.eips.c.address)
    .outerjoin(tables.eips, tables.eips.c.eip_id == _a.eip_id)
    .where(_a.generation_id == bindparam("generation_id"))
    .order_by(_a.number),
    _Address,
)


class TunnelError(Exception):
    """There is no way to the phone. The message is one sentence that says why and what to do."""


class Plan(NamedTuple):
    """What a tunnel needs."""

    phone_id: str
    phone_name: str
    server_name: str
    phone_ip: str
    public_ip: str
    user: str
    key: Path


def plan(settings: Settings, database: Database, phone: str, key: Path | None) -> Plan:
    """Find the way to a phone, by its id or name. Raises TunnelError, StoreError."""
    found = database.rows(_PHONES, phone=phone)
    if not found:
        raise TunnelError(f"there is no phone {phone}: give the id or the name of one that a server has now")
    if len(found) > 1:
        raise TunnelError(f"several phones are called {phone}: give the id of one of them, such as {found[0].phone_id}")
    way = found[0]
    addresses = database.rows(_ADDRESSES, generation_id=way.generation_id)
    vip = addresses[(way.number - 1) // way.phone_count_per_ip]
    public = vip.public_ip or next((each.public_ip for each in addresses if each.public_ip), None)
    if public is None:
        raise TunnelError(f"server {way.server_name} has no public address: connect to its private one, {vip.server_ip}, instead")
    if way.keypair_name is None:
        raise TunnelError(f"server {way.server_name} has no key pair: give it one (update-keypair)")
    file = key or settings.data / f"{way.keypair_name}.pem"
    if not file.is_file():
        raise TunnelError(f"the private key of key pair {way.keypair_name} is not in {file}: give its file with --key FILE")
    return Plan(way.phone_id, way.phone_name, way.server_name, way.phone_ip, public, way.project_id, file)


def tunnel(settings: Settings, phone: str, port: int, key: Path | None) -> int:
    """Open it, say so on stdout, and keep it until SIGINT or SIGTERM. Returns the exit status."""
    try:
        database = open_database(settings.database_url)
        try:
            way = plan(settings, database, phone, key)
            key_of_gateway = host_key(database)  # made now, if it is needed for the first time: the gateway uses the same
        finally:
            database.close()
        return asyncio.run(_keep(settings, way, port, key_of_gateway))
    except (TunnelError, StoreError) as error:
        print(f"opencph tunnel: {error}", file=sys.stderr)
        return 1


async def _keep(settings: Settings, way: Plan, port: int, key_of_gateway: bytes) -> int:
    import asyncssh

    lost = asyncio.get_running_loop().create_future()

    class Client(asyncssh.SSHClient):
        def connection_lost(self, exc: Exception | None) -> None:
            if not lost.done():
                lost.set_result(str(exc) if exc is not None else "its log says why")

    public = asyncssh.import_private_key(key_of_gateway).export_public_key().decode()
    known = asyncssh.import_known_hosts(f"[{way.public_ip}]:{settings.ssh_port} {public}")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    where = f"{way.public_ip}:{settings.ssh_port}"
    try:
        connection = await asyncssh.connect(
            way.public_ip,
            settings.ssh_port,
            username=way.user,
            client_keys=[str(way.key)],
            known_hosts=known,
            config=None,
            client_factory=Client,
            keepalive_interval=KEEPALIVE_SECONDS,
        )
        await _try_phone(connection, way)
        listener = await connection.forward_local_port(LOCAL, port, way.phone_ip, ADB_PORT)
    except asyncssh.PermissionDenied as error:
        raise TunnelError(f"the gateway at {where} refuses the key {way.key}: give the server's with --key FILE") from error
    except asyncssh.KeyImportError as error:
        raise TunnelError(f"{way.key} is no private key: {error}") from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise TunnelError(
            f"what answers at {where} is not the gateway of this installation (another host key): nothing was sent to it; "
            "see which program listens there, and that --data and --database are the gateway's"
        ) from error
    except (OSError, asyncssh.Error) as error:
        raise TunnelError(f"no tunnel through {where}: {error}; is `opencph up` running, and port {port} free?") from error
    local = listener.get_port()
    forward = f"{local}:{way.phone_ip}:{ADB_PORT}"
    by_hand = shlex.join(
        ["ssh", "-L", forward, f"{way.user}@{way.public_ip}", "-p", str(settings.ssh_port), "-i", str(way.key), "-N"]
    )
    print(f"adb connect {LOCAL}:{local}")
    print(f"phone {way.phone_name} of server {way.server_name}; Ctrl-C ends the tunnel. The same by hand: {by_hand}", flush=True)
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait([lost, stopped], return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        stopped.cancel()
        raise TunnelError(f"the tunnel has ended: {lost.result()}")
    connection.close()
    await connection.wait_closed()
    return 0


async def _try_phone(connection: asyncssh.SSHClientConnection, way: Plan) -> None:
    """See that the forward leads somewhere before anybody is told to use it. Raises TunnelError with the gateway's reason."""
    import asyncssh

    try:
        _reader, writer = await connection.open_connection(way.phone_ip, ADB_PORT)
    except asyncssh.ChannelOpenError as error:
        raise TunnelError(
            f"phone {way.phone_name} of server {way.server_name} cannot be reached: {error.reason}; see that it runs"
        ) from error
    writer.close()
