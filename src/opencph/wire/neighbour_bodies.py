"""Bodies that the services beside CPH take, envelope and all, as `<Operation>Body`: what `/openapi.json` tells of them. Pure.

What a body means once its envelope is off is in the `...Request` structs beside the services' checks. A field that is null counts
as left out. Field names are those of the services' SDKs; limits are those of the checks.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from opencph.wire import billing_checks, eip_checks, identity_checks, keypair_checks, vpc_checks
from opencph.wire.checks import UUID
from opencph.wire.vpc import Tag

Name = Annotated[str, Meta(max_length=vpc_checks.NAME_MAX_CHARACTERS, pattern=f"^{vpc_checks.NAME.pattern}$")]
KeypairName = Annotated[str, Meta(max_length=keypair_checks.NAME_MAX_CHARACTERS, pattern=f"^{keypair_checks.NAME.pattern}$")]
Description = Annotated[str, Meta(max_length=vpc_checks.DESCRIPTION_MAX_CHARACTERS, pattern="^[^<>]*$")]
Id = Annotated[str, Meta(pattern=f"^{UUID.pattern}$")]
EnterpriseProject = Annotated[str, Meta(max_length=36)]
Block = Annotated[str, Meta(max_length=32, description="An IPv4 block such as 192.168.0.0/16.")]
Address = Annotated[str, Meta(max_length=32, description="An IPv4 address such as 192.168.0.1.")]
StarredTags = Annotated[list[str], Meta(max_length=vpc_checks.TAGS_PER_CALL, description="Each `key*value`.")]
Mbit = Annotated[int, Meta(ge=eip_checks.SIZE_MIN_MBIT, le=eip_checks.SIZE_MAX_MBIT)]
SharedMbit = Annotated[int, Meta(ge=eip_checks.SHARED_SIZE_MIN_MBIT, le=eip_checks.SIZE_MAX_MBIT)]
EipType = Literal["5_telcom", "5_union", "5_bgp", "5_sbgp", "5_youxuanbgp"]
ChargeMode = Literal["bandwidth", "traffic"]
IdentityText = Annotated[str, Meta(max_length=identity_checks.NAME_MAX_BYTES)]


class NewVpc(msgspec.Struct, frozen=True, kw_only=True):
    """A VPC to make."""

    name: Name | None = None
    cidr: Block | None = None
    description: Description | None = None
    enterprise_project_id: EnterpriseProject | None = None
    tags: StarredTags | None = None


class CreateVpcBody(msgspec.Struct, frozen=True):
    """POST /v1/{project_id}/vpcs."""

    vpc: NewVpc


class VpcChange(msgspec.Struct, frozen=True, kw_only=True):
    """What changes of a VPC; the rest stays."""

    name: Name | None = None
    cidr: Block | None = None
    description: Description | None = None


class UpdateVpcBody(msgspec.Struct, frozen=True):
    """PUT /v1/{project_id}/vpcs/{vpc_id}."""

    vpc: VpcChange


class DhcpOption(msgspec.Struct, frozen=True):
    """A DHCP option of a subnet."""

    opt_name: Literal["ntp", "addresstime", "ipv6_addresstime", "domainname"]
    opt_value: Annotated[str, Meta(max_length=vpc_checks.DHCP_OPTION_MAX_CHARACTERS)] | None = None


class SubnetChange(msgspec.Struct, frozen=True, kw_only=True, rename={"dns_list": "dnsList"}):
    """What changes of a subnet; the rest stays."""

    name: Name | None = None
    description: Description | None = None
    ipv6_enable: bool | None = None
    dhcp_enable: bool | None = None
    dns_list: Annotated[list[Address], Meta(max_length=vpc_checks.DNS_MAX)] | None = None
    primary_dns: Address | None = None  # beside dnsList without effect
    secondary_dns: Address | None = None
    extra_dhcp_opts: list[DhcpOption] | None = None


class NewSubnet(SubnetChange, frozen=True, kw_only=True, rename={"dns_list": "dnsList"}):
    """A subnet to make."""

    name: Name
    cidr: Block
    gateway_ip: Address
    vpc_id: Id
    availability_zone: Annotated[str, Meta(max_length=64)] | None = None
    tags: StarredTags | None = None


class CreateSubnetBody(msgspec.Struct, frozen=True):
    """POST /v1/{project_id}/subnets."""

    subnet: NewSubnet


class UpdateSubnetBody(msgspec.Struct, frozen=True):
    """PUT of a subnet."""

    subnet: SubnetChange


class TagsActionBody(msgspec.Struct, frozen=True):
    """POST of tags of a VPC or a subnet."""

    action: Literal["create", "delete"]
    tags: Annotated[list[Tag], Meta(min_length=1, max_length=vpc_checks.TAGS_PER_CALL)]


class NewSecurityGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A security group to make."""

    name: Name
    description: Description | None = None
    vpc_id: Id | None = None
    enterprise_project_id: EnterpriseProject | None = None


class CreateSecurityGroupBody(msgspec.Struct, frozen=True):
    """POST /v1/{project_id}/security-groups."""

    security_group: NewSecurityGroup


class NewPublicip(msgspec.Struct, frozen=True, kw_only=True):
    """An EIP to assign; `ip_address` asks for a certain one."""

    type: EipType
    alias: Name | None = None
    ip_address: Annotated[str, Meta(max_length=15)] | None = None
    port_id: Id | None = None
    ip_version: Literal[4] | None = None


class PublicipBandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """The bandwidth of a new EIP, in Mbit/s: WHOLE names an existing shared one by `id`, PER needs a `size`."""

    share_type: Literal["PER", "WHOLE"]
    id: Id | None = None
    name: Name | None = None
    size: Mbit | None = None
    charge_mode: ChargeMode | None = None


class CreatePublicipBody(msgspec.Struct, frozen=True):
    """POST /v1/{project_id}/publicips."""

    publicip: NewPublicip
    bandwidth: PublicipBandwidth


class PublicipChange(msgspec.Struct, frozen=True, kw_only=True):
    """What changes of an EIP. Without anything, or with an empty `port_id`, it is unbound."""

    port_id: Id | Literal[""] | None = None
    alias: Name | None = None
    ip_version: Literal[4] | None = None


class UpdatePublicipBody(msgspec.Struct, frozen=True):
    """PUT /v1/{project_id}/publicips/{publicip_id}."""

    publicip: PublicipChange


class NewBandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """A shared bandwidth to make, in Mbit/s."""

    name: Name
    size: SharedMbit
    charge_mode: ChargeMode | None = None


class CreateSharedBandwidthBody(msgspec.Struct, frozen=True):
    """POST /v2.0/{project_id}/bandwidths."""

    bandwidth: NewBandwidth


class BandwidthChange(msgspec.Struct, frozen=True, kw_only=True):
    """What changes of a bandwidth: one of the two, or both."""

    name: Name | None = None
    size: Mbit | None = None


class UpdatePublicipBandwidthBody(msgspec.Struct, frozen=True):
    """PUT /v1/{project_id}/bandwidths/{bandwidth_id}."""

    bandwidth: BandwidthChange


class NovaNewKeypair(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair to make, or to import with its `public_key`."""

    name: KeypairName
    type: Literal["ssh"] | None = None
    public_key: Annotated[str, Meta(max_length=keypair_checks.PUBLIC_KEY_MAX_CHARACTERS)] | None = None


class NewKeypair(NovaNewKeypair, frozen=True, kw_only=True):
    """The same in the shape of the key pair service."""

    scope: Literal["user"] | None = None


class CreateKeypairBody(msgspec.Struct, frozen=True):
    """POST /v3/{project_id}/keypairs."""

    keypair: NewKeypair


class NovaCreateKeypairBody(msgspec.Struct, frozen=True):
    """POST /v2.1/{project_id}/os-keypairs."""

    keypair: NovaNewKeypair


class KeypairDescription(msgspec.Struct, frozen=True):
    """What a key pair is described with."""

    description: Description


class UpdateKeypairDescriptionBody(msgspec.Struct, frozen=True):
    """PUT /v3/{project_id}/keypairs/{keypair_name}."""

    keypair: KeypairDescription


class CancelResourcesSubscriptionBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v2/orders/subscriptions/resources/unsubscribe."""

    resource_ids: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=billing_checks.RESOURCE_ID_MAX_CHARACTERS)]],
        Meta(min_length=1, max_length=billing_checks.RESOURCES_PER_CALL),
    ]
    unsubscribe_type: Literal[1]
    unsubscribe_reason_type: Literal[1, 2, 3, 4, 5] | None = None
    unsubscribe_reason: Annotated[str, Meta(max_length=billing_checks.REASON_MAX_CHARACTERS)] | None = None


class IdOrName(msgspec.Struct, frozen=True, kw_only=True):
    """A domain or a project, by one of the two."""

    id: IdentityText | None = None
    name: IdentityText | None = None


class PasswordUser(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: by id, or by name and domain."""

    password: Annotated[str, Meta(min_length=1, max_length=identity_checks.PASSWORD_MAX_BYTES)]
    id: IdentityText | None = None
    name: IdentityText | None = None
    domain: IdOrName | None = None


class PasswordMethod(msgspec.Struct, frozen=True):
    """The password method."""

    user: PasswordUser


class PasswordIdentity(msgspec.Struct, frozen=True):
    """How the caller shows who it is."""

    methods: Annotated[list[Literal["password"]], Meta(min_length=1, max_length=1)]
    password: PasswordMethod


class ProjectScope(IdOrName, frozen=True, kw_only=True):
    """A project by id or name, of a domain when that is said."""

    domain: IdOrName | None = None


class TokenScope(msgspec.Struct, frozen=True, kw_only=True):
    """What the token is for; without either the user's domain."""

    project: ProjectScope | None = None
    domain: IdOrName | None = None


class PasswordAuth(msgspec.Struct, frozen=True):
    """A request for a token."""

    identity: PasswordIdentity
    scope: TokenScope | None = None


class KeystoneCreateUserTokenByPasswordBody(msgspec.Struct, frozen=True):
    """POST /v3/auth/tokens."""

    auth: PasswordAuth
