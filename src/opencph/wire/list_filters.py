"""How lists of the services beside CPH are narrowed: by fields of what is listed, and the values that each may have. Pure.

There is one way for all of them, so that no parameter is read and forgotten: a filter is held against the field that is shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

import msgspec

#: field of an element -> the values that it may have; ids in whatever case
Filters = Mapping[str, Collection[str]]
Item = TypeVar("Item", bound=msgspec.Struct)

ENTERPRISE_PROJECT, EVERY_ENTERPRISE_PROJECT = "enterprise_project_id", "all_granted_eps"


def matching(items: Iterable[Item], filters: Filters) -> list[Item]:
    """The elements that every filter lets through. A list in a field matches when one of its elements does, nothing by nothing."""
    wanted = {field: {_comparable(field, value) for value in values} for field, values in filters.items()}
    if EVERY_ENTERPRISE_PROJECT in wanted.get(ENTERPRISE_PROJECT, ()):
        del wanted[ENTERPRISE_PROJECT]
    return [item for item in items if all(not values.isdisjoint(_shown(item, field)) for field, values in wanted.items())]


def _shown(item: msgspec.Struct, field: str) -> list[str]:
    value = getattr(item, field)
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [_comparable(field, str(one).lower() if isinstance(one, bool) else str(one)) for one in values]


def _comparable(field: str, text: str) -> str:
    return text.lower() if field == "id" or field.endswith("_id") else text
