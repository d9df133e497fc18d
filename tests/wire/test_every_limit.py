"""Both sides of every limit of every field, through the checks; a field that `field_limits` lacks fails by its name."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencph import wire
from opencph.wire import checks
from opencph.wire.errors import CphError, IdentityError
from opencph.wire.properties import RULES, check_properties
from wire.field_limits import OPERATIONS
from wire.limit_rules import ANY, Limit, Refused
from wire.operation_limits import Operation
from wire.property_limits import PROPERTY_DEPRECATED, PROPERTY_NUMBERS, PROPERTY_TEXTS, PROPERTY_URLS

FIELDS = [(name, path) for name, operation in OPERATIONS.items() for path in operation.limits]
#: modules whose request structs are held elsewhere, with the reason
OTHERS = {
    "vpc": "not in cph-api.md; tests/wire/test_neighbour_checks.py",
    "eip": "not in cph-api.md; tests/wire/test_neighbour_checks.py",
    "billing": "not in cph-api.md; tests/wire/test_neighbour_checks.py",
    "keypairs": "not in cph-api.md; tests/wire/test_neighbour_checks.py",
    "service_errors": "answers",
}
#: fields of structs that have another name on the wire -> that name
ON_THE_WIRE = {
    "nic": "nics",
    "object": "object_path",
    "states": "state",
    "types": "type",
    "resource_name": "matches",
    "domain_id": "auth.identity.password.user.domain.id",
    "domain_name": "auth.identity.password.user.domain.name",
    "user_id": "auth.identity.password.user.id",
    "user_name": "auth.identity.password.user.name",
}
WHOLE = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def answer(operation: Operation, body: Any) -> str:
    """The code of what is refused, "" of what passes."""
    try:
        operation.check(body if operation.query else msgspec.json.encode(body))
    except CphError as error:
        return error.code
    except IdentityError as error:
        assert error.status == 400
        return "refused"
    return ""


def with_value(operation: Operation, path: str, value: Any, *, leave_out: bool = False) -> Any:
    """The valid body with another value at this path, or without one."""
    body = msgspec.json.decode(msgspec.json.encode(operation.valid))
    inner: Any = body
    *above, last = path.split(".") if not operation.query else [path]
    for step in above:
        inner = inner[step.removesuffix("[]")]
        inner = inner[0] if step.endswith("[]") else inner
    if leave_out:
        inner.pop(last, None)
    else:
        inner[last] = value
    return body


def limit_of(case: tuple[str, str]) -> tuple[Operation, str, Limit]:
    operation = OPERATIONS[case[0]]
    return operation, case[1], operation.limits[case[1]]


def named(case: object) -> str:
    return " ".join(case) if isinstance(case, tuple) else str(case)


@pytest.mark.parametrize("case", FIELDS, ids=named)
def test_what_is_within_the_limit_passes(case: tuple[str, str]) -> None:
    operation, path, limit = limit_of(case)
    assert answer(operation, operation.valid) == ""
    for value in limit.edges:
        assert answer(operation, with_value(operation, path, value)) == "", repr(value)[:200]
    if limit.good.is_empty:
        return

    @WHOLE
    @given(limit.good)
    def holds(value: Any) -> None:
        assert answer(operation, with_value(operation, path, value)) == "", repr(value)[:200]

    holds()


@pytest.mark.parametrize("case", FIELDS, ids=named)
def test_what_is_beyond_the_limit_has_the_fields_code(case: tuple[str, str]) -> None:
    operation, path, limit = limit_of(case)
    assert answer(operation, with_value(operation, path, None, leave_out=True)) == limit.missing, "left out"

    for refused in limit.refused:
        hold(operation, path, refused)


def hold(operation: Operation, path: str, refused: Refused) -> None:
    """Every value of these is refused with their code."""

    @WHOLE
    @given(refused.values)
    def holds(value: Any) -> None:
        found = answer(operation, with_value(operation, path, value))
        # An empty text in a query may count as left out.
        assert found == refused.code or (operation.query and value == found == ""), repr(value)[:200]

    holds()


# --- nothing is missing ----------------------------------------


class Looked(dict[str, Any]):
    """An object that writes down which of its fields somebody looked for."""

    def __init__(self, values: Any, path: str, seen: set[str]) -> None:
        super().__init__(values)
        self.path, self.seen = path, seen

    def get(self, field: str, default: Any = None) -> Any:
        self.seen.add(f"{self.path}.{field}" if self.path else field)
        return super().get(field, default)


def looked_at(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    seen: set[str] = set()
    if operation.query:
        operation.check(Looked(operation.valid, "", seen))
        return seen
    made = checks.Fields.__init__

    def watched(self: checks.Fields, values: Any, path: str = "") -> None:
        made(self, Looked(values, path, seen), path)

    monkeypatch.setattr(checks.Fields, "__init__", watched)
    operation.check(msgspec.json.encode(operation.valid))
    return {re.sub(r"\[\d+\]", "[]", path) for path in seen}


def test_every_field_that_a_check_looks_at_has_a_limit_here(monkeypatch: pytest.MonkeyPatch) -> None:
    by_check: dict[Any, set[str]] = {}
    for operation in OPERATIONS.values():
        by_check.setdefault(operation.check, set()).update(operation.limits)
    missing = {
        f"{name}: {path}"
        for name, operation in OPERATIONS.items()
        for path in looked_at(operation, monkeypatch)
        if path not in by_check[operation.check]
    }
    assert not missing, "fields without a line in tests/wire/field_limits.py"


def requests() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Every struct of a request or a query of CPH and of identity."""
    for found in pkgutil.iter_modules(wire.__path__):
        module = importlib.import_module(f"opencph.wire.{found.name}")
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", "") == module.__name__ and found.name not in OTHERS
            if ours and name.endswith(("Request", "Query")) and isinstance(value, type) and issubclass(value, msgspec.Struct):
                yield value.__name__, value


def test_every_field_of_a_request_has_a_limit_here() -> None:
    known: dict[str, set[str]] = {}
    for name, operation in OPERATIONS.items():
        paths = known.setdefault(name.split(" ")[0], set())
        paths.update(operation.limits)
        paths.update(path.rpartition(".")[2] for path in operation.limits)
    known["Command"] = known["RunShellCommand"]
    found = dict(requests())
    assert len(found) > 40
    missing = []
    for name, struct in found.items():
        operation_name = re.sub(r"(Request|Query)$", "", name)
        limits = known.get(operation_name, set())
        missing += [f"{operation_name}.{one}" for one in struct.__struct_fields__ if not limits & {one, ON_THE_WIRE.get(one, one)}]
    assert not missing, f"fields without a line in tests/wire/field_limits.py: {missing}"


# --- properties ----------------------------------------


def of_property(key: str, value: object) -> str:
    try:
        check_properties(json.dumps({key: value}))
    except CphError as error:
        return error.code
    return ""


def test_every_property_has_a_limit_here() -> None:
    assert set(RULES) == {*PROPERTY_TEXTS, *PROPERTY_NUMBERS, *PROPERTY_URLS, *PROPERTY_DEPRECATED}


@pytest.mark.parametrize("key", PROPERTY_TEXTS)
def test_a_text_property_has_its_length_and_characters(key: str) -> None:
    least, most, only = PROPERTY_TEXTS[key]
    for size in (least, most):
        assert of_property(key, only[0] * size) == of_property(key, only[-1] * size) == ""
    assert of_property(key, only[0] * (most + 1)) == "CPS.0164"
    assert of_property(key, "") == ("CPS.0164" if least else "")
    for value in (True, None, [only[0]], {"a": only[0]}, 1.5):
        assert of_property(key, value) == "CPS.0164"

    @WHOLE
    @given(st.text(st.sampled_from(only), max_size=most - 1, min_size=least), ANY)
    def holds(text: str, character: str) -> None:
        assert of_property(key, text) == ""
        assert of_property(key, text + character) == ("" if character in only else "CPS.0164")

    holds()


@pytest.mark.parametrize("key", PROPERTY_NUMBERS)
def test_a_number_property_has_its_range_as_number_and_as_text(key: str) -> None:
    low, high = PROPERTY_NUMBERS[key]
    beyond = low - 2 if key == "com.cph.bandwidth_limit" else low - 1

    @WHOLE
    @given(st.integers(low, high), st.integers(max_value=min(beyond, -2)) | st.integers(min_value=high + 1))
    def holds(within: int, outside: int) -> None:
        for value in (low, high, within):
            assert of_property(key, value) == of_property(key, str(value)) == ""
        for value in (low - 1, high + 1, outside):
            assert of_property(key, value) == of_property(key, str(value)) == "CPS.0164"

    holds()
    for text in ("", " 1", "1 ", "+1", "1.0", "x", "٣", "0x1"):
        assert of_property(key, text) == "CPS.0164"


def test_minus_one_is_no_bandwidth_limit() -> None:
    assert of_property("com.cph.bandwidth_limit", "-1") == of_property("com.cph.bandwidth_limit", -1) == ""


@pytest.mark.parametrize("key", PROPERTY_URLS)
def test_a_url_property_has_its_length_and_characters(key: str) -> None:
    for scheme in ("http://", "https://"):
        assert of_property(key, scheme + "a" * (256 - len(scheme))) == ""
        assert of_property(key, scheme + "a" * (257 - len(scheme))) == "CPS.0164"
        assert of_property(key, scheme) == "CPS.0164"
    for text in ("ftp://a", "a", "", "HTTP://a", "http://a b", "http://a?b", "http://手", "http://a\n"):
        assert of_property(key, text) == "CPS.0164"


@pytest.mark.parametrize("key", PROPERTY_DEPRECATED)
def test_a_deprecated_property_has_androids_own_limit(key: str) -> None:
    assert of_property(key, "a" * 91) == of_property(key, "") == ""
    assert of_property(key, "a" * 92) == of_property(key, "é") == of_property(key, "a\n") == "CPS.0164"
