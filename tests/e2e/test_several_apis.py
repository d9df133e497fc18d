"""An api that leaves: what it has accepted is answered, what comes after is not its, and nobody who waits is refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opencph.sockets import listen, stop_accepting
from opencph.testing import own_network


@contextmanager
def activated_api(listening: socket.socket, data: Path, network: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """An api that is given its socket as systemd gives it."""
    # what systemd does between fork and exec: the socket is number 3, and the variables name the process
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}; "
        "os.execv(sys.executable, [sys.executable, '-m', 'opencph', 'api', *sys.argv[2:]])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCPH_")}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(listening.fileno()), "--data", str(data), *more],
        pass_fds=[listening.fileno()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment, "OPENCPH_NETWORK": network, "OPENCPH_LISTEN": "127.0.0.1:1"},
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.strip() == f"ready http://127.0.0.1:{listening.getsockname()[1]}", said
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def ask(connection: socket.socket, path: str = "/healthz") -> bytes:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection.recv(65536)


def test_an_api_on_a_socket_that_stays_is_replaced_without_a_refused_connection(directory: Path) -> None:
    with own_network() as network, listen("127.0.0.1:0") as listening:
        where = listening.getsockname()
        answered, failed, ending = [0], [], threading.Event()

        def clients() -> None:
            while not ending.is_set():
                try:
                    with socket.create_connection(where, timeout=20) as connection:
                        assert ask(connection).startswith(b"HTTP/1.1 200 ")
                    answered[0] += 1
                except Exception as error:
                    failed.append(repr(error))

        with activated_api(listening, directory / "data", network) as first:
            thread = threading.Thread(target=clients, daemon=True)
            thread.start()
            with activated_api(listening, directory / "data", network) as second:
                first.send_signal(signal.SIGUSR1)
                assert first.wait(30) == 0
                with socket.create_connection(where, timeout=20) as kept:
                    assert b"connection: close" not in ask(kept).lower()
                    second.send_signal(signal.SIGUSR1)
                    while b"connection: close" not in ask(kept).lower():
                        pass
                waiting = socket.create_connection(where, timeout=20)  # nobody is there to accept it, and it is not refused
                waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert second.wait(30) == 0
            with activated_api(listening, directory / "data", network):
                assert waiting.recv(4096).startswith(b"HTTP/1.1 200 ")
                waiting.close()
                ending.set()
                thread.join(30)
    assert failed == [] and answered[0] > 0


def test_an_api_that_leaves_answers_what_it_has_and_says_that_the_connection_ends(directory: Path) -> None:
    head = "POST /v3/auth/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
    with (
        own_network() as network,
        listen("127.0.0.1:0") as listening,
        activated_api(listening, directory / "data", network) as api,
        socket.create_connection(listening.getsockname(), timeout=20) as slow,
        socket.create_connection(listening.getsockname(), timeout=20) as other,
    ):
        slow.sendall(head.encode() + b'{"auth": ')  # a request of which a part is on its way
        assert ask(other).startswith(b"HTTP/1.1 200 ")
        api.send_signal(signal.SIGUSR1)
        answer, deadline = b"", time.monotonic() + 20
        while b"connection: close" not in answer.lower():
            assert time.monotonic() < deadline, "the client is not told that its connection ends"
            answer = ask(other)
            assert answer.startswith(b"HTTP/1.1 200 ")
        assert other.recv(1) == b"", "the connection ends, as was said"
        assert api.poll() is None, "it did not wait for the request that is under way"
        slow.sendall(b"{}}")
        answer = slow.recv(65536)
        assert answer.startswith(b"HTTP/1.1 4") and b"connection: close" in answer.lower()
        assert api.wait(30) == 0


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_a_process_stops_accepting_and_the_others_go_on(address: str) -> None:
    with listen(address) as ours:
        where = ours.getsockname()[:2]
        theirs = socket.socket(fileno=os.dup(ours.fileno()))
        number = ours.fileno()
        other = os.fork()
        if other == 0:  # another process with the same socket
            try:
                theirs.settimeout(20)
                connection, _ = theirs.accept()
                connection.sendall(b"theirs")
            finally:
                os._exit(0)
        stop_accepting(ours)
        assert ours.fileno() == number
        with pytest.raises(BlockingIOError):
            ours.accept()
        with socket.create_connection(where, timeout=20) as client:
            with pytest.raises(BlockingIOError):
                ours.accept()
            assert client.recv(16) == b"theirs"
        os.waitpid(other, 0)
        theirs.close()
