"""VPCs, subnets, their tags, ports and security groups over HTTP: decode, call the rule, answer."""

from __future__ import annotations

from opencph.api.call import NO_CONTENT, Call, Result
from opencph.neighbours import network_tags, ports, security_groups, vpc
from opencph.neighbours.paging import page
from opencph.wire import vpc_checks
from opencph.wire.service_errors import network_error
from opencph.wire.vpc import TagsResponse
from opencph.wire.vpc_checks import BAD_GROUP, BAD_PORT, BAD_SUBNET, BAD_VPC

#: what ports can be filtered by; `id`, `security_groups` and `fixed_ips` may come several times
PORT_FILTERS = (
    *("id", "name", "admin_state_up", "network_id", "mac_address", "device_id", "device_owner", "status"),
    *("security_groups", "fixed_ips", "enterprise_project_id", "enable_efi"),
)


def create_vpc(call: Call) -> Result:
    """POST /v1/{project_id}/vpcs."""
    return vpc.create_vpc(call.fleet, call.caller, vpc_checks.create_vpc(call.body))


def list_vpcs(call: Call) -> Result:
    """GET /v1/{project_id}/vpcs."""
    filters = call.filters("id", "enterprise_project_id")
    return vpc.list_vpcs(call.fleet, call.caller, page(call.query, network_error, BAD_VPC, filters))


def show_vpc(call: Call) -> Result:
    """GET /v1/{project_id}/vpcs/{vpc_id}."""
    return vpc.show_vpc(call.fleet, call.caller, call.params[0])


def show_vpc_v3(call: Call) -> Result:
    """GET /v3/{project_id}/vpc/vpcs/{vpc_id}."""
    return vpc.show_vpc_v3(call.fleet, call.caller, call.request_id, call.params[0])


def update_vpc(call: Call) -> Result:
    """PUT /v1/{project_id}/vpcs/{vpc_id}."""
    return vpc.update_vpc(call.fleet, call.caller, call.params[0], vpc_checks.update_vpc(call.body))


def delete_vpc(call: Call) -> Result:
    """DELETE /v1/{project_id}/vpcs/{vpc_id}."""
    vpc.delete_vpc(call.fleet, call.caller, call.params[0])
    return NO_CONTENT


def create_subnet(call: Call) -> Result:
    """POST /v1/{project_id}/subnets."""
    return vpc.create_subnet(call.fleet, call.caller, vpc_checks.create_subnet(call.body))


def list_subnets(call: Call) -> Result:
    """GET /v1/{project_id}/subnets."""
    return vpc.list_subnets(call.fleet, call.caller, page(call.query, network_error, BAD_SUBNET, call.filters("vpc_id")))


def show_subnet(call: Call) -> Result:
    """GET /v1/{project_id}/subnets/{subnet_id}."""
    return vpc.show_subnet(call.fleet, call.caller, call.params[0])


def update_subnet(call: Call) -> Result:
    """PUT /v1/{project_id}/vpcs/{vpc_id}/subnets/{subnet_id}."""
    vpc_id, subnet_id = call.params
    return vpc.update_subnet(call.fleet, call.caller, subnet_id, vpc_checks.update_subnet(call.body), vpc_id)


def update_subnet_without_vpc(call: Call) -> Result:
    """PUT /v1/{project_id}/subnets/{subnet_id}."""
    return vpc.update_subnet(call.fleet, call.caller, call.params[0], vpc_checks.update_subnet(call.body))


def delete_subnet(call: Call) -> Result:
    """DELETE /v1/{project_id}/vpcs/{vpc_id}/subnets/{subnet_id}."""
    vpc_id, subnet_id = call.params
    vpc.delete_subnet(call.fleet, call.caller, subnet_id, vpc_id)
    return NO_CONTENT


def delete_subnet_without_vpc(call: Call) -> Result:
    """DELETE /v1/{project_id}/subnets/{subnet_id}."""
    vpc.delete_subnet(call.fleet, call.caller, call.params[0])
    return NO_CONTENT


def show_vpc_tags(call: Call) -> Result:
    """GET /v2.0/{project_id}/vpcs/{vpc_id}/tags."""
    return _show_tags(call, vpc.VPCS)


def show_subnet_tags(call: Call) -> Result:
    """GET /v2.0/{project_id}/subnets/{subnet_id}/tags."""
    return _show_tags(call, vpc.SUBNETS)


def batch_create_vpc_tags(call: Call) -> Result:
    """POST /v2.0/{project_id}/vpcs/{vpc_id}/tags/action, which deletes too."""
    return _act_on_tags(call, vpc.VPCS)


def batch_create_subnet_tags(call: Call) -> Result:
    """POST /v2.0/{project_id}/subnets/{subnet_id}/tags/action, which deletes too."""
    return _act_on_tags(call, vpc.SUBNETS)


def list_ports(call: Call) -> Result:
    """GET /v1/{project_id}/ports."""
    return ports.list_ports(call.fleet, call.caller, page(call.query, network_error, BAD_PORT, call.filters(*PORT_FILTERS)))


def show_port(call: Call) -> Result:
    """GET /v1/{project_id}/ports/{port_id}."""
    return ports.show_port(call.fleet, call.caller, call.params[0])


def create_security_group(call: Call) -> Result:
    """POST /v1/{project_id}/security-groups."""
    return security_groups.create_security_group(call.fleet, call.caller, vpc_checks.create_security_group(call.body))


def list_security_groups(call: Call) -> Result:
    """GET /v1/{project_id}/security-groups."""
    asked = page(call.query, network_error, BAD_GROUP, call.filters("vpc_id", "enterprise_project_id"))
    return security_groups.list_security_groups(call.fleet, call.caller, asked)


def show_security_group(call: Call) -> Result:
    """GET /v1/{project_id}/security-groups/{security_group_id}."""
    return security_groups.show_security_group(call.fleet, call.caller, call.params[0])


def delete_security_group(call: Call) -> Result:
    """DELETE /v1/{project_id}/security-groups/{security_group_id}."""
    security_groups.delete_security_group(call.fleet, call.caller, call.params[0])
    return NO_CONTENT


def _show_tags(call: Call, resource_type: str) -> Result:
    with call.fleet.database.read() as tx:
        resource_id = vpc.check_exists(tx, call.caller, resource_type, call.params[0])
        return TagsResponse(network_tags.get(tx, resource_type, resource_id))


def _act_on_tags(call: Call, resource_type: str) -> Result:
    action = vpc_checks.tags_action(call.body)
    with call.fleet.database.write() as tx:
        tx.lock("placement")
        resource_id = vpc.check_exists(tx, call.caller, resource_type, call.params[0])
        network_tags.act(tx, resource_type, resource_id, action)
    return NO_CONTENT
