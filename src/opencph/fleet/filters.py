"""Small helpers of the lists: statements put together once per set of filters, and fuzzy name matching. No rules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, or_


def contains(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """`column` contains the text bound to `name`, whatever the case of its ASCII letters. Bind it with `fuzzy()`."""
    return func.lower(column).like(bindparam(name), escape="\\")


def fuzzy(text: str) -> str:
    """The value to bind for `contains`."""
    escaped = re.sub(r"([\\%_])", r"\\\1", text)
    # Only ASCII: SQLite's lower() knows no other letters.
    return f"%{''.join(letter.lower() if letter.isascii() else letter for letter in escaped)}%"


def given(**values: Any) -> dict[str, Any]:
    """The filters that the caller used."""
    return {name: value for name, value in values.items() if value is not None}


def among(column: ColumnElement[int], numbers: Iterable[int]) -> ColumnElement[bool]:
    """`column` is one of a few numbers that the statement itself carries."""
    return or_(*(column == number for number in numbers))
