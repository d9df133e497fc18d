"""`/openapi.json` and the vendor's SDK, unmodified, say the same of every CPH operation: each field of what is sent and answered,
its place and its type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import huaweicloudsdkcph.v1 as sdk
import pytest

from opencph.api.openapi import document
from opencph.api.routes import ROUTES
from opencph.api.routing import Route
from opencph.iam.actions import CPH_ACTIONS

OPERATIONS = [(operation, route) for route in ROUTES for operation in route.operations if operation in CPH_ACTIONS]
TYPES = {"str": "string", "int": "integer", "bool": "boolean"}

#: Where a field is -> its type: `servers[].server_id`, `tags{}` for the values of a mapping.
Told = frozenset[tuple[str, str]]

#: What is answered beyond the SDK, and why.
_FAILED = frozenset({("jobs[].error_code", "string"), ("jobs[].error_msg", "string")})  # one of a batch may fail alone (section 6)
_OF_A_SERVER = frozenset({("jobs[].server_id", "string")})  # of a server without phones; the Terraform provider reads it
BEYOND: Mapping[str, Told] = {
    "AttachShareFilesystem": _FAILED,
    "DetachShareFilesystem": _FAILED,
    **dict.fromkeys(("PushFile", "InstallApk", "UninstallApk", "RunShellCommand", "RunSyncCommand"), _OF_A_SERVER),
    "ListImageMembers": frozenset({("request_id", "string")}),  # as in every other answer
}


def sdk_fields(kind: str, path: str = "") -> Told:
    """What a type of the SDK, as its `openapi_types` write it, holds."""
    inner = re.fullmatch(r"(?:list\[|dict\(str, ?)(.+)[])]", kind)
    if inner:
        return sdk_fields(inner[1], path + ("[]" if kind.startswith("list") else "{}"))
    if kind in TYPES:
        return frozenset({(path, TYPES[kind])})
    model, found = getattr(sdk, kind), Told()
    for attribute, inside in model.openapi_types.items():
        found |= sdk_fields(inside, f"{path}.{model.attribute_map[attribute]}".lstrip("."))
    return found


def sdk_request(operation: str, route: Route) -> tuple[set[str], Told, Told | None]:
    """The names in the path, the query and the body of the SDK's request."""
    request = getattr(sdk, f"{operation}Request")
    in_path, query, body = set[str](), Told(), None
    for attribute, kind in request.openapi_types.items():
        name = request.attribute_map[attribute]
        if name == "body":
            body = sdk_fields(kind)
        elif f"{{{name}}}" in route.path:
            in_path.add(name)
        else:
            query |= sdk_fields(kind, name)
    return in_path, query, body


def told_fields(schema: Mapping[str, Any], components: Mapping[str, Any], path: str = "") -> Told:
    """The same of a schema of the document."""
    if "$ref" in schema:
        return told_fields(components[schema["$ref"].rpartition("/")[2]], components, path)
    kind, found = schema.get("type"), Told()
    if "anyOf" in schema:
        for option in schema["anyOf"]:
            found |= told_fields(option, components, path) if option.get("type") != "null" else Told()
    elif "enum" in schema:
        found = frozenset((path, TYPES[type(value).__name__]) for value in schema["enum"] if value is not None)
    elif kind == "array":
        found = told_fields(schema["items"], components, f"{path}[]")
    elif kind == "object" and "properties" in schema:
        for name, inner in schema["properties"].items():
            found |= told_fields(inner, components, f"{path}.{name}".lstrip("."))
    elif kind == "object":
        found = told_fields(schema["additionalProperties"], components, path + "{}")
    else:
        found = frozenset({(path, str(kind))})
    return found


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return document(ROUTES)


def described(made: Mapping[str, Any], route: Route) -> Any:
    return made["paths"][route.path][route.method.lower()]


def alternatives(made: Mapping[str, Any], holder: Mapping[str, Any] | None) -> list[Told]:
    """What a request's or an answer's content may be; several where operations share a route. Empty without content."""
    if holder is None or "content" not in holder:
        return []
    schema = holder["content"]["application/json"]["schema"]
    return [told_fields(one, made["components"]["schemas"]) for one in schema.get("anyOf", [schema])]


every = pytest.mark.parametrize(("operation", "route"), OPERATIONS, ids=[operation for operation, _ in OPERATIONS])


def test_all_operations_of_the_sdk_are_compared() -> None:
    sent = {name.removesuffix("Request") for name in dir(sdk) if re.fullmatch(r"[A-Z]\w+Request", name)}
    operations = {name for name in sent if hasattr(sdk, f"{name}Response")}
    assert {operation for operation, _ in OPERATIONS} == operations
    assert len(operations) == 59


@every
def test_path_and_query_are_those_of_the_sdk(made: dict[str, Any], operation: str, route: Route) -> None:
    in_path, query, _ = sdk_request(operation, route)
    parameters = described(made, route)["parameters"]
    assert {one["name"] for one in parameters if one["in"] == "path"} - {"project_id"} == in_path
    told = Told()
    for one in parameters:
        if one["in"] == "query":
            told |= told_fields(one["schema"], made["components"]["schemas"], one["name"])
    assert told == query


@every
def test_the_body_is_that_of_the_sdk(made: dict[str, Any], operation: str, route: Route) -> None:
    body = sdk_request(operation, route)[2]
    told = alternatives(made, described(made, route).get("requestBody"))
    bodies = [sdk_request(one, route)[2] for one in route.operations]
    assert set(told) == {one for one in bodies if one is not None}
    assert (body in told) == (body is not None)


@every
def test_the_answer_is_that_of_the_sdk(made: dict[str, Any], operation: str, route: Route) -> None:
    answer = sdk_fields(f"{operation}Response") | BEYOND.get(operation, Told())
    told = alternatives(made, described(made, route)["responses"]["2XX"])
    assert told == ([answer] if answer else [])
