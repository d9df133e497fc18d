"""What belongs to another project answers, in every service beside CPH, exactly like what does not exist."""

from __future__ import annotations

import dataclasses
import re
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sqlalchemy import insert

from opencph.store import tables
from opencph.store.database import command, open_database

if TYPE_CHECKING:
    from api.api_service import Service

YEARLY = {"charging_mode": 0, "period_type": 2, "period_num": 1, "is_auto_renew": 0, "is_auto_pay": 1}
NOWHERE = "00000000-0000-4000-8000-000000000000"


def account(service: Service, name: str, role_here: str = "") -> Service:
    """The same service for a new user, the administrator of a project of their own, with a role in the first project or none."""
    user_id, project_id, secret = (uuid.uuid4().hex for _ in range(3))
    access_key = uuid.uuid4().hex[:20].upper()
    user, domain = {"user_id": user_id}, {"domain_id": service.credentials["domain_id"]}
    rows: list[tuple[Any, dict[str, Any]]] = [
        (tables.projects, {"project_id": project_id, "name": name, "enabled": 1, **domain}),
        (tables.users, {"name": name, "password_hash": "", "enabled": 1, **user, **domain}),
        (tables.grants, {"project_id": project_id, "role": "admin", **user}),
        (tables.access_keys, {"access_key": access_key, "secret_key": secret, "enabled": 1, "create_ms": 0, **user}),
    ]
    if role_here:
        rows.append((tables.grants, {"project_id": service.project_id, "role": role_here, **user}))
    with (database := open_database(service.database_url)).write() as tx:
        for table, row in rows:
            tx.run(command(insert(table).values(**row)))
    database.close()
    keys = {"project_id": project_id, "access_key": access_key, "secret_key": secret}
    return dataclasses.replace(service, credentials={**service.credentials, **keys})


@pytest.fixture(scope="module")
def stranger(service: Service) -> Service:
    """Somebody with a project of their own and nothing else."""
    return account(service, "stranger")


def filled(value: Any, id_: str) -> Any:
    """A body with the id where it says %s."""
    if isinstance(value, dict):
        return {key: filled(inner, id_) for key, inner in value.items()}
    return id_ if value == "%s" else value


def same(found: httpx.Response, missing: httpx.Response, id_: str, other: str) -> None:
    assert found.status_code == missing.status_code == 404, found.text
    answers = ((found, id_), (missing, other))
    hidden = [re.sub(r'"request_id":"[0-9a-f]{32}"', "", response.text.replace(one, "ID")) for response, one in answers]
    assert hidden[0] == hidden[1]


def test_nothing_of_another_project_can_be_seen_or_touched(service: Service, stranger: Service) -> None:
    mine = f"/v1/{service.project_id}"
    own = service.json("POST", f"{mine}/vpcs", {"vpc": {"name": "v", "cidr": "10.0.0.0/8"}}).json()["vpc"]["id"]
    subnet = {"name": "s", "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1", "vpc_id": own}
    subnet_id = service.json("POST", f"{mine}/subnets", {"subnet": subnet}).json()["subnet"]["id"]
    group = service.json("POST", f"{mine}/security-groups", {"security_group": {"name": "g"}}).json()["security_group"]["id"]
    width = {"share_type": "PER", "size": 5}
    eip = service.json("POST", f"{mine}/publicips", {"publicip": {"type": "5_bgp"}, "bandwidth": width}).json()["publicip"]["id"]
    shared = {"bandwidth": {"name": "b", "size": 5}}
    bandwidth = service.json("POST", f"/v2.0/{service.project_id}/bandwidths", shared).json()["bandwidth"]["id"]
    theirs = stranger.project_id
    vpc_change, eip_change = {"vpc": {"name": "x"}}, {"publicip": {"alias": "x"}}
    tags = {"action": "create", "tags": [{"key": "k", "value": "v"}]}
    calls: list[tuple[str, str, Any, str]] = [
        ("GET", f"/v1/{theirs}/vpcs/%s", None, own),
        ("PUT", f"/v1/{theirs}/vpcs/%s", vpc_change, own),
        ("DELETE", f"/v1/{theirs}/vpcs/%s", None, own),
        ("GET", f"/v3/{theirs}/vpc/vpcs/%s", None, own),
        ("GET", f"/v2.0/{theirs}/vpcs/%s/tags", None, own),
        ("POST", f"/v2.0/{theirs}/vpcs/%s/tags/action", tags, own),
        ("POST", f"/v1/{theirs}/subnets", {"subnet": {**subnet, "vpc_id": "%s"}}, own),
        ("GET", f"/v1/{theirs}/subnets/%s", None, subnet_id),
        ("PUT", f"/v1/{theirs}/subnets/%s", {"subnet": {"name": "x"}}, subnet_id),
        ("DELETE", f"/v1/{theirs}/subnets/%s", None, subnet_id),
        ("DELETE", f"/v1/{theirs}/vpcs/{own}/subnets/%s", None, subnet_id),
        ("GET", f"/v1/{theirs}/security-groups/%s", None, group),
        ("DELETE", f"/v1/{theirs}/security-groups/%s", None, group),
        ("GET", f"/v1/{theirs}/publicips/%s", None, eip),
        ("PUT", f"/v1/{theirs}/publicips/%s", eip_change, eip),
        ("DELETE", f"/v1/{theirs}/publicips/%s", None, eip),
        ("GET", f"/v1/{theirs}/bandwidths/%s", None, bandwidth),
        ("PUT", f"/v1/{theirs}/bandwidths/%s", shared, bandwidth),
        ("DELETE", f"/v2.0/{theirs}/bandwidths/%s", None, bandwidth),
        ("GET", f"/v3/{theirs}/keypairs/%s", None, service.credentials["keypair_name"]),
        ("DELETE", f"/v3/{theirs}/keypairs/%s", None, service.credentials["keypair_name"]),
        ("DELETE", f"/v2.1/{theirs}/os-keypairs/%s", None, service.credentials["keypair_name"]),
    ]
    for method, path, body, id_ in calls:
        found, missing = (stranger.json(method, path.replace("%s", one), filled(body, one)) for one in (id_, NOWHERE))
        same(found, missing, id_, NOWHERE)
    for path, name in (("vpcs", "vpcs"), ("subnets", "subnets"), ("publicips", "publicips"), ("bandwidths", "bandwidths")):
        assert stranger.json("GET", f"/v1/{theirs}/{path}").json()[name] == []
    assert stranger.json("GET", f"/v3/{theirs}/keypairs").json()["keypairs"] == []
    assert service.json("GET", f"{mine}/vpcs/{own}").json()["vpc"]["name"] == "v"


def test_billing_without_a_project_in_its_paths_keeps_projects_apart_all_the_same(service: Service, stranger: Service) -> None:
    body = service.purchase(server_name=f"s{uuid.uuid4().hex[:8]}", extend_param=YEARLY)
    bought = service.json("POST", f"{service.v2}/servers", body).json()
    path = f"/v2/orders/customer-orders/details/{bought['order_id']}"
    assert service.json("GET", path).status_code == 200
    same(stranger.json("GET", path), stranger.json("GET", path[:-3] + "000"), bought["order_id"], bought["order_id"][:-3] + "000")
    unsubscribe = {"resource_ids": bought["server_ids"], "unsubscribe_type": 1}
    refused = stranger.json("POST", "/v2/orders/subscriptions/resources/unsubscribe", unsubscribe)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "CBC.30000067")
    assert service.json("GET", f"{service.v1}/servers/{bought['server_ids'][0]}").json()["status"] == 1


def test_a_call_without_project_does_only_what_the_role_in_the_servers_project_allows(service: Service) -> None:
    reader = account(service, "reader", "reader")
    body = service.purchase(server_name=f"s{uuid.uuid4().hex[:8]}", extend_param=YEARLY)
    bought = service.json("POST", f"{service.v2}/servers", body).json()
    assert reader.json("GET", f"/v2/orders/customer-orders/details/{bought['order_id']}").status_code == 200
    unsubscribe = {"resource_ids": bought["server_ids"], "unsubscribe_type": 1}
    refused = reader.json("POST", "/v2/orders/subscriptions/resources/unsubscribe", unsubscribe)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "CBC.30000067")
    own = service.json("POST", "/v2/orders/subscriptions/resources/unsubscribe", unsubscribe)
    assert own.json()["error_code"] == "CBC.99003651"  # it is there, and still being made
