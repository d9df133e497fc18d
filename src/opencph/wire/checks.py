"""The tools that every check of a body is made of: one field, its rule, its own error code. Pure; no rule that needs the database.

The checks themselves are in `server_checks`, `phone_checks`, `query_checks` and `properties`. Fields are looked at in the order
of the page; the first fault is answered. Unknown fields are ignored, of duplicate keys the last counts, null is "left out".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from opencph.wire.errors import CphError, shown

HEX_ID = re.compile(r"[0-9a-fA-F]{32}")
UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
UUID_RULE = "must be a UUID such as fca063f6-b942-42a8-9004-e5545f58d6a2"
NUL_RULE = "must not contain the character U+0000"  # which databases cannot keep
HEX_ID_RULE = "must be 32 hexadecimal characters"


def json_object(body: bytes) -> dict[str, object]:
    """The JSON object of a request body. APIGW.0201 (400) when it is none: CPH documents no code of its own for that."""
    if not body:
        raise CphError("APIGW.0201", "the request body is empty; send a JSON object")
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise CphError("APIGW.0201", f"the request body is not JSON: {error}") from error
    except (RecursionError, UnicodeDecodeError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "not UTF-8"
        raise CphError("APIGW.0201", f"the request body is not JSON that can be read: {reason}") from error
    if not isinstance(value, dict):
        raise CphError("APIGW.0201", f"the request body must be a JSON object, not {kind(value)}")
    return value


def kind(value: object) -> str:
    """What JSON calls the type of a decoded value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


class Fields:
    """The fields of one JSON object, read with their rules. `path` is how messages call the object, such as `ports[1]`."""

    __slots__ = ("path", "values")

    def __init__(self, values: Mapping[str, object], path: str = "") -> None:
        self.values = values
        self.path = path

    def name(self, field: str) -> str:
        """The field's full name in messages."""
        return f"{self.path}.{field}" if self.path else field

    def given(self, field: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(field) is not None

    def _required(self, field: str, code: str) -> object:
        value = self.values.get(field)
        if value is None:
            raise CphError(code, f"{self.name(field)} is mandatory")
        return value

    def text(
        self,
        field: str,
        code: str,
        *,
        empty: str | None = None,
        max_bytes: int | None = None,
        max_characters: int | None = None,
        pattern: re.Pattern[str] | None = None,
        rule: str = "",
    ) -> str:
        """A mandatory string. `empty` is the code of a missing or empty one, `rule` says in words what `pattern` accepts."""
        value = self._required(field, empty or code)
        if not isinstance(value, str):
            raise CphError(code, f"{self.name(field)} must be a string, not {kind(value)}")
        if not value:
            raise CphError(empty or code, f"{self.name(field)} must not be empty")
        if "\0" in value:
            raise CphError(code, f"{self.name(field)} {shown(value)} {NUL_RULE}")
        if max_bytes is not None and len(value.encode()) > max_bytes:
            raise CphError(code, f"{self.name(field)} {shown(value)} has {len(value.encode())} bytes: at most {max_bytes} bytes")
        if max_characters is not None and len(value) > max_characters:
            raise CphError(code, f"{self.name(field)} {shown(value)} has {len(value)} characters: at most {max_characters}")
        if pattern is not None and pattern.fullmatch(value) is None:
            raise CphError(code, f"{self.name(field)} {shown(value)}: {rule}")
        return value

    def optional_text(
        self,
        field: str,
        code: str,
        *,
        empty: str | None = None,
        max_bytes: int | None = None,
        max_characters: int | None = None,
        pattern: re.Pattern[str] | None = None,
        rule: str = "",
    ) -> str | None:
        """A string that may be left out. An empty one counts as left out, unless `empty` names the code that refuses it."""
        value = self.values.get(field)
        if value is None or (value == "" and empty is None):
            return None
        return self.text(field, code, empty=empty, max_bytes=max_bytes, max_characters=max_characters, pattern=pattern, rule=rule)

    def uuid(self, field: str, code: str, *, empty: str | None = None) -> str:
        """A mandatory UUID, in lower case."""
        return self.text(field, code, empty=empty, pattern=UUID, rule=UUID_RULE).lower()

    def integer(self, field: str, code: str, low: int, high: int, *, empty: str | None = None, limit: str | None = None) -> int:
        """A mandatory whole number from `low` to `high`. `limit` says in words what is the most, where `high` is not the rule."""
        value = self._required(field, empty or code)
        if isinstance(value, bool) or not isinstance(value, int):
            raise CphError(code, f"{self.name(field)} must be an integer, not {kind(value)}")
        if not low <= value <= high:
            raise CphError(code, f"{self.name(field)} {value}: must be {low} to {limit or high}")
        return value

    def optional_integer(self, field: str, code: str, low: int, high: int, *, limit: str | None = None) -> int | None:
        """A whole number that may be left out."""
        return self.integer(field, code, low, high, limit=limit) if self.given(field) else None

    def choice(self, field: str, code: str, choices: Collection[int]) -> int:
        """A mandatory number out of a few."""
        value = self.integer(field, code, -(2**63), 2**63)
        if value not in choices:
            raise CphError(code, f"{self.name(field)} {value}: must be {' or '.join(map(str, choices))}")
        return value

    def word(self, field: str, code: str, choices: Collection[str]) -> str:
        """A mandatory string out of a few."""
        value = self.text(field, code)
        if value not in choices:
            raise CphError(code, f"{self.name(field)} {shown(value)}: must be one of {', '.join(choices)}")
        return value

    def flag(self, field: str, code: str) -> bool:
        """A boolean; false when left out."""
        value = self.values.get(field)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise CphError(code, f"{self.name(field)} must be true or false, not {kind(value)}")
        return value

    def nested(self, field: str, code: str) -> Fields:
        """A mandatory object."""
        value = self._required(field, code)
        if not isinstance(value, dict):
            raise CphError(code, f"{self.name(field)} must be an object, not {kind(value)}")
        return Fields(value, self.name(field))

    def optional_nested(self, field: str, code: str) -> Fields | None:
        """An object that may be left out."""
        return self.nested(field, code) if self.given(field) else None

    def array(self, field: str, code: str, *, empty: str | None = None) -> list[object]:
        """A mandatory array. `empty` is the code of a missing or empty one; without it an empty array is fine."""
        value = self._required(field, empty or code)
        if not isinstance(value, list):
            raise CphError(code, f"{self.name(field)} must be an array, not {kind(value)}")
        if not value and empty is not None:
            raise CphError(empty, f"{self.name(field)} must not be empty")
        return value

    def nested_list(self, field: str, code: str, *, empty: str | None = None) -> list[Fields]:
        """A mandatory array of objects."""
        items = []
        for number, item in enumerate(self.array(field, code, empty=empty)):
            if not isinstance(item, dict):
                raise CphError(code, f"{self.name(field)}[{number}] must be an object, not {kind(item)}")
            items.append(Fields(item, f"{self.name(field)}[{number}]"))
        return items

    def texts(self, field: str, code: str, *, empty: str | None = None) -> list[str]:
        """A mandatory array of strings."""
        items = []
        for number, item in enumerate(self.array(field, code, empty=empty)):
            if not isinstance(item, str):
                raise CphError(code, f"{self.name(field)}[{number}] must be a string, not {kind(item)}")
            items.append(item)
        return items

    def item_id(self, field: str, code: str) -> str:
        """The mandatory id of one element of a batch, as `item_id_of`."""
        value = self._required(field, code)
        if not isinstance(value, str):
            raise CphError(code, f"{self.name(field)} must be a string, not {kind(value)}")
        return item_id_of(value)

    def item_ids(self, field: str, code: str, *, empty: str | None = None) -> tuple[str, ...]:
        """A mandatory array of ids, each as `item_id_of`."""
        return tuple(item_id_of(value) for value in self.texts(field, code, empty=empty))


def item_id_of(value: str) -> str:
    """An id whose own item of the answer says what is wrong with it, should it be none. In lower case when it is one."""
    return value.lower() if HEX_ID.fullmatch(value) else value


def check_id(value: str, code: str, field: str) -> str:
    """An id in a path or query: 32 hexadecimal characters, returned in lower case.

    `code` is the table's "invalid" for that parameter, or its "not found" where the table knows nothing else (jobs, events).
    """
    return _formed(value, code, field, HEX_ID, HEX_ID_RULE)


def check_uuid(value: str, code: str, field: str) -> str:
    """The same of an id that is a UUID."""
    return _formed(value, code, field, UUID, UUID_RULE)


def _formed(value: str, code: str, field: str, pattern: re.Pattern[str], rule: str) -> str:
    if pattern.fullmatch(value) is None:
        raise CphError(code, f"{field} {shown(value)} {rule}")
    return value.lower()
