"""A whole installation for the crash matrix: `opencph up` with everything it starts, a client of its API, and who can be killed.

What must be true of it is in `invariants`, what is asked of it in `scenarios`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import select as select_module
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import psutil
from sqlalchemy import bindparam, func, select

from jobs_fleet.small_world import CATALOGUE, IMAGE, MODEL, SERVER_MODEL
from opencph.adb.client import connect
from opencph.fleet import open_fleet
from opencph.fleet.adb_check import silent_phones
from opencph.handset.control import HOST_LOCK, ZYGOTE_LOCK
from opencph.handset.host import lock_holder
from opencph.handset.state import BOOTS_NAME
from opencph.jobs.failpoints import Halt
from opencph.objects import buckets, open_store, spooled
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Query, scalar, tuple_row
from opencph.testing import network_fields, own_network
from opencph.wire.object_names import ObjectName

PROGRAM = Path(__file__).with_name("supervised.py")
PARTS = ("api", "worker", "gateway")
VICTIMS = (*PARTS, "host", "reboot")
READY_SECONDS, CALL_SECONDS, END_SECONDS, SETTLE_SECONDS = 40.0, 20.0, 45.0, 45.0
BUCKET = "files"
V1, V2 = "/v1/PROJECT/cloud-phone", "/v2/PROJECT/cloud-phone"
PHONES = 3
#: statuses of phones that only their owner's restart mends
BEYOND_RECOVERY = (-5, -6, -9, 8)


class ViolationError(AssertionError):
    """Something is not as it must be."""


class JobRow(NamedTuple):
    seq: int
    job_id: str
    kind: str
    phone_id: str | None
    status: int
    direction: str
    step: str
    error_code: str | None
    error_msg: str | None
    execute_msg: str | None


class ServerRow(NamedTuple):
    server_id: str
    generation_id: str
    name: str
    status: int


class PhoneRow(NamedTuple):
    phone_id: str
    generation_id: str
    status: int
    ip: str
    data_volume_gib: int
    name: str


class Reply(NamedTuple):
    status: int
    body: Any


_j, _s, _p = tables.jobs.c, tables.servers.c, tables.phones.c
_JOBS = Query(
    select(*(_j[name] for name in JobRow._fields)).where(_j.seq > bindparam("after")).order_by(_j.seq),
    JobRow,
)
_SERVER = Query(select(*(_s[name] for name in ServerRow._fields)).where(_s.server_id == bindparam("server_id")), ServerRow)
_PHONES = Query(
    select(_p.phone_id, _p.generation_id, _p.status, _p.phone_ip, _p.data_volume_gib, _p.name)
    .where(_p.generation_id == bindparam("generation_id"))
    .order_by(_p.number),
    PhoneRow,
)
_g = tables.generations.c
_SERVING = Query(
    select(_p.phone_id, _p.generation_id, _p.status, _p.phone_ip, _p.data_volume_gib, _p.name)
    .join(tables.generations, _g.generation_id == _p.generation_id)
    .where(_g.state == "serving"),
    PhoneRow,
)
_ABNORMAL: Query[str] = Query(
    select(_s.server_id)
    .join(tables.generations, _g.generation_id == _s.generation_id)
    .where(_g.state == "serving", _s.status == 2),
    scalar,
)
_PAYLOADS: Query[tuple[str, str]] = Query(select(_j.kind, _j.payload).where(_j.status == 1), cast(Any, tuple_row))


class Site:
    """One installation, from its first start to its removal.

    `environment` is what `opencph up` gets beside our own; with `disk_bytes` its data lies on a disk of that size (needs root).
    """

    def __init__(
        self, database_url: str | None = None, *, environment: Mapping[str, str] | None = None, disk_bytes: int = 0
    ) -> None:
        self._environment = environment or {}
        self._leave = ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))  # short: socket paths are limited
        self.data = self.directory / "data"
        self.temporary = self.directory / "tmp"
        self.halt = Halt(self.directory / "halt")
        for made in (self.data, self.temporary, self.halt.directory):
            made.mkdir(mode=0o700)
        if disk_bytes:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_bytes},mode=700", "tmpfs", str(self.data)], check=True)
            self._leave.callback(lambda: subprocess.run(["umount", "-l", str(self.data)], check=True))
        network = self._leave.enter_context(own_network())
        catalogue = self.directory / "catalogue.toml"
        catalogue.write_text(CATALOGUE)
        self.settings = Settings(
            data=self.data,
            database=database_url or f"sqlite:///{self.data}/opencph.db",
            network=network,
            catalogue=str(catalogue),
            listen="127.0.0.1:0",
        )
        self.process: subprocess.Popen[str] | None = None
        self.output = (self.directory / "output").open("ab")
        self.endpoint = ""
        try:
            self.start()
            self.credentials: dict[str, Any] = json.loads((self.data / "credentials.json").read_text())
            self.fleet = open_fleet(self.settings)
            self.database = self.fleet.database
            self.store = open_store(self.settings)
            buckets.make(self.database, self.store, self.credentials["domain_id"], BUCKET)
            self.token = self._token()
            self.home = self.buy()
            self.jobs_ended(0)
            self.settle()
        except BaseException:
            self.close()
            raise

    def close(self) -> list[psutil.Process]:
        """End everything; returns the processes that were left."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill_everything()
            if self.process is not None and self.process.stdout is not None:
                self.process.stdout.close()
        with suppress(AttributeError):
            self.fleet.close()
        self.output.close()
        left = self.processes()
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        self._leave.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        return left

    # --- the installation ---

    def start(self) -> None:
        """`opencph up`, as whoever supervises it would start it; returns when it is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCPH_")}
        environment |= {
            "OPENCPH_NETWORK": self.settings.network,
            "OPENCPH_CATALOGUE": self.settings.catalogue,
            "OPENCPH_LISTEN": urlsplit(self.endpoint).netloc or self.settings.listen,
            "OPENCPH_DATABASE": self.settings.database,
            "OPENCPH_READY_TIMEOUT_SECONDS": "60",
            "OPENCPH_HUNG_SECONDS": "0",  # a worker that stands still at a failpoint is not to be ended for it
            "OPENCPH_FAILPOINT_DIRECTORY": str(self.halt.directory),
            "TMPDIR": str(self.temporary),
            **self._environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), "up", "--data", str(self.data)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.output,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready "):
                self.endpoint = line.split()[1]
                return
        raise ViolationError(f"`opencph up` does not start: {self.words()}")

    def words(self) -> str:
        """The end of what everybody said."""
        found = []
        for path in (self.directory / "output", self.data / "logs" / "opencph.log", self.data / "logs" / "handset.log"):
            with suppress(OSError):
                found.append(f"--- {path.name}\n{path.read_text(errors='replace')[-2500:]}")
        return "\n".join(found)

    def part(self, name: str) -> psutil.Process | None:
        """The process of a part, if it lives."""
        assert self.process is not None
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error, OSError):
                    if Path(f"/proc/{child.pid}/comm").read_text().strip() == f"opencph-{name}":
                        return child
        return None

    def hosts(self) -> dict[int, str]:
        """The processes that carry phones: pid -> generation."""
        locks = list((self.data / "builtin").glob(f"*/{HOST_LOCK}"))
        return {pid: lock.parent.name for lock in locks if (pid := lock_holder(lock)) is not None}

    def zygote(self) -> int | None:
        """The process that makes hosts."""
        return lock_holder(self.data / "run" / ZYGOTE_LOCK)

    def processes(self) -> list[psutil.Process]:
        """Every process of this installation, as the system lists them."""
        needle = str(self.directory).encode()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                words = Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()
                if needle in words and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    # --- victims ---

    def kill(self, victim: str) -> None:
        """`kill -9`, and the restart that a supervisor would do."""
        if victim in PARTS:
            found = until(lambda: self.part(victim), 15, lambda: f"there is a {victim}: {self.words()}")
            _kill([found.pid])
        elif victim == "host":
            zygote = self.zygote()
            _kill(list(self.hosts()) or ([zygote] if zygote else []))
        else:
            self.kill_everything()
            self.start()

    def kill_everything(self) -> None:
        """As a power cut: nothing that runs is left, everything on disk is."""
        assert self.process is not None
        for _ in range(3):  # the killed do not make new ones; those that were being made are caught in the next round
            victims = [self.process.pid, *self.hosts(), *(process.pid for process in self.processes())]
            zygote = self.zygote()
            _kill([*victims, *([zygote] if zygote else [])])
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    # --- the API ---

    def call(self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Reply:
        """A call; one that nobody accepted, and every read, is tried again for a while, as clients do.

        `PROJECT` in the path stands for ours.
        """
        path = path.replace("PROJECT", self.credentials["project_id"])
        address = urlsplit(self.endpoint)
        deadline = time.monotonic() + CALL_SECONDS
        while True:
            connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=CALL_SECONDS)
            sent = False
            try:
                connection.connect()
                sent = True
                text = None if body is None else json.dumps(body)
                words = {"Content-Type": "application/json", "X-Auth-Token": getattr(self, "token", "")} | (headers or {})
                connection.request(method, path, text, words)
                answer = connection.getresponse()
                read = answer.read()
                self.last_headers = answer.headers
                return Reply(answer.status, json.loads(read) if read else None)
            except (OSError, http.client.HTTPException) as error:
                if (sent and method != "GET") or time.monotonic() > deadline:
                    raise ViolationError(f"{method} {path}: {error!r} {self.words()}") from error
                time.sleep(0.02)
            finally:
                connection.close()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A call that must be accepted."""
        reply = self.call(method, path, body)
        if reply.status >= 300:
            raise ViolationError(f"{method} {path} was refused: {reply}")
        return reply.body

    def _token(self) -> str:
        own = self.credentials
        user = {"name": own["user_name"], "password": own["password"], "domain": {"name": own["domain_name"]}}
        scope = {"project": {"id": own["project_id"]}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        reply = self.call("POST", "/v3/auth/tokens", body)
        assert reply.status == 201, reply
        return str(self.last_headers["X-Subject-Token"])

    def buy(self) -> str:
        """Order a server of three phones; its id."""
        body = {
            "server_name": f"server-{random.randrange(10**9)}",
            "server_model_name": SERVER_MODEL,
            "phone_model_name": MODEL,
            "image_id": IMAGE,
            "count": 1,
            "keypair_name": self.credentials["keypair_name"],
            "ports": [{"name": "web", "listen_port": 20000, "internet_accessible": "true"}],
            "extend_param": {"charging_mode": 1, "period_type": 2, "period_num": 1},
            **network_fields(self.credentials),
        }
        (bought,) = self.ask("POST", f"{V2}/servers", body)["server_ids"]
        return str(bought)

    def change(self, server_id: str) -> None:
        """Order other phones for a server."""
        model = self.ask("GET", f"{V1}/servers/{server_id}")["phone_model_name"]
        body = {"phone_model_name": model, "image_id": IMAGE, **network_fields(self.credentials)}
        self.ask("POST", f"{V2}/servers/{server_id}/change", body)

    def delete(self, *server_ids: str) -> None:
        """Give servers back."""
        self.ask("DELETE", f"{V2}/servers", {"server_ids": list(server_ids)})

    # --- what there is ---

    def jobs(self, after: int = 0) -> list[JobRow]:
        """The jobs that came after another, by `seq`."""
        return self.database.rows(_JOBS, after=after)

    def server(self, server_id: str = "") -> ServerRow:
        """A server's row; of the one that stays, when none is named."""
        found = self.database.row(_SERVER, server_id=server_id or self.home)
        if found is None:
            raise ViolationError(f"server {server_id or self.home} is gone")
        return found

    def running_payloads(self) -> list[tuple[str, str]]:
        """Kind and payload of the jobs that have not ended."""
        return self.database.rows(_PAYLOADS)

    def possessed(self, table: str) -> int:
        """How many rows a table has."""
        return self.database.row(Query(select(func.count()).select_from(tables.metadata.tables[table]), scalar)) or 0

    def exists(self, server_id: str) -> bool:
        """Whether there is such a server."""
        return self.database.row(_SERVER, server_id=server_id) is not None

    def phones(self, server_id: str = "") -> list[PhoneRow]:
        """The phones that a server points at."""
        return self.database.rows(_PHONES, generation_id=self.server(server_id).generation_id)

    def phones_of(self, generation_id: str) -> list[PhoneRow]:
        """The phones of a generation."""
        return self.database.rows(_PHONES, generation_id=generation_id)

    def place(self, phone: PhoneRow) -> Path:
        """Where a phone's data lies."""
        return self.data / "builtin" / phone.generation_id / "phones" / phone.phone_id

    def boots(self, server_id: str = "") -> list[int]:
        """How often each phone of a server was booted since it was made or reset."""
        return [int((self.place(phone) / BOOTS_NAME).read_text()) for phone in self.phones(server_id)]

    def text(self, phone: PhoneRow, line: str) -> str:
        """What a command prints in a phone."""

        async def main() -> str:
            async with await connect(phone.ip) as connection:
                return (await connection.shell(line)).stdout.decode()

        return asyncio.run(main())

    def push(self, phone: PhoneRow, data: bytes, path: str) -> None:
        """Put a file on a phone, through ADB."""

        async def main() -> None:
            async with await connect(phone.ip) as connection:
                await connection.push(data, path)

        asyncio.run(main())

    def pull(self, phone: PhoneRow, path: str) -> bytes:
        """Get a file from a phone, through ADB."""

        async def main() -> bytes:
            async with await connect(phone.ip) as connection:
                return await connection.pull(path)

        return asyncio.run(main())

    def put(self, key: str, data: bytes) -> ObjectName:
        """Make an object."""
        file = spooled(self.store)
        file.write(data)
        self.store.put(BUCKET, key, file)
        return ObjectName(BUCKET, key)

    # --- waiting ---

    def jobs_ended(self, after: int) -> list[JobRow]:
        """Wait until every job has ended; those that came after another."""
        until(
            lambda: all(job.status != 1 for job in self.jobs()),
            END_SECONDS,
            lambda: f"every job ends: {[job for job in self.jobs() if job.status == 1]} {self.words()}",
        )
        return self.jobs(after)

    def answers(self, server_id: str = "") -> dict[str, str]:
        """The phones of a server that do not answer ADB, and why."""
        phones = self.phones(server_id)
        return dict(asyncio.run(silent_phones({phone.phone_id: phone.ip for phone in phones}, timeout=5)))

    def recovered(self) -> None:
        """Wait until what the reconciler brings back is back: phones that read 2 answer, none reads -7, no server that serves 2."""

        def back() -> bool:
            up = {phone.phone_id: phone.ip for phone in self.database.rows(_SERVING) if phone.status == 2}
            return (
                not asyncio.run(silent_phones(up, timeout=5))  # first: while one is silent, its row is still to change
                and all(job.status != 1 for job in self.jobs())
                and all(phone.status != -7 for phone in self.database.rows(_SERVING))
                and not self.database.rows(_ABNORMAL)
            )

        until(back, SETTLE_SECONDS, lambda: f"phones are brought back: {self.database.rows(_SERVING)} {self.words()}", 0.05)

    def settle(self) -> None:
        """Wait until all is quiet and the server that stays is normal; phones that gave up are restarted, as their owner would."""

        def quiet() -> bool:
            if any(job.status == 1 for job in self.jobs()):
                return False
            phones = self.phones()
            tired = [phone.phone_id for phone in phones if phone.status in BEYOND_RECOVERY]
            if tired and self.server().status == 5:
                self.ask("POST", f"{V1}/phones/batch-restart", {"phones": [{"phone_id": phone_id} for phone_id in tired]})
                return False
            return (
                self.server().status == 5
                and all(phone.status == 2 for phone in phones)
                and len(phones) == PHONES
                and all(self.part(name) for name in PARTS)
                and not self.answers()
            )

        until(
            quiet, SETTLE_SECONDS, lambda: f"all is quiet: {self.server()} {self.phones()} {self.jobs()[-5:]} {self.words()}", 0.05
        )


def until(condition: Callable[[], Any], seconds: float, what: Callable[[], str], pause: float = 0.01) -> Any:
    """What `condition` says once it says something, asked every `pause` seconds; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise ViolationError(f"waited {seconds:g} s until {what()}")
        time.sleep(pause)
    return found


def _kill(pids: Sequence[int]) -> None:
    """SIGKILL, and the wait until they are gone (or are only waited for)."""
    open_pids = []
    for pid in set(pids):
        with suppress(ProcessLookupError):
            open_pids.append(os.pidfd_open(pid))
    for descriptor in open_pids:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    for descriptor in open_pids:
        select_module.select([descriptor], [], [], 10)
        os.close(descriptor)
