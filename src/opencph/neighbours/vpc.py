"""VPCs and subnets: the rules of the VPC service, on the rows that CPH uses. Blocks are `networks`', tags `network_tags`'."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from opencph.fleet import Fleet
from opencph.fleet.ids import derived_uuid, new_uuid
from opencph.fleet.times import now_ms, utc_text
from opencph.iam import Caller
from opencph.neighbours import network_tags
from opencph.neighbours.networks import check_subnet, check_vpc_cidr, free_ipv6_cidr, ipv6_gateway
from opencph.neighbours.paging import Page
from opencph.store import tables
from opencph.store.database import Query, Transaction, command, scalar
from opencph.wire.service_errors import Refuse, network_error, v3_error
from opencph.wire.vpc import (
    CloudResource,
    CreateSubnetRequest,
    CreateVpcRequest,
    ExtraDhcpOpt,
    ListSubnetsResponse,
    ListVpcsResponse,
    ShowVpcV3Response,
    Subnet,
    SubnetResponse,
    SubnetResult,
    UpdateSubnetRequest,
    UpdateSubnetResponse,
    UpdateVpcRequest,
    Vpc,
    VpcResponse,
    VpcV3,
)
from opencph.wire.vpc_checks import BAD_SUBNET

VPC_NOT_FOUND, VPC_IN_USE, VPC_TOO_SMALL = "VPC.0003", "VPC.0104", "VPC.0117"
SUBNET_NOT_FOUND, SUBNET_IN_USE = "VPC.0202", "VPC.0209"
VPCS, SUBNETS = "vpcs", "subnets"  # what tags call them
OK, ACTIVE = "OK", "ACTIVE"

_v, _s = tables.vpcs.c, tables.subnets.c


class _VpcRow(NamedTuple):
    vpc_id: str
    name: str
    cidr: str
    create_ms: int
    description: str | None
    enterprise_project_id: str | None
    update_ms: int | None


class _SubnetRow(NamedTuple):
    subnet_id: str
    vpc_id: str
    name: str
    cidr: str
    gateway_ip: str
    ipv6_cidr: str | None
    create_ms: int
    description: str | None
    availability_zone: str | None
    dhcp_enable: int | None
    dns_list: str | None
    extra_dhcp_opts: str | None
    update_ms: int | None


_vpcs = select(*(_v[field] for field in _VpcRow._fields)).where(_v.project_id == bindparam("project_id"))
_subnets = select(*(_s[field] for field in _SubnetRow._fields)).where(_s.project_id == bindparam("project_id"))
_VPC = Query(_vpcs.where(_v.vpc_id == bindparam("vpc_id")), _VpcRow)
_VPC_PAGE = Query(_vpcs.where(_v.vpc_id > bindparam("marker")).order_by(_v.vpc_id).limit(bindparam("limit")), _VpcRow)
_SUBNET = Query(_subnets.where(_s.subnet_id == bindparam("subnet_id")), _SubnetRow)
_SUBNET_PAGE = Query(
    _subnets.where(_s.subnet_id > bindparam("marker")).order_by(_s.subnet_id).limit(bindparam("limit")), _SubnetRow
)
_CIDRS_OF_VPC: Query[str] = Query(select(_s.cidr).where(_s.vpc_id == bindparam("vpc_id")), scalar)
_LOCAL_CIDRS: Query[str] = Query(select(_s.cidr).where(_s.cidr.like("127.%")), scalar)
_IPV6_CIDRS: Query[str] = Query(select(_s.ipv6_cidr).where(_s.ipv6_cidr.is_not(None)), scalar)
_SUBNETS_OF_VPC: Query[int] = Query(
    select(func.count()).select_from(tables.subnets).where(_s.vpc_id == bindparam("vpc_id")), scalar
)
_SERVERS_IN_SUBNET: Query[str] = Query(
    select(tables.generations.c.server_id)
    .select_from(
        tables.generations.outerjoin(
            tables.server_addresses, tables.server_addresses.c.generation_id == tables.generations.c.generation_id
        )
    )
    .where(
        or_(tables.generations.c.subnet_id == bindparam("subnet_id"), tables.server_addresses.c.subnet_id == bindparam("subnet_id"))
    )
    .limit(1),
    scalar,
)
_INSERT_VPC = command(insert(tables.vpcs).values({column.name: bindparam(column.name) for column in tables.vpcs.columns}))
_INSERT_SUBNET = command(insert(tables.subnets).values({column.name: bindparam(column.name) for column in tables.subnets.columns}))
_UPDATE_VPC = command(
    update(tables.vpcs)
    .where(_v.vpc_id == bindparam("of_vpc"))
    .values(name=bindparam("name"), cidr=bindparam("cidr"), description=bindparam("description"), update_ms=bindparam("now"))
)
_UPDATE_SUBNET = command(
    update(tables.subnets)
    .where(_s.subnet_id == bindparam("of_subnet"))
    .values(
        {
            field: bindparam(field)
            for field in ("name", "description", "ipv6_cidr", "dhcp_enable", "dns_list", "extra_dhcp_opts", "update_ms")
        }
    )
)
_DELETE_VPC = command(delete(tables.vpcs).where(_v.vpc_id == bindparam("of_vpc")))
_DELETE_SUBNET = command(delete(tables.subnets).where(_s.subnet_id == bindparam("of_subnet")))


# --- VPCs ---


def create_vpc(fleet: Fleet, caller: Caller, body: CreateVpcRequest) -> VpcResponse:
    """CreateVpc. Raises VPC.0101 for a block that no VPC may have."""
    if body.cidr:
        check_vpc_cidr(body.cidr, fleet.settings.network)
    now, vpc_id = now_ms(), new_uuid()
    row = _VpcRow(vpc_id, body.name, body.cidr, now, body.description, body.enterprise_project_id, now)
    with fleet.database.write() as tx:
        tx.run(_INSERT_VPC, project_id=caller.project_id, **row._asdict())
        network_tags.put(tx, VPCS, vpc_id, body.tags)
    return VpcResponse(_vpc(caller, row))


def list_vpcs(fleet: Fleet, caller: Caller, page: Page) -> ListVpcsResponse:
    """ListVpcs."""
    with fleet.database.read() as tx:
        rows = tx.rows(_VPC_PAGE, project_id=caller.project_id, marker=page.marker, limit=page.rows)
    return ListVpcsResponse(page.of(_vpc(caller, row) for row in rows))


def show_vpc(fleet: Fleet, caller: Caller, vpc_id: str) -> VpcResponse:
    """ShowVpc. Raises 404 VPC.0003."""
    with fleet.database.read() as tx:
        return VpcResponse(_vpc(caller, _find_vpc(tx, caller, vpc_id)))


def show_vpc_v3(fleet: Fleet, caller: Caller, request_id: str, vpc_id: str) -> ShowVpcV3Response:
    """ShowVpc of v3. Raises 404 VPC.0003."""
    with fleet.database.read() as tx:
        row = _find_vpc(tx, caller, vpc_id, v3_error(request_id))
        subnets = tx.row(_SUBNETS_OF_VPC, vpc_id=row.vpc_id) or 0
        tags = network_tags.get(tx, VPCS, row.vpc_id)
    vpc = VpcV3(
        id=row.vpc_id,
        name=row.name,
        description=row.description or "",
        cidr=row.cidr,
        status=ACTIVE,
        project_id=caller.project_id,
        enterprise_project_id=row.enterprise_project_id or "0",
        created_at=utc_text(row.create_ms),
        updated_at=utc_text(row.update_ms or row.create_ms),
        cloud_resources=[CloudResource("routetable", 1), CloudResource("virsubnet", subnets)],
        tags=tags,
    )
    return ShowVpcV3Response(request_id=request_id, vpc=vpc)


def update_vpc(fleet: Fleet, caller: Caller, vpc_id: str, body: UpdateVpcRequest) -> VpcResponse:
    """UpdateVpc. Raises 404 VPC.0003, 400 VPC.0117 when a subnet is outside of the new block."""
    if body.cidr:
        check_vpc_cidr(body.cidr, fleet.settings.network)
    with fleet.database.write() as tx:
        tx.lock("placement")
        row = _find_vpc(tx, caller, vpc_id)
        if body.cidr:
            outside = [cidr for cidr in tx.rows(_CIDRS_OF_VPC, vpc_id=row.vpc_id) if not _contains(body.cidr, cidr)]
            if outside:
                raise network_error(400, VPC_TOO_SMALL, f"vpc.cidr {body.cidr} does not contain the subnet {outside[0]}")
        row = row._replace(
            name=row.name if body.name is None else body.name,
            cidr=body.cidr or row.cidr,
            description=row.description if body.description is None else body.description,
            update_ms=now_ms(),
        )
        tx.run(_UPDATE_VPC, of_vpc=row.vpc_id, name=row.name, cidr=row.cidr, description=row.description, now=row.update_ms)
    return VpcResponse(_vpc(caller, row))


def delete_vpc(fleet: Fleet, caller: Caller, vpc_id: str) -> None:
    """DeleteVpc. Raises 404 VPC.0003, 409 VPC.0104 while it has subnets."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        row = _find_vpc(tx, caller, vpc_id)
        subnets = tx.row(_SUBNETS_OF_VPC, vpc_id=row.vpc_id) or 0
        if subnets:
            raise network_error(409, VPC_IN_USE, f"Router contains subnets: VPC {row.vpc_id} has {subnets}; delete them first")
        network_tags.forget(tx, VPCS, row.vpc_id)
        tx.run(_DELETE_VPC, of_vpc=row.vpc_id)


# --- subnets ---


def create_subnet(fleet: Fleet, caller: Caller, body: CreateSubnetRequest) -> SubnetResponse:
    """CreateSubnet. Raises 404 VPC.0003, 400 VPC.0203 (not in the VPC), VPC.0204 (taken), VPC.0212, VPC.0201."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        vpc = _find_vpc(tx, caller, body.vpc_id)
        siblings = tx.rows(_CIDRS_OF_VPC, vpc_id=vpc.vpc_id)
        check_subnet(body.cidr, body.gateway_ip, vpc.cidr, fleet.settings.network, siblings, tx.rows(_LOCAL_CIDRS))
        now, subnet_id = now_ms(), new_uuid()
        row = _SubnetRow(
            subnet_id=subnet_id,
            vpc_id=vpc.vpc_id,
            name=body.name,
            cidr=body.cidr,
            gateway_ip=body.gateway_ip,
            ipv6_cidr=_new_ipv6_cidr(tx) if body.ipv6_enable else None,
            create_ms=now,
            description=body.description,
            availability_zone=body.availability_zone,
            dhcp_enable=int(body.dhcp_enable),
            dns_list=_text(body.dns_list),
            extra_dhcp_opts=_text(body.extra_dhcp_opts),
            update_ms=now,
        )
        tx.run(_INSERT_SUBNET, project_id=caller.project_id, **row._asdict())
        network_tags.put(tx, SUBNETS, subnet_id, body.tags)
    return SubnetResponse(_subnet(caller, row))


def list_subnets(fleet: Fleet, caller: Caller, page: Page) -> ListSubnetsResponse:
    """ListSubnets."""
    with fleet.database.read() as tx:
        rows = tx.rows(_SUBNET_PAGE, project_id=caller.project_id, marker=page.marker, limit=page.rows)
    return ListSubnetsResponse(page.of(_subnet(caller, row) for row in rows))


def show_subnet(fleet: Fleet, caller: Caller, subnet_id: str) -> SubnetResponse:
    """ShowSubnet. Raises 404 VPC.0202."""
    with fleet.database.read() as tx:
        return SubnetResponse(_subnet(caller, _find_subnet(tx, caller, subnet_id)))


def update_subnet(
    fleet: Fleet, caller: Caller, subnet_id: str, body: UpdateSubnetRequest, vpc_id: str | None = None
) -> UpdateSubnetResponse:
    """UpdateSubnet. IPv6 can be enabled and not disabled. Raises 404 VPC.0202."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        row = _find_subnet(tx, caller, subnet_id, vpc_id)
        dhcp_enable = row.dhcp_enable if body.dhcp_enable is None else int(body.dhcp_enable)
        tx.run(
            _UPDATE_SUBNET,
            of_subnet=row.subnet_id,
            name=row.name if body.name is None else body.name,
            description=row.description if body.description is None else body.description,
            ipv6_cidr=_new_ipv6_cidr(tx) if body.ipv6_enable and row.ipv6_cidr is None else row.ipv6_cidr,
            dhcp_enable=dhcp_enable,
            dns_list=row.dns_list if body.dns_list is None else _text(body.dns_list),
            extra_dhcp_opts=row.extra_dhcp_opts if body.extra_dhcp_opts is None else _text(body.extra_dhcp_opts),
            update_ms=now_ms(),
        )
    return UpdateSubnetResponse(SubnetResult(row.subnet_id, ACTIVE))


def delete_subnet(fleet: Fleet, caller: Caller, subnet_id: str, vpc_id: str | None = None) -> None:
    """DeleteSubnet. Raises 404 VPC.0202, 409 VPC.0209 while a server is in it, also one being built or removed."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        row = _find_subnet(tx, caller, subnet_id, vpc_id)
        server_id = tx.row(_SERVERS_IN_SUBNET, subnet_id=row.subnet_id)
        if server_id is not None:
            raise network_error(409, SUBNET_IN_USE, f"subnet is still used, such as by the cloud phone server {server_id}")
        network_tags.forget(tx, SUBNETS, row.subnet_id)
        tx.run(_DELETE_SUBNET, of_subnet=row.subnet_id)


# --- what both have ---


def check_exists(tx: Transaction, caller: Caller, resource_type: str, resource_id: str) -> str:
    """The id of a VPC or subnet of the caller's project, as it is stored. Raises 404."""
    if resource_type == VPCS:
        return _find_vpc(tx, caller, resource_id).vpc_id
    return _find_subnet(tx, caller, resource_id).subnet_id


def _find_vpc(tx: Transaction, caller: Caller, vpc_id: str, refuse: Refuse = network_error) -> _VpcRow:
    row = tx.row(_VPC, project_id=caller.project_id, vpc_id=vpc_id.lower())
    if row is None:
        raise refuse(404, VPC_NOT_FOUND, f"VPC {vpc_id[:64]!r} does not exist in this project")
    return row


def _find_subnet(tx: Transaction, caller: Caller, subnet_id: str, vpc_id: str | None = None) -> _SubnetRow:
    row = tx.row(_SUBNET, project_id=caller.project_id, subnet_id=subnet_id.lower())
    if row is None or (vpc_id is not None and row.vpc_id != vpc_id.lower()):
        of_vpc = "" if vpc_id is None else f" in VPC {vpc_id[:64]!r}"
        raise network_error(404, SUBNET_NOT_FOUND, f"subnet {subnet_id[:64]!r} does not exist in this project{of_vpc}")
    return row


def _contains(outer: str, inner: str) -> bool:
    return IPv4Network(inner).subnet_of(IPv4Network(outer))


def _new_ipv6_cidr(tx: Transaction) -> str:
    found = free_ipv6_cidr(tx.rows(_IPV6_CIDRS))
    if found is None:
        raise network_error(409, BAD_SUBNET, "subnet.ipv6_enable: no IPv6 block is left in this installation")
    return found


def _text(values: tuple[object, ...]) -> str | None:
    return msgspec.json.encode(values).decode() if values else None


def _vpc(caller: Caller, row: _VpcRow) -> Vpc:
    return Vpc(
        id=row.vpc_id,
        name=row.name,
        description=row.description or "",
        cidr=row.cidr,
        status=OK,
        enterprise_project_id=row.enterprise_project_id or "0",
        tenant_id=caller.project_id,
        created_at=utc_text(row.create_ms),
        updated_at=utc_text(row.update_ms or row.create_ms),
    )


def _subnet(caller: Caller, row: _SubnetRow) -> Subnet:
    dns_list = msgspec.json.decode(row.dns_list, type=list[str]) if row.dns_list else []
    return Subnet(
        id=row.subnet_id,
        name=row.name,
        description=row.description or "",
        cidr=row.cidr,
        gateway_ip=row.gateway_ip,
        ipv6_enable=row.ipv6_cidr is not None,
        cidr_v6=row.ipv6_cidr,
        gateway_ip_v6=None if row.ipv6_cidr is None else ipv6_gateway(row.ipv6_cidr),
        dhcp_enable=row.dhcp_enable != 0,
        primary_dns=dns_list[0] if dns_list else "",
        secondary_dns=dns_list[1] if len(dns_list) > 1 else "",
        dns_list=dns_list,
        availability_zone=row.availability_zone or "",
        vpc_id=row.vpc_id,
        status=ACTIVE,
        neutron_network_id=row.subnet_id,
        neutron_subnet_id=derived_uuid("ipv4 subnet", row.subnet_id),
        neutron_subnet_id_v6=None if row.ipv6_cidr is None else derived_uuid("ipv6 subnet", row.subnet_id),
        extra_dhcp_opts=msgspec.json.decode(row.extra_dhcp_opts, type=list[ExtraDhcpOpt]) if row.extra_dhcp_opts else [],
        tenant_id=caller.project_id,
        created_at=utc_text(row.create_ms),
        updated_at=utc_text(row.update_ms or row.create_ms),
    )
