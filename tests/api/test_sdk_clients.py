"""Every operation through the vendor's own clients, sync and async, unmodified: it arrives, and the SDK understands the answer.

Whether an operation does what it should is tested with its resource; here every one is called, also one that comes tomorrow.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import huaweicloudsdkcph.v1 as cph
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

from api.api_service import start, stop
from api.edge_client import UNKNOWN
from api.samples import NOBODYS, SAMPLES, SHARED
from api.vendor_clients import client_of
from opencph.api.routes import ROUTES
from opencph.api.routing import Route
from opencph.iam.actions import CPH_ACTIONS
from opencph.wire.errors import MESSAGES

if TYPE_CHECKING:
    from api.api_service import Service


SERVED = [(operation, route) for route in ROUTES for operation in route.operations if operation in CPH_ACTIONS]


@pytest.fixture(scope="module")
def api() -> Iterator[Service]:
    data = Path(tempfile.mkdtemp(prefix="ocph-"))
    running = start(data, f"sqlite:///{data / 'opencph.db'}", "127.75.0.0/16")
    yield running
    code = stop(running)
    log = (data / "log").read_text()
    shutil.rmtree(data)
    assert (code, "Traceback" in log) == (0, False), log


@pytest.fixture(scope="module")
def ids(api: Service) -> dict[str, str]:
    bought = api.json("POST", f"{api.v2}/servers", api.purchase())
    phones = api.json("GET", f"{api.v1}/phones", query="limit=1").json()["phones"]
    return {
        **NOBODYS,
        "project_id": api.project_id,
        "server_id": bought.json()["server_ids"][0],
        "phone_id": phones[0]["phone_id"],
        "request_id": bought.headers["X-Request-Id"],
        "vpc_id": api.credentials["vpc_id"],
        "subnet_id": api.credentials["subnet_id"],
        "keypair_name": api.credentials["keypair_name"],
        "member_id": UNKNOWN,
    }


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def request_of(operation: str, route: Route, ids: dict[str, str]) -> Any:
    """The SDK's own request of an operation, with the sample's values."""
    kind = getattr(cph, f"{operation}Request")
    sample = SAMPLES[route.operation]
    body = SHARED.get(operation, sample.body)
    values: dict[str, Any] = {}
    if sample.query:
        values |= dict(parse_qsl(sample.query(ids)))
    own = {**ids, "resource_type": "cph-server", "resource_id": ids["server_id"], "band_width_id": ids["bandwidth_id"]}
    values |= {name: own[name] for name in kind.openapi_types if name in own and f"{{{name}}}" in route.path}
    if body is not None:
        values["body"] = body(ids)
    return kind(**values)


@pytest.mark.parametrize(("operation", "route"), SERVED, ids=[operation for operation, _ in SERVED])
@pytest.mark.parametrize("kind", [cph.CphClient, cph.CphAsyncClient], ids=["sync", "async"])
def test_an_operation_arrives_and_the_sdk_understands_its_answer(
    api: Service, ids: dict[str, str], operation: str, route: Route, kind: Any
) -> None:
    client = client_of(api, kind)
    asked = request_of(operation, route, {**ids, "new_name": f"made-{kind.__name__}"})
    try:
        if kind is cph.CphAsyncClient:
            answer = getattr(client, f"{snake(operation)}_async")(asked).result()
        else:
            answer = getattr(client, snake(operation))(asked)
    except ClientRequestException as refused:
        assert refused.error_code in MESSAGES, refused
        assert refused.error_code not in ("APIGW.0101", "APIGW.0201", "APIGW.0301", "APIGW.0302"), refused
        assert refused.request_id and refused.error_msg
        return
    assert answer.status_code in (200, 204)
    told = answer.raw_content
    if told:
        body = json.loads(told)
        unknown = set(body) - set(answer.openapi_types) - {"_property"} - {"property"}
        assert not unknown, f"fields that the SDK does not know: {unknown}"
        for name, value in body.items():
            assert matches(value, answer.openapi_types.get("_property" if name == "property" else name)), (name, value)


def matches(value: Any, kind: str | None) -> bool:
    """Whether a JSON value has the type that the SDK's model names; strict, as clients in Go are."""
    if value is None or kind is None:
        return True
    plain: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": (int, float)}
    if kind in plain:
        return isinstance(value, plain[kind]) and (kind == "bool" or not isinstance(value, bool))
    if kind.startswith("list["):
        return isinstance(value, list) and all(matches(one, kind[5:-1]) for one in value)
    if kind.startswith("dict("):
        return isinstance(value, dict)
    model = getattr(cph, kind, None)
    if model is None:
        return True
    types = model.openapi_types
    return isinstance(value, dict) and all(
        matches(one, types.get("_property" if name == "property" else name)) for name, one in value.items()
    )
