"""Every limit of a text, at the limit and one beyond, with characters of one to four bytes; and that no value breaks a check."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencph import wire
from opencph.wire import query_checks
from opencph.wire.checks import HEX_ID, UUID, Fields, check_id
from opencph.wire.errors import MESSAGES, CphError, IdentityError, ServiceError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
#: one character of each length in UTF-8
WIDE = st.sampled_from("aé手𝄞")
NO_NUL = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


def outcome(check: Callable[[], Any]) -> str:
    """The code with which it is refused, or "" when it passes."""
    try:
        check()
    except CphError as error:
        assert error.code in MESSAGES
        return error.code
    except (ServiceError, IdentityError) as error:
        assert 400 <= error.status < 500 and error.message
        return "refused"
    return ""


@given(st.text(NO_NUL, min_size=1, max_size=40), st.integers(1, 60))
def test_a_limit_in_bytes_counts_bytes(text: str, most: int) -> None:
    found = outcome(lambda: Fields({"f": text}).text("f", "CPS.0087", max_bytes=most))
    assert found == ("CPS.0087" if len(text.encode()) > most else "")


@given(st.text(NO_NUL, min_size=1, max_size=40), st.integers(1, 60))
def test_a_limit_in_characters_counts_characters(text: str, most: int) -> None:
    found = outcome(lambda: Fields({"f": text}).text("f", "CPS.0087", max_characters=most))
    assert found == ("CPS.0087" if len(text) > most else "")


@given(WIDE, st.integers(1, 30))
def test_at_the_limit_passes_and_one_beyond_does_not(character: str, count: int) -> None:
    size = len(character.encode())
    text = character * count
    assert outcome(lambda: Fields({"f": text}).text("f", "CPS.0087", max_bytes=size * count)) == ""
    assert outcome(lambda: Fields({"f": text + "a"}).text("f", "CPS.0087", max_bytes=size * count)) == "CPS.0087"
    assert outcome(lambda: Fields({"f": text}).text("f", "CPS.0087", max_characters=count)) == ""
    assert outcome(lambda: Fields({"f": text + "a"}).text("f", "CPS.0087", max_characters=count)) == "CPS.0087"


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_nul_is_nowhere_accepted(before: str, after: str) -> None:
    assert outcome(lambda: Fields({"f": f"{before}\0{after}"}).text("f", "CPS.0087")) == "CPS.0087"


@given(st.integers(), st.integers(-100, 100), st.integers(0, 100))
def test_a_range_holds_at_both_ends(value: int, low: int, width: int) -> None:
    high = low + width
    found = outcome(lambda: Fields({"f": value}).integer("f", "CPS.0024", low, high))
    assert found == ("" if low <= value <= high else "CPS.0024")
    for edge, expected in ((low, ""), (high, ""), (low - 1, "CPS.0024"), (high + 1, "CPS.0024")):
        assert outcome(lambda edge=edge: Fields({"f": edge}).integer("f", "CPS.0024", low, high)) == expected  # type: ignore[misc]


@given(ANYTHING)
def test_a_value_of_another_type_has_the_fields_code(value: object) -> None:
    fields = Fields({"f": value})
    if value is not None and not isinstance(value, str):
        assert outcome(lambda: fields.text("f", "CPS.0087")) == "CPS.0087"
    if isinstance(value, bool) or not isinstance(value, int):
        assert outcome(lambda: fields.integer("f", "CPS.0024", -(2**70), 2**70)) == "CPS.0024"
    if value is not None and not isinstance(value, bool):
        assert outcome(lambda: fields.flag("f", "CPS.0226")) == "CPS.0226"
    if not isinstance(value, dict):
        assert outcome(lambda: fields.nested("f", "CPS.0238")) == "CPS.0238"
    if not isinstance(value, list):
        assert outcome(lambda: fields.array("f", "CPS.0094")) == "CPS.0094"


@given(st.text(max_size=40))
def test_only_what_looks_like_an_id_is_one(text: str) -> None:
    accepted = outcome(lambda: check_id(text, "CPS.0016", "server_id")) == ""
    assert accepted == (len(text) == 32 and all(character in "0123456789abcdefABCDEF" for character in text))


@given(st.from_regex(HEX_ID, fullmatch=True), st.from_regex(UUID, fullmatch=True))
def test_an_id_comes_back_in_lower_case(hexadecimal: str, uuid: str) -> None:
    assert check_id(hexadecimal, "CPS.0016", "server_id") == hexadecimal.lower()
    assert Fields({"f": uuid}).uuid("f", "CPS.0224") == uuid.lower()


MODULES = [
    importlib.import_module(f"opencph.wire.{found.name}") for found in pkgutil.iter_modules(wire.__path__) if "checks" in found.name
]
BODY_CHECKS = [
    function
    for module in MODULES
    for name, function in vars(module).items()
    if callable(function) and getattr(function, "__module__", "") == module.__name__ and re.fullmatch(r"[a-z]\w+", name)
    if list(getattr(function, "__annotations__", ())) == ["body", "return"]
]
QUERY_CHECKS = [
    function
    for name, function in vars(query_checks).items()
    if name.startswith("list_") and getattr(function, "__module__", "") == query_checks.__name__
]


def test_the_checks_were_found() -> None:
    assert len(BODY_CHECKS) >= 12 and len(QUERY_CHECKS) >= 6


@pytest.mark.parametrize("check", BODY_CHECKS, ids=lambda check: check.__name__)
def test_any_bytes_pass_a_check_or_are_refused_with_a_known_code(check: Callable[[bytes], Any]) -> None:
    code = getattr(check, "__wrapped__", check).__code__
    fields = re.findall(r"[a-z_]{4,}", " ".join(map(repr, code.co_consts))) or ["f"]

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=60) | st.dictionaries(st.sampled_from(fields), ANYTHING, max_size=6).map(msgspec.json.encode))
    def holds(body: bytes) -> None:
        outcome(lambda: check(body))

    holds()


@pytest.mark.parametrize("check", QUERY_CHECKS, ids=lambda check: check.__name__)
def test_any_query_passes_a_check_or_is_refused_with_a_known_code(check: Callable[[dict[str, str]], Any]) -> None:
    kind = get_type_hints(check)["return"]
    names = ["limit", "offset", "marker", "status", "type", "server_id", "server_name", "phone_name", "image_type", "request_ids"]
    names += kind.__struct_fields__

    @settings(max_examples=80, deadline=None)
    @given(st.dictionaries(st.sampled_from(names), st.text(max_size=300) | st.integers().map(str), max_size=4))
    def holds(query: dict[str, str]) -> None:
        outcome(lambda: check(query))

    holds()
