"""Phones for tests: in this process, or as `python -m opencph.handset`; and the adb programs that talk to them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from opencph.adb import client
from opencph.adb import shell_protocol as wire
from opencph.handset.config import PhoneConfig
from opencph.handset.phone import Phone
from opencph.handset.sandbox import missing

MIB = 1024 * 1024
ADB_TIMEOUT = 60


def own_address() -> str:
    """An address that no other test uses, most probably."""
    return f"127.{random.randint(200, 250)}.{random.randint(0, 255)}.{random.randint(2, 250)}"


def config(directory: Path, **changes: Any) -> PhoneConfig:
    """A phone on a free port."""
    values: dict[str, Any] = {
        "phone_id": uuid.uuid4().hex,
        "name": "test-00001",
        "ip": own_address(),
        "adb_port": 0,
        "imei": "869287243397729",
        "model_name": "rx1.cp.c60.d10.e1v1",
        "memory_bytes": 1024 * MIB,
        "data_bytes": 64 * MIB,
        "directory": directory,
    }
    return PhoneConfig(**{**values, **changes})


@asynccontextmanager
async def running(directory: Path, **changes: Any) -> AsyncIterator[Phone]:
    """A booted phone in this process."""
    phone = Phone(config(directory, **changes))
    await phone.start()
    try:
        yield phone
    finally:
        await phone.stop()


async def dial(phone: Phone) -> client.Connection:
    """An ADB connection to a phone of this process."""
    return await client.connect(phone.config.ip, phone.adb_port)


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    """Wait for a condition, for a bounded time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


async def until_printed(adb: client.Connection, line: str, wanted: bytes, seconds: float = 15) -> None:
    """Run a command again and again until it prints what is wanted, for a bounded time."""
    async with asyncio.timeout(seconds):
        while (await adb.shell(line)).stdout != wanted:  # noqa: ASYNC110 - nothing tells when it will
            await asyncio.sleep(0.05)


async def typed(adb: client.Connection, lines: str, rows: int, columns: int) -> str:
    """What an interactive shell of this size shows until it ends, while these lines are typed."""
    stream = await adb.open("shell,v2,TERM=xterm,pty:")
    await stream.write(wire.packet(wire.WINDOW_SIZE, f"{rows}x{columns},0x0".encode()))
    await stream.write(wire.packet(wire.STDIN, f"{lines}\n".encode()))
    packets, out = wire.PacketReader(), b""
    async with asyncio.timeout(30):
        while data := await stream.read():
            out += b"".join(bytes(piece) for kind, piece in packets.feed(memoryview(data)) if kind == wire.STDOUT)
    return out.decode()


def need_sandbox() -> None:
    """Skip where phones have no shell."""
    if lacks := missing():
        pytest.skip(f"no sandbox: {lacks[0]}")


def short_directory() -> Path:
    """A directory with a short name; remove it."""
    return Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))


class Adb:
    """One adb program with a server of its own."""

    def __init__(self, program: str, home: Path, environment: dict[str, str] | None = None) -> None:
        self._program = program
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ADB", "ANDROID"))},
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "HOME": str(home),
            "ANDROID_SDK_HOME": str(home),
            "ADB_MDNS_AUTO_CONNECT": "0",
            "TMPDIR": str(home),
            **(environment or {}),
        }

    def run(self, *words: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        done = subprocess.run(
            [self._program, *words], input=stdin, capture_output=True, env=self._environment, timeout=ADB_TIMEOUT, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"adb {' '.join(words)}: exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}")
        return done

    def start(self, *words: str, stream: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Run it beside the test, with pipes, or in the terminal `stream`."""
        return subprocess.Popen(
            [self._program, *words],
            stdin=stream,
            stdout=stream,
            stderr=stream,
            env={**self._environment, "TERM": "xterm"},
            start_new_session=stream >= 0,
            preexec_fn=None if stream < 0 else lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )

    def close(self) -> None:
        """End its server."""
        self.run("kill-server", check=False)


def adb_programs() -> dict[str, str | None]:
    """Every adb program a test shall run with: Debian's, and the newer one that adbutils brings."""
    debian = shutil.which("adb", path="/usr/bin:/bin")
    found = find_spec("adbutils")
    newer = Path(str(found.origin)).parent / "binaries" / "adb" if found is not None else None
    return {"debian": debian, "adbutils": str(newer) if newer is not None and newer.exists() else None}


class Handset:
    """A phone as a process of its own."""

    def __init__(self, directory: Path, *options: str, ip: str = "") -> None:
        self.directory = directory
        self.options = options
        self.ip = ip or own_address()
        self.start(0)

    def start(self, port: int) -> None:
        """Start it and wait until it is ready."""
        words = [
            sys.executable,
            "-m",
            "opencph.handset",
            "--data",
            str(self.directory),
            "--listen",
            f"{self.ip}:{port}",
            *self.options,
        ]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode().split()
        assert line[:3] == ["ready", "adb", "connect"], line
        self.serial = line[3]

    def stop(self) -> None:
        """End it cleanly."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        if self.process.stdout is not None:
            self.process.stdout.close()


class Pair:
    """An adb program connected to a handset."""

    def __init__(self, adb: Adb, handset: Handset) -> None:
        self.adb = adb
        self.handset = handset

    def __call__(self, *words: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return self.adb.run("-s", self.handset.serial, *words, stdin=stdin, check=check)

    def text(self, *words: str) -> str:
        """The output of a command that must succeed."""
        return self(*words).stdout.decode()

    def said(self, line: str, code: int = 0) -> str:
        """What a line in its shell says to both streams; it must end with this code."""
        done = self("shell", line, check=False)
        assert done.returncode == code, (line, done)
        return (done.stdout + done.stderr).decode()

    def until_said(self, line: str, wanted: str) -> None:
        """Ask again and again until that is what is said, for a bounded time, though it restarts meanwhile."""
        deadline = time.monotonic() + 30
        while (done := self("shell", line, check=False)).stdout.decode().strip() != wanted:
            self.adb.run("connect", self.handset.serial, check=False)
            assert time.monotonic() < deadline, done
            time.sleep(0.1)

    def connect(self) -> None:
        """Connect and wait for the device."""
        said = self.adb.run("connect", self.handset.serial).stdout.decode()
        assert "connected to" in said, said
        self("wait-for-device")


class Terminal:
    """An adb program in a terminal of this size, as a person has it."""

    def __init__(self, pair: Pair, rows: int, columns: int, *words: str) -> None:
        self._master, slave = pty.openpty()
        self.resize(rows, columns)
        try:
            self._adb = pair.adb.start("-s", pair.handset.serial, *words, stream=slave)
        finally:
            os.close(slave)
        self._shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._adb.kill()
        self._adb.wait(20)
        os.close(self._master)

    def resize(self, rows: int, columns: int) -> None:
        """Make the window another size; who runs in the terminal hears of it."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def types(self, line: str) -> None:
        """A line of keys."""
        os.write(self._master, line.encode() + b"\n")

    def shows(self, text: str, seconds: float = 20) -> None:
        """Wait until it shows a text, for a bounded time; what was shown up to its end is forgotten."""
        deadline = time.monotonic() + seconds
        while text not in self._shown:
            assert select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0], (text, self._shown)
            try:
                self._shown += os.read(self._master, 65536).decode("utf-8", "replace")
            except OSError:  # it has ended
                assert text in self._shown, (text, self._shown)
        self._shown = self._shown.partition(text)[2]


@contextmanager
def connected_pair(which: str, *options: str, environment: dict[str, str] | None = None) -> Iterator[Pair]:
    """An adb program and a handset, both gone afterwards."""
    program = adb_programs()[which]
    if program is None:
        pytest.skip(f"no adb: the {which} one is not installed; `sudo apt-get install adb`, `pip install adbutils`")
    home = short_directory()
    adb = Adb(program, home, environment)
    try:
        handset = Handset(home / "phone", *options)
        try:
            pair = Pair(adb, handset)
            pair.connect()
            yield pair
        finally:
            handset.stop()
    finally:
        adb.close()
        shutil.rmtree(home, ignore_errors=True)
