"""Every body in `/openapi.json` has the fields that the operation's check looks at, and no other."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from api.body_checks import BODIES, WITH_BODY
from api.samples import NOBODYS, body_of
from opencph.api.openapi import document, shape
from opencph.api.routing import Route


class Looked(dict[str, Any]):
    """An object of a body that notes in `seen` which fields somebody asked for, as paths such as `vpc.name`."""

    def __init__(self, values: dict[str, Any], path: str, seen: set[str]) -> None:
        super().__init__((name, wrapped(value, f"{path}.{name}", seen)) for name, value in values.items())
        self.path, self.seen = path, seen

    def get(self, key: str, default: Any = None) -> Any:
        self.seen.add(f"{self.path}.{key}")
        return super().get(key, default)


def wrapped(value: Any, path: str, seen: set[str]) -> Any:
    if isinstance(value, dict):
        return Looked(value, path, seen)
    return [wrapped(one, path, seen) for one in value] if isinstance(value, list) else value


def told_fields(schema: dict[str, Any], components: dict[str, Any], path: str = "") -> set[str]:
    """Every field that a schema knows, as such paths."""
    if "$ref" in schema:
        return told_fields(components[schema["$ref"].rpartition("/")[2]], components, path)
    found = {f"{path}.{name}" for name in schema.get("properties", {})}
    for name, inner in schema.get("properties", {}).items():
        found |= told_fields(inner, components, f"{path}.{name}")
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        found |= told_fields(inner, components, path)
    return found


def merged(one: Any, other: Any) -> Any:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return {**one, **{name: merged(one.get(name), value) for name, value in other.items()}}


@pytest.mark.parametrize(("operation", "route"), WITH_BODY, ids=[operation for operation, _ in WITH_BODY])
def test_the_document_tells_every_field_of_a_body_that_is_looked_at_and_no_other(
    monkeypatch: pytest.MonkeyPatch, operation: str, route: Route
) -> None:
    check, more, hidden = BODIES[operation]
    module = sys.modules[check.__module__]
    sample, seen = body_of(operation, NOBODYS), set[str]()
    for changes in ({}, *more):
        body = merged(sample, changes)
        msgspec.convert(body, shape(operation, "Body"))
        monkeypatch.setattr(module, "json_object", lambda _, body=body: wrapped(body, "", seen))
        check(b"")
    made = document([route])
    schema = made["paths"][route.path][route.method.lower()]["requestBody"]["content"]["application/json"]["schema"]
    told = [told_fields(one, made["components"]["schemas"]) for one in schema.get("anyOf", [schema])]
    assert seen - hidden in told
    assert len(told) == len(route.operations)
