"""How one scrape gets the numbers of every process of a data directory: each answers on a unix socket in `DATA/run`.

A process that is not asked does nothing. One that has died left a socket that refuses: it is skipped and removed. One that does not
answer in time (stopped, hung) is skipped and counted. What is sent is MessagePack; only the own user and root are answered.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from opencph import log
from opencph.metrics import Labels, Value, every_family
from opencph.metrics.families import LOG_LOST, PROCESS_CPU, PROCESS_FDS, PROCESS_MEMORY, PROCESS_START

ANSWER_SECONDS = 1.0
ANSWER_BYTES_MAX = 8 * 1024 * 1024
SOCKET_PATH_BYTES_MAX = 107
#: How often a process looks whether its socket is still there.
LOOK_SECONDS = 2.0
_NAME = re.compile(r"metrics-([a-z]+)-([0-9]+)\.sock")
_CREDENTIALS = struct.Struct("3i")

_logger = structlog.get_logger("opencph.metrics")


class Snapshot(msgspec.Struct, frozen=True):
    """What one process counted: by name of the metric, and by label values."""

    process: str
    pid: int
    values: list[tuple[str, Labels, Value]]


class Gathered(NamedTuple):
    """What the processes of a data directory said, and how many said nothing in time."""

    snapshots: list[Snapshot]
    silent: int


_decoder = msgspec.msgpack.Decoder(Snapshot)
_encode = msgspec.msgpack.Encoder().encode


def snapshot(process: str) -> Snapshot:
    """The numbers of this process now."""
    counted = [(one.name, labels, value) for one in every_family() if process in one.by for labels, value in one.samples().items()]
    return Snapshot(process, os.getpid(), counted)


def _stat() -> list[str]:
    """Fields of the process from the third on, proc_pid_stat(5)."""
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()


def _cpu_seconds() -> float:
    fields = _stat()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _start_seconds() -> float:
    lines = Path("/proc/stat").read_text().splitlines()
    booted = next((float(line.split()[1]) for line in lines if line.startswith("btime ")), 0.0)
    return booted + int(_stat()[19]) / os.sysconf("SC_CLK_TCK")


def _resident_bytes() -> float:
    return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _open_fds() -> float:
    return float(sum(1 for _ in Path("/proc/self/fd").iterdir()))


PROCESS_CPU.read_from(lambda: {(): _cpu_seconds()})
PROCESS_START.read_from(lambda: {(): _start_seconds()})
PROCESS_MEMORY.read_from(lambda: {(): _resident_bytes()})
PROCESS_FDS.read_from(lambda: {(): _open_fds()})
LOG_LOST.read_from(lambda: {(): log.lost_lines()})


@asynccontextmanager
async def answering(process: str, run_directory: Path) -> AsyncIterator[None]:
    """Answer who asks for this process' numbers, while the block lasts. Without a socket the process works all the same.

    A socket that somebody takes away, with its directory too, is made anew.
    """
    answers = _Answers(process, run_directory)
    await answers.listen()
    keeping = asyncio.create_task(answers.keep(), name="numbers")
    try:
        yield
    finally:
        keeping.cancel()
        answers.close()


class _Answers:
    """The socket that one process answers on."""

    def __init__(self, process: str, run_directory: Path) -> None:
        self._process = process
        self._path = run_directory / f"metrics-{process}-{os.getpid()}.sock"
        self._server: asyncio.Server | None = None
        self._made: os.stat_result | None = None
        self._failed = False

    async def listen(self) -> None:
        """Begin to answer. That it cannot be done is logged, once."""
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._path.unlink(missing_ok=True)  # of a dead process with our pid
                listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                try:
                    listening.bind(_reachable(self._path, directory))
                    self._path.chmod(0o600)
                    self._made = self._path.stat()
                    self._server = await asyncio.start_unix_server(self._converse, sock=listening)
                except OSError:
                    listening.close()
                    raise
            finally:
                os.close(directory)
            self._failed = False
        except OSError as error:
            if not self._failed:
                _logger.warning("the numbers of this process cannot be asked for", socket=str(self._path), error=str(error))
            self._failed = True

    async def keep(self) -> None:
        """Begin anew whenever the socket is gone."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._is_there():
                self.close()
                await self.listen()

    def _is_there(self) -> bool:
        try:
            return self._made is not None and os.path.samestat(self._made, self._path.stat())
        except OSError:
            return False

    def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
        if self._is_there():
            with suppress(OSError):
                self._path.unlink()
        self._server = self._made = None

    async def _converse(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _is_ours(writer.get_extra_info("socket")):
                writer.write(_encode(snapshot(self._process)))
                await asyncio.wait_for(writer.drain(), ANSWER_SECONDS)
        except (ConnectionError, TimeoutError, OSError):
            pass  # who asked has gone
        finally:
            writer.close()


def _reachable(path: Path, directory: int) -> str:
    """A path that fits into a socket's address, also where the data directory is deep."""
    text = str(path)
    return text if len(os.fsencode(text)) <= SOCKET_PATH_BYTES_MAX else f"/proc/self/fd/{directory}/{path.name}"


def _is_ours(connection: socket.socket) -> bool:
    _pid, user, _group = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user in (0, os.geteuid())


async def gather(run_directory: Path, own: str) -> Gathered:
    """Ask every process of the data directory at once, and answer for this one, which is called `own`."""
    try:
        directory = os.open(run_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return Gathered([snapshot(own)], 0)
    try:
        mine = f"metrics-{own}-{os.getpid()}.sock"
        others = [path for path in sorted(run_directory.glob("metrics-*.sock")) if path.name != mine]
        answers = await asyncio.gather(*(_ask(path, directory) for path in others))
    finally:
        os.close(directory)
    return Gathered([snapshot(own), *(one for one in answers if isinstance(one, Snapshot))], sum(one is None for one in answers))


async def _ask(path: Path, directory: int) -> Snapshot | bool | None:
    """What a process says; None when it says nothing in time, False when there is none."""
    if _NAME.fullmatch(path.name) is None:
        return False
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(_reachable(path, directory))
            pieces: list[bytes] = []
            while piece := await reader.read(1 << 16):
                pieces.append(piece)
                if sum(map(len, pieces)) > ANSWER_BYTES_MAX:
                    return None
        return _decoder.decode(b"".join(pieces))
    except (ConnectionRefusedError, FileNotFoundError):
        with suppress(OSError):
            path.unlink(missing_ok=True)  # its process is dead
        return False
    except (TimeoutError, OSError, msgspec.MsgspecError):
        return None
    finally:
        if writer is not None:
            writer.close()
