"""The identity service as clients use it: tokens, projects, domains, and their refusals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials, GlobalCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkcph.v1 import CphClient, ListCloudPhonesRequest
from huaweicloudsdkiam.v3 import (
    IamClient,
    KeystoneListAuthDomainsRequest,
    KeystoneListAuthProjectsRequest,
    KeystoneValidateTokenRequest,
)

from api.api_service import get_token

if TYPE_CHECKING:
    from api.api_service import Service

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def ask(service: Service, auth: object, query: str = "") -> httpx.Response:
    return httpx.post(f"{service.endpoint}/v3/auth/tokens{query}", json={"auth": auth})


def password(service: Service, **user: object) -> dict[str, Any]:
    known = {
        "name": service.credentials["user_name"],
        "password": service.credentials["password"],
        "domain": {"name": service.credentials["domain_name"]},
    }
    return {"identity": {"methods": ["password"], "password": {"user": {**known, **user}}}}


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_project_token_opens_the_project(service: Service, by: str) -> None:
    scope = {"project": {by: service.credentials["region" if by == "name" else "project_id"]}}
    response = ask(service, {**password(service), "scope": scope})
    assert response.status_code == 201
    said = response.json()["token"]
    assert said["project"] == {
        "id": service.project_id,
        "name": service.credentials["region"],
        "domain": {"id": service.credentials["domain_id"], "name": service.credentials["domain_name"]},
    }
    assert said["user"]["name"] == service.credentials["user_name"]
    assert TIME.fullmatch(said["expires_at"]) and TIME.fullmatch(said["issued_at"])
    assert said["methods"] == ["password"] and said["roles"] == [{"id": "0", "name": "admin"}]
    urls = {entry["type"]: entry["endpoints"][0]["url"] for entry in said["catalog"]}
    assert urls["cph"] == f"{service.endpoint}/v1/{service.project_id}"
    headers = {"X-Auth-Token": response.headers["X-Subject-Token"]}
    assert httpx.get(f"{service.endpoint}{service.v1}/phones", headers=headers).status_code == 200


def test_the_catalog_can_be_left_out(service: Service) -> None:
    response = ask(service, {**password(service), "scope": {"project": {"id": service.project_id}}}, "?nocatalog=true")
    assert "catalog" not in response.json()["token"]


@pytest.mark.parametrize("scope", [None, {"domain": {"name": "opencph"}}])
def test_a_domain_token_opens_no_project(service: Service, scope: object) -> None:
    token = get_token(service, scope)
    response = httpx.get(f"{service.endpoint}{service.v1}/phones", headers={"X-Auth-Token": token})
    assert (response.status_code, response.json()["error_code"]) == (403, "CPS.0001")
    said = httpx.get(f"{service.endpoint}/v3/auth/tokens", headers={"X-Auth-Token": token, "X-Subject-Token": token}).json()
    assert [role["name"] for role in said["token"]["roles"]] == ["admin"]
    projects = httpx.get(f"{service.endpoint}/v3/auth/projects", headers={"X-Auth-Token": token})
    assert [project["id"] for project in projects.json()["projects"]] == [service.project_id]


@pytest.mark.parametrize(
    "user",
    [
        {"password": "wrong"},
        {"name": "nobody"},
        {"domain": {"name": "elsewhere"}},
        {"domain": {"id": "x"}},
        {"name": None, "id": "x"},
    ],
)
def test_a_wrong_login_does_not_tell_what_is_wrong(service: Service, user: dict[str, object]) -> None:
    response = ask(service, password(service, **user))
    assert response.status_code == 401
    assert response.json() == {"error": {"code": 401, "message": "The username or password is wrong.", "title": "Unauthorized"}}
    assert "X-Subject-Token" not in response.headers


def test_a_foreign_scope_is_forbidden(service: Service) -> None:
    known = service.credentials
    right = {"id": known["project_id"], "name": known["region"], "domain": {"id": known["domain_id"], "name": known["domain_name"]}}
    assert ask(service, {**password(service), "scope": {"project": right}}).status_code == 201
    for scope in (
        {"project": {"name": "elsewhere"}},
        {"project": {"id": "f" * 32}},
        {"domain": {"name": "elsewhere"}},
        {"project": {**right, "name": "wrong"}},
        {"project": {"name": known["region"], "domain": {"name": "someone-else"}}},
        {"project": {"id": known["project_id"], "domain": {"id": "f" * 32}}},
    ):
        response = ask(service, {**password(service), "scope": scope})
        assert (response.status_code, response.json()["error"]["code"]) == (403, 403)


def test_a_login_by_id_is_true_in_all_that_it_says(service: Service) -> None:
    name = service.credentials["user_name"]
    user = {"id": service.signed("GET", "/v3/users", f"name={name}").json()["users"][0]["id"], "name": name}
    assert ask(service, password(service, **user)).status_code == 201
    for wrong in ({**user, "name": "somebody"}, {**user, "domain": {"name": "elsewhere"}}):
        assert ask(service, password(service, **wrong)).status_code == 401


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"identity": {}},
        {"identity": {"methods": ["totp"]}},
        {"identity": {"methods": ["password"], "password": {"user": {"name": "admin\x00", "password": "x"}}}},
        {"identity": {"methods": ["password"]}},
        {"identity": {"methods": ["password"], "password": {"user": {"name": "admin"}}}},
        {"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}},
        {"identity": {"methods": ["password"], "password": {"user": {"name": "a", "password": "x" * 2000}}}},
        {"identity": {"methods": ["password"], "password": {"user": {"name": "a", "password": "x"}}}, "scope": {"project": {}}},
        [],
    ],
)
def test_a_malformed_login_says_what_is_missing(service: Service, auth: object) -> None:
    response = ask(service, auth)
    assert response.status_code == 400
    assert response.json()["error"]["title"] == "Bad Request" and response.json()["error"]["message"]


def test_a_token_can_be_looked_at(service: Service, token: str) -> None:
    url = f"{service.endpoint}/v3/auth/tokens"
    response = httpx.get(url, headers={"X-Auth-Token": token, "X-Subject-Token": token})
    assert response.status_code == 200 and response.headers["X-Subject-Token"] == token
    assert response.json()["token"]["project"]["id"] == service.project_id
    assert httpx.get(url, headers={"X-Auth-Token": token, "X-Subject-Token": "x"}).status_code == 404
    assert httpx.get(url, headers={"X-Auth-Token": token}).status_code == 400
    assert httpx.get(url, headers={"X-Subject-Token": token}).status_code == 401


def test_projects_are_found_by_name(service: Service) -> None:
    path = "/v3/projects"
    found = service.signed("GET", path, f"name={service.credentials['region']}").json()
    assert [project["id"] for project in found["projects"]] == [service.project_id]
    assert found["projects"][0]["enabled"] is True and found["projects"][0]["is_domain"] is False
    assert service.signed("GET", path, "name=elsewhere").json()["projects"] == []


def test_the_vendors_sdk_finds_its_project_by_itself(service: Service) -> None:
    keys = service.credentials["access_key"], service.credentials["secret_key"]
    region = Region(service.credentials["region"], service.endpoint)
    basic = BasicCredentials(*keys).with_iam_endpoint(service.endpoint)
    client = CphClient.new_builder().with_credentials(basic).with_region(region).build()
    assert client.list_cloud_phones(ListCloudPhonesRequest()).phones == []


def test_the_vendors_sdk_reads_domains_projects_and_tokens(service: Service, token: str) -> None:
    keys = service.credentials["access_key"], service.credentials["secret_key"]
    account = GlobalCredentials(*keys, service.credentials["domain_id"])
    client = IamClient.new_builder().with_credentials(account).with_endpoints([service.endpoint]).build()
    domains = client.keystone_list_auth_domains(KeystoneListAuthDomainsRequest()).domains
    assert [(domain.id, domain.name) for domain in domains] == [
        (service.credentials["domain_id"], service.credentials["domain_name"])
    ]
    assert client.keystone_list_auth_projects(KeystoneListAuthProjectsRequest()).projects[0].name == service.credentials["region"]
    seen = client.keystone_validate_token(KeystoneValidateTokenRequest(x_subject_token=token))
    assert seen.token.project.id == service.project_id


def test_the_vendors_sdk_understands_a_refusal(service: Service) -> None:
    account = GlobalCredentials(service.credentials["access_key"], "wrong", service.credentials["domain_id"])
    client = IamClient.new_builder().with_credentials(account).with_endpoints([service.endpoint]).build()
    with pytest.raises(ClientRequestException) as refused:
        client.keystone_list_auth_domains(KeystoneListAuthDomainsRequest())
    assert refused.value.status_code == 401
    assert "verify aksk signature fail" in refused.value.error_msg
    assert refused.value.request_id
