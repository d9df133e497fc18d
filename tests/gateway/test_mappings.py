"""Port mappings, through a gateway process, to real TCP servers."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.gateway_world import Client, Endless, Gateway, Network, TcpPhones, sockets, until_the_end, wait_until
from opencph.store import processes

#: For what has nothing to do with the database.
once = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

Start = Callable[..., Gateway]
PORTS = (("web", 20000, True), ("inner", 20001, False))


def test_a_mapping_leads_to_the_phone_on_both_sides_of_the_server(network: Network, gateway: Start, phones: TcpPhones) -> None:
    phone, second, vip, public = network.ip(), network.ip(), network.ip(), network.ip()
    network.server(phone_ip_first=phone, phone_count=2, server_ip=vip, eip_id=network.eip(public), ports=PORTS)
    for ip in (phone, second):
        for port in (5555, 20000, 20001):
            phones.listen(ip, port)
    gateway()
    expected = {
        (vip, 10000): (phone, 5555),
        (vip, 10001): (phone, 20000),
        (vip, 10002): (phone, 20001),
        (vip, 10003): (second, 5555),
        (vip, 10004): (second, 20000),
        (vip, 10005): (second, 20001),
        (public, 10001): (phone, 20000),
        (public, 10004): (second, 20000),
    }
    for address, (ip, port) in expected.items():
        client = Client(*address)
        assert client.line() == f"{ip}:{port}"
        assert client.say("hello") == "hello"
        client.close()
    for port in (10000, 10002, 10003, 10005):  # adb, and the port that is not internet-accessible
        with socket.socket() as sock:
            assert sock.connect_ex((public, port)) != 0


@once
def test_a_half_closed_connection_still_brings_the_rest_of_the_answer(network: Network, gateway: Start, phones: TcpPhones) -> None:
    phone, vip = network.ip(), network.ip()
    network.server(phone_ip_first=phone, server_ip=vip)
    phones.listen(phone, 5555)
    gateway()
    client = Client(vip, 10000)
    client.line()
    client.socket.sendall(b"last words\n")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.line() == "last words"
    assert client.line() == "bye"
    assert client.line() == ""


@once
def test_many_bytes_go_both_ways_at_once_unharmed(network: Network, gateway: Start, phones: TcpPhones) -> None:
    phone, vip = network.ip(), network.ip()
    network.server(phone_ip_first=phone, server_ip=vip)
    phones.listen(phone, 5555)
    gateway()
    client = Client(vip, 10000)
    client.line()
    data = os.urandom(1 << 20) * 48

    def send() -> None:
        client.socket.sendall(data)
        client.socket.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    received = client.file.read()
    sender.join()
    assert len(received) == len(data) + len(b"bye\n")
    assert hashlib.sha256(received[: len(data)]).digest() == hashlib.sha256(data).digest()


@once
def test_a_client_that_does_not_read_slows_the_phone_down_and_nobody_else(
    network: Network, gateway: Start, phones: TcpPhones
) -> None:
    phone, vip = network.ip(), network.ip()
    network.server(phone_ip_first=phone, server_ip=vip)
    phones.listen(phone, 5555)
    running = gateway()
    lazy = Client(vip, 10000)
    lazy.line()
    lazy.socket.setblocking(False)
    sent = 0
    piece = bytes(1 << 16)
    while True:  # the echo comes back and is never read
        try:
            sent += lazy.socket.send(piece)
        except BlockingIOError:
            try:
                wait_until(lambda: _writable(lazy.socket), "room to write", 0.5)
            except AssertionError:
                break
        assert sent < 512 << 20, "nothing pushes back"
    other = Client(vip, 10000)
    other.line()
    assert other.say("still here") == "still here"
    resident = int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]) * 4096
    assert resident < 200 << 20


def _writable(sock: socket.socket) -> bool:
    return bool(select.select([], [sock], [], 0)[1])


@once
def test_a_phone_that_is_not_there_hangs_up_at_once(network: Network, gateway: Start) -> None:
    vip = network.ip()
    network.server(phone_ip_first=network.ip(), server_ip=vip)
    running = gateway()
    before = sockets(running.process.pid)
    for _ in range(20):
        with suppress(ConnectionResetError):  # the reset may come before connect() has returned
            assert Client(vip, 10000).is_cut()
    wait_until(lambda: sockets(running.process.pid) == before, "sockets given back")


@once
def test_a_reset_is_passed_on(network: Network, gateway: Start) -> None:
    phone, vip = network.ip(), network.ip()
    network.server(phone_ip_first=phone, server_ip=vip)
    with socket.create_server((phone, 5555)) as listener:
        running = gateway()
        before = sockets(running.process.pid)
        client = Client(vip, 10000)
        connection, _ = listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        assert client.is_cut()
        client = Client(vip, 10000)
        connection, _ = listener.accept()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        connection.settimeout(10)
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        connection.close()
        wait_until(lambda: sockets(running.process.pid) == before, "sockets given back")


def test_a_change_of_server_moves_its_mappings_and_touches_no_other(network: Network, gateway: Start, phones: TcpPhones) -> None:
    old, new, vip, new_vip, public = (network.ip() for _ in range(5))
    bystander, bystander_vip = network.ip(), network.ip()
    eip_id = network.eip(public)
    changing = network.server(phone_ip_first=old, server_ip=vip, eip_id=eip_id, ports=PORTS)
    network.server(phone_ip_first=bystander, server_ip=bystander_vip)
    for ip in (old, new, bystander):
        for port in (5555, 20000, 20001):
            phones.listen(ip, port)
    running = gateway()
    kept, cut, moved = Client(bystander_vip, 10000), Client(vip, 10000), Client(public, 10001)
    assert kept.line() == f"{bystander}:5555"
    assert cut.line() == f"{old}:5555"
    assert moved.line() == f"{old}:20000"
    revision = network.change(changing, phone_ip_first=new, server_ip=new_vip, eip_id=eip_id, ports=PORTS)
    running.serves(revision)
    # From the moment the revision is reported the new generation answers, and only it.
    assert Client(new_vip, 10000).line() == f"{new}:5555"
    assert Client(public, 10001).line() == f"{new}:20000"
    with socket.socket() as sock:
        assert sock.connect_ex((vip, 10000)) != 0
    assert cut.is_cut()
    assert moved.is_cut()
    assert kept.say("undisturbed") == "undisturbed"


@once
def test_a_taken_port_is_said_and_tried_again(network: Network, gateway: Start, phones: TcpPhones) -> None:
    phone, vip = network.ip(), network.ip()
    network.server(phone_ip_first=phone, server_ip=vip, ports=PORTS)
    for port in (5555, 20000):
        phones.listen(phone, port)
    squatter = socket.create_server((vip, 10000))
    running = gateway()
    assert Client(vip, 10001).line() == f"{phone}:20000"
    running.serves()
    assert "cannot listen" in running.log.read_text()
    (told,) = processes.alive(network.database, "gateway")
    assert told.missing.startswith(f"cannot listen on {vip}:10000: ") and "another program listens there" in told.missing
    squatter.close()
    wait_until(lambda: _greets(vip, 10000) == f"{phone}:5555", "the port after all")
    wait_until(lambda: processes.alive(network.database, "gateway")[0].missing == "", "the report is of now")


def _greets(ip: str, port: int) -> str:
    try:
        client = Client(ip, port)
    except OSError:
        return ""
    found = client.line()
    client.close()
    return found


@once
def test_a_subnet_of_another_range_opens_nothing_on_this_machine(network: Network, gateway: Start) -> None:
    network.server(phone_ip_first=network.ip(), server_ip="192.0.2.7")
    running = gateway()
    running.serves()
    assert "cannot listen" not in running.log.read_text()


def test_a_thousand_mappings_answer_and_a_restarted_gateway_serves_them_again(
    network: Network, gateway: Start, phones: TcpPhones
) -> None:
    vip = network.ip()
    first = f"{network.second_block}.1"
    network.server(phone_ip_first=first, phone_count=200, server_ip=vip, ports=tuple((f"p{i}", 20000 + i, False) for i in range(4)))
    phones.listen(f"{network.second_block}.200", 20003)
    running = gateway()
    assert Client(vip, 10999).line() == f"{network.second_block}.200:20003"
    for port in range(10000, 11000):
        with suppress(ConnectionResetError), socket.create_connection((vip, port), 5):  # no phone: reset, but not refused
            pass
    assert running.end(signal.SIGKILL) == -signal.SIGKILL
    again = gateway()
    assert Client(vip, 10999).line() == f"{network.second_block}.200:20003"
    again.serves()
    rows = processes.alive(network.database, "gateway")
    assert [row.pid for row in rows] == [again.process.pid]
    assert again.end() == 0
    assert processes.alive(network.database, "gateway") == []


@once
def test_a_second_gateway_stands_by_and_takes_over_when_the_first_is_killed(
    network: Network, gateway: Start, phones: TcpPhones
) -> None:
    phone, vip = network.ip(), network.ip()
    network.server(phone_ip_first=phone, server_ip=vip)
    phones.listen(phone, 5555)
    first = gateway()
    second = gateway()
    assert "stands by" in second.log.read_text()
    assert "cannot listen" not in second.log.read_text()
    assert [row.pid for row in processes.alive(network.database, "gateway")] == [first.process.pid]
    first.end(signal.SIGKILL)
    wait_until(lambda: _greets(vip, 10000) == f"{phone}:5555", "the second gateway's service")
    second.serves()


@once
def test_a_thousand_connections_at_once_all_get_through(network: Network, gateway: Start) -> None:
    phone, vip = network.ip(), network.ip()
    network.server(phone_ip_first=phone, server_ip=vip, ports=PORTS)
    with socket.create_server((phone, 20000), backlog=1024) as listener:
        running = gateway()
        clients = []
        for _ in range(1000):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex((vip, 10001))
            clients.append(client)
        listener.settimeout(10)
        served = []
        for _ in clients:
            connection, _peer = listener.accept()
            connection.sendall(b"x")
            served.append(connection)
        for client in clients:
            client.settimeout(10)
            assert client.recv(1) == b"x"
        resident = int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]) * 4096
        assert resident < 200 << 20
        for sock in (*clients, *served):
            sock.close()
        wait_until(lambda: sockets(running.process.pid) < 50, "sockets given back")


@once
@pytest.mark.parametrize("event", ["the phone dies", "the server is changed"])
def test_a_transfer_is_cut_and_not_hung_when_its_phone_goes_and_the_log_says_why(
    network: Network, gateway: Start, phones: TcpPhones, event: str
) -> None:
    phone, vip, new = network.ip(), network.ip(), network.ip()
    server_id = network.server(phone_ip_first=phone, server_ip=vip)
    bystander, bystander_vip = network.ip(), network.ip()
    network.server(phone_ip_first=bystander, server_ip=bystander_vip)
    phones.listen(bystander, 5555)
    endless = Endless(phone, 5555)
    running = gateway()
    kept = Client(bystander_vip, 10000)
    assert kept.line() == f"{bystander}:5555"
    busy = socket.create_connection((vip, 10000), 10)
    assert busy.recv(1 << 16)
    if event == "the phone dies":
        endless.die()
        cause = "the phone has reset it"
    else:
        network.change(server_id, phone_ip_first=new, server_ip=network.ip())
        cause = "does not lead to that phone any more"
    until_the_end(busy)
    wait_until(lambda: "connection cut" in running.log.read_text(), "the line in the log")
    text = running.log.read_text()
    assert cause in text or (event == "the phone dies" and "the connection broke" in text), text
    assert f'"to": "{phone}:5555"' in text and '"peer": "127.0.0.1"' in text
    assert kept.say("undisturbed") == "undisturbed"
    if event == "the phone dies":
        with suppress(ConnectionResetError):
            assert Client(vip, 10000).is_cut()
        wait_until(lambda: "the phone does not answer: Connection refused" in running.log.read_text(), "the reason")
    else:
        endless.die()


@once
def test_a_client_that_floods_a_mapping_has_its_share_and_others_are_served(
    network: Network, gateway: Start, phones: TcpPhones
) -> None:
    phone, vip = network.ip(), network.ip()
    network.server(phone_ip_first=phone, server_ip=vip, ports=PORTS)
    phones.listen(phone, 20000)
    running = gateway({"opencph.gateway.mappings.CLIENT_SHARE": 0.002})
    before = sockets(running.process.pid)
    flood = []
    for _ in range(200):
        with suppress(ConnectionResetError):  # the reset may come before connect() has returned
            flood.append(socket.create_connection((vip, 10001), 10))
    with socket.create_connection((vip, 10001), 10, source_address=("127.9.9.9", 0)) as other:
        assert other.makefile().readline() == f"{phone}:20000\n"
        other.sendall(b"served\n")
        assert other.recv(100) == b"served\n"
    wait_until(lambda: "which is its share" in running.log.read_text(), "the reason")
    assert running.log.read_text().count("connection refused") <= 60
    assert sockets(running.process.pid) - before < 100
    for sock in flood:
        sock.close()
    wait_until(lambda: sockets(running.process.pid) <= before, "sockets given back")
    assert Client(vip, 10001).line() == f"{phone}:20000"
