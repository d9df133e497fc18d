"""A whole installation for the crash matrix: a client of its API, what its database and its phones say, and when all is quiet.

Its processes are in `program`, what must be true of it is in `invariants`, what is asked of it in `scenarios`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from sqlalchemy import bindparam, func, select

from crash.program import PARTS, Program, ViolationError, until
from jobs_fleet.small_world import IMAGE, MODEL, SERVER_MODEL
from opencph.adb.client import connect
from opencph.fleet import open_fleet
from opencph.fleet.adb_check import silent_phones
from opencph.handset.state import BOOTS_NAME
from opencph.objects import buckets, open_store, spooled
from opencph.store import tables
from opencph.store.database import Query, scalar, tuple_row
from opencph.testing import network_fields
from opencph.wire.object_names import ObjectName

CALL_SECONDS, END_SECONDS, SETTLE_SECONDS = 20.0, 45.0, 45.0
BUCKET = "files"
V1, V2 = "/v1/PROJECT/cloud-phone", "/v2/PROJECT/cloud-phone"
PHONES = 3
#: statuses of phones that only their owner's restart mends
BEYOND_RECOVERY = (-5, -6, -9, 8)


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


class Site(Program):
    """One installation, from its first start to its removal. `environment` and `disk_bytes`: see Program."""

    def __init__(
        self, database_url: str | None = None, *, environment: Mapping[str, str] | None = None, disk_bytes: int = 0
    ) -> None:
        super().__init__(database_url, environment=environment, disk_bytes=disk_bytes)
        try:
            self.start()
            self.credentials: dict[str, Any] = json.loads((self.data / "credentials.json").read_text())
            self.fleet = open_fleet(self.settings)
            self.leave.callback(self.fleet.close)
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
