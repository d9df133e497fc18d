"""The shell services of a phone (`shell:`, `shell,v2,...:`, `exec:`): framing, terminal, flow control.

Commands live in `commands/`, processes in `sandbox/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import re
import shlex
import struct
import termios
from typing import TYPE_CHECKING, NamedTuple

from opencph.adb import shell_protocol as wire
from opencph.adb.device import Service, Stream
from opencph.handset.commands import COMMANDS, Context, run_command
from opencph.handset.config import HandsetError

if TYPE_CHECKING:
    from opencph.handset.phone import Phone
    from opencph.handset.sandbox import Process

log = logging.getLogger("opencph.handset.shell")

READ_BYTES = 256 * 1024
INBOX_BYTES = 64 * 1024  # stdin that waits for its reader before the peer is held back
LEFTOVER_READS = 16  # of READ_BYTES, after the process ended
CANNOT_RUN = 126
_QUOTED = re.compile(r"'[^']*'")
_META = frozenset("|&;<>()$`\\*?[]#~{}\n\r")
_WORDS_NOT_COMMANDS = frozenset("=!")
_WINDOW = re.compile(rb"\s*(\d+)x(\d+),(\d+)x(\d+)")  # as adbd's sscanf reads it: adb sends a NUL behind
FIRST_SIZE_SECONDS = 0.05  # that a terminal waits for its size: adb sends it right after it has opened the stream


class ShellRequest(NamedTuple):
    """A service name, taken apart."""

    command: str
    framed: bool  # shell protocol v2
    pty: bool
    term: str


def parse_request(service: str) -> ShellRequest:
    """`shell:CMD`, `shell,v2,TERM=xterm,raw:CMD` or `exec:CMD`; without a command it is a terminal."""
    head, _, command = service.partition(":")
    kind, *options = head.split(",")
    if kind == "exec":
        return ShellRequest(command, False, False, "dumb")
    pty, framed, term = not command, False, "dumb"
    for option in options:
        if option == "v2":
            framed = True
        elif option in ("pty", "raw"):
            pty = option == "pty"
        elif option.startswith("TERM="):
            term = "".join(c for c in option[5:64] if c.isalnum() or c in "-_.+")
    return ShellRequest(command, framed, pty, term)


def simple_words(command: str) -> list[str] | None:
    """The words of a line that needs no shell and begins with a command of ours; None for all others."""
    if not command or len(command) > 4096 or not _META.isdisjoint(_QUOTED.sub("", command)):
        return None
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if not words or not _WORDS_NOT_COMMANDS.isdisjoint(words[0]):
        return None
    words[0] = words[0].removeprefix("/system/bin/")
    return words if words[0] in COMMANDS else None


class ShellService(Service):
    """One shell stream."""

    __slots__ = (
        "_closed",
        "_inbox",
        "_inbox_bytes",
        "_packets",
        "_phone",
        "_process",
        "_request",
        "_stream",
        "_task",
        "_unacknowledged",
        "_waiters",
        "_window",
        "_words",
    )

    def __init__(self, stream: Stream, phone: Phone, request: ShellRequest, words: list[str] | None = None) -> None:
        self._stream = stream
        self._phone = phone
        self._request = request
        self._words = words  # of a command of ours; None: to be found in the request
        self._packets = wire.PacketReader() if request.framed else None
        self._inbox: list[bytes] = []  # an empty piece is the end
        self._inbox_bytes = 0
        self._unacknowledged = 0  # messages whose bytes wait in the inbox
        self._closed = False
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self._process: Process | None = None
        self._window: tuple[int, int, int, int] | None = None  # rows, columns, and both in pixels
        self._task = asyncio.get_running_loop().create_task(self._run())

    @classmethod
    def of_words(cls, stream: Stream, phone: Phone, words: list[str], *, framed: bool) -> ShellService:
        """`abb:` and `abb_exec:`: `cmd` with the words as they are, without a shell."""
        return cls(stream, phone, ShellRequest(shlex.join(["cmd", *words]), framed, False, "dumb"), ["cmd", *words])

    # what the connection calls

    def on_data(self, data: memoryview) -> bool:
        """Keys, stdin, window sizes."""
        if self._packets is None:
            self._put_inbox(bytes(data))
        else:
            try:
                for kind, piece in self._packets.feed(data):
                    self._packet(kind, piece)
            except ValueError:
                self._stream.close()
                return True
        if self._inbox_bytes > INBOX_BYTES:
            self._unacknowledged += 1
            return False
        return True

    def _packet(self, kind: int, piece: memoryview) -> None:
        if kind == wire.STDIN and piece:
            self._put_inbox(bytes(piece))
        elif kind == wire.CLOSE_STDIN:
            self._put_inbox(b"")
        elif kind == wire.WINDOW_SIZE:
            self._resize(bytes(piece))

    def on_ready(self) -> None:
        """The peer took what we sent."""
        self._wake("ready")

    def on_close(self) -> None:
        """The peer is gone, and so is the command; but a plain pipe (`exec-in`) only ends its input, as adbd does it."""
        self._closed = True
        self._wake("ready")
        self._wake("inbox")
        if self._plain_pipe:
            return
        if self._process is not None:
            self._process.hang_up()
        self._task.cancel()

    @property
    def _plain_pipe(self) -> bool:
        return self._packets is None and not self._request.pty

    # the stream as commands see it

    def put(self, fd: int, data: bytes) -> None:
        """Output of file descriptor 1 or 2."""
        if self._packets is None:
            self._stream.write(data)
        elif data:
            self._stream.write(wire.packet(wire.STDERR if fd == 2 else wire.STDOUT, data))

    async def drain(self) -> None:
        """Wait until the peer took what was put. Raises BrokenPipeError when it is gone."""
        while not self._stream.idle and not self._closed:
            await self._wait("ready")
        if self._closed:
            raise BrokenPipeError(errno.EPIPE, "the adb client is gone")

    async def read(self) -> bytes:
        """The next piece of stdin; empty at its end."""
        while not self._inbox:
            if self._closed:
                return b""
            await self._wait("inbox")
        if not self._inbox[0]:
            return b""
        piece = self._inbox.pop(0)
        self._inbox_bytes -= len(piece)
        while self._unacknowledged and self._inbox_bytes <= INBOX_BYTES:
            self._unacknowledged -= 1
            self._stream.acknowledge()
        return piece

    def _put_inbox(self, piece: bytes) -> None:
        self._inbox.append(piece)
        self._inbox_bytes += len(piece)
        self._wake("inbox")
        self._wake("window")  # who types before it tells a size has none

    async def _wait(self, what: str) -> None:
        waiter = self._waiters.get(what)  # stdout and stderr wait for the same
        if waiter is None:
            waiter = self._waiters[what] = asyncio.get_running_loop().create_future()
        await asyncio.shield(waiter)

    def _wake(self, what: str) -> None:
        waiter = self._waiters.pop(what, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # running

    async def _run(self) -> None:
        code = 1
        try:
            words = self._words or (None if self._request.pty else simple_words(self._request.command))
            if words is not None:
                code = await run_command(Context(self._phone, words, self))
            else:
                code = await self._run_process()
        except HandsetError as error:
            self.put(2, f"{error.strerror or error}\r\n".encode() if self._request.pty else f"{error.strerror or error}\n".encode())
            code = CANNOT_RUN
        except BrokenPipeError:
            return
        except Exception as error:  # whatever it is, the client is not left waiting
            cause = error.strerror if isinstance(error, OSError) else "an unexpected error; see the log of the host"
            self.put(2, f"no shell on this phone: {cause or error}\n".encode())
            code = CANNOT_RUN
            if not isinstance(error, OSError):
                log.exception("phone %s: a shell", self._phone.config.phone_id)
        if self._packets is not None:
            self._stream.write(wire.packet(wire.EXIT, bytes((code & 0xFF,))))
        self._stream.close()

    async def _run_process(self) -> int:
        command, pty = self._request.command, self._request.pty
        argv = ["/system/bin/sh", "-c", command] if command else ["/system/bin/sh", "-"]
        sandbox = await self._phone.enter_sandbox()
        if pty and self._packets is not None and self._window is None and not self._inbox:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SIZE_SECONDS):
                    await self._wait("window")
        window = self._window
        process = await sandbox.spawn(argv, pty=pty, term=self._request.term, merge=self._packets is None, window=window)
        self._process = process
        try:
            if self._window != window:
                self._set_size()
            async with asyncio.TaskGroup() as group:
                pumps = [group.create_task(self._pump_out(process, fd, kind)) for fd, kind in process.outputs]
                feeding = group.create_task(self._pump_in(process))
                code = await process.wait()
                if self._request.pty:  # a terminal ends with its leader; what it printed last is still there
                    for pump in pumps:
                        pump.cancel()
                else:  # background jobs may go on printing: adbd, too, ends when the last of them let go of the output
                    await asyncio.wait(pumps)
                feeding.cancel()
            for fd, kind in process.outputs if self._request.pty else ():
                await self._leftovers(fd, kind)
            return code
        except* BrokenPipeError:
            raise BrokenPipeError(errno.EPIPE, "the adb client is gone") from None
        finally:
            self._process = None
            process.close()

    def _resize(self, text: bytes) -> None:
        found = _WINDOW.match(text)
        if found is None:
            return
        rows, columns, width, height = (min(int(number), 0xFFFF) for number in found.groups())
        self._window = rows, columns, width, height
        self._wake("window")
        self._set_size()

    def _set_size(self) -> None:
        if self._window is not None and self._process is not None and self._process.terminal >= 0:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._process.terminal, termios.TIOCSWINSZ, struct.pack("4H", *self._window))

    async def _pump_out(self, process: Process, fd: int, kind: int) -> None:
        while True:
            await _readable(fd)
            try:
                data = os.read(fd, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:  # EIO: the other end of the terminal closed
                return
            if not data:
                return
            self.put(kind, data)
            try:
                await self.drain()
            except BrokenPipeError:
                process.close_output(fd)
                return

    async def _leftovers(self, fd: int, kind: int) -> None:
        for _ in range(LEFTOVER_READS):
            try:
                data = os.read(fd, READ_BYTES)
            except OSError:
                return
            if not data:
                return
            self.put(kind, data)
            await self.drain()

    async def _pump_in(self, process: Process) -> None:
        broken = False
        while data := await self.read():
            view = memoryview(data)
            while view and not broken:
                try:
                    view = view[os.write(process.stdin, view) :]
                except BlockingIOError:
                    await _writable(process.stdin)
                except OSError:  # it does not read; what comes is dropped
                    broken = True
        process.close_stdin()


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(fd)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
