"""An operation with the limits of its fields, for `field_limits`, and the fields that many operations have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

from wire.limit_rules import Limit, asked, made, several, text

ID = "1234567b8bab40ffb711234cb80d0234"
ORDINARY_TIME = "2026-01-31T18:00:00Z"
BAD_TIMES = ("2026-02-30T18:00:00Z", "2026-01-31", "2026-01-31T18:00:00", "2026-01-31T24:00:00Z", "x", "٢026-01-31T18:00:00Z")


class Operation(NamedTuple):
    """A check, a value that it accepts, and the limit of each of its fields. `paths` is written `ports[].name`."""

    check: Callable[[Any], Any]
    valid: dict[str, Any]
    limits: Mapping[str, Limit]
    query: bool = False


def ids(count: int) -> str:
    return f"{count:032x}"


def phone_ids(most: int, over: str = "CPS.0190", missing: str | None = "CPS.0009") -> Limit:
    return several(most, over, ids, typed="CPS.0080", empty="CPS.0009", missing=missing)


def server_ids(most: int) -> Limit:
    return several(most, "CPS.0096", ids, typed="CPS.0094", empty="CPS.0095")


def phones(most: int, code: str, over: str, **rest: Any) -> Limit:
    return several(most, over, lambda one: {"phone_id": ids(one), **rest}, typed=code, empty=code)


def page(most: int) -> dict[str, Limit]:
    return {"limit": asked("CPS.0002", 1, most), "offset": asked("CPS.0002", 0)}


def filtered(code: str) -> Limit:
    """A text that is looked for: of at most 256 bytes (ours)."""
    return text(code, 256, empty="", typed=False, optional=True)


def moment(code: str, missing: str = "", typed: bool = True) -> Limit:
    good = st.datetimes().filter(lambda one: one.year >= 1970).map(lambda one: one.strftime("%Y-%m-%dT%H:%M:%SZ"))
    found = made(code, 20, good, lambda size: ORDINARY_TIME + "Z" * (size - 20), BAD_TIMES, missing=missing, typed=typed)
    return found._replace(edges=(*found.edges, ""))
