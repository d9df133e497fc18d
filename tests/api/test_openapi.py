"""The OpenAPI document is valid and true: schemathesis calls a real api with what it allows, and every answer is as it says."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from api.api_service import get_token, start, stop
from api.edge_client import UNKNOWN, UNKNOWN_UUID
from api.samples import NOBODYS, SAMPLES
from opencph.api.openapi import document, shape
from opencph.api.routes import ROUTES
from opencph.api.routing import Route
from opencph.iam.actions import CPH_ACTIONS
from opencph.wire import billing_checks, eip_checks, identity_checks, keypair_checks, vpc_checks

if TYPE_CHECKING:
    from api.api_service import Service

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 8


@pytest.fixture(scope="module")
def api() -> Iterator[Service]:
    """A real api process on SQLite, with a server in it."""
    data = Path(tempfile.mkdtemp(prefix="ocph-"))
    running = start(data, f"sqlite:///{data / 'opencph.db'}", "127.74.0.0/16")
    assert running.json("POST", f"{running.v2}/servers", running.purchase()).status_code == 200
    yield running
    code = stop(running)
    log = (data / "log").read_text()
    shutil.rmtree(data)
    assert code == 0, log
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def known(api: Service) -> dict[str, str]:
    """Values of path parameters that exist."""
    server = api.json("GET", f"{api.v1}/servers").json()["servers"][0]
    phone = api.json("GET", f"{api.v1}/phones", query="limit=1").json()["phones"][0]
    return {
        "project_id": api.project_id,
        "server_id": server["server_id"],
        "phone_id": phone["phone_id"],
        "vpc_id": api.credentials["vpc_id"],
        "subnet_id": api.credentials["subnet_id"],
        "keypair_name": api.credentials["keypair_name"],
        "order_id": server["metadata"]["order_id"],
        "resource_type": "cph-server",
        "resource_id": server["server_id"],
    }


@pytest.fixture(scope="module")
def headers(api: Service) -> dict[str, str]:
    token = get_token(api, {"project": {"name": api.credentials["region"]}})
    return {"X-Auth-Token": token, "X-Subject-Token": token}


def test_the_document_is_valid_and_says_every_route_and_no_other() -> None:
    made = document(ROUTES)
    assert [str(error) for error in OpenAPIV31SpecValidator(made).iter_errors()] == []
    told = {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    assert told == {(route.method, route.path) for route in ROUTES}
    operations = [operation["operationId"] for methods in made["paths"].values() for operation in methods.values()]
    assert len(operations) == len(set(operations)) == len(ROUTES)


def test_the_document_needs_no_credentials_and_describes_the_seed_operations(api: Service) -> None:
    answer = httpx.get(f"{api.endpoint}/openapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    told = answer.json()
    assert told["openapi"].startswith("3.1")
    change = told["paths"]["/v2/{project_id}/cloud-phone/servers/{server_id}/change"]["post"]
    assert change["x-action"] == "cph:servers:change" and change["security"]
    reference = change["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    body = told["components"]["schemas"][reference]
    assert set(body["required"]) == {"phone_model_name", "image_id", "tenant_vpc_id", "nics", "public_ip", "band_width"}
    phone = told["paths"]["/v1/{project_id}/cloud-phone/phones/{phone_id}"]["get"]
    assert [parameter["name"] for parameter in phone["parameters"]] == ["project_id", "phone_id"]


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


#: a body with all that makes a check look further -> the check
BODIES: dict[str, tuple[Callable[[bytes], object], list[dict[str, Any]]]] = {
    "CreateVpc": (vpc_checks.create_vpc, []),
    "UpdateVpc": (vpc_checks.update_vpc, []),
    "CreateSubnet": (vpc_checks.create_subnet, [{"subnet": {"extra_dhcp_opts": [{"opt_name": "ntp", "opt_value": "1"}]}}]),
    "UpdateSubnet": (vpc_checks.update_subnet, [{"subnet": {"extra_dhcp_opts": [{"opt_name": "ntp", "opt_value": "1"}]}}]),
    "UpdateSubnetWithoutVpc": (vpc_checks.update_subnet, [{"subnet": {"extra_dhcp_opts": [{"opt_name": "ntp"}]}}]),
    "BatchCreateVpcTags": (vpc_checks.tags_action, []),
    "BatchCreateSubnetTags": (vpc_checks.tags_action, []),
    "CreateSecurityGroup": (vpc_checks.create_security_group, []),
    "CreatePublicip": (eip_checks.create_publicip, [{"bandwidth": {"share_type": "WHOLE", "id": UNKNOWN_UUID}}]),
    "UpdatePublicip": (eip_checks.update_publicip, []),
    "CreateSharedBandwidth": (eip_checks.create_shared_bandwidth, []),
    "UpdatePublicipBandwidth": (eip_checks.update_bandwidth, []),
    "CreateKeypair": (keypair_checks.create_keypair, []),
    "NovaCreateKeypair": (keypair_checks.nova_create_keypair, []),
    "UpdateKeypairDescription": (keypair_checks.update_keypair_description, []),
    "CancelResourcesSubscription": (billing_checks.cancel_resources_subscription, []),
    "KeystoneCreateUserTokenByPassword": (
        identity_checks.create_token,
        [
            {"auth": {"identity": {"password": {"user": {"domain": {"name": "d"}}}}, "scope": {"project": {"name": "p"}}}},
            {"auth": {"scope": {"domain": {"name": "d"}}}},
        ],
    ),
}
#: asked for only to be refused
REFUSED_FIELDS = {".keypair.key_protection"}
BESIDE = [route for route in ROUTES if route.operation not in CPH_ACTIONS and SAMPLES[route.operation].body]


def merged(one: Any, other: Any) -> Any:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return {**one, **{name: merged(one.get(name), value) for name, value in other.items()}}


@pytest.mark.parametrize("route", BESIDE, ids=lambda route: route.operation)
def test_beside_cph_the_document_tells_every_field_that_is_looked_at_and_no_other(
    monkeypatch: pytest.MonkeyPatch, route: Route
) -> None:
    check, more = BODIES[route.operation]
    module = sys.modules[check.__module__]
    body_of = SAMPLES[route.operation].body
    assert body_of is not None
    sample, seen = body_of({**NOBODYS, "server_id": UNKNOWN}), set[str]()
    for changes in ({}, *more):
        body = merged(sample, changes)
        msgspec.convert(body, shape(route.operation, "Body"))
        monkeypatch.setattr(module, "json_object", lambda _, body=body: wrapped(body, "", seen))
        check(b"")
    made = document([route])
    schema = made["paths"][route.path][route.method.lower()]["requestBody"]["content"]["application/json"]["schema"]
    assert told_fields(schema, made["components"]["schemas"]) == seen - REFUSED_FIELDS


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_every_answer_is_as_the_document_says(api: Service, known: dict[str, str], headers: dict[str, str], route: Route) -> None:
    schema = schemathesis.openapi.from_dict(document([route]))
    operation = schema[route.path][route.method]
    # not ready is what it says here, where nothing but an api runs
    checks = [check for check in CHECKS if route.operation != "ShowReadiness" or check is not not_a_server_error]
    logging.getLogger("httpx").setLevel(logging.WARNING)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(), st.booleans())
    def conforms(case: Any, real: bool) -> None:
        case.path_parameters = dict(case.path_parameters or {})
        for name in case.path_parameters:
            if name == "project_id" or (real and name in known):
                case.path_parameters[name] = known[name]
        sent = {name: value for name, value in headers.items() if route.auth}
        if route.operation == "KeystoneValidateToken":
            case.headers = {}
        case.call_and_validate(base_url=api.endpoint, headers=sent, checks=checks, timeout=30)

    conforms()
