"""Checks of tags: characters, lengths, numbers (cph-api.md section 4, numbers 52 to 56). Pure.

The table of codes has none for tags: a wrong action answers CPS.0047, a wrong resource type CPS.0116, offset and limit CPS.0002 and
everything else CPS.0118, naming the field.
"""

from __future__ import annotations

import re
import unicodedata

from opencph.wire.checks import NUL_RULE, Fields, json_object, kind
from opencph.wire.errors import CphError, shown
from opencph.wire.tags import BatchTagsRequest, ListResourceInstancesRequest, Tag, TagValues

RESOURCE_TYPE = "cph-server"
KEY_MAX_CHARACTERS = 127
VALUE_MAX_CHARACTERS = 255
TAGS_PER_RESOURCE = 20  # ours: the limit of the real service is not documented
FILTER_KEYS_MAX, FILTER_VALUES_MAX = 10, 10
INSTANCES_MAX = 1000
SYSTEM_PREFIX = "_sys_"
ACTION, BAD_TAG, BAD_PAGE, BAD_TYPE = "CPS.0047", "CPS.0118", "CPS.0002", "CPS.0116"

_MARKS = frozenset(" _.:：=+-@")  # the page prints the full-width colon; everybody types the other one
_MARKS_IN_WORDS = "space and _ . : = + - @"
_NUMBER = re.compile(r"[0-9]{1,18}")


def check_resource_type(resource_type: str) -> None:
    """Only servers have tags. Raises CPS.0116."""
    if resource_type != RESOURCE_TYPE:
        raise CphError(BAD_TYPE, f"resource_type {shown(resource_type)}: must be {RESOURCE_TYPE}")


def batch_tags(body: bytes) -> BatchTagsRequest:
    """Decode and check the body of BatchCreateTags and BatchDeleteTags."""
    fields = Fields(json_object(body))
    action = fields.word("action", ACTION, ("create", "delete"))
    items = fields.nested_list("tags", BAD_TAG, empty=BAD_TAG)
    if len(items) > TAGS_PER_RESOURCE:
        raise CphError(BAD_TAG, f"tags has {len(items)} tags: at most {TAGS_PER_RESOURCE}")
    tags = tuple(Tag(key=_key(item), value=_value(item, mandatory=action == "create")) for item in items)
    _check_unique([tag.key for tag in tags], "tags")
    return BatchTagsRequest(action=action, tags=tags)


def list_resource_instances(body: bytes) -> ListResourceInstancesRequest:
    """Decode and check the body of ListResourceInstances."""
    fields = Fields(json_object(body))
    action = fields.word("action", ACTION, ("filter", "count"))
    paged = action == "filter"
    offset = _number(fields, "offset", 0, 10**17) if paged else None
    limit = _number(fields, "limit", 1, INSTANCES_MAX) if paged else None
    return ListResourceInstancesRequest(
        action=action,
        offset=offset or 0,
        limit=INSTANCES_MAX if limit is None else limit,
        without_any_tag=fields.flag("without_any_tag", BAD_TAG),
        tags=_wanted_tags(fields),
        resource_name=_resource_name(fields),
    )


def _key(item: Fields) -> str:
    key = item.text("key", BAD_TAG, max_characters=KEY_MAX_CHARACTERS)
    if key.startswith(SYSTEM_PREFIX):
        raise CphError(BAD_TAG, f"{item.name('key')} {shown(key)} must not begin with {SYSTEM_PREFIX}")
    _check_characters(key, item.name("key"))
    return key


def _value(item: Fields, *, mandatory: bool) -> str:
    if not mandatory and item.values.get("value") in (None, ""):
        return ""
    value = item.text("value", BAD_TAG, max_characters=VALUE_MAX_CHARACTERS)
    if value != value.strip():
        raise CphError(BAD_TAG, f"{item.name('value')} {shown(value)} must not begin or end with a space")
    _check_characters(value, item.name("value"))
    return value


def _check_characters(text: str, field: str) -> None:
    """Letters and digits of any language (with their marks), space and a few signs."""
    for character in text:
        if character not in _MARKS and unicodedata.category(character)[0] not in "LNM":
            allowed = f"only letters and digits of any language, {_MARKS_IN_WORDS} are allowed"
            raise CphError(BAD_TAG, f"{field} {shown(text)} has {shown(character)}: {allowed}")


def _check_unique(names: list[str], field: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise CphError(BAD_TAG, f"{field} names {shown(name)} twice")


def _number(fields: Fields, field: str, low: int, high: int) -> int | None:
    """A number in a string, as the page has it; a JSON number is accepted too."""
    value = fields.values.get(field)
    if value is None or value == "":
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or _NUMBER.fullmatch(text) is None or not low <= int(text) <= high:
        raise CphError(BAD_PAGE, f"{field} {shown(value)}: must be a number from {low} to {high} in a string")
    return int(text)


def _wanted_tags(fields: Fields) -> tuple[TagValues, ...]:
    items = fields.nested_list("tags", BAD_TAG) if fields.given("tags") else []
    if len(items) > FILTER_KEYS_MAX:
        raise CphError(BAD_TAG, f"tags has {len(items)} keys: at most {FILTER_KEYS_MAX}")
    tags = []
    for item in items:
        key = item.text("key", BAD_TAG, max_characters=KEY_MAX_CHARACTERS)
        values = item.texts("values", BAD_TAG)
        if len(values) > FILTER_VALUES_MAX:
            raise CphError(BAD_TAG, f"{item.name('values')} has {len(values)} values: at most {FILTER_VALUES_MAX}")
        _check_unique(values, item.name("values"))
        for number, value in enumerate(values):
            if len(value) > VALUE_MAX_CHARACTERS:
                raise CphError(BAD_TAG, f"{item.name('values')}[{number}] has more than {VALUE_MAX_CHARACTERS} characters")
            if "\0" in value:
                raise CphError(BAD_TAG, f"{item.name('values')}[{number}] {NUL_RULE}")
        tags.append(TagValues(key=key, values=values))
    _check_unique([tag.key for tag in tags], "tags")
    return tuple(tags)


def _resource_name(fields: Fields) -> str | None:
    name = None
    for item in fields.nested_list("matches", BAD_TAG) if fields.given("matches") else []:
        item.word("key", BAD_TAG, ("resource_name",))
        value = item.values.get("value")
        if not isinstance(value, str):
            raise CphError(BAD_TAG, f"{item.name('value')} must be a string, not {kind(value)}")
        if "\0" in value or len(value) > VALUE_MAX_CHARACTERS:
            raise CphError(
                BAD_TAG, f"{item.name('value')} must have at most {VALUE_MAX_CHARACTERS} characters, none of them U+0000"
            )
        if name is not None:
            raise CphError(BAD_TAG, "matches names resource_name twice")
        name = value
    return name
