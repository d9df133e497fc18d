"""Server and phone flavors on the wire (cph-api.md section 4, numbers 11 and 18)."""

from __future__ import annotations

import msgspec


class PageInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the next page begins; empty on the last page."""

    next_marker: str | None = None


class ListCloudPhoneServerModelsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/server-models."""

    product_type: int | None = None  # 0 cloud phone, 1 cloud mobile game
    marker: str | None = None
    limit: int = 100


class OsVolume(msgspec.Struct, frozen=True, kw_only=True):
    """The OS disk of a server flavor; absent for local-disk servers. Size in GB."""

    size: int
    volume_type: str


class ServerExtendSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The hardware of a server flavor in words."""

    cpu: str | None = None
    memory: str | None = None
    disk: str | None = None
    network_interface: str | None = None
    gpu: str | None = None
    bms_flavor: str | None = None
    gpu_count: int | None = None
    numa_count: int | None = None
    os_volume: OsVolume | None = None


class ServerModel(msgspec.Struct, frozen=True, kw_only=True):
    """A server flavor. Memory and free_size in GB."""

    server_model_name: str
    server_type: str
    cpu: int
    memory: int
    extend_spec: ServerExtendSpec
    disk_max_num: int  # 0: local disks
    product_type: int
    free_size: int


class ListCloudPhoneServerModelsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of server flavors."""

    request_id: str
    server_models: list[ServerModel]
    page_info: PageInfo


class ListCloudPhoneModelsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/phone-models."""

    status: int | None = None  # 0 offline, 1 normal
    offset: int = 0
    limit: int = 100


class PhoneModel(msgspec.Struct, frozen=True, kw_only=True):
    """A phone flavor. Memory in MB, disk in GiB."""

    server_model_name: str
    phone_model_name: str
    status: int
    cpu: int
    memory: int
    disk: int
    resolution: str  # WIDTHxHEIGHT
    extend_spec: str  # JSON text
    spec_code: str
    phone_capacity: int
    image_label: str
    product_type: int
    phone_model_version: int  # 0 = 1.0, 1 = 2.0
    dpi: int
    fps: str
    volume_mode: int
    render_fps: int
    stream_fps: int


class ListCloudPhoneModelsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of phone flavors."""

    request_id: str
    phone_models: list[PhoneModel]


class ListCloudPhoneServerModelOfferingsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/server-model-offerings."""

    marker: str | None = None
    limit: int = 100


class ServerModelOffering(msgspec.Struct, frozen=True, kw_only=True):
    """A server flavor in an availability zone."""

    available_zone: str
    model_name: str
    sell_status: str  # available | sellout


class ListCloudPhoneServerModelOfferingsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of offerings; `count` is the total."""

    request_id: str
    count: int
    models: list[ServerModelOffering]
    page_info: PageInfo
