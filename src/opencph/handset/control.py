"""How a process that wants phones talks to the zygote and to hosts: messages, framing, places. No phones in here.

Both listen on unix sockets of mode 0600 in one directory and accept only their own user (and root). A message is four bytes of
length, little-endian, and MessagePack; one connection carries one request and its reply.
With the reply to `Connect` comes a descriptor.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from opencph.handset.config import PhoneConfig

ZYGOTE_SOCKET = "zygote.sock"
ZYGOTE_LOCK = "zygote.lock"
HOST_FILE = "host.json"
HOST_LOCK = "host.lock"
MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024
SOCKET_PATH_LIMIT_BYTES = 107
_READ_BYTES = 4096

_LENGTH = struct.Struct("<I")
_CREDENTIALS = struct.Struct("3i")


class ControlError(Exception):
    """The other side did not answer, or not with what was asked for."""


class HostFile(msgspec.Struct, frozen=True, kw_only=True):
    """`host.json`: what a host needs to carry its phones again. The labels mean nothing here."""

    generation_id: str
    server_id: str
    phones: tuple[PhoneConfig, ...]  # `directory` relative to the home


class Fork(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To the zygote: make a host for this home. It answers when the host listens."""

    home: str
    socket: str  # file name in the run directory


class Start(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Boot phones; those that run stay as they are."""

    phone_ids: tuple[str, ...]
    trace: dict[str, str] = {}  # what log lines about it carry


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Power phones off."""

    phone_ids: tuple[str, ...]
    trace: dict[str, str] = {}


class Reset(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wipe stopped phones."""

    phone_ids: tuple[str, ...]
    trace: dict[str, str] = {}


class Update(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Phones with new settings, or new phones. `directory` relative to the home."""

    phones: tuple[PhoneConfig, ...]


class Connect(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A connection to what listens on a port in the phone of this address: a TCP socket that comes with the reply (SCM_RIGHTS)."""

    ip: str
    port: int


class Inventory(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say what you carry."""


class Quit(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Power everything off and end. The reply comes first."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to every request."""

    error: str = ""  # nothing was done, and why
    taken: bool = False  # ... because another host has the home
    errno: int = 0  # why there is no connection, as connect() would say it
    failures: dict[str, str] = {}  # by phone_id
    booted: dict[str, float] = {}  # by phone_id, the seconds it took; those that ran already are not in it
    generation_id: str = ""
    server_id: str = ""
    phones: dict[str, str] = {}  # by phone_id, the state


Request = Fork | Start | Stop | Reset | Update | Connect | Inventory | Quit


def _encode_path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} does not travel")


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} does not travel")


_request_decoder = msgspec.msgpack.Decoder(Request, dec_hook=_decode_path)
_reply_decoder = msgspec.msgpack.Decoder(Reply)
_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_path)
_file_decoder = msgspec.json.Decoder(HostFile, dec_hook=_decode_path)
_file_encoder = msgspec.json.Encoder(enc_hook=_encode_path)
_Message = TypeVar("_Message")


def read_host_file(home: Path) -> HostFile | None:
    """The home's `host.json`; None when there is none, or none that can be read (a crash may have cut it short)."""
    try:
        return _file_decoder.decode((home / HOST_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def write_host_file(home: Path, file: HostFile) -> None:
    """Replace `host.json` in one go. Not synced to the disk: whoever ordered the phones can order them again. Raises OSError."""
    new = home / (HOST_FILE + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(_file_encoder.encode(file))
    new.replace(home / HOST_FILE)


def host_socket(generation_id: str) -> str:
    """The file name of a host's socket."""
    return f"host-{generation_id}.sock"


def generation_of(socket_name: str) -> str | None:
    """The generation whose host listens on a socket of this name; None when it is no host's."""
    if socket_name.startswith("host-") and socket_name.endswith(".sock"):
        return socket_name[len("host-") : -len(".sock")]
    return None


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a socket that fits the kernel's 107 bytes, however deep its directory lies. Raises OSError."""
    text = str(path)
    if len(os.fsencode(text)) <= SOCKET_PATH_LIMIT_BYTES:
        yield text
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen(path: Path, backlog: int = 1024) -> socket.socket:
    """A listening socket of mode 0600 in place of whatever was there; hold the lock before you call. Raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with short_path(path) as name:
            listener.bind(name)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def connect(path: Path) -> socket.socket:
    """A non-blocking connection to the process that listens at `path`.

    Raises FileNotFoundError or ConnectionRefusedError when nobody listens, BlockingIOError when who listens has not taken any
    of the many connections before this one.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with short_path(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process id and user id of the other side, as the kernel knows them."""
    pid, uid, _gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def may_command(connection: socket.socket) -> bool:
    """Whether the other side is our own user, or root."""
    return peer(connection)[1] in (0, os.geteuid())


def frame(message: msgspec.Struct) -> bytes:
    """A message as it travels."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def body_length(head: bytes) -> int:
    """How many bytes follow. Raises ControlError when it is more than any message has."""
    (length,) = _LENGTH.unpack(head)
    if length > MESSAGE_LIMIT_BYTES:
        raise ControlError(f"a message of {length} bytes: at most {MESSAGE_LIMIT_BYTES} are accepted")
    return int(length)


def decode_request(body: bytes) -> Request:
    """Raises ControlError when it is none."""
    return _decode(_request_decoder, body)  # type: ignore[no-any-return]


def _decode(decoder: Any, body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise ControlError(f"not understood: {error}") from error


def take_body(received: bytearray) -> bytes | None:
    """The body of the message that was received, or None while bytes are missing. Raises ControlError for one that is too long."""
    if len(received) < _LENGTH.size:
        return None
    end = _LENGTH.size + body_length(bytes(received[: _LENGTH.size]))
    return bytes(received[_LENGTH.size : end]) if len(received) >= end else None


async def read_body(reader: asyncio.StreamReader) -> bytes:
    """The body of one message. Raises ControlError when the connection ends before it is whole."""
    try:
        return await reader.readexactly(body_length(await reader.readexactly(_LENGTH.size)))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise ControlError("the connection ended in the middle of a message") from error


async def call(connection: socket.socket, request: Request, seconds: float) -> Reply:
    """Send one request over a connection made by `connect` and return its reply; closes the connection.

    Raises ControlError when the other side ends or says nothing sensible, TimeoutError after `seconds`.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
    except BaseException:
        connection.close()
        raise
    try:
        async with asyncio.timeout(seconds):
            writer.write(frame(request))
            return _decode(_reply_decoder, await read_body(reader))  # type: ignore[no-any-return]
    finally:
        writer.close()


def hand_over(connection: socket.socket, reply: Reply, given: socket.socket) -> None:
    """Answer with a descriptor: the first and only thing that is written to `connection`. Raises OSError.

    A reply of this kind is smaller than what any socket takes at once.
    """
    socket.send_fds(connection, [frame(reply)], [given.fileno()])


async def call_for_socket(connection: socket.socket, request: Connect, seconds: float) -> tuple[Reply, socket.socket | None]:
    """As `call`, for a reply with a descriptor: streams would lose it. The socket is not blocking; None came without one."""
    received, given = bytearray(), None
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_sendall(connection, frame(request))
            while (body := take_body(received)) is None:
                await _readable(connection)
                data, descriptors, _flags, _address = socket.recv_fds(connection, _READ_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
                if descriptors:
                    given = socket.socket(fileno=descriptors[0])
                    given.setblocking(False)
                if not data:
                    raise ControlError("the connection ended in the middle of a message")
                received += data
        return _decode(_reply_decoder, body), given
    except BaseException:
        if given is not None:
            given.close()
        raise
    finally:
        connection.close()


async def _readable(connection: socket.socket) -> None:
    """Wait until there is something to read, or the other side has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection.fileno(), lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(connection.fileno())
