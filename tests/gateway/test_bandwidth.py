"""The bandwidth of public addresses: buckets by themselves, and what connections through a gateway process get."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context, ContextVar
from pathlib import Path

import pytest

from gateway.gateway_world import Gateway, Network
from gateway.ssh_client import Ssh, make_key
from opencph.gateway.bandwidth import BURST_SECONDS, BYTES_PER_MBIT, PORTION_BYTES_MAX, PORTION_SECONDS, Bucket, Limits

once = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Start = Callable[[], Gateway]
PORTS = (("web", 20000, True),)
#: The kernel and the gateway hold so much of a connection while its reader waits.
SLACK = 1.15


class _Mover:
    """Takes as much as it gets."""

    def __init__(self, bucket: Bucket, most: int = 1 << 20) -> None:
        self.bucket, self.most, self.moved = bucket, most, 0

    def go_on(self) -> None:
        while got := self.bucket.take(self, self.most):
            self.moved += got


def test_those_who_want_everything_share_evenly_and_get_what_there_is() -> None:
    async def run() -> None:
        rate, seconds = 8_000_000, 0.5
        bucket = Bucket(rate)
        movers = [_Mover(bucket, 700 if number == 0 else 1 << 20) for number in range(20)]
        begun = time.monotonic()
        for mover in movers:
            mover.go_on()
        await asyncio.sleep(seconds)
        taken = time.monotonic() - begun
        moved = [mover.moved for mover in movers[1:]]
        assert sum(moved) <= rate * (taken + BURST_SECONDS) + PORTION_BYTES_MAX
        assert max(moved) - min(moved) <= rate * PORTION_SECONDS  # one portion
        assert 0 < movers[0].moved < min(moved)  # who wants little has little

    asyncio.run(run())


def test_who_waits_goes_on_in_a_context_of_its_own() -> None:
    """Else the log of one connection would carry the id of another, which set the timer."""
    owner: ContextVar[str] = ContextVar("owner")
    found: dict[str, str] = {}

    class Waiting:
        def __init__(self, bucket: Bucket, name: str) -> None:
            self._bucket, self._name = bucket, name
            owner.set(name)
            assert bucket.take(self, 1 << 16) == 0

        def go_on(self) -> None:
            found[self._name] = owner.get()
            self._bucket.take(self, 1 << 16)

    class First:
        def go_on(self) -> None:
            pass

    async def main() -> None:
        bucket = Bucket(BYTES_PER_MBIT)
        while bucket.take(First(), 1 << 16):
            pass
        for name in ("one", "two"):
            Context().run(Waiting, bucket, name)
        async with asyncio.timeout(10):
            while len(found) < 2:  # noqa: ASYNC110 - nothing tells when they went on
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert found == {"one": "one", "two": "two"}


def test_a_new_rate_holds_at_once_also_for_those_who_wait() -> None:
    async def run() -> None:
        bucket = Bucket(1_000)
        mover = _Mover(bucket)
        mover.go_on()
        before = mover.moved
        bucket.set_rate(50_000_000)
        await asyncio.sleep(0.2)
        assert mover.moved - before > 1_000_000

    asyncio.run(run())


def test_addresses_of_one_bandwidth_share_its_buckets_and_lose_them_with_it() -> None:
    async def run() -> None:
        limits = Limits()
        first, second, third = limits.of("a"), limits.of("b"), limits.of("c")
        limits.apply({"a": ("shared", 5), "b": ("shared", 5), "c": ("own", 1)})
        assert first.inbound is not None
        assert first.inbound is second.inbound
        assert first.inbound is not first.outbound
        assert third.inbound is not first.inbound
        kept = first.inbound
        limits.apply({"a": ("shared", 7)})
        assert first.inbound is kept
        assert first.mbit == 7
        assert second.mbit is None
        assert [limit.inbound is None for limit in (second, third)] == [True, True]

    asyncio.run(run())


class Source:
    """A TCP server at a phone's address that sends without end, or takes without end after the byte `u`."""

    def __init__(self, ip: str, port: int) -> None:
        self._listener = socket.create_server((ip, port), backlog=64)
        self.taken = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if connection.recv(1) == b"u":
                while data := connection.recv(1 << 20):
                    self.taken += len(data)
            while True:
                connection.sendall(bytes(1 << 16))

    def close(self) -> None:
        """Accept nobody any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def limited(network: Network) -> Iterator[tuple[str, str, str, str, Source]]:
    """A server with 4 Mbit/s: phone, VIP, EIP, bandwidth id and the program on its phone."""
    phone, vip, public = (network.ip() for _ in range(3))
    bandwidth_id = network.bandwidth(4)
    network.keypair("mine", "")
    network.server(
        phone_ip_first=phone,
        server_ip=vip,
        eip_id=network.eip(public),
        ports=PORTS,
        bandwidth_id=bandwidth_id,
        keypair_name="mine",
    )
    source = Source(phone, 20000)
    yield phone, vip, public, bandwidth_id, source
    source.close()


def _received(addresses: list[tuple[str, int]], seconds: float) -> list[int]:
    """How many bytes connections to these addresses bring at the same time."""
    sockets = [socket.create_connection(address, 10) for address in addresses]
    counts = [0] * len(sockets)
    deadline = time.monotonic() + seconds

    def take(number: int, sock: socket.socket) -> None:
        sock.sendall(b"d")
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            with suppress(TimeoutError):
                counts[number] += len(sock.recv(1 << 16))

    threads = [threading.Thread(target=take, args=each) for each in enumerate(sockets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sock in sockets:
        sock.close()
    return counts


def test_public_traffic_is_limited_as_the_row_says_and_private_is_not(
    network: Network, gateway: Start, limited: tuple[str, str, str, str, Source]
) -> None:
    _phone, vip, public, bandwidth_id, _source = limited
    running = gateway()
    most = 4 * BYTES_PER_MBIT
    got = sum(_received([(public, 10001)] * 3, 1.5))
    assert 0.5 * most * 1.5 < got <= most * 1.5 * SLACK
    assert sum(_received([(vip, 10001)], 0.5)) > 2 * most
    network.bandwidth(40, bandwidth_id)
    running.serves()
    got = sum(_received([(public, 10001)], 1.5))
    assert 2 * most * 1.5 < got <= 10 * most * 1.5 * SLACK


@once
@pytest.mark.parametrize("of_server", [None, 4])
def test_an_eip_has_the_bandwidth_of_its_server_and_else_its_own(network: Network, gateway: Start, of_server: int | None) -> None:
    phone, public = network.ip(), network.ip()
    network.server(
        phone_ip_first=phone,
        server_ip=network.ip(),
        eip_id=network.eip(public, network.bandwidth(2000 if of_server else 4)),
        ports=PORTS,
        bandwidth_id=network.bandwidth(of_server) if of_server else None,
    )
    source = Source(phone, 20000)
    gateway()
    got = sum(_received([(public, 10001)], 1.5))
    source.close()
    assert 0.5 * 4 * BYTES_PER_MBIT * 1.5 < got <= 4 * BYTES_PER_MBIT * 1.5 * SLACK


@once
def test_mappings_and_tunnels_of_servers_with_one_bandwidth_share_it(
    network: Network, gateway: Start, limited: tuple[str, str, str, str, Source], tmp_path: Path
) -> None:
    phone, _vip, public, bandwidth_id, _source = limited
    network.keypair("mine", make_key(tmp_path / "mine.pem"))
    other, other_vip, other_public = (network.ip() for _ in range(3))
    network.server(
        phone_ip_first=other, server_ip=other_vip, eip_id=network.eip(other_public), ports=PORTS, bandwidth_id=bandwidth_id
    )
    second = Source(other, 20000)
    gateway()
    ssh = Ssh(network, public, tmp_path, tmp_path / "mine.pem")
    try:
        (local,) = ssh.tunnel(f"{phone}:20000")
        got = _received([(public, 10001), (other_public, 10001), (ssh.local, local)], 3.0)
    finally:
        ssh.end()
        second.close()
    most = 4 * BYTES_PER_MBIT * 3.0
    assert 0.5 * most < sum(got) <= most * SLACK
    assert min(got) > 0.2 * sum(got)


@once
def test_bytes_to_the_phone_are_limited_in_a_mapping_and_in_a_tunnel(
    network: Network, gateway: Start, limited: tuple[str, str, str, str, Source], tmp_path: Path
) -> None:
    phone, _vip, public, _bandwidth_id, source = limited
    network.keypair("mine", make_key(tmp_path / "mine.pem"))
    gateway()
    ssh = Ssh(network, public, tmp_path, tmp_path / "mine.pem")
    try:
        (local,) = ssh.tunnel(f"{phone}:20000")
        for address in ((public, 10001), (ssh.local, local)):
            with socket.create_connection(address, 10) as sock:
                before, deadline = source.taken, time.monotonic() + 1.5
                sock.sendall(b"u")
                while (left := deadline - time.monotonic()) > 0:
                    sock.settimeout(left)
                    with suppress(TimeoutError):
                        sock.send(bytes(1 << 16))
                got = source.taken - before
            most = 4 * BYTES_PER_MBIT * 1.5
            assert 0.5 * most < got <= most * SLACK, address
    finally:
        ssh.end()


@once
@pytest.mark.parametrize(("mbit", "seconds"), [(1, 3.0), (2000, 1.0)])
def test_the_smallest_and_the_largest_bandwidth_hold(network: Network, gateway: Start, mbit: int, seconds: float) -> None:
    phone, public = network.ip(), network.ip()
    network.server(
        phone_ip_first=phone,
        server_ip=network.ip(),
        eip_id=network.eip(public),
        ports=PORTS,
        bandwidth_id=network.bandwidth(mbit),
    )
    source = Source(phone, 20000)
    gateway()
    got = sum(_received([(public, 10001)] * 2, seconds))
    source.close()
    most = mbit * BYTES_PER_MBIT * seconds
    assert 0 < got <= most * SLACK + PORTION_BYTES_MAX  # what the largest reaches is the machine's affair
    if mbit == 1:
        assert got > 0.5 * most


@once
def test_twenty_connections_of_an_address_share_its_bandwidth_evenly(
    network: Network, gateway: Start, limited: tuple[str, str, str, str, Source]
) -> None:
    _phone, _vip, public, bandwidth_id, _source = limited
    network.bandwidth(40, bandwidth_id)
    gateway()
    got = _received([(public, 10001)] * 20, 3.0)
    assert sum(got) <= 40 * BYTES_PER_MBIT * 3.0 * SLACK
    assert min(got) > 0.5 * sum(got) / 20, got
    assert max(got) < 2 * sum(got) / 20, got
