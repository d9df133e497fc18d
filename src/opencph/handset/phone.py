"""One phone: power, addresses and the parts it is made of. The parts themselves live in their own modules."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from opencph.adb.device import DeviceConnection
from opencph.handset import listeners
from opencph.handset import state as stored
from opencph.handset.config import HandsetError, PhoneConfig
from opencph.handset.daemon import Daemon
from opencph.handset.disk import Disk
from opencph.handset.files import Files
from opencph.handset.forward import Relay
from opencph.handset.forward import connect as connect_inside
from opencph.handset.owner import owner_of
from opencph.handset.properties import Properties
from opencph.handset.sandbox import Sandbox
from opencph.handset.screen_state import ScreenState
from opencph.handset.system_tree import phone_root
from opencph.handset.trees import remove_tree

log = logging.getLogger(__name__)

PhoneState = Literal["stopped", "booting", "running"]
SANDBOX_IDLE_SECONDS = 10.0
EVENTS_KEPT = 1000
COLD = "cold"  # the reason for a boot that nobody in the phone asked for
MACHINE = os.uname().machine

__all__ = ["HandsetError", "Phone", "PhoneConfig", "PhoneState", "preload"]


def preload() -> None:
    """Import what all phones of a machine share, so that a process may fork many hosts that share its memory."""
    from opencph.handset import commands, framebuffer, sync
    from opencph.handset.sandbox import image, spawner

    commands.preload()
    image.system_image()
    for module in (framebuffer, sync, spawner):
        assert module


def _heard(task: asyncio.Task[Sandbox]) -> None:
    """Nobody may be left to hear of a failure; the next who asks meets it again."""
    if not task.cancelled():
        task.exception()


class Phone:
    """A light phone. Costs memory only: no thread, task, process or timer until somebody uses it.

    Its methods are called on one event loop; two calls of start, stop and reboot wait for each other.
    """

    __slots__ = (
        "_busy",
        "_chosen_port",
        "_files",
        "_listeners",
        "_reason",
        "_sandbox",
        "_sandbox_lock",
        "_state",
        "_tasks",
        "adb_root",
        "booted",
        "booted_at",
        "boots",
        "cleared_log_at",
        "config",
        "daemon",
        "disk",
        "events",
        "log_watchers",
        "properties",
        "screen",
        "state_data",
        "until_reboot",
    )

    def __init__(self, config: PhoneConfig) -> None:
        self.config = config
        self.booted = config  # what it was booted with; differs from `config` until the next boot
        self._state: PhoneState = "stopped"
        self._chosen_port = 0  # by the machine, if it was left to it; kept from then on
        self._busy: asyncio.Lock | None = None
        self._listeners: list[listeners.Listener] = []
        self._files: Files | None = None
        self._sandbox: Sandbox | None = None
        self._sandbox_lock: asyncio.Lock | None = None
        self._reason = COLD
        self._tasks: set[asyncio.Task[None]] = set()
        self.adb_root = False
        self.boots = 0  # since it was made or reset
        self.booted_at = 0.0  # seconds of the monotonic clock
        self.cleared_log_at = 0.0  # seconds since the epoch
        self.daemon: Daemon | None = None
        self.disk: Disk = Disk(config.directory, config.data_bytes)
        self.events: list[tuple[float, str, str, str]] | None = None  # (seconds since the epoch, tag, text, priority): the log
        self.log_watchers: set[asyncio.Event] | None = None  # those who follow the log
        self.properties: Properties | None = None
        self.screen: ScreenState | None = None
        self.state_data: stored.State | None = None
        self.until_reboot: dict[str, str] = {}  # what commands change that a reboot forgets: the battery, switched radios

    @property
    def state(self) -> PhoneState:
        """Where the phone is in its life."""
        return self._state

    @property
    def uptime(self) -> float:
        """Seconds since the boot."""
        return time.monotonic() - self.booted_at

    @property
    def adb_port(self) -> int:
        """The port that adbd of a running phone listens on; the configuration may leave it to the machine (0)."""
        return self._chosen_port or self.booted.adb_port

    # power

    async def start(self) -> None:
        """Boot: listen on `ip:adb_port` (and `ipv6`) and on `ip:listen_ports`. A running phone stays as it is.

        Raises HandsetError naming the address that is taken or missing.
        """
        if self._busy is None:
            self._busy = asyncio.Lock()
        async with self._busy:
            if self._state == "stopped":
                self._boot()

    def _boot(self) -> None:
        config = self.config
        self._state = "booting"
        sockets: list[socket.socket] = []
        try:
            for address in (config.ip, config.ipv6):
                if address is None or (address == config.ipv6 and not socket.has_ipv6):
                    continue
                for port in (config.adb_port or self._chosen_port, *config.listen_ports):
                    try:
                        sockets.append(listeners.bind(address, port))
                    except HandsetError as error:
                        if address == config.ip or error.errno == errno.EADDRINUSE:
                            raise
                        log.warning("phone %s: no IPv6: %s", config.phone_id, error.strerror)
                    if not config.adb_port and not self._chosen_port:
                        self._chosen_port = sockets[-1].getsockname()[1]
            boots = stored.count_boot(config.directory)
            data = stored.load(config.directory)
            if boots > 1 and (config.directory / "data" / "app").exists():
                from opencph.handset import leftovers

                leftovers.sweep(self)
        except BaseException:
            for sock in sockets:
                sock.close()
            self._state = "stopped"
            raise
        self.booted = config
        self.boots = boots
        self.state_data = data
        self.properties = Properties(config, MACHINE)
        self.properties.boot(config, data.properties, self._reason)
        self._reason = COLD
        self.adb_root = self.properties.get("ro.com.cph.non_root") == "0"
        self.booted_at = time.monotonic()
        self.disk.limit = config.data_bytes
        self.daemon = Daemon(self)
        self.events = None
        self.cleared_log_at = 0.0
        self.screen = None
        self.until_reboot = {}
        for sock in sockets:
            self._listeners.append(listeners.Listener(sock, self._accepted))
        self._state = "running"

    async def stop(self) -> None:
        """Power off: connections end, processes end, sockets close. Data is kept. Never raises for a stopped phone."""
        if self._busy is None:
            self._busy = asyncio.Lock()
        async with self._busy:
            for listener in self._listeners:
                listener.close()
            self._listeners = []
            if self._state == "stopped":
                return
            self._state = "stopped"
            if self.daemon is not None:
                self.daemon.disconnect_all()
                self.daemon = None
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.sleep(0)  # connections hear of their end, and half-received files go
            await self._leave_sandbox()
            self.properties = None
            self.screen = None
            self.events = None
            self.state_data = None
            self.disk.forget()

    async def reboot(self, reason: str = "reboot") -> None:
        """Stop and start, as `adb reboot` does. `reason` is what `sys.boot.reason` says afterwards."""
        await self.stop()
        self._reason = reason
        await self.start()

    def wipe(self) -> None:
        """Delete the data of a stopped phone. Raises HandsetError when it is not stopped or the disk refuses."""
        if self._state != "stopped":
            raise HandsetError(errno.EBUSY, f"phone {self.config.name} is {self._state}; stop it before it is wiped")
        try:
            for name in ("data", "cache"):
                remove_tree(self.config.directory / name)
            stored.remove(self.config.directory)
        except OSError as error:
            raise HandsetError(error.errno, f"cannot wipe {self.config.directory}: {error.strerror}") from None
        self.disk.forget()
        self._files = None

    def reconfigure(self, config: PhoneConfig) -> None:
        """Take a new configuration: name, disk size and the properties that act at once do so; the rest at the next boot."""
        if config.directory != self.config.directory:
            self._files = None
            self.disk = Disk(config.directory, config.data_bytes)
        if config.shares != self.config.shares:
            self._files = None
            if self._sandbox is not None:  # what runs in it ends; the next one sees what is shared now
                self.run(self._leave_sandbox())
        self.config = config
        self.disk.limit = config.data_bytes
        if self.properties is not None:
            self.properties.reconfigure(config)

    # parts that are made when needed

    @property
    def files(self) -> Files:
        """The phone's files."""
        if self._files is None:
            directory: Path = self.config.directory
            self._files = Files(directory, owner_of(self.config.ip), phone_root(self))
        self._files.keys_kept = not self.adb_root
        return self._files

    @property
    def running_properties(self) -> Properties:
        """The properties of a phone that runs."""
        assert self.properties is not None
        return self.properties

    @property
    def running_state(self) -> stored.State:
        """What a running phone remembers. What is to be kept is changed in `changing_state`."""
        assert self.state_data is not None
        return self.state_data

    @contextmanager
    def changing_state(self) -> Iterator[stored.State]:
        """What a running phone remembers, to be changed in the block, which awaits nothing: kept at its end. Raises HandsetError.

        When it cannot be kept, or the block raises, everything is as it was.
        """
        state = stored.copy(self.running_state)
        yield state
        self.state_data = stored.save(self.config.directory, state)
        self.running_properties.persistent = self.state_data.properties

    @property
    def running_screen(self) -> ScreenState:
        """What the screen shows."""
        if self.screen is None:
            self.screen = ScreenState()
        return self.screen

    def note(self, tag: str, text: str, priority: str = "I") -> None:
        """A line for the log that `logcat` shows; the priority is one of VDIWEF."""
        if self.events is None:
            self.events = []
        self.events.append((time.time(), tag, text, priority))
        del self.events[:-EVENTS_KEPT]
        for watcher in self.log_watchers or ():
            watcher.set()

    async def enter_sandbox(self) -> Sandbox:
        """The sandbox, made if there is none. Raises HandsetError that says what is missing on this machine.

        Who asks may leave meanwhile: what was begun is finished, and given back when it stays idle.
        """
        making = asyncio.get_running_loop().create_task(self._enter_sandbox())
        making.add_done_callback(_heard)
        return await asyncio.shield(making)

    async def _enter_sandbox(self) -> Sandbox:
        if self._sandbox_lock is None:
            self._sandbox_lock = asyncio.Lock()
        async with self._sandbox_lock:
            if self._state != "running":
                raise HandsetError(errno.ESHUTDOWN, "the phone is shutting down")
            sandbox = self._sandbox
            if sandbox is not None and sandbox.alive and sandbox.root == self.adb_root:
                sandbox.use()
                return sandbox
            if sandbox is not None:
                await sandbox.close()
            self._sandbox = await Sandbox.make(self, self.adb_root, SANDBOX_IDLE_SECONDS)
            return self._sandbox

    @property
    def sandbox(self) -> Sandbox | None:
        """The sandbox, if there is one."""
        return self._sandbox if self._sandbox is not None and self._sandbox.alive else None

    async def _leave_sandbox(self) -> None:
        if self._sandbox_lock is None:
            return
        async with self._sandbox_lock:  # one that is being made is waited for
            sandbox, self._sandbox = self._sandbox, None
            if sandbox is not None:
                await sandbox.close()

    def run(self, work: Awaitable[None]) -> None:
        """Run something of this phone; it ends with the phone."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except OSError as error:
                log.info("phone %s: %s", self.config.phone_id, error)
            except Exception:
                log.exception("phone %s: unexpected", self.config.phone_id)

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # connections from outside

    def _accepted(self, connection: socket.socket, port: int) -> None:
        if port == self.adb_port and self.daemon is not None:
            self.run(self._serve_adb(connection, self.daemon))
        else:
            self.run(self._serve_port(connection, port))

    async def _serve_adb(self, connection: socket.socket, daemon: Daemon) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: DeviceConnection(daemon), connection)
        except BaseException:
            connection.close()
            raise

    async def _serve_port(self, connection: socket.socket, port: int) -> None:
        """Connect to what listens on the same port inside the phone; without it the caller is refused, as a phone would."""
        try:
            inner = await connect_inside(self, f"tcp:{port}")
        except OSError:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
            return
        await Relay(connection, inner).run()

    async def connect(self, port: int) -> socket.socket:
        """A connection to what listens on `port` inside, though the phone's address does not carry that port.

        It lives and ends as one that came in by a declared port. Raises OSError as connect() would.
        """
        daemon = self.daemon
        inner = await connect_inside(self, f"tcp:{port}")
        try:
            theirs, ours = await listeners.connected_pair(self.booted.ip)
        except BaseException:
            inner.close()
            raise
        if daemon is None or self.daemon is not daemon:  # it was powered off meanwhile
            for sock in (inner, theirs, ours):
                sock.close()
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        self.run(Relay(ours, inner).run())
        return theirs
