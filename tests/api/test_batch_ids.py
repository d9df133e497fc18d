"""Ids in batches: what is wrong with one stands in its own item, in every operation alike; upper case is the same id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from api.edge_client import UNKNOWN
from api.samples import SAMPLES
from api.test_operations import make_normal
from opencph.api.routes import ROUTES

if TYPE_CHECKING:
    from api.api_service import Service

#: operation -> the id that its items have, and the code of one that is none
BATCHES = {
    **dict.fromkeys(("RestartCloudPhone", "ResetCloudPhone", "StopCloudPhone"), ("phone_id", "CPS.0004")),
    **dict.fromkeys(("UpdateCloudPhoneProperty", "ImportTraffic"), ("phone_id", "CPS.0004")),
    **dict.fromkeys(("BatchExportCloudPhoneData", "BatchImportCloudPhoneData"), ("phone_id", "CPS.0004")),
    **dict.fromkeys(("ExpandPhoneDataVolumeSize", "RunShellCommand"), ("phone_id", "CPS.0004")),
    "BatchShowPhoneConnectInfos": ("phone_id", "CPS.0004"),
    **dict.fromkeys(("RestartCloudPhoneServer", "UpdateKeypair", "PushShareApps", "DeleteShareApps"), ("server_id", "CPS.0097")),
    **dict.fromkeys(("PushShareFiles", "AttachShareFilesystem", "DetachShareFilesystem"), ("server_id", "CPS.0097")),
    "RestartEncodeServer": ("encode_server_id", "CPS.0121"),
}
NO_IDS = ("", " ", "zz", "a\0b", UNKNOWN[:-1])
PATHS = {route.operation: (route.method, route.path) for route in ROUTES}


@pytest.fixture(scope="module")
def known(service: Service) -> dict[str, str]:
    """A server that is normal, one of its phones, its encode server, and what else samples name."""
    bought = service.json("POST", f"{service.v2}/servers", service.purchase(server_name="batches"))
    server_id = bought.json()["server_ids"][0]
    phone = service.signed("GET", f"{service.v1}/phones", f"server_id={server_id}&limit=1").json()["phones"][0]
    encoders = service.signed("GET", f"{service.v1}/encode-servers", f"server_id={server_id}").json()["encode_servers"]
    return {
        "server_id": server_id,
        "phone_id": phone["phone_id"],
        "encode_server_id": encoders[0]["encode_server_id"],
        "keypair_name": service.credentials["keypair_name"],
    }


def merged(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """One body with the elements of the lists of all, which are otherwise alike."""
    whole = dict(bodies[0])
    for field, value in whole.items():
        if isinstance(value, list):
            whole[field] = [one for body in bodies for one in body[field]]
    return whole


def asked(service: Service, operation: str, ids: list[dict[str, str]]) -> list[dict[str, Any]]:
    body = SAMPLES[operation].body
    assert body is not None
    method, path = PATHS[operation]
    answer = service.json(method, path.format(project_id=service.project_id), merged([body(one) for one in ids]))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    return [*(said.get("jobs") or []), *said.get("errors", []), *said.get("connect_infos", [])]


@pytest.mark.parametrize("operation", BATCHES)
def test_what_is_no_id_has_an_item_of_its_own(service: Service, known: dict[str, str], operation: str) -> None:
    field, code = BATCHES[operation]
    make_normal(service, known["server_id"])
    upper = known[field].upper()
    assert upper != known[field]
    items = asked(service, operation, [{**known, field: one} for one in (*NO_IDS, upper)])
    by_id = {item[field]: item.get("error_code") for item in items}
    assert by_id == {**dict.fromkeys(NO_IDS, code), known[field]: by_id[known[field]]}
    assert by_id[known[field]] not in (code, "CPS.0005", "CPS.0015", "CPS.0123"), items


def test_servers_of_a_command_are_named_alike(service: Service, known: dict[str, str]) -> None:
    make_normal(service, known["server_id"])
    body = {"command": "shell", "content": "ls", "server_ids": [*NO_IDS, known["server_id"].upper()]}
    answer = service.json("POST", f"{service.v1}/phones/commands", body)
    assert answer.status_code == 200, answer.text
    items = answer.json()["jobs"]
    assert [one["server_id"] for one in items if one.get("error_code") == "CPS.0097"] == list(NO_IDS)
    assert sum(one.get("job_id") is not None for one in items) == len(items) - len(NO_IDS) > 0
