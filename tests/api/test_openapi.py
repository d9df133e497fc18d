"""The OpenAPI document is valid and true: schemathesis calls a real api with what it allows, and every answer is as it says."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from api.api_service import get_token, start, stop
from api.body_checks import BODIES, WITH_BODY
from opencph.api.openapi import document, shape
from opencph.api.routes import ROUTES
from opencph.api.routing import Route
from opencph.wire.errors import CphError, IdentityError, ServiceError

if TYPE_CHECKING:
    from api.api_service import Service

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 8
#: Its block, its gateway and the block of the VPC belong together, which no schema says; `samples` has one that fits.
NOT_GUESSED = frozenset(("CreateSubnet",))
#: how many bodies are made up at most until the checks of one operation take one
TRIES = 500


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


GUESSED = [pytest.param(operation, route, id=operation) for operation, route in WITH_BODY if operation not in NOT_GUESSED]


@pytest.mark.parametrize(("operation", "route"), GUESSED)
def test_a_body_as_the_document_says_gets_past_the_checks(
    api: Service, known: dict[str, str], headers: dict[str, str], operation: str, route: Route
) -> None:
    """One is made up that is none of the samples, and sent: what is answered is no fault of its form."""
    check = BODIES[operation].check
    described = schemathesis.openapi.from_dict(document([route]))[route.path][route.method]

    def is_taken(case: Any) -> bool:
        try:
            msgspec.convert(case.body, shape(operation, "Body"))
            check(msgspec.json.encode(case.body))
        except (msgspec.ValidationError, CphError, ServiceError, IdentityError):
            return False
        return True

    looked_for = settings(
        max_examples=TRIES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    case = find(described.as_strategy(), is_taken, settings=looked_for)
    case.path_parameters = {name: known.get(name, value) for name, value in dict(case.path_parameters or {}).items()}
    logging.getLogger("httpx").setLevel(logging.WARNING)
    answer = case.call_and_validate(base_url=api.endpoint, headers=headers if route.auth else {}, checks=CHECKS, timeout=30)
    assert "APIGW.0201" not in answer.text, answer.text
