"""What a body that buys or changes a server must satisfy beyond its own form: things exist, belong to the caller, fit together and
fit into quota. Wire checks are `wire.server_checks`; choosing a host is `placement`; writing it down is `generations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.sql.elements import BindParameter

from opencph.fleet import addresses, images, quotas, speed_limits
from opencph.fleet.addresses import Subnet
from opencph.fleet.catalogue import PhoneModel
from opencph.fleet.generations import DedicatedBandwidth, GenerationPlan, StoredPort, Volume
from opencph.fleet.hosts import wanted_hosts
from opencph.fleet.placement import HostRoom
from opencph.store import tables
from opencph.store.database import Query, Transaction, scalar
from opencph.wire.errors import CphError
from opencph.wire.server_checks import SHARED
from opencph.wire.servers import (
    BandWidth,
    ChangeCloudPhoneServerRequest,
    CreateNet2CloudPhoneServerRequest,
    DataVolume,
    Nic,
    PublicIp,
)

if TYPE_CHECKING:
    from opencph.fleet import Fleet

_PROJECT: BindParameter[str] = bindparam("project_id")
_HAS_KEYPAIR: Query[str] = Query(
    select(tables.keypairs.c.name).where(tables.keypairs.c.project_id == _PROJECT, tables.keypairs.c.name == bindparam("name")),
    scalar,
)
_HAS_VPC: Query[str] = Query(
    select(tables.vpcs.c.vpc_id).where(tables.vpcs.c.vpc_id == bindparam("vpc_id"), tables.vpcs.c.project_id == _PROJECT), scalar
)


class _SubnetRow(NamedTuple):
    vpc_id: str
    cidr: str
    gateway_ip: str
    ipv6_cidr: str | None


class _EipRow(NamedTuple):
    generation_id: str | None


class _BandwidthRow(NamedTuple):
    size_mbit: int
    charge_mode: int
    share_type: int
    generation_id: str | None


_SUBNET = Query(
    select(tables.subnets.c.vpc_id, tables.subnets.c.cidr, tables.subnets.c.gateway_ip, tables.subnets.c.ipv6_cidr).where(
        tables.subnets.c.subnet_id == bindparam("subnet_id"), tables.subnets.c.project_id == _PROJECT
    ),
    _SubnetRow,
)
_EIP = Query(
    select(tables.eips.c.generation_id).where(tables.eips.c.eip_id == bindparam("eip_id"), tables.eips.c.project_id == _PROJECT),
    _EipRow,
)
_BANDWIDTH = Query(
    select(
        tables.bandwidths.c.size_mbit,
        tables.bandwidths.c.charge_mode,
        tables.bandwidths.c.share_type,
        tables.bandwidths.c.generation_id,
    ).where(tables.bandwidths.c.bandwidth_id == bindparam("bandwidth_id"), tables.bandwidths.c.project_id == _PROJECT),
    _BandwidthRow,
)


class Requirements(NamedTuple):
    """A body that passed: everything of a plan but the server it is for and the host it goes to."""

    phone_model_name: str
    model: PhoneModel
    image_id: str
    keypair_name: str | None
    ports: tuple[StoredPort, ...]
    vpc_id: str
    subnet: Subnet
    nic: Nic
    phone_count_per_ip: int
    eip_ids: tuple[str, ...]
    eip_type: str
    eip_count: int
    bandwidth: str | DedicatedBandwidth | None
    data_volume: Volume | None
    share_volume: Volume | None
    property: str

    def plan(self, *, server_id: str, server_name: str, project_id: str, number: int, host: HostRoom) -> GenerationPlan:
        """The plan of one generation."""
        return GenerationPlan(
            server_id=server_id,
            server_name=server_name,
            project_id=project_id,
            number=number,
            host_id=host.host_id,
            availability_zone=host.availability_zone,
            server_model_name=self.model.server_model_name,
            phone_model_name=self.phone_model_name,
            image_id=self.image_id,
            phone_count=self.model.phone_capacity,
            phone_count_per_ip=self.phone_count_per_ip,
            vpc_id=self.vpc_id,
            subnet=self.subnet,
            ipv6_enable=self.nic.ipv6_enable,
            ipv6_bandwidth_id=self.nic.ipv6_bandwidth.band_width_id if self.nic.ipv6_bandwidth else None,
            bandwidth=self.bandwidth,
            eip_ids=self.eip_ids,
            eip_type=self.eip_type,
            eip_count=self.eip_count,
            keypair_name=self.keypair_name,
            ports=self.ports,
            property=self.property,
            phone_data_gib=self.data_volume.size_gib if self.data_volume else self.model.disk,
            data_volume=self.data_volume,
            share_volume=self.share_volume,
        )


def check(
    tx: Transaction,
    fleet: Fleet,
    project_id: str,
    body: CreateNet2CloudPhoneServerRequest | ChangeCloudPhoneServerRequest,
    *,
    keypair_name: str | None,
    server_model_name: str | None = None,
    current_generation_id: str | None = None,
) -> Requirements:
    """Check a body in the order of its page. `keypair_name`: the one to have in the end (a change without one keeps the server's).

    `current_generation_id`: the generation that a change replaces; its EIPs may be named again. Raises CphError: each fault has its
    own code and names its field (docs/compatibility.md).
    """
    model = fleet.catalogue.phone_model(body.phone_model_name, server_model_name=server_model_name)
    images.check_usable(tx, fleet, project_id, body.image_id, {body.phone_model_name})
    check_keypair(tx, project_id, keypair_name)
    nic_subnet = subnet(tx, project_id, body.tenant_vpc_id, body.nics[0])
    phone_count_per_ip = _phone_count_per_ip(body.phone_count_per_ip, model, body.phone_model_name)
    addresses.check_access_ports(phone_count_per_ip, len(body.ports))
    public_ip = body.public_ip or PublicIp(count=0)
    vips = addresses.vip_count(model.phone_capacity, phone_count_per_ip)
    check_public_ip(tx, project_id, public_ip, vips, current_generation_id)
    if model.needs_data_volume and body.phone_data_volume is None:
        raise CphError(
            "CPS.0157", f"phone_data_volume is mandatory for {body.phone_model_name!r}, a 2.0 flavor without disk of its own"
        )
    if not model.needs_data_volume and body.server_share_data_volume is not None:
        raise CphError("CPS.0157", f"server_share_data_volume is for 2.0 flavors; {body.phone_model_name!r} is a 1.0 flavor")
    wanted = bandwidth(tx, project_id, body.band_width, current_generation_id) if body.band_width else None
    eip_count = 0 if public_ip.ids else public_ip.wanted
    speed_limits.check(body.property, body.phone_model_name, wanted.size_mbit if isinstance(wanted, DedicatedBandwidth) else None)
    return Requirements(
        phone_model_name=body.phone_model_name,
        model=model,
        image_id=body.image_id,
        keypair_name=keypair_name,
        ports=tuple(StoredPort(port.name, port.listen_port, port.public) for port in body.ports),
        vpc_id=body.tenant_vpc_id,
        subnet=nic_subnet,
        nic=body.nics[0],
        phone_count_per_ip=phone_count_per_ip,
        eip_ids=public_ip.ids,
        eip_type=public_ip.eip.type if public_ip.eip else "5_bgp",
        eip_count=eip_count,
        bandwidth=wanted if public_ip.ids or eip_count else None,
        data_volume=_volume(body.phone_data_volume),
        share_volume=_volume(body.server_share_data_volume),
        property=body.property,
    )


def check_quota(tx: Transaction, fleet: Fleet, project_id: str, requirements: Requirements, count: int = 1) -> None:
    """Whether `count` more generations fit into the project's quota. Raises CPS.0065, CPS.0196."""
    more = quotas.Usage(count, count * requirements.model.phone_capacity, count * requirements.eip_count)
    quotas.check(tx, fleet, project_id, more)


def zone_order(fleet: Fleet) -> list[str]:
    """The availability zones in the order in which they are tried when the caller names none."""
    return list(dict.fromkeys(host.availability_zone for host in wanted_hosts(fleet.settings, fleet.catalogue)))


def check_keypair(tx: Transaction, project_id: str, name: str | None) -> None:
    """Raises CPS.0067 when the project has no such key pair."""
    if name is not None and tx.row(_HAS_KEYPAIR, project_id=project_id, name=name) is None:
        raise CphError("CPS.0067", f"keypair_name {name!r} does not exist in this project")


def subnet(tx: Transaction, project_id: str, vpc_id: str, nic: Nic) -> Subnet:
    """The subnet of a NIC in a VPC. Raises CPS.0236, CPS.0229, CPS.0228, CPS.0226, CPS.0115, CPS.0033."""
    if tx.row(_HAS_VPC, vpc_id=vpc_id, project_id=project_id) is None:
        raise CphError("CPS.0236", f"tenant_vpc_id {vpc_id} does not exist in this project")
    row = tx.row(_SUBNET, subnet_id=nic.subnet_id, project_id=project_id)
    if row is None:
        raise CphError("CPS.0229", f"nics[0].subnet_id {nic.subnet_id} does not exist in this project")
    if row.vpc_id != vpc_id:
        raise CphError("CPS.0228", f"nics[0].subnet_id {nic.subnet_id} is in VPC {row.vpc_id}, not in tenant_vpc_id {vpc_id}")
    if nic.ipv6_enable and row.ipv6_cidr is None:
        raise CphError("CPS.0226", f"nics[0].ipv6_enable: subnet_id {nic.subnet_id} has no IPv6; enable it there first")
    if nic.ipv6_bandwidth is not None:
        if not nic.ipv6_enable:
            raise CphError("CPS.0226", "nics[0].ipv6_bandwidth needs nics[0].ipv6_enable true")
        _shared(tx, project_id, nic.ipv6_bandwidth.band_width_id, "nics[0].ipv6_bandwidth.band_width_id")
    return Subnet(nic.subnet_id, row.cidr, row.gateway_ip, row.ipv6_cidr)


def _phone_count_per_ip(asked: int | None, model: PhoneModel, name: str) -> int:
    if asked is None:
        return model.phone_capacity
    if asked > model.phone_capacity:
        raise CphError("CPS.0024", f"phone_count_per_ip {asked}: must be 1 to {model.phone_capacity}, the phones of {name!r}")
    return asked


def check_public_ip(tx: Transaction, project_id: str, public_ip: PublicIp, vips: int, current_generation_id: str | None) -> None:
    """Raises CPS.0238 above the number of VIPs, CPS.0239 for an EIP that cannot be bound."""
    if public_ip.wanted > vips:
        raise CphError("CPS.0238", f"public_ip.count {public_ip.wanted}: must be 0 to {vips}, the number of phone addresses")
    for eip_id in public_ip.ids:
        row = tx.row(_EIP, eip_id=eip_id, project_id=project_id)
        if row is None:
            raise CphError("CPS.0239", f"public_ip.ids: EIP {eip_id} does not exist in this project")
        if row.generation_id is not None and row.generation_id != current_generation_id:
            raise CphError("CPS.0239", f"public_ip.ids: EIP {eip_id} is bound to another server")


def _shared(tx: Transaction, project_id: str, bandwidth_id: str, field: str) -> None:
    row = tx.row(_BANDWIDTH, bandwidth_id=bandwidth_id, project_id=project_id)
    if row is None:
        raise CphError("CPS.0115", f"{field} {bandwidth_id} does not exist in this project")
    if row.share_type != SHARED:
        raise CphError("CPS.0033", f"{field} {bandwidth_id} is not a shared bandwidth")


def bandwidth(tx: Transaction, project_id: str, asked: BandWidth, current_generation_id: str | None) -> str | DedicatedBandwidth:
    """The bandwidth to use or to make. Raises CPS.0115, CPS.0033."""
    if asked.band_width_share_type == SHARED:
        assert asked.band_width_id is not None
        _shared(tx, project_id, asked.band_width_id, "band_width.band_width_id")
        return asked.band_width_id
    size_mbit = asked.band_width_size
    if asked.band_width_id is not None:  # a dedicated one belongs to its server: only a change can name it, to have the like again
        row = tx.row(_BANDWIDTH, bandwidth_id=asked.band_width_id, project_id=project_id)
        if row is None:
            raise CphError("CPS.0115", f"band_width.band_width_id {asked.band_width_id} does not exist in this project")
        if row.generation_id is None or row.generation_id != current_generation_id:
            raise CphError(
                "CPS.0033",
                f"band_width.band_width_id {asked.band_width_id} is not this server's dedicated bandwidth; "
                "give band_width_size for a new one, or band_width_share_type 1 for a shared one",
            )
        size_mbit = row.size_mbit if size_mbit is None else size_mbit
    assert size_mbit is not None
    return DedicatedBandwidth(size_mbit=size_mbit, charge_mode=asked.band_width_charge_mode or 0)


def _volume(asked: DataVolume | None) -> Volume | None:
    return None if asked is None else Volume(volume_type=asked.volume_type, size_gib=asked.size)
