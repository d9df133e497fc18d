"""Pages of the services beside CPH: `limit` and `marker`, the id of the last element of the page before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from opencph.wire.errors import shown
from opencph.wire.service_errors import Refuse

LIMIT_MAX = 2_000
_INTEGER = re.compile(r"[0-9]{1,9}")


class Page(NamedTuple):
    """What is asked for. Lists are in the order of their ids."""

    limit: int
    marker: str  # "": from the beginning


def page(query: Mapping[str, str], refuse: Refuse, code: str) -> Page:
    """`limit` (0 to 2000; 2000 when left out) and `marker` of a query."""
    text = query.get("limit") or str(LIMIT_MAX)
    if _INTEGER.fullmatch(text) is None or int(text) > LIMIT_MAX:
        raise refuse(400, code, f"limit {shown(text)}: must be 0 to {LIMIT_MAX}")
    return Page(int(text), text_filter(query, "marker", refuse, code) or "")


def text_filter(query: Mapping[str, str], name: str, refuse: Refuse, code: str) -> str | None:
    """A filter of a query; None when left out or empty."""
    text = query.get(name) or None
    if text is not None and "\0" in text:
        raise refuse(400, code, f"{name} must not contain the character U+0000")
    return text
