"""Connections into phones for ports that their addresses do not carry: with real hosts, sandboxes and programs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from gateway.gateway_world import sockets
from handset.one_phone import need_sandbox
from opencph.adb import client
from opencph.handset import control, listeners
from opencph.runtimes import GenerationSpec, RuntimeFaultError
from opencph.runtimes.builtin import BuiltinRuntime
from runtimes.phones import generation, host_pid, ids, is_running, until

PORT = 31234
SECONDS = 30.0
END = "kill $(cat /data/local/tmp/listener)"


def runtime_of(data: Path) -> BuiltinRuntime:
    return BuiltinRuntime(data, boots_at_once=9)


async def _running(runtime: BuiltinRuntime, spec: GenerationSpec) -> None:
    await runtime.create(spec)
    assert await runtime.start(spec.generation_id, ids(spec)) == {}


async def _shell(ip: str, line: str) -> str:
    async with await client.connect(ip, 5555) as adb, asyncio.timeout(SECONDS):
        return (await adb.shell(line)).stdout.decode()


async def _listen(ip: str, program: str) -> None:
    """Have a program serve PORT, and wait until it does; `_shell(ip, END)` ends it."""
    begin = f"nohup nc -L -p {PORT} sh -c '{program}' > /dev/null 2>&1 & echo $! > /data/local/tmp/listener"
    await _shell(ip, f"{begin}; until grep -q :{PORT:04X} /proc/net/tcp*; do sleep 0.05; done")


async def _line(sock: socket.socket) -> bytes:
    received = b""
    async with asyncio.timeout(SECONDS):
        while not received.endswith(b"\n") and (more := await asyncio.get_running_loop().sock_recv(sock, 4096)):
            received += more
    return received


def test_a_program_in_a_phone_is_reached_on_a_port_that_nobody_declared_and_on_no_address(data: Path) -> None:
    need_sandbox()

    async def go() -> None:
        runtime, spec = runtime_of(data), generation(2)
        await _running(runtime, spec)
        ip, loop = spec.phones[0].ip, asyncio.get_running_loop()
        with pytest.raises(ConnectionRefusedError):  # before anything ever listened
            await runtime.connect(spec.generation_id, ip, PORT)
        await _listen(ip, "echo begun; read word; echo $word")
        with await runtime.connect(spec.generation_id, ip, PORT) as sock:
            assert await _line(sock) == b"begun\n"
            assert sock.getpeername()[0] == ip
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(ip, PORT)  # the way in is the runtime's
            with pytest.raises(ConnectionRefusedError):
                await runtime.connect(spec.generation_id, ip, PORT + 1)
            with pytest.raises(ConnectionRefusedError):
                await runtime.connect(spec.generation_id, spec.phones[1].ip, PORT)
            await loop.sock_sendall(sock, b"over\n")
            assert await _line(sock) == b"over\n"
            assert await asyncio.wait_for(loop.sock_recv(sock, 1), SECONDS) == b""  # a plain end, not a reset
        await _shell(ip, END)
        async with asyncio.timeout(SECONDS):  # a listener that has ended
            while True:
                try:
                    (await runtime.connect(spec.generation_id, ip, PORT)).close()
                except ConnectionRefusedError:
                    break
                await asyncio.sleep(0.05)
        with pytest.raises(OSError, match="No route to host"):
            await runtime.connect(spec.generation_id, "127.0.0.1", PORT)
        await runtime.remove(spec.generation_id)
        with pytest.raises(ConnectionRefusedError):
            await runtime.connect(spec.generation_id, ip, PORT)

    asyncio.run(go())


def test_a_phone_that_stops_resets_what_was_connected_and_refuses_what_comes(data: Path) -> None:
    need_sandbox()

    async def go() -> None:
        runtime, spec = runtime_of(data), generation(1)
        await _running(runtime, spec)
        ip = spec.phones[0].ip
        await _listen(ip, "echo begun; read word")
        with await runtime.connect(spec.generation_id, ip, PORT) as sock:
            assert await _line(sock) == b"begun\n"
            assert await runtime.stop(spec.generation_id, ids(spec)) == {}
            with pytest.raises(ConnectionResetError):
                await _line(sock)
        with pytest.raises(ConnectionRefusedError):
            await runtime.connect(spec.generation_id, ip, PORT)

    asyncio.run(go())


def test_many_connections_at_once_are_all_made_and_leave_nothing_in_the_host(data: Path) -> None:
    need_sandbox()

    async def go() -> None:
        runtime, spec = runtime_of(data), generation(1)
        await _running(runtime, spec)
        ip = spec.phones[0].ip
        await _listen(ip, "echo begun; read word")
        pid = host_pid(data, spec)
        with await runtime.connect(spec.generation_id, ip, PORT) as sock:
            assert await _line(sock) == b"begun\n"
        before = sockets(pid)
        made = await asyncio.gather(*(runtime.connect(spec.generation_id, ip, PORT) for _ in range(60)))
        for sock in made:
            assert await _line(sock) == b"begun\n"
        assert sockets(pid) >= before + 120 - 2
        for sock in made:
            sock.close()
        await until(lambda: sockets(pid) <= before + 2, "the host has let go of the connections")

    asyncio.run(go())


def test_a_host_that_is_dead_or_gone_is_told_as_a_network_would(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation(1)
        await _running(runtime, spec)
        pid = host_pid(data, spec)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_running(pid), "the host is dead")
        with pytest.raises(ConnectionError):
            await runtime.connect(spec.generation_id, spec.phones[0].ip, PORT)

    asyncio.run(go())


def test_a_host_of_a_version_without_this_request_says_what_to_do(data: Path) -> None:
    async def go() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await control.read_body(reader)
            writer.write(control.frame(control.Reply(error="not understood: Invalid value 'Connect'")))
            writer.close()

        (data / "run").mkdir()
        server = await asyncio.start_unix_server(refuse, sock=control.listen(data / "run" / control.host_socket("old")))
        async with server:
            with pytest.raises(RuntimeFaultError, match="only declared ports can be reached until the server is restarted"):
                await runtime_of(data).connect("old", "127.0.0.1", PORT)

    asyncio.run(go())


def test_a_pair_of_sockets_is_never_with_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody of this machine who connects faster, in the moment in which there is a port, is sent away."""
    strangers: list[socket.socket] = []
    bind = listeners.bind

    def slowly(address: str, port: int) -> socket.socket:
        listener = bind(address, port)
        strangers.append(socket.create_connection(listener.getsockname()))
        return listener

    monkeypatch.setattr(listeners, "bind", slowly)

    async def go() -> None:
        one, other = await asyncio.wait_for(listeners.connected_pair("127.0.0.1"), SECONDS)
        with one, other, strangers[0] as stranger:
            assert one.getpeername() == other.getsockname() and other.getpeername() == one.getsockname()
            stranger.settimeout(SECONDS)
            assert stranger.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(other.getsockname(), SECONDS)

    asyncio.run(go())
