"""Checks of the bodies that restart, reset and stop phones. Pure.

What is wrong with one phone of a batch (its id, its properties) is not answered here but per phone by `fleet.phone_power`, with the
others unharmed; what is wrong with the body's form refuses the call.
"""

from __future__ import annotations

from opencph.wire.checks import Fields, json_object
from opencph.wire.errors import CphError
from opencph.wire.phones import ResetCloudPhoneRequest, ResetPhone, RestartCloudPhoneRequest, RestartPhone, StopCloudPhoneRequest
from opencph.wire.server_checks import IMAGE_ID_MAX_BYTES

PHONES_PER_CALL = 10_000  # ours: the limit of the real service is not documented


def restart_cloud_phone(body: bytes) -> RestartCloudPhoneRequest:
    """Decode and check the body of RestartCloudPhone."""
    fields = Fields(json_object(body))
    image_id = _image_id(fields)
    phones = tuple(RestartPhone(phone_id=_phone_id(item), property=_property(item)) for item in _phones(fields))
    return RestartCloudPhoneRequest(image_id=image_id, phones=phones)


def reset_cloud_phone(body: bytes) -> ResetCloudPhoneRequest:
    """Decode and check the body of ResetCloudPhone."""
    fields = Fields(json_object(body))
    image_id = _image_id(fields)
    phones = tuple(
        ResetPhone(
            phone_id=_phone_id(item),
            property=_property(item),
            factory_reset_enabled=item.flag("factory_reset_enabled", "CPS.0077"),
        )
        for item in _phones(fields)
    )
    return ResetCloudPhoneRequest(image_id=image_id, phones=phones)


def stop_cloud_phone(body: bytes) -> StopCloudPhoneRequest:
    """Decode and check the body of StopCloudPhone."""
    phone_ids = Fields(json_object(body)).texts("phone_ids", "CPS.0080", empty="CPS.0009")
    _check_number(len(phone_ids), "phone_ids")
    return StopCloudPhoneRequest(phone_ids=tuple(phone_ids))


def _image_id(fields: Fields) -> str | None:
    return fields.optional_text("image_id", "CPS.0030", max_bytes=IMAGE_ID_MAX_BYTES)


def _phones(fields: Fields) -> list[Fields]:
    phones = fields.nested_list("phones", "CPS.0077", empty="CPS.0077")
    _check_number(len(phones), "phones")
    return phones


def _check_number(number: int, field: str) -> None:
    if number > PHONES_PER_CALL:
        raise CphError("CPS.0190", f"{field} has {number} phones: at most {PHONES_PER_CALL} per call")


def _phone_id(item: Fields) -> str:
    return item.text("phone_id", "CPS.0004")


def _property(item: Fields) -> str:
    return item.optional_text("property", "CPS.0078") or ""
