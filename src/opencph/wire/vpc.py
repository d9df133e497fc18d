"""VPCs, subnets, security groups and their tags on the wire, as the SDK of the VPC service spells them. Checks: `vpc_checks`."""

from __future__ import annotations

import msgspec


class Tag(msgspec.Struct, frozen=True):
    """A tag of a VPC or a subnet."""

    key: str
    value: str = ""


class CreateVpcRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/vpcs."""

    name: str
    cidr: str  # "": any
    description: str
    enterprise_project_id: str
    tags: tuple[Tag, ...]


class UpdateVpcRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/vpcs/{vpc_id}; None: stays."""

    name: str | None
    cidr: str | None
    description: str | None


class Route(msgspec.Struct, frozen=True):
    """A route of a VPC."""

    destination: str
    nexthop: str


class Vpc(msgspec.Struct, frozen=True, kw_only=True):
    """A VPC in v1."""

    id: str
    name: str
    description: str
    cidr: str
    status: str  # OK
    enterprise_project_id: str
    tenant_id: str
    created_at: str
    updated_at: str
    routes: list[Route] = []
    block_service_endpoint_states: str = "off"
    enable_network_address_usage_metrics: bool = False


class VpcResponse(msgspec.Struct, frozen=True):
    """One VPC."""

    vpc: Vpc


class ListVpcsResponse(msgspec.Struct, frozen=True):
    """A page of VPCs."""

    vpcs: list[Vpc]


class CloudResource(msgspec.Struct, frozen=True):
    """How many resources of a type a VPC has."""

    resource_type: str
    resource_count: int


class VpcV3(msgspec.Struct, frozen=True, kw_only=True):
    """A VPC in v3."""

    id: str
    name: str
    description: str
    cidr: str
    status: str  # ACTIVE
    project_id: str
    enterprise_project_id: str
    created_at: str
    updated_at: str
    cloud_resources: list[CloudResource]
    tags: list[Tag]
    extend_cidrs: list[str] = []
    block_service_endpoint_states: str = "off"
    enable_network_address_usage_metrics: bool = False


class ShowVpcV3Response(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v3/{project_id}/vpc/vpcs/{vpc_id}."""

    request_id: str
    vpc: VpcV3


class ExtraDhcpOpt(msgspec.Struct, frozen=True):
    """A DHCP option of a subnet."""

    opt_name: str
    opt_value: str | None = None


class CreateSubnetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/subnets."""

    name: str
    cidr: str
    vpc_id: str
    gateway_ip: str
    description: str
    ipv6_enable: bool
    dhcp_enable: bool
    dns_list: tuple[str, ...]
    availability_zone: str
    extra_dhcp_opts: tuple[ExtraDhcpOpt, ...]
    tags: tuple[Tag, ...]


class UpdateSubnetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT of a subnet; None: stays."""

    name: str | None
    description: str | None
    ipv6_enable: bool
    dhcp_enable: bool | None
    dns_list: tuple[str, ...] | None
    extra_dhcp_opts: tuple[ExtraDhcpOpt, ...] | None


class Subnet(msgspec.Struct, frozen=True, kw_only=True, rename={"dns_list": "dnsList"}):
    """A subnet."""

    id: str
    name: str
    description: str
    cidr: str
    gateway_ip: str
    ipv6_enable: bool
    cidr_v6: str | None
    gateway_ip_v6: str | None
    dhcp_enable: bool
    primary_dns: str
    secondary_dns: str
    dns_list: list[str]
    availability_zone: str
    vpc_id: str
    status: str  # ACTIVE
    neutron_network_id: str
    neutron_subnet_id: str
    neutron_subnet_id_v6: str | None
    extra_dhcp_opts: list[ExtraDhcpOpt]
    tenant_id: str
    created_at: str
    updated_at: str
    scope: str = "center"
    enable_network_address_usage_metrics: bool = False


class SubnetResponse(msgspec.Struct, frozen=True):
    """One subnet."""

    subnet: Subnet


class ListSubnetsResponse(msgspec.Struct, frozen=True):
    """A page of subnets."""

    subnets: list[Subnet]


class SubnetResult(msgspec.Struct, frozen=True):
    """What an update says of the subnet."""

    id: str
    status: str


class UpdateSubnetResponse(msgspec.Struct, frozen=True):
    """The answer to PUT of a subnet."""

    subnet: SubnetResult


class TagsAction(msgspec.Struct, frozen=True):
    """POST of tags: `action` is create or delete."""

    action: str
    tags: tuple[Tag, ...]


class TagsResponse(msgspec.Struct, frozen=True):
    """The tags of one VPC or subnet."""

    tags: list[Tag]


class FixedIp(msgspec.Struct, frozen=True):
    """An address of a port."""

    subnet_id: str  # as neutron_subnet_id of the subnet, or neutron_subnet_id_v6
    ip_address: str


class Port(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "binding_vnic_type": "binding:vnic_type",
        "binding_vif_details": "binding:vif_details",
        "binding_profile": "binding:profile",
    },
):
    """A port: that of a VIP. Those fields that are the same for all have nothing behind them."""

    id: str
    network_id: str  # the id of the subnet
    fixed_ips: list[FixedIp]
    device_id: str  # the cloud phone server
    device_owner: str  # compute:<availability zone>
    tenant_id: str
    status: str  # ACTIVE, BUILD, DOWN
    security_groups: list[str]
    instance_id: str
    zone_id: str
    ipv6_bandwidth_id: str | None
    name: str = ""
    admin_state_up: bool = True
    mac_address: str = ""  # a VIP is a socket, not a network card
    instance_type: str = "CPH"
    allowed_address_pairs: list[str] = []
    extra_dhcp_opts: list[ExtraDhcpOpt] = []
    binding_vnic_type: str = "normal"
    binding_vif_details: dict[str, str] = {}
    binding_profile: dict[str, str] = {}
    dns_assignment: list[str] = []
    dns_name: str = ""
    port_security_enabled: bool = False  # security groups have no effect
    enable_efi: bool = False


class PortResponse(msgspec.Struct, frozen=True):
    """One port."""

    port: Port


class ListPortsResponse(msgspec.Struct, frozen=True):
    """A page of ports."""

    ports: list[Port]


class CreateSecurityGroupRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST of a security group, v1 and v3."""

    name: str
    description: str
    vpc_id: str | None
    enterprise_project_id: str


class SecurityGroupRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of a security group."""

    id: str
    description: str
    security_group_id: str
    direction: str
    ethertype: str
    tenant_id: str
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: str | None = None


class SecurityGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A security group in v1."""

    id: str
    name: str
    description: str
    vpc_id: str | None
    enterprise_project_id: str
    security_group_rules: list[SecurityGroupRule]


class SecurityGroupResponse(msgspec.Struct, frozen=True):
    """One security group."""

    security_group: SecurityGroup


class ListSecurityGroupsResponse(msgspec.Struct, frozen=True):
    """A page of security groups."""

    security_groups: list[SecurityGroup]
