"""The client side against phones that die, freeze, or leave their connection to somebody who does nothing: no call hangs."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from adb.echo_device import EchoDevice, serving
from opencph.adb import client, messages, transfers
from opencph.adb.client import AdbError, Connection, NobodyListensError, connect

#: A phone that shakes hands, takes `accepted` services, and then: is stopped, or dies and leaves its socket to a child.
PHONE = """
import os, signal, socket, struct, sys
how, accepted = sys.argv[1], int(sys.argv[2])
def message(command, arg0, arg1, data=b""):
    word = int.from_bytes(command, "little")
    return struct.pack("<6I", word, arg0, arg1, len(data), sum(data), word ^ 0xFFFFFFFF) + data
def read(count):
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        if not more:
            sys.exit()
        data += more
    return data
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
peer, _ = listener.accept()
while True:
    command, arg0, arg1, length, _, _ = struct.unpack("<4s5I", read(24))
    read(length)
    if command == b"CNXN":
        peer.sendall(message(b"CNXN", 0x01000001, 1 << 20, b"device::features=shell_v2,ls_v2,stat_v2,sendrecv_v2"))
    if command == b"OPEN" and accepted:
        accepted -= 1
        peer.sendall(message(b"OKAY", 7, arg0))
    if not accepted and command in (b"CNXN", b"OPEN"):
        if how == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        if how == "inherited":
            child = os.fork()
            if child:
                print(child, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
"""
Exchange = Callable[[Connection], Awaitable[object]]


async def _send(phone: Connection) -> None:
    await transfers.send(phone, [b"x" * (4 << 20)], "/data/f", stat.S_IFREG | 0o644, 0)


async def _receive(phone: Connection) -> list[bytes]:
    return [piece async for piece in transfers.receive(phone, "/data/f")]


async def _stream(phone: Connection) -> None:
    stream = await phone.open("sync:")
    await stream.write(b"x" * (4 << 20))


EXCHANGES: dict[str, Exchange] = {
    "shell": lambda phone: phone.shell("true", b"input"),
    "stat": lambda phone: phone.stat("/data"),
    "push": lambda phone: phone.push(b"x" * (4 << 20), "/data/f"),
    "pull": lambda phone: phone.pull("/data/f"),
    "open and write": _stream,
    "transfers.shell": lambda phone: transfers.shell(phone, "true", 1024),
    "transfers.look": lambda phone: transfers.look(phone, "/data"),
    "transfers.list_directory": lambda phone: transfers.list_directory(phone, "/data"),
    "transfers.send": _send,
    "transfers.receive": _receive,
}


@contextmanager
def phone_that_ends(how: str, accepted: int) -> Iterator[int]:
    """The port of a phone in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", PHONE, how, str(accepted)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if how == "inherited" and select.select([process.stdout], [], [], 5)[0] and (child := process.stdout.readline()):
            os.kill(int(child), signal.SIGKILL)
        process.stdout.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(client, "CLOSE_SECONDS", 0.2)


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("accepted", [0, 1], ids=["before it takes the service", "after"])
@pytest.mark.parametrize("how", ["stopped", "inherited"])
def test_an_exchange_with_a_phone_that_does_nothing_any_more_ends(how: str, accepted: int, name: str) -> None:
    async def main(port: int) -> None:
        async with asyncio.timeout(30), await connect("127.0.0.1", port) as phone:
            with pytest.raises(AdbError, match="says nothing any more"):
                await EXCHANGES[name](phone)
            with pytest.raises(AdbError, match="says nothing any more"):
                await phone.shell("true")

    with phone_that_ends(how, accepted) as port:
        asyncio.run(main(port))


@pytest.mark.parametrize("how", ["stopped", "inherited"])
def test_a_connection_that_holds_what_nobody_takes_is_closed_in_time(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives up first, as a job does when its time is over: closing does not wait until the phone has read the rest."""
    monkeypatch.setattr(client, "QUIET_SECONDS", 3600.0)

    async def main(port: int) -> None:
        async with asyncio.timeout(30):
            phone = await connect("127.0.0.1", port)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5), phone:
                    stream = await phone.open("sync:")
                    for _ in range(64):  # more than sockets hold; not waiting for it to be taken
                        phone.send(messages.WRTE, stream.local_id, stream.remote_id, bytes(1 << 20))
                    await stream.read()

    with phone_that_ends(how, 1) as port:
        asyncio.run(main(port))


@pytest.mark.parametrize("name", EXCHANGES)
def test_an_exchange_that_begins_after_the_phone_died_fails_at_once(name: str) -> None:
    """The connection was lost between two exchanges, when nobody waited for anything."""

    async def main() -> None:
        device = EchoDevice()
        async with asyncio.timeout(30), serving(device) as port, await connect("127.0.0.1", port) as phone:
            (peer,) = device.connections
            peer.close()
            async with asyncio.timeout(10):
                while not phone._lost:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
            with pytest.raises(AdbError, match="hung up"):
                await EXCHANGES[name](phone)

    asyncio.run(main())


def test_a_command_that_says_nothing_for_long_is_waited_for(tmp_path: Path) -> None:
    """A phone that is there may take its time: it answers when it is asked."""
    from handset.one_phone import running

    async def main() -> None:
        async with running(tmp_path) as phone, await connect(phone.config.ip, phone.adb_port) as connection:
            assert (await connection.shell("sleep 2; echo done")).stdout == b"done\n"

    asyncio.run(main())


def test_nobody_listens_is_told_apart_from_a_phone_that_does_not_answer() -> None:
    @asynccontextmanager
    async def server(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]) -> AsyncIterator[int]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
            yield listener.sockets[0].getsockname()[1]

    async def main() -> None:
        async with server(lambda _, writer: writer.close()) as port:
            with pytest.raises(NobodyListensError, match="hung up at once"):
                await connect("127.0.0.1", port)
        with pytest.raises(NobodyListensError, match=r"refused|Connect call failed"):
            await connect("127.0.0.1", port)
        async with server(lambda *_: None) as port:
            with pytest.raises(AdbError, match="no ADB answer") as silent:
                await connect("127.0.0.1", port, timeout=0.2)
            assert not isinstance(silent.value, NobodyListensError)
        async with server(lambda _, writer: writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
            with pytest.raises(AdbError) as foreign:
                await connect("127.0.0.1", port)
            assert not isinstance(foreign.value, NobodyListensError)

    asyncio.run(main())
