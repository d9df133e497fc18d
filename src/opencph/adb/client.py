"""The client side of ADB, as far as the platform needs it: handshake, shell, stat, push, pull. No adb server in between."""

from __future__ import annotations

import asyncio
import os
import socket
import stat as stat_module
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from opencph.adb import auth, messages, shell_protocol, sync_protocol
from opencph.adb.messages import AUTH, CLSE, CNXN, OKAY, OPEN, WRTE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

FEATURES = ("shell_v2", "cmd", "stat_v2", "ls_v2", "fixed_push_mkdir", "sendrecv_v2")
BANNER = messages.make_banner("host", {}, FEATURES)
CONNECT = messages.message(CNXN, messages.VERSION, messages.MAX_PAYLOAD, BANNER)
#: A phone that sends nothing for so long while something is open is asked whether it is there; silent once more, it is given up.
QUIET_SECONDS = 20.0
#: How long what is still to be sent may keep a connection that is closed.
CLOSE_SECONDS = 1.0
#: A service that no phone has: the refusal is the answer. Its stream has a number that no other gets.
_ARE_YOU_THERE, _NOBODYS_ID = b"opencph-are-you-there:\0", 0xFFFFFFFF


class AdbError(Exception):
    """The phone did not do it. The message says what it answered, or that it did not."""


class NobodyListensError(AdbError):
    """Nobody is where the phone should be, or who was there hung up before the handshake: nothing was asked of the phone."""


class ShellResult(NamedTuple):
    """What a command printed, and its exit code."""

    stdout: bytes
    stderr: bytes
    code: int


def _family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


async def handshake(ip: str, port: int = 5555, timeout: float = 5.0) -> str:
    """Connect, exchange CNXN, hang up: the proof that an ADB daemon answers. Returns its banner (`device::...`).

    A daemon that asks for a key has answered too: then the banner is `unauthorized`. `timeout` in seconds.
    Raises AdbError with the cause.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(_family(ip), socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(timeout):
                await loop.sock_connect(sock, (ip, port))
                await loop.sock_sendall(sock, CONNECT)
                data = b""
                while len(data) < messages.HEADER_BYTES:
                    data += await _more(loop, sock)
                head = messages.parse_header(data[: messages.HEADER_BYTES])
                if head.command == AUTH:
                    return "unauthorized"
                if head.command != CNXN:
                    raise AdbError(f"{ip}:{port} answered {head.command:#010x} instead of CNXN")
                while len(data) < messages.HEADER_BYTES + head.length:
                    data += await _more(loop, sock)
        except TimeoutError:
            raise AdbError(f"no ADB answer from {ip}:{port} within {timeout:g} s") from None
        except OSError as error:
            raise AdbError(f"{ip}:{port}: {os.strerror(error.errno) if error.errno else error}") from None
        except messages.ProtocolError as error:
            raise AdbError(f"{ip}:{port} does not speak ADB: {error}") from None
    return data[messages.HEADER_BYTES :].rstrip(b"\0").decode("utf-8", "replace")


async def _more(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = await loop.sock_recv(sock, 4096)
    if not data:
        raise AdbError("the phone hung up during the ADB handshake")
    return data


class ClientStream:
    """One open service."""

    def __init__(self, connection: Connection, local_id: int) -> None:
        self._connection = connection
        self.local_id = local_id
        self.remote_id = 0
        self.received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.okay = asyncio.Event()
        self.closed = False
        self._rest = b""

    async def read(self) -> bytes:
        """The next piece, or empty at the end. Raises AdbError when the connection was lost."""
        data = None if self.closed and self.received.empty() else await self.received.get()
        if data is None:
            self._connection.check()
        return data or b""

    async def read_exactly(self, count: int) -> bytes:
        """`count` bytes. Raises AdbError when the stream ends before."""
        parts = [self._rest]
        have = len(self._rest)
        while have < count:
            data = await self.read()
            if not data:
                raise AdbError("the phone closed the stream in the middle of an answer")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self._rest = whole[count:]
        return whole[:count]

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send and wait until the phone took it. Raises AdbError when the stream is closed."""
        view = memoryview(data)
        limit = self._connection.max_payload
        for start in range(0, len(view), limit):
            if self.closed:
                self._connection.check()
                raise AdbError("the phone closed the stream")
            self.okay.clear()
            self._connection.send(WRTE, self.local_id, self.remote_id, view[start : start + limit])
            await self.okay.wait()

    def close(self) -> None:
        """End the stream."""
        if not self.closed:
            self.closed = True
            self._connection.end(self)


class Connection:
    """A connection to one phone: `async with await connect(ip) as phone: ...`.

    No call waits for ever: a phone that dies, freezes or is cut off ends them all with AdbError, at the latest two QUIET_SECONDS
    after its last word. How long a phone that is there may take for a command is for the caller to say.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._streams: dict[int, ClientStream] = {}
        self._next_id = 0
        self._pump: asyncio.Task[None] | None = None
        self._lost = ""  # why nothing can be asked any more
        self._heard = 0.0  # when the last message came, in loop seconds
        self._asked = False  # ... and whether the phone was asked since
        self._watch: asyncio.TimerHandle | None = None
        self.max_payload = messages.MAX_PAYLOAD
        self.banner = messages.Banner("", {}, frozenset())

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up. What the phone has not taken within CLOSE_SECONDS it does not get."""
        self._lost = self._lost or "the connection is closed"
        try:
            if self._pump is not None:
                self._pump.cancel()
                await asyncio.gather(self._pump, return_exceptions=True)
            self._writer.close()
            with suppress(OSError):  # TimeoutError, too
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._writer.wait_closed()
        finally:
            self._writer.transport.abort()

    def check(self) -> None:
        """Raises AdbError with the cause when the connection is lost."""
        if self._lost:
            raise AdbError(self._lost)

    def end(self, stream: ClientStream) -> None:
        """Tell the phone that nobody reads or writes a stream any more."""
        self._streams.pop(stream.local_id, None)
        self.send(CLSE, stream.local_id, stream.remote_id)

    def send(self, command: int, arg0: int, arg1: int, payload: bytes | memoryview = b"") -> None:
        """One message; to a connection that is lost, nothing."""
        if self._lost:
            return
        check = messages.checksum(payload) if command in (CNXN, AUTH, OPEN) else 0
        self._writer.write(messages.header(command, arg0, arg1, len(payload), check))
        if payload:
            self._writer.write(payload)

    async def _receive(self) -> tuple[messages.Message, bytes]:
        head = messages.parse_header(await self._reader.readexactly(messages.HEADER_BYTES))
        return head, await self._reader.readexactly(head.length) if head.length else b""

    async def greet(self, key: RSAPrivateKey | None) -> None:
        """Exchange CNXN, proving `key` when asked. Raises AdbError."""
        self._writer.write(CONNECT)
        offered = False
        while True:
            head, payload = await self._receive()
            if head.command == CNXN:
                break
            if head.command != AUTH or key is None or offered:
                raise AdbError("the phone asks for a key that it trusts" if head.command == AUTH else "no CNXN from the phone")
            self.send(AUTH, messages.AUTH_SIGNATURE, 0, auth.sign(key, payload))
            offered = True
        self.max_payload = min(head.arg1, messages.MAX_PAYLOAD)
        self.banner = messages.parse_banner(payload)
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        self._watch = loop.call_later(QUIET_SECONDS, self._look)
        self._pump = asyncio.create_task(self._run())

    def _look(self) -> None:
        """Has the phone said something lately, if anybody waits for it?"""
        loop = asyncio.get_running_loop()
        left = self._heard + QUIET_SECONDS - loop.time()
        if left <= 0 and self._streams:
            if self._asked:
                self._lost = f"the phone says nothing any more: no answer within {QUIET_SECONDS:g} s"
                self._writer.transport.abort()  # which ends the pump
                return
            self.send(OPEN, _NOBODYS_ID, 0, _ARE_YOU_THERE)
            self._asked = True
        if left <= 0:
            self._heard, left = loop.time(), QUIET_SECONDS
        self._watch = loop.call_later(left, self._look)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                head, payload = await self._receive()
                self._heard, self._asked = loop.time(), False
                stream = self._streams.get(head.arg1)
                if stream is None:
                    continue
                if head.command == OKAY:
                    stream.remote_id = head.arg0
                    stream.okay.set()
                elif head.command == WRTE:
                    stream.received.put_nowait(payload)
                    self.send(OKAY, stream.local_id, stream.remote_id)
                elif head.command == CLSE:
                    self._streams.pop(head.arg1, None)
                    if not stream.closed:
                        stream.closed = True
                        self.send(CLSE, stream.local_id, stream.remote_id)
                    stream.received.put_nowait(None)
                    stream.okay.set()
        except (asyncio.IncompleteReadError, OSError):
            self._lost = self._lost or "the phone hung up"
        except messages.ProtocolError as error:
            self._lost = f"the phone does not speak ADB any more: {error}"
        finally:
            if self._watch is not None:
                self._watch.cancel()
            for stream in self._streams.values():
                stream.closed = True
                stream.received.put_nowait(None)
                stream.okay.set()

    async def open(self, service: str) -> ClientStream:
        """Start a service. Raises AdbError when the phone refuses it."""
        self.check()
        self._next_id += 1
        stream = ClientStream(self, self._next_id)
        self._streams[stream.local_id] = stream
        self.send(OPEN, stream.local_id, 0, service.encode() + b"\0")
        await stream.okay.wait()
        if stream.closed:
            self.check()
            raise AdbError(f"the phone refuses the service {service.split(':')[0]!r}")
        return stream

    async def shell(self, command: str, stdin: bytes = b"") -> ShellResult:
        """Run a command line, without a terminal."""
        stream = await self.open(f"shell,v2,raw:{command}")
        if stdin:
            await stream.write(shell_protocol.packet(shell_protocol.STDIN, stdin))
        await stream.write(shell_protocol.packet(shell_protocol.CLOSE_STDIN))
        packets = shell_protocol.PacketReader()
        out: dict[int, bytearray] = {shell_protocol.STDOUT: bytearray(), shell_protocol.STDERR: bytearray()}
        while data := await stream.read():
            for kind, piece in packets.feed(memoryview(data)):
                if kind in out:
                    out[kind] += piece
                elif kind == shell_protocol.EXIT:
                    stream.close()
                    return ShellResult(bytes(out[shell_protocol.STDOUT]), bytes(out[shell_protocol.STDERR]), piece[0])
        raise AdbError("the phone closed the shell without an exit code")

    async def stat(self, path: str) -> sync_protocol.FileStat:
        """What is at `path` (symbolic links followed). A missing file has `error` set to its errno."""
        stream = await self.open("sync:")
        await stream.write(sync_protocol.request(sync_protocol.STA2, path.encode()))
        kind, *fields = sync_protocol.STAT_V2.unpack(await stream.read_exactly(sync_protocol.STAT_V2.size))
        stream.close()
        if kind != sync_protocol.STA2:
            raise AdbError(f"stat of {path}: unexpected answer {kind!r}")
        return sync_protocol.FileStat(*fields)

    async def push(self, data: bytes | Path, path: str, mode: int = 0o644, mtime: int = 0) -> None:
        """Write a file on the phone. Raises AdbError with the phone's reason."""
        stream = await self.open("sync:")
        target = f"{path},{stat_module.S_IFREG | mode}".encode()
        await stream.write(sync_protocol.request(sync_protocol.SEND, target))
        try:
            for block in _blocks(data):
                if not stream.received.empty():  # the phone gave up: its reason comes first
                    break
                await stream.write(block)
            await stream.write(sync_protocol.REQUEST.pack(sync_protocol.DONE, mtime))
            kind, length = sync_protocol.REQUEST.unpack(await stream.read_exactly(sync_protocol.REQUEST.size))
            if kind != sync_protocol.OKAY:
                raise AdbError(f"push to {path}: {(await stream.read_exactly(length)).decode('utf-8', 'replace')}")
        finally:
            stream.close()

    async def pull(self, path: str) -> bytes:
        """Read a file of the phone. Raises AdbError with the phone's reason."""
        stream = await self.open("sync:")
        await stream.write(sync_protocol.request(sync_protocol.RECV, path.encode()))
        parts: list[bytes] = []
        try:
            while True:
                kind, length = sync_protocol.REQUEST.unpack(await stream.read_exactly(sync_protocol.REQUEST.size))
                if kind == sync_protocol.DONE:
                    return b"".join(parts)
                data = await stream.read_exactly(length)
                if kind != sync_protocol.DATA:
                    raise AdbError(f"pull of {path}: {data.decode('utf-8', 'replace')}")
                parts.append(data)
        finally:
            stream.close()


def _blocks(data: bytes | Path) -> Iterator[bytes]:
    """DATA chunks, several to a block of at most 1 MiB."""

    def chunks() -> Iterator[bytes]:
        if isinstance(data, bytes):
            yield from (data[at : at + sync_protocol.DATA_MAX] for at in range(0, len(data), sync_protocol.DATA_MAX))
        else:
            with data.open("rb") as file:
                while chunk := file.read(sync_protocol.DATA_MAX):
                    yield chunk

    block = bytearray()
    for chunk in chunks():
        block += sync_protocol.REQUEST.pack(sync_protocol.DATA, len(chunk)) + chunk
        if len(block) > messages.MAX_PAYLOAD - sync_protocol.DATA_MAX - 8:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


async def connect(ip: str, port: int = 5555, timeout: float = 5.0, key: RSAPrivateKey | None = None) -> Connection:
    """Connect to a phone and exchange CNXN; `timeout` in seconds is for that alone.

    Raises NobodyListensError, or another AdbError, with the cause.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(ip, port, limit=2 * messages.MAX_PAYLOAD)
            connection = Connection(reader, writer)
            await connection.greet(key)
            return connection
    except BaseException as error:
        if writer is not None:
            writer.transport.abort()
        if isinstance(error, TimeoutError):
            raise AdbError(f"no ADB answer from {ip}:{port} within {timeout:g} s") from None
        if isinstance(error, ConnectionError | asyncio.IncompleteReadError):
            cause = "it hung up at once" if isinstance(error, asyncio.IncompleteReadError) else str(error)
            raise NobodyListensError(f"{ip}:{port}: {cause}") from None
        if isinstance(error, OSError | messages.ProtocolError):
            raise AdbError(f"{ip}:{port}: {error}") from None
        raise
