"""What the tests of the fleet's rules start from: a project with a network, bodies that pass every check, ways to look at rows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, func, insert, select, update

from opencph.fleet import Fleet
from opencph.fleet.catalogue import Catalogue, load_catalogue
from opencph.fleet.generations import release, swap
from opencph.fleet.hosts import sync_hosts
from opencph.fleet.ids import new_id, new_uuid
from opencph.fleet.server_change import change_cloud_phone_server
from opencph.fleet.server_create import create_net2_cloud_phone_server
from opencph.iam import ADMIN, Caller
from opencph.settings import Settings
from opencph.store import networks, tables
from opencph.store.database import Database, Query, command, scalar, tuple_row
from opencph.wire.errors import CphError
from opencph.wire.servers import (
    BandWidth,
    ChangeCloudPhoneServerRequest,
    CreateNet2CloudPhoneServerRequest,
    Eip,
    ExtendParam,
    Nic,
    Port,
    PublicIp,
)

COUNTED = ("servers", "generations", "server_addresses", "phones", "eips", "bandwidths", "jobs")
PROPERTY = '{"sys.prop.writephonenum":"13666666666","sys.prop.writeimsi":"460021624617113","sys.prop.writewifissid":"test_wifi"}'
SEED_MODEL, SEED_IMAGE = "kg1.cp.c20.d64SSD.e1v1", "20060220200717f201120a2300000e91"
KG1 = "physical.kg1.4xlarge.cp"
RX1_IMAGE = "23060020230626f104211b2100000ed4"


class FleetWorld:
    """A fleet and one caller in it."""

    def __init__(self, database: Database, settings: Settings, catalogue: Catalogue | None = None) -> None:
        self.database, self.settings = database, settings
        self.fleet = Fleet(database=database, catalogue=catalogue or load_catalogue(settings.catalogue), settings=settings)
        self.domain_id = new_id()
        self.insert("domains", domain_id=self.domain_id, name=f"domain-{self.domain_id[:8]}")
        self.caller = self.project()
        cidr = str(networks.carve(settings.network).servers)
        self.vpc_id, self.subnet_id = self.network(self.caller, cidr, ipv6_cidr="fd00:0:0:1::/64")
        self.insert(
            "keypairs",
            project_id=self.caller.project_id,
            name="keypair",
            public_key="ssh-ed25519 AAAA",
            fingerprint="x",
            create_ms=1,
        )
        self.resync()

    def resync(self) -> None:
        """What every start does with hosts."""
        with self.database.write() as tx:
            sync_hosts(tx, self.fleet.settings, self.fleet.catalogue)

    # --- rows ---

    def insert(self, table: str, **values: Any) -> None:
        with self.database.write() as tx:
            tx.run(command(insert(tables.metadata.tables[table]).values(values).inline()))

    def set(self, table: str, key: dict[str, Any], **values: Any) -> None:
        found = tables.metadata.tables[table]
        with self.database.write() as tx:
            tx.run(command(update(found).where(*(found.c[name] == value for name, value in key.items())).values(values)))

    def column(self, column: str, **key: Any) -> list[Any]:
        """The values of `table.column` in rows where the key holds."""
        table, name = column.split(".")
        found = tables.metadata.tables[table]
        order = found.c[name] if "seq" not in found.c else found.c.seq
        where = [found.c[name] == value for name, value in key.items()]
        return self.database.rows(Query(select(found.c[name]).where(*where).order_by(order), scalar))

    def row(self, table: str, **key: Any) -> dict[str, Any]:
        found = tables.metadata.tables[table]
        where = [found.c[name] == value for name, value in key.items()]
        (row,) = self.database.rows(Query(select(found).where(*where), tuple_row))
        return dict(zip(found.c.keys(), row, strict=True))

    def counts(self) -> dict[str, int]:
        """How many rows there are of everything a call may make."""
        return {
            name: self.database.row(Query(select(func.count()).select_from(tables.metadata.tables[name]), scalar)) or 0
            for name in COUNTED
        }

    def project(self) -> Caller:
        project_id = new_id()
        self.insert("projects", project_id=project_id, domain_id=self.domain_id, name=f"p-{project_id[:8]}", enabled=1)
        return Caller(user_id=new_id(), user_name="u", domain_id=self.domain_id, domain_name="d", project_id=project_id, role=ADMIN)

    def network(self, caller: Caller, cidr: str, ipv6_cidr: str | None = None) -> tuple[str, str]:
        vpc_id = new_uuid()
        self.insert("vpcs", vpc_id=vpc_id, project_id=caller.project_id, name="vpc", cidr=cidr, create_ms=1)
        return vpc_id, self.subnet(caller, vpc_id, cidr, ipv6_cidr)

    def subnet(self, caller: Caller, vpc_id: str, cidr: str, ipv6_cidr: str | None = None) -> str:
        subnet_id = new_uuid()
        gateway = cidr.split("/")[0].rsplit(".", 1)[0] + ".1"
        self.insert(
            "subnets",
            subnet_id=subnet_id,
            vpc_id=vpc_id,
            project_id=caller.project_id,
            name="subnet",
            cidr=cidr,
            gateway_ip=gateway,
            ipv6_cidr=ipv6_cidr,
            create_ms=1,
        )
        return subnet_id

    def eip(self, address: str, caller: Caller | None = None, generation_id: str | None = None) -> str:
        eip_id = new_uuid()
        project_id = (caller or self.caller).project_id
        self.insert(
            "eips",
            eip_id=eip_id,
            project_id=project_id,
            type="5_bgp",
            address=address,
            auto_assigned=0,
            generation_id=generation_id,
            create_ms=1,
        )
        return eip_id

    def bandwidth(self, share_type: int = 1, caller: Caller | None = None) -> str:
        bandwidth_id = new_uuid()
        self.insert(
            "bandwidths",
            bandwidth_id=bandwidth_id,
            project_id=(caller or self.caller).project_id,
            name="shared",
            size_mbit=100,
            charge_mode=0,
            share_type=share_type,
            create_ms=1,
            update_ms=1,
        )
        return bandwidth_id

    # --- calls ---

    def create_body(self, **changed: Any) -> CreateNet2CloudPhoneServerRequest:
        body = CreateNet2CloudPhoneServerRequest(
            server_name=f"server-{new_id()[:8]}",
            server_model_name=KG1,
            phone_model_name=SEED_MODEL,
            image_id=SEED_IMAGE,
            count=1,
            keypair_name="keypair",
            extend_param=ExtendParam(charging_mode=1),
            tenant_vpc_id=self.vpc_id,
            nics=(Nic(subnet_id=self.subnet_id),),
            public_ip=PublicIp(eip=Eip(type="5_bgp")),
            band_width=BandWidth(band_width_share_type=0, band_width_size=300, band_width_charge_mode=1),
        )
        return msgspec.structs.replace(body, **changed)

    def change_body(self, **changed: Any) -> ChangeCloudPhoneServerRequest:
        """The seed page's body, its ids filled in."""
        body = ChangeCloudPhoneServerRequest(
            phone_model_name=SEED_MODEL,
            image_id=SEED_IMAGE,
            keypair_name="keypair",
            property=PROPERTY,
            ports=(
                Port(name="myServer1", listen_port=20000, internet_accessible="false"),
                Port(name="myServer2", listen_port=20001, internet_accessible="true"),
            ),
            tenant_vpc_id=self.vpc_id,
            nics=(Nic(subnet_id=self.subnet_id),),
            public_ip=PublicIp(eip=Eip(type="5_bgp")),
            band_width=BandWidth(band_width_share_type=0, band_width_size=300, band_width_charge_mode=1),
        )
        return msgspec.structs.replace(body, **changed)

    def create(self, caller: Caller | None = None, **changed: Any) -> list[str]:
        """Buy; the servers are still being created."""
        return create_net2_cloud_phone_server(self.fleet, caller or self.caller, new_id(), self.create_body(**changed)).server_ids

    def serving(self, **changed: Any) -> str:
        """Buy one server and let it serve, as the job would."""
        (server_id,) = self.create(**changed)
        self.serve(server_id, self.row("servers", server_id=server_id)["generation_id"])
        return server_id

    def serve(self, server_id: str, generation_id: str) -> None:
        with self.database.write() as tx:
            swap(tx, server_id, generation_id)

    def delete_server(self, server_id: str) -> None:
        """Its row and all its generations, as the job would."""
        with self.database.write() as tx:
            for generation_id in self.column("generations.generation_id", server_id=server_id):
                release(tx, generation_id)
            tx.run(command(delete(tables.servers).where(tables.servers.c.server_id == server_id)))

    def change(self, server_id: str, **changed: Any) -> str:
        """Ask for a change; returns the id of the new generation."""
        change_cloud_phone_server(self.fleet, self.caller, new_id(), server_id, self.change_body(**changed))
        (generation_id,) = self.column("generations.generation_id", server_id=server_id, state="building")
        return str(generation_id)


class refused:  # noqa: N801 - reads as a word in `with refused(...)`
    """The block must raise CphError with this code and words, and leave every row count as it was."""

    def __init__(self, world: FleetWorld, code: str, *words: str) -> None:
        self.world, self.code, self.words = world, code, words

    def __enter__(self) -> None:
        self.before = self.world.counts()
        self.statuses = self.world.column("servers.status")

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if error is None:
            pytest.fail(f"nothing was refused; expected {self.code}")
        if not isinstance(error, CphError):
            return False
        assert error.code == self.code, error.message
        for word in self.words:
            assert word in error.message
        assert self.world.counts() == self.before
        assert self.world.column("servers.status") == self.statuses
        return True
