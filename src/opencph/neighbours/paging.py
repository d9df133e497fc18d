"""Pages of the services beside CPH: `limit` and `marker`, the id of the last element of the page before, and filters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from opencph.wire.errors import shown
from opencph.wire.list_filters import Filters, Item, matching
from opencph.wire.service_errors import Refuse

LIMIT_MAX = 2_000
_ALL_ROWS = 2**31 - 1
_INTEGER = re.compile(r"[0-9]{1,9}")
NO_FILTERS: Filters = {}


class Page(NamedTuple):
    """What is asked for. Lists are in the order of their ids."""

    limit: int
    marker: str  # "": from the beginning
    filters: Filters = NO_FILTERS

    @property
    def rows(self) -> int:
        """How many rows must be read to fill the page: what filters leave of them is seen only then."""
        return _ALL_ROWS if self.filters else self.limit

    def of(self, items: Iterable[Item]) -> list[Item]:
        """The page, out of all elements behind the marker or of its first `rows`."""
        return matching(items, self.filters)[: self.limit]


def page(query: Mapping[str, str], refuse: Refuse, code: str, filters: Filters = NO_FILTERS, *, by_name: bool = False) -> Page:
    """`limit` (0 to 2000; 2000 when left out), `marker` (an id in whatever case, or a name) and filters of a query."""
    text = query.get("limit") or str(LIMIT_MAX)
    if _INTEGER.fullmatch(text) is None or int(text) > LIMIT_MAX:
        raise refuse(400, code, f"limit {shown(text)}: must be 0 to {LIMIT_MAX}")
    for name in filters:
        text_filter(query, name, refuse, code)
    marker = text_filter(query, "marker", refuse, code) or ""
    return Page(int(text), marker if by_name else marker.lower(), filters)


def text_filter(query: Mapping[str, str], name: str, refuse: Refuse, code: str) -> str | None:
    """A filter of a query; None when left out or empty."""
    text = query.get(name) or None
    if text is not None and "\0" in text:
        raise refuse(400, code, f"{name} must not contain the character U+0000")
    return text
