"""What the worker asks of light phones, done by asking host processes. How a phone works is the handset's business.

    DATA/builtin/<generation_id>/host.json    what the host carries; beside it host.lock and phones/<phone_id>/
    DATA/builtin/.trash/                      what is being deleted
    DATA/run/zygote.sock, host-<generation_id>.sock

Nothing is remembered here: what exists is asked from directories, sockets and locks, so any number of these objects, in any
process, see the same phones, and a new one finds what an old one left.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import structlog

from opencph.handset import control
from opencph.handset.config import PhoneConfig
from opencph.handset.host import lock_holder
from opencph.log import trace
from opencph.runtimes import GenerationInventory, GenerationSpec, PhoneSpec, PhoneState, RuntimeFaultError, Stray, boots
from opencph.runtimes.builtin.homes import Homes, cause_of
from opencph.runtimes.builtin.limiter import Limiter
from opencph.runtimes.builtin.processes import end, end_all, is_stopped, start_zygote, wait_until_ended

ANSWER_SECONDS = 10.0  # a host whose loop does not turn for so long is beyond help and is replaced
#: One that does not answer for so long is told as dead; it may come back by itself before it is replaced.
LOOK_SECONDS = 4.0
BOOT_SECONDS = 120.0
FORK_SECONDS = 20.0
FORK_ATTEMPTS = 3
FORKS_AT_ONCE = 16
SOCKET_SECONDS = 2.0  # from a host's lock to its socket
QUIT_SECONDS = 3.0
DYING_SECONDS = 5.0  # from the first socket that a killed process loses to its last
#: What is in the trash for so long is nobody's work any more: a backup that held it was killed.
LEFT_SECONDS = 600.0
#: Connections into one phone that are asked for at a time: all phones together stay below what a host's socket lets wait.
CONNECTS_AT_ONCE = 16
CONNECT_SECONDS = 12.0  # a host gives up before
#: Generations that one inventory asks at a time.
ASK_AT_ONCE = 64

_logger = structlog.get_logger("opencph.runtimes.builtin")


class _HostDiedError(RuntimeFaultError):
    """The connection ended before the answer: the host was killed, crashed, or hung and was ended."""


class BuiltinRuntime:
    """Light phones on this machine, under the data directory `data`. At most `boots_at_once` phones boot at a time.

    `phone_network` is what programs in the phones reach outside: "off" or "internet".
    """

    name = "builtin"

    def __init__(self, data: Path, *, boots_at_once: int, phone_network: str = "off") -> None:
        self._phone_network = phone_network
        self._data = data.absolute()
        self._run = self._data / "run"
        self._homes = Homes(self._data / "builtin")
        self._boots = Limiter(boots_at_once)
        self._zygote = asyncio.Lock()
        self._forks = asyncio.Semaphore(FORKS_AT_ONCE)
        self._turns: dict[str, asyncio.Lock] = {}  # one change of a home at a time
        self._swept = False
        self._doors: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()  # by generation and phone

    async def warm(self) -> None:
        """Start the zygote before it is needed, so that the first server does not wait for it."""
        (await self._reach_zygote()).close()

    async def create(self, spec: GenerationSpec) -> None:
        configs = tuple(_config(phone, self._phone_network) for phone in spec.phones)
        async with self._turn(spec.generation_id):
            file = control.HostFile(generation_id=spec.generation_id, server_id=spec.server_id, phones=configs)
            changed = await asyncio.to_thread(self._homes.make, file)
            connection = await self._connect(spec.generation_id)
            if connection is None:
                await self._fork(spec.generation_id)
            elif changed:
                await self._ask(connection, control.Update(phones=configs), ANSWER_SECONDS)
            else:
                connection.close()

    async def start(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        causes: dict[str, str] = {}
        for first in range(0, len(phone_ids), self._boots.limit):
            some = tuple(phone_ids[first : first + self._boots.limit])
            async with self._boots.of(len(some)):
                reply = await self._command(generation_id, control.Start(phone_ids=some, trace=trace()), BOOT_SECONDS)
            boots.count(reply.booted.values(), failed=len(reply.failures))
            causes |= reply.failures
        return causes

    async def stop(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        connection = await self._connect(generation_id)
        if connection is None:
            if self._homes.exists(generation_id):
                return {}  # no host: nothing of it runs
            raise _unknown(generation_id)
        request = control.Stop(phone_ids=tuple(phone_ids), trace=trace())
        try:
            return (await self._ask(connection, request, BOOT_SECONDS)).failures
        except _HostDiedError:
            if await self._connect(generation_id) is None:
                return {}  # its phones have ended with it
            raise

    async def reset(self, generation_id: str, phone_ids: Sequence[str]) -> Mapping[str, str]:
        request = control.Reset(phone_ids=tuple(phone_ids), trace=trace())
        return (await self._command(generation_id, request, BOOT_SECONDS)).failures

    async def update(self, generation_id: str, phones: Sequence[PhoneSpec]) -> None:
        configs = tuple(_config(phone, self._phone_network) for phone in phones)
        async with self._turn(generation_id):
            await asyncio.to_thread(self._homes.update, generation_id, configs)
            connection = await self._connect(generation_id)
            if connection is not None:
                with suppress(_HostDiedError):  # the next one reads the file
                    await self._ask(connection, control.Update(phones=configs), ANSWER_SECONDS)

    async def connect(self, generation_id: str, ip: str, port: int) -> socket.socket:
        door = self._doors.setdefault((generation_id, ip), asyncio.Semaphore(CONNECTS_AT_ONCE))
        async with door:
            try:
                connection = control.connect(self._socket(generation_id))
            except FileNotFoundError as error:  # no host: nothing of it runs
                raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)) from error
            try:
                request = control.Connect(ip=ip, port=port)
                reply, found = await control.call_for_socket(connection, request, CONNECT_SECONDS)
            except TimeoutError as error:  # it may come back; who looks after hosts replaces it
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from error
            except control.ControlError as error:
                raise OSError(errno.ECONNRESET, f"the host of the phone died: {error}") from error
        if found is not None:
            return found
        if reply.errno:
            raise OSError(reply.errno, os.strerror(reply.errno))
        raise RuntimeFaultError(f"only declared ports can be reached until the server is restarted: {reply.error}")

    async def power_off(self, generation_id: str) -> None:
        async with self._turn(generation_id):
            await self._end_host(generation_id)

    async def remove(self, generation_id: str) -> None:
        async with self._turn(generation_id):
            await self._end_host(generation_id)
            await asyncio.to_thread(self._homes.delete, generation_id)
        self._turns.pop(generation_id, None)

    async def set_aside(self, generation_id: str) -> str:
        async with self._turn(generation_id):
            await self._end_host(generation_id)
            return str(await asyncio.to_thread(self._homes.set_aside, generation_id))

    async def set_strays_aside(self) -> Sequence[Stray]:
        return await asyncio.to_thread(self._homes.set_strays_aside)

    async def inventory(self) -> Sequence[GenerationInventory]:
        await asyncio.to_thread(self._homes.sweep, LEFT_SECONDS if self._swept else 0.0)
        self._swept = True
        found = await asyncio.to_thread(self._names)
        asking = asyncio.Semaphore(ASK_AT_ONCE)

        async def one(generation_id: str) -> GenerationInventory | None:
            async with asking:
                return await self._look(generation_id)

        answers = await asyncio.gather(*(one(generation_id) for generation_id in found))
        return [answer for answer in answers if answer is not None]

    async def shutdown(self) -> None:
        await asyncio.to_thread(end_all, self._data)

    async def close(self) -> None:
        """Nothing is held open."""

    # --- hosts ----------------------------------------

    def _turn(self, generation_id: str) -> asyncio.Lock:
        return self._turns.setdefault(generation_id, asyncio.Lock())

    def _socket(self, generation_id: str) -> Path:
        return self._run / control.host_socket(generation_id)

    def _names(self) -> list[str]:
        """Every generation that has a directory or a socket."""
        names = set(self._homes.names())
        listening = {control.generation_of(path.name) for path in self._run.glob("*.sock")}
        return sorted(names | {name for name in listening if name is not None})

    async def _connect(self, generation_id: str) -> socket.socket | None:
        """A connection to the generation's host, or None when it has none."""
        try:
            return control.connect(self._socket(generation_id))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except BlockingIOError:  # it has not taken a connection for very long
            holder = lock_holder(self._homes.path(generation_id) / control.HOST_LOCK)
            if holder is not None:
                _logger.warning("a phone host hangs and is ended", generation_id=generation_id)
                await end(holder, 0)
            return None
        except OSError as error:
            raise RuntimeFaultError(f"the host of these phones cannot be reached: {cause_of(error)}") from error

    async def _look(self, generation_id: str) -> GenerationInventory | None:
        """What there is of one generation; None when it vanished meanwhile."""
        try:
            connection = await self._connect(generation_id)
            if connection is not None:
                if is_stopped(control.peer(connection)[0]):
                    connection.close()
                    raise RuntimeFaultError("somebody has stopped its process")
                reply = await control.call(connection, control.Inventory(), LOOK_SECONDS)
                return GenerationInventory(
                    generation_id=reply.generation_id or generation_id,
                    server_id=reply.server_id,
                    alive=True,
                    phones={phone_id: _state(state) for phone_id, state in reply.phones.items()},
                )
        except (RuntimeFaultError, control.ControlError, TimeoutError, OSError) as error:
            _logger.warning("a phone host does not answer", generation_id=generation_id, cause=str(error) or "time is up")
        file = await asyncio.to_thread(self._homes.read, generation_id)
        if file is None:
            if self._homes.exists(generation_id):
                return GenerationInventory(generation_id=generation_id, server_id="", alive=False, phones={})
            self._forget_socket(generation_id)
            return None
        return GenerationInventory(
            generation_id=generation_id,
            server_id=file.server_id,
            alive=False,
            phones={phone.phone_id: "stopped" for phone in file.phones},
        )

    async def _command(self, generation_id: str, request: control.Request, seconds: float) -> control.Reply:
        """Ask the generation's host, making it anew when it is dead, or dies over it for the first time."""
        try:
            await self._ask(await self._host(generation_id), control.Inventory(), ANSWER_SECONDS)  # does it turn at all?
            return await self._ask(await self._host(generation_id), request, seconds)
        except _HostDiedError as error:
            _logger.warning("a phone host died; making it anew", generation_id=generation_id, cause=str(error))
            return await self._ask(await self._host(generation_id), request, seconds)

    async def _host(self, generation_id: str) -> socket.socket:
        """A connection to the generation's host, made when there is none."""
        connection = await self._connect(generation_id)
        if connection is None:
            async with self._turn(generation_id):
                connection = await self._connect(generation_id)
                if connection is None:
                    await self._fork(generation_id)
                    connection = await self._connect(generation_id)
        if connection is None:
            raise RuntimeFaultError("the host of these phones ended as soon as it had started; see DATA/logs/handset.log")
        return connection

    async def _ask(self, connection: socket.socket, request: control.Request, seconds: float) -> control.Reply:
        pid, _uid = control.peer(connection)
        if is_stopped(pid):
            connection.close()
            await end(pid, 0)
            raise _HostDiedError("the host of these phones was stopped, and is ended")
        try:
            reply = await control.call(connection, request, seconds)
        except TimeoutError as error:
            await end(pid, 0)
            raise _HostDiedError(f"the host of these phones did not answer within {seconds:.0f} s and was ended") from error
        except (control.ControlError, OSError) as error:
            # What is killed loses its sockets one after the other: the next connection must not reach one that is still there.
            await wait_until_ended(pid, DYING_SECONDS)
            raise _HostDiedError(f"the host of these phones died while it worked: {error}") from error
        if reply.error:
            raise RuntimeFaultError(reply.error)
        return reply

    async def _fork(self, generation_id: str) -> None:
        """Have the zygote fork a host for a home that has none that answers."""
        home = self._homes.path(generation_id)
        if not self._homes.exists(generation_id):
            raise _unknown(generation_id)
        request = control.Fork(home=str(home), socket=control.host_socket(generation_id))
        cause = ""
        for _ in range(FORK_ATTEMPTS):
            if await self._has_host_after_all(generation_id):
                return
            try:
                async with self._forks:
                    reply = await control.call(await self._reach_zygote(), request, FORK_SECONDS)
            except (control.ControlError, OSError) as error:  # the zygote was killed this very moment
                cause = str(error)
            else:
                if not reply.error:
                    return
                cause = reply.error
                if not reply.taken:
                    break
        raise RuntimeFaultError(f"no host process could be started for the phones: {cause}")

    async def _has_host_after_all(self, generation_id: str) -> bool:
        """Wait for a host that is on its way to its socket; end one that has lost it. True: there is a host."""
        deadline = time.monotonic() + SOCKET_SECONDS
        home = self._homes.path(generation_id)
        while (holder := lock_holder(home / control.HOST_LOCK)) is not None:
            connection = await self._connect(generation_id)
            if connection is not None:  # another process had it forked just now
                connection.close()
                return True
            if time.monotonic() > deadline:  # alive, but its socket is gone: unreachable for good
                await end(holder, 1.0)
            await asyncio.sleep(0.01)
        return False

    async def _reach_zygote(self) -> socket.socket:
        """A connection to the zygote, started when there is none. Raises OSError when it dies at once."""
        path = self._run / control.ZYGOTE_SOCKET
        async with self._zygote:
            try:
                connection = control.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                connection = await self._start_zygote()
            pid, _uid = control.peer(connection)
            if is_stopped(pid):
                connection.close()
                _logger.warning("the process that makes phones was stopped; making it anew")
                await end(pid, 0)
                await asyncio.to_thread(start_zygote, self._data)
                connection = control.connect(path)
            return connection

    async def _start_zygote(self) -> socket.socket:
        """A connection to a new zygote, or to one that another process has started meanwhile; one that lost its socket is ended."""
        path, deadline = self._run / control.ZYGOTE_SOCKET, time.monotonic() + SOCKET_SECONDS
        while (holder := lock_holder(self._run / control.ZYGOTE_LOCK)) is not None:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return control.connect(path)
            if time.monotonic() > deadline:
                _logger.warning("the process that makes phones has lost its socket; making it anew")
                await end(holder, 1.0)
            await asyncio.sleep(0.01)
        await asyncio.to_thread(start_zygote, self._data)
        return control.connect(path)

    async def _end_host(self, generation_id: str) -> None:
        """End the generation's host, kindly or not. Returns when it is gone."""
        connection = await self._connect(generation_id)
        if connection is not None:
            pid, _uid = control.peer(connection)
            try:
                await control.call(connection, control.Quit(), QUIT_SECONDS)
                ended = await wait_until_ended(pid, QUIT_SECONDS)
            except (control.ControlError, TimeoutError, OSError):
                ended = False
            if not ended:
                await end(pid, 0)
        holder = lock_holder(self._homes.path(generation_id) / control.HOST_LOCK)
        if holder is not None:
            await end(holder, 1.0)
        self._forget_socket(generation_id)

    def _forget_socket(self, generation_id: str) -> None:
        try:
            self._socket(generation_id).unlink(missing_ok=True)
        except OSError as error:
            raise RuntimeFaultError(f"a socket cannot be removed: {cause_of(error)}") from error


def _unknown(generation_id: str) -> RuntimeFaultError:
    return RuntimeFaultError(f"generation {generation_id} does not exist in this runtime")


def _state(text: str) -> PhoneState:
    return text if text in ("stopped", "booting", "running") else "absent"  # type: ignore[return-value]


def _config(spec: PhoneSpec, network: str) -> PhoneConfig:
    values = msgspec.structs.asdict(spec)
    fields = {name: values[name] for name in PhoneConfig.__struct_fields__ if name in values}
    return PhoneConfig(**fields, network=network, directory=Path("phones") / spec.phone_id)
