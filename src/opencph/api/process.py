"""The api process: listens, serves the edge until SIGTERM or SIGINT, says that it is alive. Nothing of what is served."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog
import uvloop
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from opencph.api.connections import Connections, room_for_descriptors
from opencph.api.edge import Edge
from opencph.api.metrics import make_scrape_token
from opencph.api.tls import Tls, TlsError, tls_of
from opencph.fleet import open_fleet
from opencph.metrics.exchange import answering
from opencph.settings import Settings
from opencph.sockets import BACKLOG, listen, stop_accepting
from opencph.store import processes
from opencph.store.database import QUICK_STATEMENT_SECONDS, StoreError

#: The time for a request's headers, idle time before them included, and the bytes that they may have.
HEADER_SECONDS = 30
HEADER_BYTES = 128 * 1024
#: How long clients that hold a connection are given to ask once more, and to be told that it closes.
LINGER_SECONDS = 0.5
STOP_SECONDS = 10.0
READY_SECONDS = 10.0
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - said, not bound

_logger = structlog.get_logger("opencph.api")


class ApiStartError(Exception):
    """The api process cannot start. The message says why and what to do."""


class _Server(Server):
    """Granian on a socket of ours: port 0 works, and a taken port is an error instead of a shared one."""

    def __init__(self, app: Edge, listening: socket.socket, tls: Tls | None) -> None:
        host, port = listening.getsockname()[:2]
        super().__init__(
            app,
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            # It must accept more than are kept, else those above wait unseen in front of everybody else.
            backpressure=2 * app.fleet.settings.connections,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000, max_buffer_size=HEADER_BYTES),
            ssl_cert=tls.certificate if tls else None,
            ssl_key=tls.key if tls else None,
            ssl_protocol_min=SSLProtocols.tls12,
            log_enabled=False,
        )
        self._listening = listening  # Granian takes it over when it starts
        self._also_listening = listening.dup()

    def stop_accepting(self) -> None:
        """Take no more connections, and go on serving those that are there."""
        stop_accepting(self._also_listening)
        self._also_listening.close()

    def _init_shared_socket(self) -> None:
        self._shd: Any = SocketHolder(self._listening.detach(), False, BACKLOG)  # type: ignore[call-arg]
        self._ssp: Any = None


def endpoint_of(listening: socket.socket, scheme: str = "http") -> str:
    """The URL under which a client of this machine reaches the socket."""
    host, port = listening.getsockname()[:2]
    host = WILDCARDS.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def run_api(settings: Settings, ready: Callable[[str], None], listening: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun; after SIGUSR1 (another process takes over) with more patience.

    Calls `ready(endpoint)` once a request has been answered.

    `listening` is a socket that others hold, and may accept from too: then no client is refused while this process is replaced.
    Without one the process listens on `settings.listen`. Opens the database itself, so it may run in a forked child.
    Raises ApiStartError, ListenError, StoreError, SettingsError.
    """
    try:
        tls = tls_of(settings)
    except TlsError as error:
        raise ApiStartError(str(error)) from error
    listening = listening or listen(settings.listen)
    room_for_descriptors()
    try:
        fleet = open_fleet(settings, statement_seconds=QUICK_STATEMENT_SECONDS)
        try:
            process_id = processes.register(fleet.database, "api")
            edge = Edge(fleet)
            try:
                uvloop.run(_serve(edge, listening, tls, process_id, ready))
            finally:
                edge.close()
                with suppress(StoreError):
                    processes.remove(fleet.database, process_id)
        finally:
            fleet.close()
    finally:
        listening.close()


async def _serve(edge: Edge, listening: socket.socket, tls: Tls | None, process_id: str, ready: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    replaced = False

    def leave() -> None:
        nonlocal replaced
        replaced = True
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, leave)
    endpoint = endpoint_of(listening, "https" if tls else "http")
    port, settings = listening.getsockname()[1], edge.fleet.settings
    server = _Server(edge, listening, tls)
    make_scrape_token(edge.fleet.settings)
    numbers = AsyncExitStack()
    await numbers.enter_async_context(answering("api", edge.fleet.settings.run_directory))
    serving = asyncio.create_task(server.serve())
    beating = asyncio.create_task(_beat(edge, process_id))
    watching = asyncio.create_task(Connections(port, settings.connections_per_client, settings.connections).watch())
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait_for(_answers(endpoint), READY_SECONDS)
        gc.collect()
        gc.freeze()  # what is there now stays: nothing to look through again and again
        ready(endpoint)
        await asyncio.wait((waiting, serving), return_when=asyncio.FIRST_COMPLETED)
        if serving.done() and not stop.is_set():
            raise ApiStartError(f"the HTTP server ended by itself: {serving.exception()}")
    finally:
        beating.cancel()
        waiting.cancel()
        watching.cancel()
        server.stop_accepting()
        with suppress(asyncio.TimeoutError):
            edge.leaving = True
            if replaced:
                await asyncio.sleep(LINGER_SECONDS)
            seconds = edge.fleet.settings.drain_seconds if replaced else STOP_SECONDS
            await asyncio.wait_for(edge.idle(), seconds)
        await numbers.aclose()
        server.stop()  # type: ignore[no-untyped-call]
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(serving, STOP_SECONDS)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(edge.idle(), STOP_SECONDS)


async def _answers(endpoint: str) -> None:
    """Return once a request is answered."""
    scheme, _, place = endpoint.partition("://")
    host, _, port = place.rpartition(":")
    context = None
    if scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is our own socket, asked whether it answers
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    if b" 200 " not in await reader.readline():
        raise ApiStartError("the HTTP server does not answer GET /healthz")
    writer.close()


async def _beat(edge: Edge, process_id: str) -> None:
    """Say again and again that this process is alive."""
    database = edge.fleet.database
    while True:
        await asyncio.sleep(processes.HEARTBEAT_SECONDS)
        try:
            if not await asyncio.to_thread(processes.heartbeat, database, process_id):
                await asyncio.to_thread(processes.register, database, "api", process_id=process_id)
        except StoreError as error:
            _logger.warning("cannot say that this process is alive", cause=str(error))
