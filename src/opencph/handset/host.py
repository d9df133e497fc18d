"""The host process: carries the phones of one generation until told to quit. Forked by the zygote; what a generation is, it does
not know, it only hands the labels back.

It outlives whoever ordered it. It ends on `Quit`, on SIGTERM, and when its home directory is deleted under it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from opencph.handset import control, log_lines
from opencph.handset.config import HandsetError, PhoneConfig
from opencph.handset.phone import Phone

STOP_SECONDS = 5.0
#: A program in a phone that takes no connection for so long does not answer.
CONNECT_SECONDS = 10.0
PHONES = "phones"
#: Failures of one request that are logged one by one.
TOLD_MAX = 20

_logger = logging.getLogger("opencph.handset.host")
_LOCK = struct.Struct("hhqqi4x")  # struct flock


class HostTakenError(Exception):
    """Another process carries these phones already."""


def raise_descriptor_limit() -> None:
    """As many open files as the machine allows: phones hold sockets."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def take_lock(path: Path) -> int:
    """Hold the lock file until this process ends, and return its descriptor.

    A POSIX record lock: not inherited by children, and the kernel knows who holds it. Raises HostTakenError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        os.close(descriptor)
        raise HostTakenError(f"process {lock_holder(path)} holds {path}") from error
    return descriptor


def lock_holder(path: Path) -> int | None:
    """The process that holds the lock file; None when none does. Not for the holder itself: asking would drop its lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(descriptor)
    kind, _whence, _start, _length, pid = _LOCK.unpack(answer)
    return int(pid) if kind != fcntl.F_UNLCK and pid > 0 else None


def watch_deletion(directory: Path, act: Callable[[], None]) -> None:
    """Have `act` called when something in `directory` is deleted. The kernel signals it: costs nothing while nothing happens."""
    with suppress(OSError):  # some file systems cannot: then nobody notices, as before
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.fcntl(descriptor, fcntl.F_NOTIFY, fcntl.DN_DELETE | fcntl.DN_MULTISHOT)
        act()  # it may have happened already


class Host:
    """The phones of one generation, and the socket on which they are commanded."""

    def __init__(self, home: Path, file: control.HostFile) -> None:
        self.home = home
        self.generation_id = file.generation_id
        self.server_id = file.server_id
        self.phones: dict[str, Phone] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self.quitting = asyncio.Event()
        self._kept = self._directories()  # phones that have a directory: it is made when first needed, and stays
        self._lost: set[str] = set()  # those whose directory was deleted under them, until they start anew
        self.take(file.phones)

    def take(self, configs: Iterable[PhoneConfig]) -> None:
        """Add phones that are new, and tell the others what they are from now on."""
        for config in configs:
            own = msgspec.structs.replace(config, directory=self.home / config.directory)
            phone = self.phones.get(config.phone_id)
            if phone is None:
                self.phones[config.phone_id] = Phone(own)
            elif phone.config != own:
                phone.reconfigure(own)

    async def serve(self, listener: socket.socket) -> None:
        """Obey until told to quit, then power everything off."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.quitting.set)
        loop.add_signal_handler(signal.SIGIO, self._quit_when_homeless)
        watch_deletion(self.home, self._quit_when_homeless)
        server = await asyncio.start_unix_server(self._converse, sock=listener)
        await self.quitting.wait()
        server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._each(tuple(self.phones), Phone.stop)

    async def obey(self, request: control.Request) -> control.Reply:
        """Do what is asked."""
        match request:
            case control.Start(phone_ids=ids):
                booted: dict[str, float] = {}

                async def boot(phone: Phone) -> None:
                    ran, began = phone.state == "running", time.monotonic()
                    await phone.start()
                    if not ran:
                        booted[phone.config.phone_id] = round(time.monotonic() - began, 6)

                failures = await self._each(ids, boot)
                self._lost -= set(ids) - failures.keys()
                return control.Reply(failures=failures, booted=booted)
            case control.Stop(phone_ids=ids):
                return control.Reply(failures=await self._each(ids, Phone.stop))
            case control.Reset(phone_ids=ids):
                return control.Reply(failures=await self._each(ids, _wipe))
            case control.Update(phones=configs):
                self.take(configs)
                return control.Reply()
            case control.Inventory():
                await self._find_losses()
                states: dict[str, str] = {phone_id: phone.state for phone_id, phone in self.phones.items()}
                states |= dict.fromkeys(self._lost, "lost")
                return control.Reply(generation_id=self.generation_id, server_id=self.server_id, phones=states)
            case control.Quit():
                return control.Reply()
        return control.Reply(error=f"a host cannot {type(request).__name__}")

    async def _hand_over(self, request: control.Connect, asker: socket.socket) -> control.Reply | None:
        """Send a connection into a phone to who asked. The reply to send instead when there is none."""
        phone = next((phone for phone in self.phones.values() if phone.booted.ip == request.ip), None)
        try:
            if phone is None:
                raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
            async with asyncio.timeout(CONNECT_SECONDS):
                given = await phone.connect(request.port)
            with given:
                control.hand_over(asker, control.Reply(), given)
        except TimeoutError:
            return control.Reply(errno=errno.ETIMEDOUT)
        except OSError as error:
            return control.Reply(errno=error.errno or errno.ECONNREFUSED)
        return None

    def _directories(self) -> set[str]:
        try:
            return set(os.listdir(self.home / PHONES))  # noqa: PTH208 - every few seconds, in every host
        except FileNotFoundError:
            return set()

    async def _find_losses(self) -> None:
        """Phones whose directory was deleted under them are powered off: what they still show is no longer on any disk."""
        there = self._directories()
        gone = (self._kept - there) & self.phones.keys()
        self._kept = there
        if gone:
            _logger.warning("the directories of %d phones of %s are gone", len(gone), self.generation_id)
            await self._each(tuple(gone), Phone.stop)
            await self._each(tuple(gone), _wipe)
            self._lost |= gone

    async def _each(self, phone_ids: tuple[str, ...], act: Callable[[Phone], Awaitable[None]]) -> dict[str, str]:
        """Do one thing with many phones at once, one thing at a time with each phone. The causes of those that failed."""

        async def one(phone_id: str) -> str:
            phone = self.phones.get(phone_id)
            if phone is None:
                return "the runtime does not have this phone"
            async with self._turns.setdefault(phone_id, asyncio.Lock()):
                try:
                    await act(phone)
                except HandsetError as error:
                    return str(error)
                except OSError as error:
                    return f"{error.strerror}: {error.filename}" if error.filename else str(error)
                except Exception as error:
                    _logger.exception("phone %s", phone_id)
                    return f"{type(error).__name__}: {error}"
            return ""

        causes = await asyncio.gather(*(one(phone_id) for phone_id in phone_ids))
        return {phone_id: cause for phone_id, cause in zip(phone_ids, causes, strict=True) if cause}

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, one reply."""
        try:
            if not control.may_command(writer.get_extra_info("socket")):
                return
            request = control.decode_request(await control.read_body(reader))
            log_lines.carry({"generation_id": self.generation_id, **getattr(request, "trace", {})})
            if isinstance(request, control.Connect):
                with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as asker:
                    reply = await self._hand_over(request, asker)
                if reply is None:
                    return
            else:
                reply = await self.obey(request)
            if isinstance(request, control.Start | control.Stop | control.Reset):
                done, failed = len(request.phone_ids) - len(reply.failures), reply.failures
                _logger.info("%s: %d phones done, %d failed", type(request).__name__.lower(), done, len(failed))
                for phone_id, cause in list(failed.items())[:TOLD_MAX]:
                    _logger.warning("phone %s: %s", phone_id, cause)
            writer.write(control.frame(reply))
            await writer.drain()
            if isinstance(request, control.Quit):
                self.quitting.set()
        except control.ControlError as error:
            writer.write(control.frame(control.Reply(error=str(error))))
        except ConnectionError:
            pass  # who asked has gone; what was asked is done
        finally:
            writer.close()

    def _quit_when_homeless(self) -> None:
        if not (self.home / control.HOST_LOCK).exists():
            _logger.warning("the home of %s is gone: its phones end", self.generation_id)
            self.quitting.set()


async def _wipe(phone: Phone) -> None:
    await asyncio.to_thread(phone.wipe)


def run_host(home: Path, socket_path: Path, answer: Callable[[control.Reply], None]) -> None:
    """Be the host of this home until the end. `answer` is called once: when the host listens, or cannot."""
    try:
        lock = take_lock(home / control.HOST_LOCK)
        file = control.read_host_file(home)
        if file is None:
            answer(control.Reply(error=f"{home / control.HOST_FILE} is missing or cannot be read"))
            return
        listener = control.listen(socket_path)
    except (HostTakenError, OSError) as error:
        answer(control.Reply(error=str(error), taken=isinstance(error, HostTakenError)))
        return
    raise_descriptor_limit()

    async def serve() -> None:
        host = Host(home, file)
        answer(control.Reply())
        await host.serve(listener)

    try:
        asyncio.run(serve())
    finally:
        socket_path.unlink(missing_ok=True)  # still under the lock: it is ours
        os.close(lock)
