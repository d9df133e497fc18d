"""What must be true of an installation when its clients have gone: looked up in the database, on the disk, among the processes."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
from huaweicloudsdkcph.v1 import DeleteCloudPhoneServerRequest
from sqlalchemy import func, select

from bench.openssh import free_port
from bench.soak.actors import KEPT, User, World
from opencph.store import tables
from opencph.store.database import Query, open_database, scalar

SETTLE_SECONDS = 60.0
RUNNING_JOB, NORMAL, PHONE_RUNS, SUCCESS = 1, 5, 2, 2
#: rows that must be gone with the last server
OF_SERVERS = ("servers", "generations", "phones", "server_addresses", "kept_public_keys")


class Job(NamedTuple):
    job_id: str
    kind: str
    status: int
    error_msg: str | None


class Server(NamedTuple):
    server_id: str
    status: int
    generation_id: str


class Phone(NamedTuple):
    phone_id: str
    status: int


class Generation(NamedTuple):
    generation_id: str
    state: str


_JOBS = Query(select(tables.jobs.c.job_id, tables.jobs.c.kind, tables.jobs.c.status, tables.jobs.c.error_msg), Job)
_SERVERS = Query(select(tables.servers.c.server_id, tables.servers.c.status, tables.servers.c.generation_id), Server)
_GENERATIONS = Query(select(tables.generations.c.generation_id, tables.generations.c.state), Generation)
_PHONES = Query(select(tables.phones.c.phone_id, tables.phones.c.status), Phone)
_EIPS: Query[int] = Query(select(func.count()).select_from(tables.eips), scalar)
_BANDWIDTHS: Query[int] = Query(select(func.count()).select_from(tables.bandwidths), scalar)


class Look:
    """Looks at an installation, and records what is wrong."""

    def __init__(self, world: World, database_url: str) -> None:
        self.world, self.record = world, world.record
        self.database = open_database(database_url)
        self.builtin = world.cph.data / "builtin"

    def close(self) -> None:
        self.database.close()

    def at_rest(self) -> None:
        """All jobs have ended, none is lost, and what is there is whole."""
        self._settles("every job ends", lambda: [job for job in self.database.rows(_JOBS) if job.status == RUNNING_JOB])
        known = {job.job_id: job for job in self.database.rows(_JOBS)}
        for job_id in self.record.jobs - known.keys():
            self.record.fail(f"job {job_id} was accepted and is lost")
        for job_id, kind, status, message in known.values():
            if status != SUCCESS:
                self.record.fail(f"job {job_id} ({kind}) ended with {status}: {message}")
        self._settles("every server is normal", lambda: [one for one in self.database.rows(_SERVERS) if one.status != NORMAL])
        self._settles("every phone runs", lambda: [one for one in self.database.rows(_PHONES) if one.status != PHONE_RUNS])
        states = {one.generation_id: one.state for one in self.database.rows(_GENERATIONS)}
        for server_id, _, generation_id in self.database.rows(_SERVERS):
            if states.get(generation_id) != "serving":
                self.record.fail(f"server {server_id} points at a generation that is {states.get(generation_id)}")
        self._settles("generations on the disk are those of the rows", lambda: self._homes() ^ states.keys())
        self._settles("hosts are as many as generations", lambda: [] if len(self._hosts()) == len(states) else self._hosts())
        self._kept()

    def emptied(self) -> None:
        """Every server is deleted: nothing of any is left."""
        client = User(self.world)
        server_ids = [one.server_id for one in self.database.rows(_SERVERS)]
        if server_ids:
            answer = client.cph.delete_cloud_phone_server(DeleteCloudPhoneServerRequest(body={"server_ids": server_ids}))
            client.finish("delete all", answer.job_id)
        for name in OF_SERVERS:
            count: Query[int] = Query(select(func.count()).select_from(tables.metadata.tables[name]), scalar)
            self._settles(f"no row of {name} is left", partial(self.database.row, count))
        self._settles("no public address is left", lambda: self.database.row(_EIPS))
        self._settles("no bandwidth is left", lambda: self.database.row(_BANDWIDTHS))
        self._settles("no directory is left", self._homes)
        self._settles("the trash is empty", lambda: list((self.builtin / ".trash").glob("*")))
        self._settles("no host is left", self._hosts)

    def _settles(self, what: str, wrong: Callable[[], object]) -> None:
        """Wait until nothing is wrong; record what still is."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while found := wrong():
            if time.monotonic() > deadline:
                self.record.fail(f"not true after {SETTLE_SECONDS:g} s: {what}: {str(found)[:500]}")
                return
            time.sleep(0.1)

    def _homes(self) -> set[str]:
        return {path.name for path in self.builtin.iterdir() if not path.name.startswith(".")} if self.builtin.is_dir() else set()

    def _hosts(self) -> list[int]:
        """The processes that the zygote has forked: hosts."""
        run = str(self.world.cph.data / "run")
        ours = []
        for process in psutil.process_iter():
            try:
                if run in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    ours.append(process)
            except psutil.Error:
                continue
        return sorted(process.pid for process in ours)[1:]  # the first is the zygote

    def _kept(self) -> None:
        """The files that were pushed last are what was pushed."""
        environment = {"ANDROID_ADB_SERVER_PORT": str(free_port()), "PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": "/tmp"}
        client = User(self.world)
        back = Path(self.world.directory / "kept.back")
        try:
            for phone_id, digest in self.world.kept.items():
                access = client.access(phone_id, "adb")
                serial = f"{access.server_ip}:{access.access_port}"
                for words in (("connect", serial), ("-s", serial, "pull", KEPT, str(back))):
                    subprocess.run(["adb", *words], env=environment, capture_output=True, timeout=60, check=False)
                if not back.exists() or hashlib.sha256(back.read_bytes()).hexdigest() != digest:
                    self.record.fail(f"phone {phone_id} has lost the file that was pushed to it")
                back.unlink(missing_ok=True)
        finally:
            subprocess.run(["adb", "kill-server"], env=environment, check=False, capture_output=True)
