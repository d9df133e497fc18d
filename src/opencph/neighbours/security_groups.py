"""Security groups: kept and shown, and without effect, since phones are reached through their mappings and tunnels only.

Every project has one called `default`, which has no row and cannot be deleted; servers show it.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select

from opencph.fleet import Fleet
from opencph.fleet.ids import default_security_group_id, derived_uuid, new_uuid
from opencph.fleet.times import now_ms
from opencph.iam import Caller
from opencph.neighbours.paging import Page
from opencph.store import tables
from opencph.store.database import Query, Transaction, command
from opencph.wire.service_errors import network_error
from opencph.wire.vpc import (
    CreateSecurityGroupRequest,
    ListSecurityGroupsResponse,
    SecurityGroup,
    SecurityGroupResponse,
    SecurityGroupRule,
)

NOT_FOUND, IN_USE = "VPC.0603", "VPC.0606"
DEFAULT_NAME, DEFAULT_DESCRIPTION = "default", "Default security group"

_g = tables.security_groups.c


class _Row(NamedTuple):
    security_group_id: str
    name: str
    description: str
    vpc_id: str | None
    enterprise_project_id: str


_groups = select(*(_g[field] for field in _Row._fields)).where(_g.project_id == bindparam("project_id"))
_GROUP = Query(_groups.where(_g.security_group_id == bindparam("of_group")), _Row)
_PAGE = Query(
    _groups.where(_g.security_group_id > bindparam("marker")).order_by(_g.security_group_id).limit(bindparam("limit")), _Row
)
_INSERT = command(
    insert(tables.security_groups).values({column.name: bindparam(column.name) for column in tables.security_groups.columns})
)
_DELETE = command(delete(tables.security_groups).where(_g.security_group_id == bindparam("of_group")))


def create_security_group(fleet: Fleet, caller: Caller, body: CreateSecurityGroupRequest) -> SecurityGroupResponse:
    """CreateSecurityGroup."""
    row = _Row(new_uuid(), body.name, body.description, body.vpc_id, body.enterprise_project_id)
    with fleet.database.write() as tx:
        tx.run(_INSERT, project_id=caller.project_id, create_ms=now_ms(), **row._asdict())
    return SecurityGroupResponse(_group(caller, row))


def list_security_groups(fleet: Fleet, caller: Caller, page: Page) -> ListSecurityGroupsResponse:
    """ListSecurityGroups, the default one first."""
    default = _default(caller)
    with_default = page.marker == "" and page.limit > 0
    with fleet.database.read() as tx:
        rows = tx.rows(
            _PAGE,
            project_id=caller.project_id,
            marker="" if page.marker == default.security_group_id else page.marker,
            limit=page.rows - with_default,
        )
    found = [default, *rows] if with_default else rows
    return ListSecurityGroupsResponse(page.of(_group(caller, row) for row in found))


def show_security_group(fleet: Fleet, caller: Caller, security_group_id: str) -> SecurityGroupResponse:
    """ShowSecurityGroup. Raises 404 VPC.0603."""
    with fleet.database.read() as tx:
        return SecurityGroupResponse(_group(caller, _find(tx, caller, security_group_id)))


def delete_security_group(fleet: Fleet, caller: Caller, security_group_id: str) -> None:
    """DeleteSecurityGroup. Raises 404 VPC.0603, 409 VPC.0606 for the default one."""
    with fleet.database.write() as tx:
        row = _find(tx, caller, security_group_id)
        if row == _default(caller):
            raise network_error(409, IN_USE, "the default security group cannot be deleted")
        tx.run(_DELETE, of_group=row.security_group_id)


def _default(caller: Caller) -> _Row:
    return _Row(default_security_group_id(caller.project_id), DEFAULT_NAME, DEFAULT_DESCRIPTION, None, "0")


def _find(tx: Transaction, caller: Caller, security_group_id: str) -> _Row:
    default = _default(caller)
    if security_group_id.lower() == default.security_group_id:
        return default
    row = tx.row(_GROUP, project_id=caller.project_id, of_group=security_group_id.lower())
    if row is None:
        raise network_error(404, NOT_FOUND, f"security group {security_group_id[:64]!r} does not exist in this project")
    return row


def _group(caller: Caller, row: _Row) -> SecurityGroup:
    return SecurityGroup(
        id=row.security_group_id,
        name=row.name,
        description=row.description,
        vpc_id=row.vpc_id,
        enterprise_project_id=row.enterprise_project_id,
        security_group_rules=[
            SecurityGroupRule(
                id=derived_uuid(f"{direction} {ethertype} rule", row.security_group_id),
                description="",
                security_group_id=row.security_group_id,
                direction=direction,
                ethertype=ethertype,
                tenant_id=caller.project_id,
                remote_group_id=row.security_group_id if direction == "ingress" else None,
            )
            for direction in ("egress", "ingress")
            for ethertype in ("IPv4", "IPv6")
        ],
    )
