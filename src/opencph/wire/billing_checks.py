"""Checks of the bodies and queries of the billing service. Pure. Codes `CBC.*`: docs/compatibility.md says which are documented."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from opencph.wire.billing import UnsubscribeRequest
from opencph.wire.checks import NUL_RULE, Fields, json_object
from opencph.wire.errors import CphError, shown
from opencph.wire.service_errors import plain_error, refuses_as

BAD_PARAMETER = "CBC.0100"
RESOURCES_PER_CALL = 10
RESOURCE_ID_MAX_CHARACTERS = 64
#: 1: the resource and its renewals. 2 and 3 are about renewals and periods to come, which there are none of here.
UNSUBSCRIBE_NOW = 1
REASON_TYPES = (1, 2, 3, 4, 5)
REASON_MAX_CHARACTERS = 640
LIMIT_DEFAULT, LIMIT_MAX = 10, 100

_INTEGER = re.compile(r"[0-9]{1,9}")


class Window(NamedTuple):
    """A page by number."""

    offset: int
    limit: int


@refuses_as(plain_error, BAD_PARAMETER)
def cancel_resources_subscription(body: bytes) -> UnsubscribeRequest:
    """Decode and check the body of CancelResourcesSubscription."""
    fields = Fields(json_object(body))
    resource_ids = fields.texts("resource_ids", BAD_PARAMETER, empty=BAD_PARAMETER)
    if len(resource_ids) > RESOURCES_PER_CALL:
        raise CphError(BAD_PARAMETER, f"resource_ids has {len(resource_ids)} ids: at most {RESOURCES_PER_CALL}")
    for number, resource_id in enumerate(resource_ids):
        if not 0 < len(resource_id) <= RESOURCE_ID_MAX_CHARACTERS or "\0" in resource_id:
            limit = f"must have 1 to {RESOURCE_ID_MAX_CHARACTERS} characters, none of them U+0000"
            raise CphError(BAD_PARAMETER, f"resource_ids[{number}] {shown(resource_id)} {limit}")
    fields.choice("unsubscribe_type", BAD_PARAMETER, (UNSUBSCRIBE_NOW,))
    if fields.given("unsubscribe_reason_type"):
        fields.choice("unsubscribe_reason_type", BAD_PARAMETER, REASON_TYPES)
    fields.optional_text("unsubscribe_reason", BAD_PARAMETER, max_characters=REASON_MAX_CHARACTERS)
    return UnsubscribeRequest(tuple(dict.fromkeys(resource_id.lower() for resource_id in resource_ids)))


@refuses_as(plain_error, BAD_PARAMETER)
def window(query: Mapping[str, str]) -> Window:
    """`offset` (from 0) and `limit` (1 to 100, 10 when left out) of a query."""
    found = {}
    for name, low, high, default in (("offset", 0, 999_999_999, 0), ("limit", 1, LIMIT_MAX, LIMIT_DEFAULT)):
        text = query.get(name) or str(default)
        if _INTEGER.fullmatch(text) is None or not low <= int(text) <= high:
            raise CphError(BAD_PARAMETER, f"{name} {shown(text)}: must be {low} to {high}")
        found[name] = int(text)
    return Window(found["offset"], found["limit"])


@refuses_as(plain_error, BAD_PARAMETER)
def no_partner(query: Mapping[str, str]) -> None:
    """There are no partners here whose customers' orders could be asked for."""
    partner = query.get("indirect_partner_id")
    if partner:
        raise CphError(BAD_PARAMETER, f"indirect_partner_id {shown(partner)}: there is no such partner")


@refuses_as(plain_error, BAD_PARAMETER)
def order_id(text: str) -> str:
    """The id of an order in a path."""
    if "\0" in text:
        raise CphError(BAD_PARAMETER, f"order_id {NUL_RULE}")
    return text
