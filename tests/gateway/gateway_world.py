"""Rows that make a network of servers, a gateway process to serve it, and TCP servers in the phones' places."""

from __future__ import annotations

import json
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from sqlalchemy import Table, bindparam, delete, insert, update
from sqlalchemy import select as sql_select

from opencph.store import processes, revisions, tables
from opencph.store.database import Database, Query, Transaction, Value, command, scalar

SECONDS = 15.0
START_SECONDS = 60.0  # of a process, on a machine with other work


def wait_until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """What `condition` returns, once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return found


def add(tx: Transaction, table: Table, **values: Value) -> None:
    """Insert one row."""
    tx.run(command(insert(table).values({name: bindparam(name) for name in values})), **values)


class Network:
    """A project and what its servers need, in a block of addresses of this test's own (127.200.0.0 and on)."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.block = f"127.{random.randint(200, 250)}.{random.randint(1, 250)}"
        self.second_block = f"127.{random.randint(200, 250)}.{random.randint(1, 250)}"
        self.project_id = uuid.uuid4().hex
        self.vpc_id, self.subnet_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.ssh_port = 22000 + random.randint(0, 9999)
        self._next_ip = 1
        with database.write() as tx:
            add(tx, tables.domains, domain_id="d", name="d")
            add(tx, tables.projects, project_id=self.project_id, domain_id="d", name="p", enabled=1)
            add(tx, tables.vpcs, vpc_id=self.vpc_id, project_id=self.project_id, name="v", cidr="127.0.0.0/8", create_ms=0)
            add(
                tx,
                tables.subnets,
                subnet_id=self.subnet_id,
                vpc_id=self.vpc_id,
                project_id=self.project_id,
                name="s",
                cidr="127.0.0.0/8",
                gateway_ip="127.0.0.1",
                create_ms=0,
            )
            add(
                tx,
                tables.hosts,
                host_id="h",
                availability_zone="z",
                runtime="builtin",
                phone_capacity=100000,
                server_capacity=1000,
                state="active",
                create_ms=0,
            )

    def use_project(self, project_id: str) -> None:
        """Make another project, for the servers that come."""
        self.project_id = project_id
        with self.database.write() as tx:
            add(tx, tables.projects, project_id=project_id, domain_id="d", name="other", enabled=1)

    def unbind(self, public_ip: str) -> None:
        """Take a public address from its server."""
        eip = sql_select(tables.eips.c.eip_id).where(tables.eips.c.address == bindparam("ip")).scalar_subquery()
        with self.database.write() as tx:
            taken = update(tables.server_addresses).where(tables.server_addresses.c.eip_id == eip)
            tx.run(command(taken.values(eip_id=None)), ip=public_ip)
            revisions.bump(tx, "network")

    def ip(self) -> str:
        """An address that no one else has."""
        self._next_ip += 1
        return f"{self.block}.{self._next_ip}"

    def keypair(self, name: str, public_key: str) -> None:
        """Register a public key, or replace it."""
        with self.database.write() as tx:
            tx.run(command(delete(tables.keypairs).where(tables.keypairs.c.name == name)))
            add(
                tx,
                tables.keypairs,
                project_id=self.project_id,
                name=name,
                public_key=public_key,
                fingerprint="f",
                create_ms=0,
            )
            revisions.bump(tx, "network")

    def generation(
        self,
        server_id: str,
        *,
        number: int = 1,
        state: str = "serving",
        phone_ip_first: str,
        phone_count: int = 1,
        server_ip: str,
        eip_id: str | None = None,
        ports: tuple[tuple[str, int, bool], ...] = (),
        keypair_name: str | None = None,
        bandwidth_id: str | None = None,
        tx: Transaction,
    ) -> str:
        """Add a generation with one address."""
        generation_id = uuid.uuid4().hex
        add(
            tx,
            tables.generations,
            generation_id=generation_id,
            server_id=server_id,
            project_id=self.project_id,
            number=number,
            state=state,
            host_id="h",
            availability_zone="z",
            server_model_name="m",
            phone_model_name="m",
            image_id="i",
            phone_count=phone_count,
            phone_count_per_ip=phone_count,
            phone_ip_first=int(IPv4Address(phone_ip_first)),
            vpc_id=self.vpc_id,
            subnet_id=self.subnet_id,
            ipv6_enable=0,
            keypair_name=keypair_name,
            bandwidth_id=bandwidth_id,
            ports=json.dumps([{"name": n, "listen_port": p, "internet_accessible": a} for n, p, a in ports]),
            property="",
            create_ms=0,
        )
        add(
            tx,
            tables.server_addresses,
            generation_id=generation_id,
            number=0,
            subnet_id=self.subnet_id,
            server_ip=server_ip,
            eip_id=eip_id,
        )
        return generation_id

    def eip(self, address: str, bandwidth_id: str | None = None) -> str:
        """A public address, with a bandwidth of its own or without; returns its id."""
        eip_id = str(uuid.uuid4())
        with self.database.write() as tx:
            add(
                tx,
                tables.eips,
                eip_id=eip_id,
                project_id=self.project_id,
                type="5_bgp",
                address=address,
                auto_assigned=1,
                create_ms=0,
                bandwidth_id=bandwidth_id,
            )
        return eip_id

    def bandwidth(self, mbit: int, bandwidth_id: str | None = None) -> str:
        """A shared bandwidth, or another size of one; returns its id."""
        with self.database.write() as tx:
            if bandwidth_id is None:
                bandwidth_id = str(uuid.uuid4())
                add(
                    tx,
                    tables.bandwidths,
                    bandwidth_id=bandwidth_id,
                    project_id=self.project_id,
                    name="b",
                    size_mbit=mbit,
                    charge_mode=0,
                    share_type=1,
                    create_ms=0,
                    update_ms=0,
                )
            else:
                resize = update(tables.bandwidths).where(tables.bandwidths.c.bandwidth_id == bindparam("id"))
                tx.run(command(resize.values(size_mbit=bindparam("mbit"))), id=bandwidth_id, mbit=mbit)
            revisions.bump(tx, "network")
        return bandwidth_id

    def server(self, **generation: Any) -> str:
        """A server that serves; returns its id."""
        server_id = uuid.uuid4().hex
        with self.database.write() as tx:
            generation_id = self.generation(server_id, tx=tx, **generation)
            add(
                tx,
                tables.servers,
                server_id=server_id,
                project_id=self.project_id,
                name=server_id,
                status=5,
                generation_id=generation_id,
                order_id="o",
                product_id="p",
                charging_mode=1,
                enterprise_project_id="0",
                create_ms=0,
                update_ms=0,
            )
            revisions.bump(tx, "network")
        return server_id

    def change(self, server_id: str, **generation: Any) -> int:
        """Let a new generation serve in place of the old one, in one transaction; returns the network revision."""
        old: Query[str] = Query(
            sql_select(tables.servers.c.generation_id).where(tables.servers.c.server_id == bindparam("server_id")), scalar
        )
        with self.database.write() as tx:
            old_id = tx.row(old, server_id=server_id)
            new_id = self.generation(server_id, number=2, tx=tx, **generation)
            retire = update(tables.generations).where(tables.generations.c.generation_id == bindparam("id"))
            tx.run(command(retire.values(state="retiring")), id=old_id)
            point = update(tables.servers).where(tables.servers.c.server_id == bindparam("server_id"))
            tx.run(command(point.values(generation_id=bindparam("new"))), server_id=server_id, new=new_id)
            return revisions.bump(tx, "network")


class Gateway:
    """A gateway in a process of its own."""

    def __init__(self, network: Network, data: Path, constants: Mapping[str, float]) -> None:
        """`constants`: those of modules that get another value there, by `module.NAME`."""
        self.network = network
        self.log = data / "gateway.log"
        (data / "run").mkdir(exist_ok=True)
        code = (
            "from pathlib import Path; from opencph import log; from opencph.settings import Settings; "
            "from opencph.gateway.process import run_gateway; import importlib; log.configure('info', process='gateway'); "
            + "".join(
                f"m = importlib.import_module({name.rpartition('.')[0]!r}); m.{name.rpartition('.')[2]}; "
                f"m.{name.rpartition('.')[2]} = {value!r}; "
                for name, value in constants.items()
            )
            + f"run_gateway(Settings(data=Path({str(data)!r}), database={network.database.url!r}, ssh_port={network.ssh_port}), "
            "lambda: print('ready', flush=True))"
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        assert ready and self.process.stdout.readline() == b"ready\n", self.log.read_text()

    def serves(self, revision: int | None = None) -> None:
        """Wait until this gateway says that it serves the newest network, or a given revision."""
        wanted = revisions.read(self.network.database, "network") if revision is None else revision

        def applied() -> bool:
            rows = processes.alive(self.network.database, "gateway")
            return any(row.pid == self.process.pid and row.applied_revision >= wanted for row in rows)

        wait_until(applied, f"revision {wanted} applied")

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it and return its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class TcpPhones:
    """TCP servers that greet with their own `ip:port\\n` and echo until the client has ended its half."""

    def __init__(self) -> None:
        self._listeners: dict[int, socket.socket] = {}
        self._epoll = select.epoll()
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def listen(self, ip: str, port: int) -> None:
        """Be a phone's port."""
        listener = socket.create_server((ip, port), backlog=256)
        self._listeners[listener.fileno()] = listener
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def _run(self) -> None:
        while not self._ending:
            for fd, _ in self._epoll.poll(0.1):
                connection, _ = self._listeners[fd].accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            ip, port = connection.getsockname()
            connection.sendall(f"{ip}:{port}\n".encode())
            while data := connection.recv(65536):
                connection.sendall(data)
            connection.sendall(b"bye\n")

    def close(self) -> None:
        """Stop all of them."""
        self._ending = True
        self._thread.join()
        self._epoll.close()
        for listener in self._listeners.values():
            listener.close()


class Endless:
    """A TCP server at a phone's address that sends for ever."""

    def __init__(self, ip: str, port: int) -> None:
        self._listener = socket.create_server((ip, port))
        self._dead = threading.Event()
        self._senders: list[threading.Thread] = []
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                self.connections.append(self._listener.accept()[0])
                self._senders.append(threading.Thread(target=self._send, args=(self.connections[-1],), daemon=True))
                self._senders[-1].start()

    def _send(self, connection: socket.socket) -> None:
        connection.settimeout(0.05)  # the longest that a peer who reads nothing keeps this thread from its end
        with suppress(OSError):
            while not self._dead.is_set():
                with suppress(TimeoutError):
                    connection.send(bytes(1 << 16))

    def die(self) -> None:
        """As the kernel ends the sockets of a phone that is killed with data under way: a reset, and no end before it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._dead.set()
        for sender in self._senders:
            sender.join(SECONDS)
        for connection in self.connections:
            with suppress(OSError):  # cut already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()


def until_the_end(client: socket.socket) -> None:
    """Read until the connection is over. A hang is a failure."""
    client.settimeout(15)
    with suppress(ConnectionResetError):
        while client.recv(1 << 16):
            pass


class Client:
    """A TCP client that reads lines."""

    def __init__(self, ip: str, port: int) -> None:
        self.socket = socket.create_connection((ip, port), SECONDS)
        self.file = self.socket.makefile("rwb")

    def line(self) -> str:
        """The next line; empty at the end."""
        return str(self.file.readline(), "utf-8").rstrip("\n")

    def say(self, text: str) -> str:
        """Send a line and return the answer."""
        self.file.write(text.encode() + b"\n")
        self.file.flush()
        return self.line()

    def is_cut(self) -> bool:
        """Wait for the end of the connection, however it comes. False when there are bytes instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Hang up."""
        self.file.close()
        self.socket.close()


def resident(running: Gateway) -> int:
    """The memory a gateway holds, in bytes."""
    return int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]) * 4096


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += descriptor.readlink().name.startswith("socket:")
    return found
