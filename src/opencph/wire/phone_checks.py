"""Checks of the bodies that work on phones: restart, reset, stop, rename, set properties and traffic route. Pure.

What is wrong with one phone of a batch (its id, its properties) is not answered here but per phone by `fleet.phone_batches`, with
the others unharmed; what is wrong with the body's form refuses the call.
"""

from __future__ import annotations

from opencph.wire.checks import Fields, json_object, kind
from opencph.wire.errors import CphError
from opencph.wire.phones import (
    ImportTrafficRequest,
    ResetCloudPhoneRequest,
    ResetPhone,
    RestartCloudPhoneRequest,
    RestartPhone,
    StopCloudPhoneRequest,
    UpdateCloudPhonePropertyRequest,
    UpdatePhoneNameRequest,
    UpdateProperty,
)
from opencph.wire.server_checks import IMAGE_ID_MAX_BYTES, NAME, NAME_MAX_CHARACTERS, NAME_RULE

PHONES_PER_CALL = 10_000  # ours: the limit of the real service is not documented
PHONES_PER_TRAFFIC_CALL = 100
TRAFFIC_TYPES = ("direct", "routing")


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
    phone_ids = Fields(json_object(body)).item_ids("phone_ids", "CPS.0080", empty="CPS.0009")
    _check_number(len(phone_ids), "phone_ids")
    return StopCloudPhoneRequest(phone_ids=phone_ids)


def update_phone_name(body: bytes) -> UpdatePhoneNameRequest:
    """Decode and check the body of UpdatePhoneName."""
    fields = Fields(json_object(body))
    name = fields.text("phone_name", "CPS.0025", max_characters=NAME_MAX_CHARACTERS, pattern=NAME, rule=NAME_RULE)
    return UpdatePhoneNameRequest(phone_name=name)


def update_cloud_phone_property(body: bytes) -> UpdateCloudPhonePropertyRequest:
    """Decode and check the body of UpdateCloudPhoneProperty."""
    phones = []
    for item in _phones(Fields(json_object(body))):
        if not item.given("property"):
            raise CphError("CPS.0078", f"{item.name('property')} is mandatory")
        phones.append(UpdateProperty(phone_id=_phone_id(item), property=_property(item), custom_property=_custom_property(item)))
    return UpdateCloudPhonePropertyRequest(phones=tuple(phones))


def import_traffic(body: bytes) -> ImportTrafficRequest:
    """Decode and check the body of ImportTraffic."""
    fields = Fields(json_object(body))
    traffic_type = fields.word("traffic_type", "CPS.0116", TRAFFIC_TYPES)
    phone_ids = fields.item_ids("phone_ids", "CPS.0080", empty="CPS.0009")
    if len(phone_ids) > PHONES_PER_TRAFFIC_CALL:
        raise CphError("CPS.0190", f"phone_ids has {len(phone_ids)} phones: at most {PHONES_PER_TRAFFIC_CALL} per call")
    return ImportTrafficRequest(traffic_type=traffic_type, phone_ids=phone_ids)


def _custom_property(item: Fields) -> dict[str, str]:
    given = item.optional_nested("custom_property", "CPS.0078")
    if given is None:
        return {}
    for key, value in given.values.items():
        if not isinstance(value, str):
            raise CphError("CPS.0078", f"{given.name(key)} must be a string, not {kind(value)}")
    return {key: str(value) for key, value in given.values.items()}


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
    return item.item_id("phone_id", "CPS.0004")


def _property(item: Fields) -> str:
    return item.optional_text("property", "CPS.0078") or ""
