"""The ways to a phone: port mappings and SSH tunnels, their speed, their limits and what they hold. Rows for the table."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import asyncssh
import psutil

from bench.adb_program import adb_program, timed
from bench.client import Client
from bench.openssh import ssh_tunnel, sshd
from bench.table import Row, median
from opencph.sockets import do_not_pace
from opencph.testing import RunningCph, opencph_up

ROUNDS, ROUND_SECONDS = 5, 2.0
MAPPING_RATIO_MIN = 0.6
TUNNEL_RATIO_MIN, FOUR_TUNNELS_RATIO_MIN = 0.8, 0.9
TUNNELS_AT_ONCE = 4
CIPHERS = ("chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com")
IDLE_TUNNELS, IDLE_BYTES_MAX = 1_000, 200_000_000
LIMITS_MBIT, LIMIT_SECONDS, LIMIT_ERROR_MAX, SHARERS, FAIR_MIN = (20, 300, 1000), 10.0, 0.05, 20, 0.8
PUSH_BYTES, PUSH_RATIO_MIN = 256 << 20, 0.8
PHONE_PORT = 31234  # one that the phone itself does not use: the bench listens there in its place
_PIECE = 1 << 20


def _piped(sock: socket.socket) -> None:
    """The phone's end of a measurement: b"d": send for ever; b"u": take for ever."""
    with sock, suppress(OSError):
        if sock.recv(1) == b"d":
            piece = bytes(_PIECE)
            while True:
                sock.sendall(piece)
        room = bytearray(_PIECE)
        while sock.recv_into(room):
            pass


def _listen(ip: str) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    do_not_pace(listener, ip)
    listener.bind((ip, PHONE_PORT))
    listener.listen(256)
    return listener


@contextmanager
def _phone_end(ip: str) -> Iterator[None]:
    """A program that stands in the phone's place at PHONE_PORT, in a process of its own."""
    listener = _listen(ip)
    pid = os.fork()
    if not pid:
        with suppress(BaseException):
            while True:
                threading.Thread(target=_piped, args=(listener.accept()[0],), daemon=True).start()
        os._exit(0)
    listener.close()
    try:
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def _connect(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    do_not_pace(sock, address[0])
    sock.connect(address)
    return sock


def _rates(addresses: Sequence[tuple[str, int]], way: bytes, seconds: float = ROUND_SECONDS) -> list[float]:
    """Bytes per second of connections to these addresses at the same time; the first tenth of the time warms up."""
    counts = [0] * len(addresses)
    begun = [0.0]
    go_on = [True]

    def move(number: int, sock: socket.socket) -> None:
        room = bytearray(_PIECE)
        with suppress(OSError):
            while go_on[0]:
                if way == b"d":
                    moved = sock.recv_into(room)
                    if not moved:
                        break
                else:
                    moved = sock.send(room)
                counts[number] += moved

    sockets = [_connect(address) for address in addresses]
    try:
        threads = [threading.Thread(target=move, args=each, daemon=True) for each in enumerate(sockets)]
        for sock, thread in zip(sockets, threads, strict=True):
            sock.sendall(way)
            sock.settimeout(30)
            thread.start()
        time.sleep(seconds / 10)
        before, begun[0] = list(counts), time.monotonic()
        time.sleep(seconds)
        taken, after = time.monotonic() - begun[0], list(counts)
    finally:
        go_on[0] = False
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
    return [(end - start) / taken for start, end in zip(before, after, strict=True)]


class _Server:
    """A cloud phone server that was bought, and the addresses of its first phone."""

    def __init__(self, cph: RunningCph) -> None:
        client = Client(cph.credentials)
        (self.server_id,) = client.buy("ways")
        client.wait_for_server(self.server_id)
        self.cph = cph
        self.credentials = cph.credentials
        self.database = cph.data / "opencph.db"
        rows = self._rows(
            "SELECT p.phone_ip, a.server_ip, e.address, g.bandwidth_id FROM servers s JOIN generations g USING (generation_id) "
            "JOIN phones p USING (generation_id) JOIN server_addresses a USING (generation_id) JOIN eips e ON e.eip_id = a.eip_id "
            "WHERE s.server_id = ? AND a.number = 0 AND p.number = 1",
            self.server_id,
        )
        self.phone_ip, self.vip, self.public, self.bandwidth_id = rows[0]

    def _rows(self, sql: str, *values: object) -> list[tuple[str, ...]]:
        connection = sqlite3.connect(self.database, timeout=10)
        rows = connection.execute(sql, values).fetchall()
        connection.commit()
        connection.close()
        return rows

    def bandwidth(self, mbit: int | None) -> None:
        """Set the size of its bandwidth, or take it away: what the API allows, and one thing it does not."""
        if mbit is None:
            self._rows("UPDATE generations SET bandwidth_id = NULL WHERE bandwidth_id = ?", self.bandwidth_id)
        else:
            self._rows("UPDATE bandwidths SET size_mbit = ? WHERE bandwidth_id = ?", mbit, self.bandwidth_id)
        self._applied()

    def public_key(self, text: str) -> None:
        """Let this key in, and no other."""
        self._rows("UPDATE keypairs SET public_key = ?", text)
        self._applied()

    def mapped(self, port: int) -> None:
        """Let the first declared port of every phone lead to this one: where the bench listens in the phone's place."""
        ports = f'[{{"name":"bench","listen_port":{port},"internet_accessible":true}}]'
        self._rows("UPDATE generations SET ports = ?", ports)
        self._applied()

    def _applied(self) -> None:
        self._rows("UPDATE revisions SET value = value + 1 WHERE name = 'network'")
        wanted = self._rows("SELECT value FROM revisions WHERE name = 'network'")[0][0]
        deadline = time.monotonic() + 10
        while self._rows("SELECT max(applied_revision) FROM processes WHERE kind = 'gateway'")[0][0] < wanted:
            if time.monotonic() > deadline:
                raise RuntimeError("the gateway does not follow")
            time.sleep(0.01)

    @property
    def gateway_pid(self) -> int:
        return int(self._rows("SELECT pid FROM processes WHERE kind = 'gateway'")[0][0])


@contextmanager
def _server() -> Iterator[_Server]:
    with opencph_up() as cph:
        yield _Server(cph)


def mapping(_: argparse.Namespace) -> list[Row]:
    """Bytes from a phone through a port mapping, and to it; the reference is a direct connection to the same program."""
    ratios, mapped, direct = [], [], []
    with _server() as server, _phone_end(server.phone_ip):
        server.mapped(PHONE_PORT)
        for number in range(2 * ROUNDS):
            way = b"du"[number % 2 : number % 2 + 1]
            straight = _rates([(server.phone_ip, PHONE_PORT)], way)[0]
            through = _rates([(server.vip, 10001)], way)[0]
            direct.append(straight)
            mapped.append(through)
            ratios.append(through / straight)
    ratio = median(ratios)
    return [
        Row(
            "bytes through a port mapping",
            f"{median(mapped) / 1e6:.0f} MB/s",
            f"{median(direct) / 1e6:.0f} MB/s, a direct loopback connection",
            f"{ratio:.2f}",
            f">= {MAPPING_RATIO_MIN}",
            ratio >= MAPPING_RATIO_MIN,
        )
    ]


def tunnel(_: argparse.Namespace) -> list[Row]:
    """One tunnel and four at once with each cipher, through the gateway and through OpenSSH's own server in turns."""
    rows = []
    with _server() as server, _phone_end(server.phone_ip), tempfile.TemporaryDirectory(dir="/tmp") as place:
        directory = Path(place)
        server.mapped(PHONE_PORT)
        server.bandwidth(None)
        key = Path(server.credentials["private_key_file"])
        target = f"{server.phone_ip}:{PHONE_PORT}"
        ours = (server.public, int(server.credentials["ssh_port"]))
        with sshd(directory, key) as (sshd_port, _as_it_comes):
            for count, least in ((1, TUNNEL_RATIO_MIN), (TUNNELS_AT_ONCE, FOUR_TUNNELS_RATIO_MIN)):
                for cipher in CIPHERS:
                    with ExitStack() as stack:

                        def open_all(
                            user: str, at: tuple[str, int], stack: ExitStack = stack, cipher: str = cipher, count: int = count
                        ) -> list[tuple[str, int]]:
                            return [
                                stack.enter_context(ssh_tunnel(directory, key, user, at, target, cipher))
                                for _number in range(count)
                            ]

                        through_us = open_all(server.credentials["project_id"], ours)
                        through_sshd = open_all("root", ("127.0.0.1", sshd_port))
                        for way, name in ((b"d", "from the phone"), (b"u", "to the phone")):
                            mine, theirs = [], []
                            for _round in range(ROUNDS):
                                theirs.append(sum(_rates(through_sshd, way)))
                                mine.append(sum(_rates(through_us, way)))
                            ratio = median([a / b for a, b in zip(mine, theirs, strict=True)])
                            rows.append(
                                Row(
                                    f"bytes {name} through {'one SSH tunnel' if count == 1 else f'{count} SSH tunnels at once'}, "
                                    f"{cipher.partition('@')[0]}",
                                    f"{median(mine) / 1e6:.0f} MB/s",
                                    f"{median(theirs) / 1e6:.0f} MB/s, OpenSSH's sshd",
                                    f"{ratio:.2f}",
                                    f">= {least}",
                                    ratio >= least,
                                )
                            )
    return rows


def limit(_: argparse.Namespace) -> list[Row]:
    """A bandwidth of N Mbit/s over 10 s, taken by 20 connections at once: what they get together, and how evenly."""
    errors, shares, reached = [], [], []
    with _server() as server, _phone_end(server.phone_ip):
        server.mapped(PHONE_PORT)
        for mbit in LIMITS_MBIT:
            server.bandwidth(mbit)
            rates = _rates([(server.public, 10001)] * SHARERS, b"d", LIMIT_SECONDS)
            reached.append(sum(rates) / 125_000)
            errors.append(abs(sum(rates) / (mbit * 125_000) - 1))
            shares.append(min(rates) / max(rates))
    return [
        Row(
            f"a bandwidth over {LIMIT_SECONDS:.0f} s, {SHARERS} connections: error",
            " / ".join(f"{each:.1%}" for each in errors) + " (" + " / ".join(f"{each:.1f}" for each in reached) + " Mbit/s)",
            " / ".join(str(each) for each in LIMITS_MBIT) + " Mbit/s",
            f"{max(errors):.3f}",
            f"<= {LIMIT_ERROR_MAX}",
            max(errors) <= LIMIT_ERROR_MAX,
        ),
        Row(
            f"the same bandwidth among {SHARERS} connections: smallest share beside the largest",
            " / ".join(f"{each:.2f}" for each in shares),
            "1, all alike",
            f"{min(shares):.2f}",
            f">= {FAIR_MIN}",
            min(shares) >= FAIR_MIN,
        ),
    ]


def idle(_: argparse.Namespace) -> list[Row]:
    """Many SSH connections, each with an idle forward to a phone: what the gateway holds."""

    async def hold(server: _Server) -> int:
        turn = asyncio.Semaphore(20)
        key = asyncssh.generate_private_key("ssh-ed25519")  # to sign with RSA takes this client 80 ms
        server.public_key(key.export_public_key().decode().strip())
        options = await asyncssh.SSHClientConnectionOptions.construct(
            username=server.credentials["project_id"],
            client_keys=[key],
            known_hosts=None,
            config=None,
        )

        async def one(port: int) -> asyncssh.SSHClientConnection:
            async with turn:
                connection = await asyncssh.connect(server.public, port, options=options)
                await connection.open_connection(server.phone_ip, PHONE_PORT)
                return connection

        connections = await asyncio.gather(*(one(int(server.credentials["ssh_port"])) for _number in range(IDLE_TUNNELS)))
        await asyncio.sleep(1)
        held = int(psutil.Process(server.gateway_pid).memory_full_info().pss)
        for connection in connections:
            connection.abort()
        return held

    with _server() as server, _phone_end(server.phone_ip):
        server.mapped(PHONE_PORT)
        before = int(psutil.Process(server.gateway_pid).memory_full_info().pss)
        held = asyncio.run(hold(server))
    return [
        Row(
            f"{IDLE_TUNNELS:,} idle SSH tunnels: memory of the gateway",
            f"{held / 1e6:.0f} MB",
            f"{before / 1e6:.0f} MB, the gateway without",
            f"{held / before:.1f}",
            f"<= {IDLE_BYTES_MAX // 10**6} MB",
            held <= IDLE_BYTES_MAX,
        )
    ]


def push_ways(_: argparse.Namespace) -> list[Row]:
    """`adb push` through a tunnel, beside the same push through OpenSSH's own server, and straight to the phone."""
    with _server() as server, tempfile.TemporaryDirectory(dir="/tmp") as place, adb_program() as adb, ExitStack() as stack:
        directory = Path(place)
        server.bandwidth(None)
        file = directory / "file"
        file.write_bytes(os.urandom(1 << 20) * (PUSH_BYTES >> 20))
        key, target = Path(server.credentials["private_key_file"]), f"{server.phone_ip}:5555"
        gateway = server.public, int(server.credentials["ssh_port"])
        sshd_port, plain_port = stack.enter_context(sshd(directory, key))
        ours = stack.enter_context(ssh_tunnel(directory, key, server.credentials["project_id"], gateway, target, CIPHERS[0]))
        theirs = stack.enter_context(ssh_tunnel(directory, key, "root", ("127.0.0.1", sshd_port), target, CIPHERS[0]))
        plain = stack.enter_context(ssh_tunnel(directory, key, "root", ("127.0.0.1", plain_port), target, CIPHERS[0]))

        serials = target, *(f"{ip}:{port}" for ip, port in (ours, theirs, plain))
        rates: tuple[list[float], ...] = [], [], [], []
        for serial in serials:
            adb("connect", serial)
        for _round in range(ROUNDS):
            for serial, found in zip(serials, rates, strict=True):
                taken = timed(lambda serial=serial: adb("-s", serial, "push", str(file), "/data/local/tmp/file"))  # type: ignore[misc]
                found.append(PUSH_BYTES / taken)
    direct, through, through_sshd, through_plain = rates
    ratio = median([a / b for a, b in zip(through, through_sshd, strict=True)])
    return [
        Row(
            f"`adb push` of {PUSH_BYTES >> 20} MiB through an SSH tunnel, {CIPHERS[0].partition('@')[0]}",
            f"{median(through) / 1e6:.0f} MB/s ({median(direct) / 1e6:.0f} MB/s straight to the phone)",
            f"{median(through_sshd) / 1e6:.0f} MB/s, through OpenSSH's sshd with TCP_NODELAY "
            f"({median(through_plain) / 1e6:.0f} MB/s as it comes, without)",
            f"{ratio:.2f}",
            f">= {PUSH_RATIO_MIN}",
            ratio >= PUSH_RATIO_MIN,
        )
    ]
