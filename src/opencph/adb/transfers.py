"""Files to and from a phone in pieces, never whole in memory: list, send, receive, and a shell whose output is bounded."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

from opencph.adb import messages, shell_protocol
from opencph.adb import sync_protocol as wire
from opencph.adb.client import AdbError, ClientStream, Connection

ENTRIES_MAX = 100_000  # of one directory


class Entry(NamedTuple):
    """One name in a directory."""

    name: str
    stat: wire.FileStat


class ShellOutput(NamedTuple):
    """The beginning of what a command printed (both streams, as they came), and its exit code."""

    text: bytes
    code: int


async def list_directory(phone: Connection, path: str) -> list[Entry]:
    """What is in a directory, without "." and ".."; nothing when it is none. Needs `ls_v2`. Raises AdbError."""
    stream = await phone.open("sync:")
    try:
        await stream.write(wire.request(wire.LIS2, path.encode("utf-8", "surrogateescape")))
        found: list[Entry] = []
        while True:
            kind, *fields, length = wire.DENT_V2.unpack(await stream.read_exactly(wire.DENT_V2.size))
            if kind == wire.DONE:
                return found
            if kind != wire.DNT2:
                raise AdbError(f"list of {path}: unexpected answer {kind!r}")
            name = (await stream.read_exactly(length)).decode("utf-8", "surrogateescape")
            if name not in (".", ".."):
                found.append(Entry(name, wire.FileStat(*fields)))
            if len(found) > ENTRIES_MAX:
                raise AdbError(f"{path} has more than {ENTRIES_MAX} entries")
    finally:
        stream.close()


async def look(phone: Connection, path: str) -> wire.FileStat:
    """What is at `path`, a link itself and not its target. A missing file has `error`."""
    stream = await phone.open("sync:")
    try:
        await stream.write(wire.request(wire.LST2, path.encode("utf-8", "surrogateescape")))
        kind, *fields = wire.STAT_V2.unpack(await stream.read_exactly(wire.STAT_V2.size))
        if kind != wire.LST2:
            raise AdbError(f"stat of {path}: unexpected answer {kind!r}")
        return wire.FileStat(*fields)
    finally:
        stream.close()


async def send(phone: Connection, pieces: Iterable[bytes], path: str, mode: int, mtime: int) -> None:
    """Make a file of the pieces, or a symbolic link to the pieces, as the type bits of `mode` say. Raises AdbError."""
    stream = await phone.open("sync:")
    if not stat.S_IFMT(mode):
        mode |= stat.S_IFREG
    try:
        await stream.write(wire.request(wire.SEND, f"{path},{mode}".encode("utf-8", "surrogateescape")))
        block = bytearray()
        for piece in pieces:
            for at in range(0, len(piece), wire.DATA_MAX):
                chunk = piece[at : at + wire.DATA_MAX]
                block += wire.REQUEST.pack(wire.DATA, len(chunk)) + chunk
                if len(block) > messages.MAX_PAYLOAD - wire.DATA_MAX - 8:
                    await stream.write(block)
                    block = bytearray()
            if not stream.received.empty():
                break  # the phone gave up: its reason is there
        block += wire.REQUEST.pack(wire.DONE, max(0, mtime) & 0xFFFFFFFF)
        await stream.write(block)
        kind, length = wire.REQUEST.unpack(await stream.read_exactly(wire.REQUEST.size))
        if kind != wire.OKAY:
            raise AdbError(f"{path}: {(await stream.read_exactly(length)).decode('utf-8', 'replace')}")
    finally:
        stream.close()


async def receive(phone: Connection, path: str) -> AsyncIterator[bytes]:
    """The contents of a file, in pieces of at most 64 KiB. Raises AdbError."""
    stream = await phone.open("sync:")
    try:
        await stream.write(wire.request(wire.RECV, path.encode("utf-8", "surrogateescape")))
        while True:
            kind, length = wire.REQUEST.unpack(await stream.read_exactly(wire.REQUEST.size))
            if kind == wire.DONE:
                return
            data = await stream.read_exactly(length)
            if kind != wire.DATA:
                raise AdbError(f"{path}: {data.decode('utf-8', 'replace')}")
            yield data
    finally:
        stream.close()


async def shell(phone: Connection, command: str, output_max: int, kept: bytearray | None = None) -> ShellOutput:
    """Run a command line without input; of its output the first `output_max` bytes are kept. Raises AdbError.

    They are put into `kept` as they come: whoever gives one has what was printed until then also when this fails, or time is up.
    """
    kept = bytearray() if kept is None else kept
    stream: ClientStream = await phone.open(f"shell,v2,raw:{command}")
    try:
        await stream.write(shell_protocol.packet(shell_protocol.CLOSE_STDIN))
        packets = shell_protocol.PacketReader()
        while data := await stream.read():
            for kind, piece in packets.feed(memoryview(data)):
                if kind == shell_protocol.EXIT:
                    return ShellOutput(bytes(kept), piece[0])
                if kind in (shell_protocol.STDOUT, shell_protocol.STDERR) and len(kept) < output_max:
                    kept += piece[: output_max - len(kept)]
        raise AdbError("the phone closed the shell without an exit code")
    finally:
        stream.close()
