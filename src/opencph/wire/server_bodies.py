"""Bodies of CPH about servers, as they are sent, as `<Operation>Body`: purchases, changes, what is done to servers and what belongs
to them. What `/openapi.json` tells of them; those about phones are in `phone_bodies`. Pure.

What is left of a body once it is checked is in the `...Request` structs, in another form where that is handier. A field that is
null counts as left out. Names are those of the pages (cph-api.md section 4), limits those of the checks; those in bytes are told in
characters. Rules between fields are in words.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from opencph.wire import bandwidths, bare_servers, custom_images, encode_servers, server_checks, share_filesystems, tag_checks
from opencph.wire import server_action_checks as action_checks
from opencph.wire.checks import HEX_ID, UUID
from opencph.wire.properties import PROPERTY_MAX_CHARACTERS
from opencph.wire.scheduled_events import Time

Name = Annotated[str, Meta(max_length=server_checks.NAME_MAX_CHARACTERS, pattern=f"^{server_checks.NAME.pattern}$")]
ModelName = Annotated[str, Meta(min_length=1, max_length=server_checks.MODEL_NAME_MAX_BYTES)]
ImageId = Annotated[str, Meta(min_length=1, max_length=server_checks.IMAGE_ID_MAX_BYTES)]
KeypairName = Annotated[str, Meta(min_length=1, max_length=server_checks.KEYPAIR_NAME_MAX_BYTES)]
Zone = Annotated[str, Meta(max_length=server_checks.ZONE_MAX_BYTES)]
EnterpriseProject = Annotated[str, Meta(max_length=server_checks.ENTERPRISE_PROJECT_MAX_BYTES)]
ProjectId = Annotated[str, Meta(min_length=1, max_length=custom_images.PROJECT_ID_MAX_BYTES)]
Id = Annotated[str, Meta(pattern=f"^{UUID.pattern}$")]
ServerId = Annotated[str, Meta(pattern=f"^{HEX_ID.pattern}$")]
ItemId = Annotated[str, Meta(min_length=1, description="A wrong one fails in the answer's `jobs`, and no other.")]
Property = Annotated[str, Meta(max_length=PROPERTY_MAX_CHARACTERS, description="Of the phones: the text of a JSON object.")]
NoOrYes = Literal[0, 1]
EipType = Literal["5_telcom", "5_union", "5_bgp", "5_sbgp"]
ExistingEip = Annotated[list[Id], Meta(max_length=1, description="An existing EIP.")]
VolumeType = Literal["SSD", "GPSSD"]


class PurchasePort(msgspec.Struct, frozen=True, kw_only=True):
    """An application port that the phones open; public when `internet_accessible` is "true". `adb` and `vnc` are taken."""

    name: Annotated[str, Meta(max_length=server_checks.PORT_NAME_MAX_BYTES, pattern=f"^{server_checks.PORT_NAME.pattern}$")]
    listen_port: Annotated[int, Meta(ge=server_checks.LISTEN_PORT_FIRST, le=server_checks.LISTEN_PORT_LAST)]
    internet_accessible: Annotated[str, Meta(min_length=1)]


Ports = Annotated[list[PurchasePort], Meta(max_length=server_checks.PORTS_MAX, description="Each name and each number once.")]


class Billing(msgspec.Struct, frozen=True, kw_only=True):
    """How a purchase is paid: `charging_mode` 1 on demand, 0 for months (`period_type` 2, 1 to 9) or years (3, 1 to 10)."""

    charging_mode: Literal[0, 1]
    period_type: Literal[2, 3] | None = None
    period_num: Annotated[int, Meta(ge=1, le=server_checks.PERIODS_MAX[server_checks.YEAR])] | None = None
    is_auto_pay: NoOrYes | None = None
    is_auto_renew: NoOrYes | None = None


class PurchaseExtendParam(Billing, frozen=True, kw_only=True):
    """How a purchase is paid, and whose it is: `charging_mode` 1 on demand, 0 for months (`period_type` 2) or years (3)."""

    enterprise_project_id: EnterpriseProject | None = None


class ChangedExtendParam(msgspec.Struct, frozen=True, kw_only=True):
    """The enterprise project of a changed server."""

    enterprise_project_id: EnterpriseProject | None = None


class NicBandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """The shared bandwidth of a NIC's IPv6 addresses."""

    band_width_id: Id


class PurchaseNic(msgspec.Struct, frozen=True, kw_only=True):
    """The NIC of a server."""

    subnet_id: Id
    ipv6_enable: bool | None = None
    ipv6_bandwidth: NicBandwidth | None = None


Nics = Annotated[list[PurchaseNic], Meta(min_length=1, max_length=1)]


class PurchaseEip(msgspec.Struct, frozen=True, kw_only=True):
    """An EIP to be assigned."""

    type: EipType


class PurchasePublicIp(msgspec.Struct, frozen=True, kw_only=True):
    """The public addresses: `count` new ones of the type `eip`, or the one of `ids`, or `count` 0 for none."""

    ids: ExistingEip | None = None
    eip: PurchaseEip | None = None
    count: Annotated[int, Meta(ge=0, le=server_checks.PHONES_MAX)] | None = None


class PurchaseBandWidth(msgspec.Struct, frozen=True, kw_only=True):
    """Of the public addresses, in Mbit/s: shared (`band_width_share_type` 1) with an id, or dedicated (0) with an id or a size, and
    with the charge mode."""

    band_width_share_type: Literal[0, 1]
    band_width_id: Id | None = None
    band_width_size: Annotated[int, Meta(ge=1, le=server_checks.BAND_WIDTH_MAX_MBIT)] | None = None
    band_width_charge_mode: Literal[0, 1] | None = None


class ChangeBandWidth(PurchaseBandWidth, frozen=True, kw_only=True):
    """Of the public addresses, in Mbit/s: shared (`band_width_share_type` 1) with an id, or dedicated (0) with an id or a size."""

    band_width_charge_mode: Literal[0, 1]


class PurchaseVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A disk, in GiB."""

    volume_type: VolumeType
    size: Annotated[int, Meta(ge=server_checks.VOLUME_MIN_GIB_CREATE, le=server_checks.VOLUME_MAX_GIB)]


class LargerVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A disk with a larger least size, in GiB."""

    volume_type: VolumeType
    size: Annotated[int, Meta(ge=server_checks.VOLUME_MIN_GIB, le=server_checks.VOLUME_MAX_GIB)]


class CreateNet2CloudPhoneServerBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v2/{project_id}/cloud-phone/servers. `band_width` is mandatory with a new EIP."""

    server_name: Name
    server_model_name: ModelName
    phone_model_name: ModelName
    image_id: ImageId
    count: Annotated[int, Meta(ge=1, le=server_checks.SERVERS_PER_CALL)]
    keypair_name: KeypairName | None = None
    ports: Ports | None = None
    extend_param: PurchaseExtendParam
    tenant_vpc_id: Id
    nics: Nics
    public_ip: PurchasePublicIp | None = None
    phone_count_per_ip: Annotated[int, Meta(ge=1, le=server_checks.PHONES_MAX)] | None = None
    phone_data_volume: PurchaseVolume | None = None
    server_share_data_volume: LargerVolume | None = None
    band_width: PurchaseBandWidth | None = None
    availability_zone: Zone | None = None
    property: Property | None = None


class ChangeCloudPhoneServerBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v2/{project_id}/cloud-phone/servers/{server_id}/change."""

    phone_model_name: ModelName
    image_id: ImageId
    keypair_name: KeypairName | None = None
    availability_zone: Zone | None = None
    ports: Ports | None = None
    extend_param: ChangedExtendParam | None = None
    tenant_vpc_id: Id
    nics: Nics
    public_ip: PurchasePublicIp
    phone_count_per_ip: Annotated[int, Meta(ge=1, le=server_checks.PHONES_MAX)] | None = None
    phone_data_volume: LargerVolume | None = None
    server_share_data_volume: LargerVolume | None = None
    band_width: ChangeBandWidth
    property: Annotated[Property, Meta(min_length=1)] | None = None


class BareNic(msgspec.Struct, frozen=True, kw_only=True):
    """The NIC of a bare server."""

    subnet_id: Id
    ipv6_enable: bool | None = None
    ipv6_band_width_id: Id | None = None


class BarePublicIp(msgspec.Struct, frozen=True, kw_only=True):
    """The public address: the one of `ids`, or with `count` 1 a new one of that `type` and `band_width`, or none."""

    ids: ExistingEip | None = None
    type: EipType | None = None
    count: Annotated[int, Meta(ge=0, le=1)] | None = None
    band_width: PurchaseBandWidth | None = None


class BareVolume(PurchaseVolume, frozen=True, kw_only=True):
    """The data disk of a bare server, in GiB."""

    count: Literal[1] | None = None


class CreateCloudPhoneSingleServerBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v2.1/{project_id}/cloud-phone/servers."""

    server_name: Name
    server_model_name: ModelName
    count: Annotated[int, Meta(ge=1, le=server_checks.SERVERS_PER_CALL)]
    order_param: Billing
    nics: Annotated[list[BareNic], Meta(min_length=1, max_length=1)]
    public_ip: BarePublicIp
    availability_zone: Zone | None = None
    data_volume: BareVolume | None = None
    keypair_name: KeypairName
    enterprise_project_id: EnterpriseProject | None = None
    image_id: Annotated[str, Meta(max_length=bare_servers.BARE_IMAGE_ID_MAX_BYTES)] | None = None


class DeleteCloudPhoneServerBody(msgspec.Struct, frozen=True, kw_only=True):
    """DELETE /v2/{project_id}/cloud-phone/servers."""

    server_ids: Annotated[list[ServerId], Meta(min_length=1, max_length=server_checks.SERVERS_PER_CALL)]


class UpdateServerNameBody(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/servers/{server_id}."""

    server_name: Name


class RestartCloudPhoneServerBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/servers/batch-restart."""

    server_ids: Annotated[list[ItemId], Meta(min_length=1, max_length=action_checks.SERVERS_PER_RESTART)]


class KeypairOfServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server and the key pair it is to have."""

    server_id: ItemId
    keypair_name: KeypairName


class UpdateKeypairBody(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/servers/open-access."""

    servers: Annotated[list[KeypairOfServer], Meta(min_length=1, max_length=action_checks.SERVERS_PER_KEYPAIR_CALL)]


class ModelExtendParam(msgspec.Struct, frozen=True, kw_only=True):
    """How a larger flavor is paid."""

    is_auto_pay: NoOrYes | None = None


class ChangeCloudPhoneServerModelBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/servers/change-server-model."""

    server_id: ServerId
    server_model_name: ModelName
    phone_model_name: ModelName
    extend_param: ModelExtendParam | None = None


class DetachShareFilesystemBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/servers/detach-share-filesystem."""

    type: Literal["sfs_turbo"]
    id: Annotated[str, Meta(pattern=f"^{share_filesystems.ID.pattern}$")]
    server_ids: Annotated[list[ItemId], Meta(min_length=1, max_length=share_filesystems.SERVERS_PER_CALL)]


class AttachShareFilesystemBody(DetachShareFilesystemBody, frozen=True, kw_only=True):
    """POST /v1/{project_id}/servers/attach-share-filesystem."""

    path: Annotated[str, Meta(max_length=share_filesystems.PATH_MAX_BYTES, description="Of a directory, from `/`.")] | None = None


class RestartEncodeServerBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/encode-servers/batch-restart."""

    encode_server_ids: Annotated[list[ItemId], Meta(min_length=1, max_length=encode_servers.ENCODE_SERVERS_PER_CALL)]


class UpdateBandwidthBody(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/bandwidths/{band_width_id}. Mbit/s: above 300 in steps of 50, above 1000 of 500."""

    band_width_size: Annotated[int, Meta(ge=1, le=bandwidths.BAND_WIDTH_MAX_MBIT)]


class AddImageMemberBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/images/{image_id}/members."""

    member: ProjectId


class UpdateImageMemberBody(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/images/{image_id}/members."""

    status: Literal["accepted", "rejected"]


class AuthorizeScheduledEventBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/scheduled-events/{event_id}/authorize. An empty time, or a redeployment: at once."""

    authorization_type: Literal["maintenance", "redeploy"]
    not_before: Time | None = None


class UpdateScheduledEventBody(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/scheduled-events/{event_id}. An empty time: at once."""

    not_before: Time


TagKey = Annotated[str, Meta(min_length=1, max_length=tag_checks.KEY_MAX_CHARACTERS)]
TagValue = Annotated[str, Meta(max_length=tag_checks.VALUE_MAX_CHARACTERS)]


class NewTag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag: letters and digits of any language, spaces and `_ . : = + - @`."""

    key: TagKey
    value: Annotated[TagValue, Meta(min_length=1)]


class OldTag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag to be taken away, whatever its value when none is said."""

    key: TagKey
    value: TagValue | None = None


class BatchCreateTagsBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/{resource_type}/{resource_id}/tags/action. Each key once."""

    action: Literal["create"]
    tags: Annotated[list[NewTag], Meta(min_length=1, max_length=tag_checks.TAGS_PER_RESOURCE)]


class BatchDeleteTagsBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/{resource_type}/{resource_id}/tags/action. Each key once."""

    action: Literal["delete"]
    tags: Annotated[list[OldTag], Meta(min_length=1, max_length=tag_checks.TAGS_PER_RESOURCE)]


class WantedTag(msgspec.Struct, frozen=True, kw_only=True):
    """A key, and the values of which it has one; any when there are none."""

    key: TagKey
    values: Annotated[list[TagValue], Meta(max_length=tag_checks.FILTER_VALUES_MAX)]


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """What a resource is called."""

    key: Literal["resource_name"]
    value: TagValue


class ListResourceInstancesBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/{resource_type}/resource_instances/action. Different keys are ANDed, values of one key ORed."""

    action: Literal["filter", "count"]
    offset: Annotated[str, Meta(pattern="^[0-9]{0,17}$", description="A number; 0 when left out.")] | None = None
    limit: Annotated[str, Meta(pattern="^([1-9][0-9]{0,2}|1000)?$", description="1 to 1000; 1000 when left out.")] | None = None
    without_any_tag: bool | None = None
    tags: Annotated[list[WantedTag], Meta(max_length=tag_checks.FILTER_KEYS_MAX)] | None = None
    matches: Annotated[list[Match], Meta(max_length=1)] | None = None
