"""A small installation for tests of the fleet's jobs: one project, one subnet, a flavor of three phones; how to buy and wait."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from sqlalchemy import bindparam, func, insert, select

from opencph.fleet import Fleet, open_fleet
from opencph.fleet.hosts import sync_hosts
from opencph.fleet.ids import new_id, new_uuid
from opencph.fleet.phone_power import reset_cloud_phone, restart_cloud_phone, stop_cloud_phone
from opencph.fleet.server_change import change_cloud_phone_server
from opencph.fleet.server_create import create_net2_cloud_phone_server
from opencph.fleet.server_delete import delete_cloud_phone_server
from opencph.iam import ADMIN, Caller
from opencph.runtimes import Runtime
from opencph.settings import Settings
from opencph.store import networks, processes, tables
from opencph.store.database import Query, Row, Value, command, scalar, tuple_row
from opencph.wire.phones import (
    PhoneJobsResponse,
    ResetCloudPhoneRequest,
    ResetPhone,
    RestartCloudPhoneRequest,
    RestartPhone,
    StopCloudPhoneRequest,
)
from opencph.wire.servers import (
    BandWidth,
    ChangeCloudPhoneServerRequest,
    CreateNet2CloudPhoneServerRequest,
    DeleteCloudPhoneServerRequest,
    Eip,
    ExtendParam,
    Nic,
    Port,
    PublicIp,
)

BIGGER_MODEL = "test.c3.big"
MODEL, SERVER_MODEL, IMAGE, OTHER_IMAGE = "test.c3", "physical.test", "20060220200717f201120a2300000e91", "t" * 32
#: each value is fine, and all together are too much for one phone
LONG_PROPERTY = json.dumps(
    {f"com.cph.cg.{name}_url": "http://" + "u" * 249 for name in ("sign_check", "event_notify", "heartbeat")}
    | dict.fromkeys(("ro.hardware.gpurenderer", "ro.board.platform", "ro.build.product", "ro.product.device"), "d" * 91)
    | dict.fromkeys(("ro.com.cph.sfs_enable", "ro.product.manufacturer", "ro.product.name", "qemu.hw.mainkeys"), "d" * 91)
    | {"com.cph.cam_local_pic_path": "中" * 90}
)
MONTHLY, ON_DEMAND = 0, 1
CATALOGUE = f"""
[server_models."{SERVER_MODEL}"]
server_type = "test"
cpu = 8
memory = 16
[phone_models."{MODEL}"]
server_model_name = "{SERVER_MODEL}"
phone_capacity = 3
cpu = 1
memory = 1024
disk = 1
resolution = "320x480"
dpi = 160
image_label = "cloud_phone_1620"
[server_models."{SERVER_MODEL}.special"]
server_type = "test"
cpu = 16
memory = 32
[phone_models."{BIGGER_MODEL}"]
server_model_name = "{SERVER_MODEL}.special"
phone_capacity = 3
cpu = 2
memory = 2048
disk = 2
resolution = "640x960"
dpi = 320
image_label = "cloud_phone_1620"
[phone_models."test.c60"]
server_model_name = "{SERVER_MODEL}"
phone_capacity = 60
cpu = 1
memory = 1024
disk = 1
resolution = "320x480"
dpi = 160
image_label = "cloud_phone_1620"
"""

T = TypeVar("T")


class Server(NamedTuple):
    status: int
    generation_id: str
    name: str


class JobRow(NamedTuple):
    job_id: str
    kind: str
    status: int
    error_code: str | None
    error_msg: str | None
    execute_msg: str | None


class Phone(NamedTuple):
    phone_id: str
    status: int
    ip: str
    image_id: str
    property: str
    custom_property: str


_SERVER: Query[Server] = Query(
    select(tables.servers.c.status, tables.servers.c.generation_id, tables.servers.c.name).where(
        tables.servers.c.server_id == bindparam("server_id")
    ),
    Server,
)
_jobs = select(*(tables.jobs.c[field] for field in JobRow._fields))
_JOB: Query[JobRow] = Query(_jobs.where(tables.jobs.c.job_id == bindparam("job_id")), JobRow)
_JOBS: Query[JobRow] = Query(_jobs.order_by(tables.jobs.c.seq), JobRow)
_PHONES: Query[Phone] = Query(
    select(
        tables.phones.c.phone_id,
        tables.phones.c.status,
        tables.phones.c.phone_ip,
        tables.phones.c.image_id,
        tables.phones.c.property,
        tables.phones.c.custom_property,
    )
    .where(tables.phones.c.generation_id == bindparam("generation_id"))
    .order_by(tables.phones.c.number),
    Phone,
)
_COUNTED = (
    tables.servers,
    tables.generations,
    tables.server_addresses,
    tables.phones,
    tables.eips,
    tables.bandwidths,
)
_COUNTS = {table.name: Query[int](select(func.count()).select_from(table), scalar) for table in _COUNTED}
_GENERATION_STATES = Query(
    select(tables.generations.c.generation_id, tables.generations.c.state).order_by(tables.generations.c.number), tuple_row
)


class World:
    """One installation and one caller in it."""

    def __init__(self, directory: Path, database_url: str, network: str | None = None) -> None:
        catalogue = directory / "catalogue.toml"
        catalogue.write_text(CATALOGUE + _other_image())
        self.settings = Settings(
            data=directory,
            database=database_url,
            network=network or f"127.{random.randrange(200, 255)}.{random.randrange(0, 16) * 16}.0/20",
            catalogue=str(catalogue),
        )
        self.fleet: Fleet = open_fleet(self.settings)
        self.database = self.fleet.database
        self.caller = Caller(
            user_id=new_id(), user_name="tester", domain_id=new_id(), domain_name="test", project_id=new_id(), role=ADMIN
        )
        self.vpc_id, self.subnet_id = new_uuid(), new_uuid()

    def prepare(self) -> None:
        """The rows that a first start makes."""
        now, caller = 1, self.caller
        cidr = str(networks.carve(self.settings.network).servers)
        with self.database.write() as tx:
            tx.run(command(insert(tables.domains).values(domain_id=caller.domain_id, name=caller.domain_name)))
            tx.run(
                command(
                    insert(tables.projects).values(project_id=caller.project_id, domain_id=caller.domain_id, name="test", enabled=1)
                )
            )
            other = {"project_id": "other", "domain_id": caller.domain_id, "name": "other", "enabled": 1}
            tx.run(command(insert(tables.projects).values(other)))
            for resource in ("servers", "phones", "eips"):
                quota = {"project_id": caller.project_id, "resource": resource, "quota_limit": 5_000}
                tx.run(command(insert(tables.quotas).values(quota)))
            key = {"project_id": caller.project_id, "name": "keypair", "public_key": "ssh-ed25519 AAAA", "fingerprint": "x"}
            tx.run(command(insert(tables.keypairs).values(**key, create_ms=now)))
            vpc = {"vpc_id": self.vpc_id, "project_id": caller.project_id, "name": "vpc", "cidr": cidr, "create_ms": now}
            tx.run(command(insert(tables.vpcs).values(vpc)))
            gateway = cidr.split("/")[0].rsplit(".", 1)[0] + ".1"
            subnet = {**vpc, "subnet_id": self.subnet_id, "name": "subnet", "gateway_ip": gateway, "ipv6_cidr": None}
            tx.run(command(insert(tables.subnets).values(subnet)))
            sync_hosts(tx, self.settings, self.fleet.catalogue)

    # --- calls ---

    def buy(self, count: int = 1, model: str = MODEL, charging_mode: int = ON_DEMAND) -> list[str]:
        body = CreateNet2CloudPhoneServerRequest(
            server_name=f"server-{random.randrange(10**9)}",
            server_model_name=SERVER_MODEL,
            phone_model_name=model,
            image_id=IMAGE,
            count=count,
            extend_param=ExtendParam(charging_mode=charging_mode, period_type=2, period_num=1),
            tenant_vpc_id=self.vpc_id,
            nics=(Nic(subnet_id=self.subnet_id),),
            keypair_name="keypair",
            ports=(Port(name="web", listen_port=20000, internet_accessible="true"),),
            public_ip=PublicIp(eip=Eip(type="5_bgp")),
            band_width=BandWidth(band_width_share_type=0, band_width_size=300, band_width_charge_mode=1),
        )
        return create_net2_cloud_phone_server(self.fleet, self.caller, new_id(), body).server_ids

    def change(self, server_id: str, model: str = MODEL) -> str:
        body = ChangeCloudPhoneServerRequest(
            phone_model_name=model,
            image_id=IMAGE,
            tenant_vpc_id=self.vpc_id,
            nics=(Nic(subnet_id=self.subnet_id),),
            public_ip=PublicIp(eip=Eip(type="5_bgp")),
            band_width=BandWidth(band_width_share_type=0, band_width_size=300, band_width_charge_mode=1),
            property='{"sys.prop.writephonenum":"13666666666"}',
        )
        return change_cloud_phone_server(self.fleet, self.caller, new_id(), server_id, body).job_id

    def delete(self, *server_ids: str) -> str:
        body = DeleteCloudPhoneServerRequest(server_ids=server_ids)
        return delete_cloud_phone_server(self.fleet, self.caller, new_id(), body).job_id

    def restart(self, *phone_ids: str, property: str = "", image_id: str | None = None) -> PhoneJobsResponse:
        phones = tuple(RestartPhone(phone_id=phone_id, property=property) for phone_id in phone_ids)
        return restart_cloud_phone(self.fleet, self.caller, new_id(), RestartCloudPhoneRequest(phones=phones, image_id=image_id))

    def reset(self, *phone_ids: str, property: str = "", clear: bool = False, image_id: str | None = None) -> PhoneJobsResponse:
        phones = tuple(ResetPhone(phone_id=phone_id, property=property, factory_reset_enabled=clear) for phone_id in phone_ids)
        return reset_cloud_phone(self.fleet, self.caller, new_id(), ResetCloudPhoneRequest(phones=phones, image_id=image_id))

    def stop(self, *phone_ids: str) -> PhoneJobsResponse:
        return stop_cloud_phone(self.fleet, self.caller, new_id(), StopCloudPhoneRequest(phone_ids=phone_ids))

    # --- what the database says ---

    def one(self, query: Query[Row], **params: str) -> Row | None:
        with self.database.read() as tx:
            return tx.row(query, **params)

    def server(self, server_id: str) -> Server:
        found = self.one(_SERVER, server_id=server_id)
        assert found is not None, f"server {server_id} is gone"
        return found

    def exists(self, server_id: str) -> bool:
        return self.one(_SERVER, server_id=server_id) is not None

    def phones(self, server_id: str) -> list[Phone]:
        generation_id = self.server(server_id).generation_id
        with self.database.read() as tx:
            return tx.rows(_PHONES, generation_id=generation_id)

    def job(self, job_id: str) -> JobRow:
        found = self.one(_JOB, job_id=job_id)
        assert found is not None
        return found

    def jobs(self) -> list[JobRow]:
        with self.database.read() as tx:
            return tx.rows(_JOBS)

    def counts(self) -> dict[str, int]:
        """How many rows there are of everything that may leak."""
        with self.database.read() as tx:
            return {name: tx.row(query) or 0 for name, query in _COUNTS.items()}

    def generation_states(self) -> dict[str, str]:
        with self.database.read() as tx:
            return {str(one): str(state) for one, state in tx.rows(_GENERATION_STATES)}

    def execute(self, statement: Query[tuple[Value, ...]], **params: str | int) -> None:
        with self.database.write() as tx:
            tx.run(statement, **params)

    # --- work ---

    @asynccontextmanager
    async def working(self, runtime: Runtime) -> AsyncIterator[None]:
        """A jobs engine with all kinds, for as long as the block lasts."""
        from opencph.jobs.engine import Worker
        from opencph.worker import kinds as all_kinds

        kinds = all_kinds(self.fleet, runtime)
        stop = asyncio.Event()
        engine = Worker(self.database, kinds, worker_id=processes.new_process_id("worker"), lease_seconds=10)
        task = asyncio.create_task(engine.run(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def ended(self, job_id: str, seconds: float = 30.0) -> JobRow:
        """The job once it has ended."""
        await eventually(lambda: self.job(job_id).status != 1, f"job {job_id} ends", seconds)
        return self.job(job_id)

    async def all_ended(self, seconds: float = 30.0) -> list[JobRow]:
        await eventually(lambda: all(job.status != 1 for job in self.jobs()), "all jobs end", seconds)
        return self.jobs()

    async def bought(self, count: int = 1, model: str = MODEL, charging_mode: int = ON_DEMAND) -> list[str]:
        """Servers that are normal."""
        server_ids = self.buy(count, model, charging_mode)
        await eventually(
            lambda: all(self.server(server_id).status == 5 for server_id in server_ids),
            lambda: f"the servers are normal: {[self.server(one) for one in server_ids]} {self.jobs()}",
        )
        return server_ids


def _other_image() -> str:
    return f"""
[images."{OTHER_IMAGE}"]
image_name = "other"
os_type = "aosp"
os_name = "AOSP11"
image_version = "AOSP 11.0"
image_labels = ["cloud_game"]
"""


async def eventually(condition: Callable[[], bool], what: str | Callable[[], str], seconds: float = 30.0) -> None:
    """Wait until `condition` holds; fail with what was waited for when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.01)


def merged(text: str) -> dict[str, object]:
    """A stored property text as an object."""
    found: dict[str, object] = json.loads(text) if text else {}
    return found
