"""How clients open a phone's screen, on the wire: BatchShowPhoneConnectInfos (cph-api.md section 4, number 17), with its checks."""

from __future__ import annotations

import msgspec

from opencph.wire.checks import Fields, json_object
from opencph.wire.errors import CphError

PHONES_PER_CALL = 10
CLIENT_TYPES = ("ANDROID", "WINDOWS", "H5_MOBILE", "H5_PC", "IOS")


class BatchShowPhoneConnectInfosRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-connection."""

    phone_ids: tuple[str, ...]  # 1 to 10
    client_type: str


class ConnectAccessInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where and with what a client comes in."""

    access_ip: str  # public, "" without
    intranet_ip: str
    access_ipv6: str | None = None
    access_port: int
    session_id: str
    timestamp: str  # milliseconds since the epoch
    ticket: str


class ConnectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The access of one phone."""

    phone_id: str
    access_info: ConnectAccessInfo


class ConnectError(msgspec.Struct, frozen=True, kw_only=True):
    """A phone that has none, and why."""

    phone_id: str
    error_code: str
    error_msg: str


class BatchShowPhoneConnectInfosResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Every phone of the request is in one of the two."""

    request_id: str
    connect_infos: list[ConnectInfo]
    errors: list[ConnectError]


def batch_show_phone_connect_infos(body: bytes) -> BatchShowPhoneConnectInfosRequest:
    """Decode and check the body of BatchShowPhoneConnectInfos."""
    fields = Fields(json_object(body))
    phone_ids = fields.item_ids("phone_ids", "CPS.0080", empty="CPS.0009")
    if len(phone_ids) > PHONES_PER_CALL:
        raise CphError("CPS.0190", f"phone_ids has {len(phone_ids)} phones: at most {PHONES_PER_CALL} per call")
    client_type = fields.word("client_type", "CPS.0116", CLIENT_TYPES)
    return BatchShowPhoneConnectInfosRequest(phone_ids=phone_ids, client_type=client_type)
