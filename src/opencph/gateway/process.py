"""The gateway process: follows the network as the database has it, and serves it. Mappings and tunnels live beside it."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
import uvloop

from opencph.fleet.generation_routes import Route, mappings
from opencph.gateway.bandwidth import Limits
from opencph.gateway.listeners import Listeners
from opencph.gateway.mappings import Mappings, limits_of, mappings_of
from opencph.gateway.phone_share import PhoneShares
from opencph.gateway.relay import Relays
from opencph.gateway.tunnels import Tunnels
from opencph.metrics.exchange import answering
from opencph.metrics.families import ADDRESSES_MISSING, CONNECTIONS_OPEN, MAPPINGS_OPEN
from opencph.runtimes.choice import make_runtime
from opencph.settings import Settings
from opencph.store import processes, revisions
from opencph.store.database import Database, StoreError, open_database

NETWORK = "network"
#: How long one wait for a change lasts: bounds how late a stop is noticed.
WAIT_SECONDS = 0.25
RETRY_SECONDS = 0.5
#: A gateway that finds another at work looks so often whether it is gone, and calls itself ready, standing by, after so long.
STAND_BY_SECONDS, STAND_BY_READY_SECONDS = 0.02, 3.0
#: How often a gateway that leaves looks whether its last connection has ended.
DRAIN_POLL_SECONDS = 0.1

_logger = structlog.get_logger("opencph.gateway")


def run_gateway(settings: Settings, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; after SIGUSR1 leave the addresses to the next gateway and serve what is connected, for
    `settings.drain_seconds` at most. Call `ready` once everything the database maps is open. Blocks; may run in a forked child.

    Raises StoreError when the database cannot be used at the start; later it waits for it, and serves what it knows.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    database = open_database(settings.database_url)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, database, ready))
    finally:
        database.close()


async def _own(settings: Settings, stop: asyncio.Event, stand_by: Callable[[], None]) -> socket.socket | None:
    """Wait until no other gateway of this database serves this machine. Two would take each other's addresses.

    What proves it is a socket with a name in the kernel, in the same network namespace as the listeners: it goes with its process.
    None: told to stop meanwhile.
    """
    name = hashlib.sha256(settings.database_url.encode()).hexdigest()
    mine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    begun, said = time.monotonic(), False
    while not stop.is_set():
        try:
            mine.bind(f"\0opencph-gateway-{name}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            if said:
                _logger.info("the other gateway is gone: this one serves now")
            return mine
        if not said and time.monotonic() - begun > STAND_BY_READY_SECONDS:
            said = True
            _logger.warning("another gateway of this database serves this machine: this one stands by")
            stand_by()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), STAND_BY_SECONDS)
    mine.close()
    return None


async def _serve(settings: Settings, database: Database, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    stop, leave = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, stop.set)  # while it stands by, there is nothing to leave
    told = False

    def ready_once() -> None:
        nonlocal told
        if not told:
            told = True
            ready()

    async with answering("gateway", settings.run_directory):
        owner = await _own(settings, stop, ready_once)
        if owner is None:
            return
        loop.add_signal_handler(signal.SIGUSR1, leave.set)
        with owner:
            await _serve_alone(settings, database, ready_once, stop, leave, owner)


async def _serve_alone(
    settings: Settings,
    database: Database,
    ready: Callable[[], None],
    stop: asyncio.Event,
    leave: asyncio.Event,
    owner: socket.socket,
) -> None:
    loop = asyncio.get_running_loop()
    listeners = Listeners()
    relays = Relays(on_no_descriptors=listeners.hold)
    limits = Limits()
    shares = PhoneShares()
    serving = Mappings(listeners, relays, limits, shares)
    tunnels = Tunnels(listeners, limits, shares, database, settings.ssh_port, lambda: make_runtime(settings))

    MAPPINGS_OPEN.read_from(lambda: {(): len(serving)})
    ADDRESSES_MISSING.read_from(lambda: {(): len(listeners.missing)})
    CONNECTIONS_OPEN.read_from(lambda: {(): len(relays)})

    async def apply(routes: list[Route]) -> None:
        wanted = mappings_of(routes)
        limits.apply(limits_of(routes))
        serving.apply(wanted)
        tunnels.apply(routes)
        _logger.info("network applied", servers=len(routes), mappings=len(serving), missing=len(listeners.missing))

    async def trouble() -> str:
        return listeners.trouble()

    follower = _Follower(
        database,
        lambda routes: asyncio.run_coroutine_threadsafe(apply(routes), loop).result(),
        lambda: asyncio.run_coroutine_threadsafe(trouble(), loop).result(),
    )
    following = asyncio.create_task(follower.run(stop.set))
    stopping, leaving = asyncio.create_task(stop.wait()), asyncio.create_task(leave.wait())
    try:
        first = asyncio.create_task(follower.applied.wait())
        await asyncio.wait([first, following, stopping], return_when=asyncio.FIRST_COMPLETED)
        if follower.applied.is_set():
            ready()
        first.cancel()
        await asyncio.wait([following, stopping, leaving], return_when=asyncio.FIRST_COMPLETED)
        if leaving.done() and not (stopping.done() or following.done()):
            listeners.leave()
            owner.close()  # the next one may begin
            _logger.info("left to the next gateway", connections=len(relays) + len(tunnels))
            deadline = loop.time() + settings.drain_seconds
            while (len(relays) or len(tunnels)) and loop.time() < deadline and not (stopping.done() or following.done()):
                await asyncio.wait([following, stopping], timeout=DRAIN_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        follower.ending.set()
        await asyncio.wait([following])
        stopping.cancel()
        leaving.cancel()
        listeners.close()
        await tunnels.close()
        relays.close()
    following.result()


class _Follower:
    """A thread that reads the network whenever its revision changes, has it applied, and says so in `processes`."""

    def __init__(self, database: Database, apply: Callable[[list[Route]], None], trouble: Callable[[], str]) -> None:
        self._database = database
        self._apply = apply
        self._trouble = trouble
        self._process_id = processes.new_process_id("gateway")
        self.applied = asyncio.Event()
        self.ending = threading.Event()

    async def run(self, on_end: Callable[[], None]) -> None:
        """Follow until `ending`. Raises what ended it before."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def run() -> None:
            try:
                self._follow(lambda: loop.call_soon_threadsafe(self.applied.set))
            except BaseException as error:
                loop.call_soon_threadsafe(ended.set_exception, error)
            else:
                loop.call_soon_threadsafe(ended.set_result, None)

        threading.Thread(target=run, name="network", daemon=True).start()
        try:
            await ended
        finally:
            on_end()

    def _follow(self, on_first: Callable[[], object]) -> None:
        database, served, beaten = self._database, -1, 0.0
        while not self.ending.is_set():
            try:
                if served < 0:
                    database.wait_for_change(0)  # from here on no change is missed
                revision = revisions.read(database, NETWORK)
                if revision != served:
                    with database.read() as tx:
                        revision, routes = revisions.read(tx, NETWORK), mappings(tx)
                    self._apply(routes)
                    if served < 0:
                        processes.register(database, "gateway", process_id=self._process_id)
                    self._report(revision)
                    served, beaten = revision, time.monotonic()
                    on_first()
                elif time.monotonic() - beaten >= processes.HEARTBEAT_SECONDS:
                    self._report(served)
                    beaten = time.monotonic()
                database.wait_for_change(WAIT_SECONDS)
            except StoreError as error:
                if served < 0:
                    raise
                _logger.warning("database", error=str(error))
                self.ending.wait(RETRY_SECONDS)
        with suppress(StoreError):
            processes.remove(database, self._process_id)

    def _report(self, revision: int) -> None:
        missing = self._trouble()
        if not processes.applied(self._database, self._process_id, revision, missing):
            processes.register(self._database, "gateway", process_id=self._process_id)
            processes.applied(self._database, self._process_id, revision, missing)
