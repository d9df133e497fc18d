"""Phones on the wire: list, show, restart, reset, stop (cph-api.md section 4, seed page). Checks live in `checks`."""

from __future__ import annotations

import msgspec


class ListCloudPhonesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/{project_id}/cloud-phone/phones."""

    offset: int = 0
    limit: int = 100
    phone_name: str | None = None  # part of the name
    server_id: str | None = None
    status: int | None = None
    type: int | None = None


class PhoneMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The order of a phone's server."""

    order_id: str
    product_id: str


class PhoneItem(msgspec.Struct, frozen=True, kw_only=True):
    """A phone in a list."""

    phone_name: str
    server_id: str
    phone_id: str
    phone_model_name: str
    image_id: str
    image_version: str
    vnc_enable: str  # "true" | "false"
    status: int
    type: int
    imei: str
    traffic_type: str
    volume_mode: int
    availability_zone: str
    metadata: PhoneMetadata
    has_encrypt: bool
    create_time: str
    update_time: str


class ListCloudPhonesResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of phones, newest first; `count` is the total."""

    request_id: str
    count: int
    phones: list[PhoneItem]


class PhoneAccessInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a port of a phone is reached. The expired fields carry the same values as the new ones (cph-api.md section 11)."""

    type: str  # the port's name
    device_ip: str  # expired: phone_ip
    phone_ip: str
    listen_port: int
    access_ip: str  # expired: public_ip
    public_ip: str  # "" when the port is not mapped to the public network
    intranet_ip: str  # expired: server_ip
    server_ip: str
    access_port: int
    phone_ipv6: str | None = None
    server_ipv6: str | None = None


class PhoneDataVolume(msgspec.Struct, frozen=True, kw_only=True):
    """The data disk of a phone. Size in GiB."""

    volume_type: str
    volume_size: int


class ShowCloudPhoneDetailResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """GET /v1/{project_id}/cloud-phone/phones/{phone_id} (seed page)."""

    request_id: str
    phone_name: str
    server_id: str
    phone_id: str
    image_id: str
    image_version: str
    vnc_enable: str
    phone_model_name: str
    status: int
    access_infos: list[PhoneAccessInfo]
    property: str
    custom_property: dict[str, str] | None = None
    metadata: PhoneMetadata
    phone_data_volume: PhoneDataVolume | None = None
    imei: str
    type: int
    traffic_type: str
    volume_mode: int
    availability_zone: str
    has_encrypt: bool
    create_time: str
    update_time: str


class RestartPhone(msgspec.Struct, frozen=True, kw_only=True):
    """A phone to restart. `phone_id` and `property` are checked per phone: a fault of one leaves the others alone."""

    phone_id: str
    property: str = ""


class ResetPhone(msgspec.Struct, frozen=True, kw_only=True):
    """A phone to reset. With `factory_reset_enabled` its property history is erased too."""

    phone_id: str
    property: str = ""
    factory_reset_enabled: bool = False


class RestartCloudPhoneRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-restart."""

    phones: tuple[RestartPhone, ...]  # at least one
    image_id: str | None = None


class ResetCloudPhoneRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-reset."""

    phones: tuple[ResetPhone, ...]  # at least one
    image_id: str | None = None


class StopCloudPhoneRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-stop."""

    phone_ids: tuple[str, ...]  # at least one


class PhoneJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one phone of a batch: a job, or an error and no job (cph-api.md section 6)."""

    phone_id: str
    job_id: str | None = None
    error_code: str | None = None
    error_msg: str | None = None


class PhoneJobsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One entry per phone of the request, in its order."""

    request_id: str
    jobs: list[PhoneJob]


class UpdatePhoneNameRequest(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/phones/{phone_id}."""

    phone_name: str


class UpdatePhoneNameResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The phone has its new name."""

    request_id: str


class UpdateProperty(msgspec.Struct, frozen=True, kw_only=True):
    """New properties of one phone. Values are checked per phone: a fault of one leaves the others alone."""

    phone_id: str
    property: str  # JSON object text, "" for none
    custom_property: dict[str, str] = {}


class UpdateCloudPhonePropertyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-update-property."""

    phones: tuple[UpdateProperty, ...]  # at least one


class ImportTrafficRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones-traffic."""

    traffic_type: str  # direct | routing
    phone_ids: tuple[str, ...]  # 1 to 100


RestartCloudPhoneResponse = PhoneJobsResponse
ResetCloudPhoneResponse = PhoneJobsResponse
StopCloudPhoneResponse = PhoneJobsResponse
UpdateCloudPhonePropertyResponse = PhoneJobsResponse
ImportTrafficResponse = PhoneJobsResponse
