"""`GET /openapi.json`: what the API is, as OpenAPI 3.1, made of the route table and the wire structs. Nothing is written twice.

The structs of an operation have its name in `opencph.wire`, or in SHAPES where several share one: what is sent is `<Operation>Body`
and `<Operation>Parameters`, what is answered `<Operation>Response`. `<Operation>Query`, which is what is left of a query once it is
checked, stands for the parameters where it has their form; a `...Request`, which is what is left of a body, never stands for one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec

import opencph
from opencph import wire
from opencph.api.call import Call, Result
from opencph.api.routing import Route
from opencph.wire.errors import ErrorBody, IdentityErrorBody

#: operation -> whose shape it has, where the name does not say so
SHAPES: Mapping[str, str] = {
    **dict.fromkeys(("PushFile", "InstallApk", "UninstallApk", "RunShellCommand"), "Command"),
    "KeystoneCreateUserTokenByPassword": "Token",
    "KeystoneValidateToken": "Token",
    "KeystoneListProjects": "ListProjects",
    "KeystoneListAuthProjects": "ListProjects",
    "KeystoneListAuthDomains": "ListAuthDomains",
    "KeystoneListUsers": "ListUsers",
    **dict.fromkeys(("CreateVpc", "ShowVpc", "UpdateVpc"), "Vpc"),
    **dict.fromkeys(("CreateSubnet", "ShowSubnet"), "Subnet"),
    "UpdateSubnetWithoutVpc": "UpdateSubnet",
    "ShowPort": "Port",
    **dict.fromkeys(("ShowVpcTags", "ShowSubnetTags"), "Tags"),
    **dict.fromkeys(("CreateSecurityGroup", "ShowSecurityGroup"), "SecurityGroup"),
    **dict.fromkeys(("ShowPublicip", "UpdatePublicip"), "Publicip"),
    **dict.fromkeys(("CreateSharedBandwidth", "ShowBandwidth", "UpdatePublicipBandwidth"), "Bandwidth"),
    "ListKeypairDetail": "ShowKeypair",
    "NovaCreateKeypair": "CreateKeypair",
    **dict.fromkeys(("BatchCreateVpcTags", "BatchCreateSubnetTags"), "TagsAction"),
    "CancelResourcesSubscription": "Unsubscribe",
}
#: operations that answer without a body, or with one of no fixed shape
NO_BODY = frozenset(
    (
        *("BatchCreateTags", "BatchDeleteTags", "ShowOpenApi", "ShowMetrics"),
        *(
            "DeleteVpc",
            "DeleteSubnet",
            "DeleteSubnetWithoutVpc",
            "BatchCreateVpcTags",
            "BatchCreateSubnetTags",
            "DeleteSecurityGroup",
        ),
        *("DeletePublicip", "DeleteSharedBandwidth", "UpdateKeypairDescription", "DeleteKeypair", "NovaDeleteKeypair"),
    )
)

#: what the name of a struct ends with that the document is made of
SUFFIXES = ("Body", "Parameters", "Query", "Response")
_REFERENCE = "#/components/schemas/{name}"
_SECURITY = {
    "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "A token of POST /v3/auth/tokens."},
    "scraper": {"type": "http", "scheme": "bearer", "description": "The scrape token of DATA/metrics-token."},
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "SDK-HMAC-SHA256 Access=..., SignedHeaders=..., Signature=...; with X-Sdk-Date.",
    },
}


def show_open_api(call: Call) -> Result:
    """GET /openapi.json. Without credentials."""
    return _encoded()


@cache
def _encoded() -> bytes:
    from opencph.api.routes import ROUTES  # which names the handler above

    return msgspec.json.encode(document(ROUTES))


@cache
def wire_types() -> Mapping[str, Any]:
    """Every name of `opencph.wire` that says what an operation takes or gives. Raises ValueError when one means two things."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(wire.__path__):
        for name, value in vars(importlib.import_module(f"{wire.__name__}.{module.name}")).items():
            if not name.endswith(SUFFIXES) or not _is_struct(value):
                continue
            other = found.setdefault(name, value)
            if other is not value:
                raise ValueError(f"{name} is both {other.__module__}.{other.__name__} and {value.__module__}.{value.__name__}")
    return found


def _is_struct(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, msgspec.Struct)


def shape(operation: str, suffix: str) -> Any | None:
    """The struct of what an operation takes (`Body`, `Parameters`) or gives (`Response`), or of its checked `Query`."""
    types = wire_types()
    other = SHAPES.get(operation + suffix, SHAPES.get(operation, "") + suffix)
    return types.get(operation + suffix) or types.get(other)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI document of a route table."""
    routes = list(routes)
    wanted: dict[str, Any] = {}
    for route in routes:
        for operation in route.operations:
            for suffix in ("Body", "Parameters", "Response"):
                found = shape(operation, suffix) or (shape(operation, "Query") if suffix == "Parameters" else None)
                if found is not None:
                    wanted[operation + suffix] = found
    errors = _error_types()
    order = list(dict.fromkeys([*wanted.values(), *errors]))
    schemas, components = msgspec.json.schema_components(order, ref_template=_REFERENCE)
    schema_of = dict(zip(order, schemas, strict=True))
    known = {name: schema_of[found] for name, found in wanted.items()}
    refusals = {
        "cph": schema_of[ErrorBody],
        "iam": schema_of[IdentityErrorBody],
        "any": {"anyOf": [schema_of[found] for found in errors]},
    }
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known, components, refusals)
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenCPH",
            "version": opencph.__version__,
            "summary": "The Huawei Cloud CPH API, and the services that its clients call beside it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SECURITY},
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))
    return plain


def _error_types() -> list[Any]:
    """Every shape in which one of the services refuses."""
    from opencph.wire import service_errors

    of_services = [found for found in vars(service_errors).values() if _is_struct(found)]
    return [ErrorBody, IdentityErrorBody, *(found for found in of_services if found.__name__ != "NovaFault")]


def _operation(
    route: Route, known: Mapping[str, Any], components: Mapping[str, Any], refusals: Mapping[str, Any]
) -> dict[str, Any]:
    error = refusals["iam" if route.identity else "cph" if "/cloud-phone" in route.path else "any"]
    refused = {"description": "Refused: the error code says why.", "content": _json(error)}
    parameters: list[dict[str, Any]] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for part in route.path.split("/")
        if part.startswith("{")
    ]
    for operation in route.operations:
        query = known.get(f"{operation}Parameters")
        if query is not None:
            parameters += _query_parameters(_resolved(query, components))
    if route.operation == "KeystoneValidateToken":
        parameters.append({"name": "X-Subject-Token", "in": "header", "required": True, "schema": {"type": "string"}})
    made: dict[str, Any] = {
        "operationId": route.operation,
        "summary": (route.handler.__doc__ or "").strip().split("\n")[0],
        "tags": [route.action.partition(":")[0] or ("iam" if route.identity else "opencph")],
        "parameters": parameters,
        "responses": {"2XX": _success(route, known), "4XX": refused, "5XX": refused},
        "security": [{"token": []}, {"signature": []}] if route.auth else [],
    }
    if route.operation == "ShowReadiness":
        made["responses"]["503"] = made["responses"]["2XX"] | {"description": "Not ready: what is missing."}
    if route.scraped:
        made["security"].append({"scraper": []})
        made["responses"]["2XX"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    if route.action:
        made["x-action"] = route.action
    if len(route.operations) > 1:
        made["x-operations"] = list(route.operations)
    body = _one_of(route, "Body", known)
    if body is not None:
        made["requestBody"] = {"required": True, "content": _json(body)}
    return made


def _success(route: Route, known: Mapping[str, Any]) -> dict[str, Any]:
    answer = _one_of(route, "Response", known)
    return {"description": "Done."} | ({} if answer is None else {"content": _json(answer)})


def _one_of(route: Route, suffix: str, known: Mapping[str, Any]) -> Any | None:
    """The schema of what the operations of a route take or give: each once."""
    found: list[Any] = []
    for operation in route.operations:
        schema = known.get(operation + suffix)
        if schema is not None and schema not in found:
            found.append(schema)
    if not found:
        return None
    return found[0] if len(found) == 1 else {"anyOf": found}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _resolved(schema: Any, components: Mapping[str, Any]) -> Any:
    return components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _query_parameters(schema: Any) -> list[dict[str, Any]]:
    """The fields of a query's struct. What is a list comes several times."""
    found = []
    for name, field in schema.get("properties", {}).items():
        options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
        kept = dict(options[0]) if len(options) == 1 else {"anyOf": options}
        found.append({"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": kept})
    return found
