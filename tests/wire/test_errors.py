"""The error table, and the structs against what the vendor's SDK models expect."""

from __future__ import annotations

import importlib
from typing import Any

import msgspec
import pytest

from opencph.wire import identity, images, jobs, models, phones, servers
from opencph.wire.errors import MESSAGES, STATUSES, CphError, http_status, shown


def test_a_message_is_the_documented_one_and_the_detail() -> None:
    error = CphError("CPS.0040", "listen_port 80 of port 'web': must be 10000 to 50000")
    assert error.message == "Parameter: listen_port is invalid: listen_port 80 of port 'web': must be 10000 to 50000"
    assert CphError("CPS.0003").message == "Service internal error."
    assert CphError("CPS.0163", subject="a.b").message == "Parameter: property a.b not supported."


def test_every_status_belongs_to_a_code_that_has_a_message() -> None:
    assert set(STATUSES) <= set(MESSAGES)
    assert all(message and "{1}" not in message for message in MESSAGES.values())


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("CPS.0001", 403),
        ("CPS.0003", 500),
        ("CPS.0005", 404),
        ("CPS.0011", 404),
        ("CPS.0015", 404),
        ("CPS.0040", 400),
        ("CPS.0042", 503),
        ("CPS.0065", 400),
        ("APIGW.0101", 404),
        ("APIGW.0301", 401),
        ("APIGW.0308", 429),
        ("CPS.9999", 400),
    ],
)
def test_codes_have_their_status(code: str, status: int) -> None:
    assert http_status(code) == status


def test_shown_values_are_cut() -> None:
    assert shown("a") == "'a'"
    assert len(shown("a" * 10_000)) <= 64


def sdk_model(name: str) -> Any:
    return getattr(importlib.import_module("huaweicloudsdkcph.v1.model"), name)


@pytest.mark.parametrize(
    ("struct", "model"),
    [
        (servers.CreateNet2CloudPhoneServerRequest, "CreateNet2CloudPhoneServerRequestBody"),
        (servers.CreateNet2CloudPhoneServerResponse, "CreateNet2CloudPhoneServerResponse"),
        (servers.ChangeCloudPhoneServerRequest, "ChangeCloudPhoneServerRequestBody"),
        (servers.ChangeCloudPhoneServerResponse, "ChangeCloudPhoneServerResponse"),
        (servers.DeleteCloudPhoneServerRequest, "DeleteCloudPhoneServerRequestBody"),
        (servers.DeleteCloudPhoneServerResponse, "DeleteCloudPhoneServerResponse"),
        (servers.ListCloudPhoneServersQuery, "ListCloudPhoneServersRequest"),
        (servers.ListCloudPhoneServersResponse, "ListCloudPhoneServersResponse"),
        (servers.ShowCloudPhoneServerDetailResponse, "ShowCloudPhoneServerDetailResponse"),
        (servers.Address, "Address"),
        (servers.ServerBandWidth, "Bandwidth"),
        (servers.Volume, "Volume"),
        (phones.ListCloudPhonesQuery, "ListCloudPhonesRequest"),
        (phones.ListCloudPhonesResponse, "ListCloudPhonesResponse"),
        (phones.ShowCloudPhoneDetailResponse, "ShowCloudPhoneDetailResponse"),
        (phones.PhoneAccessInfo, "PhoneAccessInfo"),
        (phones.PhoneDataVolume, "PhoneDataVolume"),
        (phones.PhoneJob, "PhoneJob"),
        (phones.RestartCloudPhoneRequest, "RestartCloudPhoneRequestBody"),
        (phones.ResetCloudPhoneRequest, "ResetCloudPhoneRequestBody"),
        (phones.StopCloudPhoneRequest, "StopCloudPhoneRequestBody"),
        (models.ListCloudPhoneModelsResponse, "ListCloudPhoneModelsResponse"),
        (models.ListCloudPhoneServerModelsResponse, "ListCloudPhoneServerModelsResponse"),
        (models.PhoneModel, "PhoneModel"),
        (models.ServerModel, "ServerModel"),
        (images.ListCloudPhoneImagesResponse, "ListCloudPhoneImagesResponse"),
        (images.PhoneImage, "PhoneImage"),
        (jobs.ShowJobResponse, "ShowJobResponse"),
        (jobs.ListJobsResponse, "ListJobsResponse"),
        (jobs.JobItem, "Job"),
    ],
)
def test_a_struct_has_every_field_of_the_sdks_model_with_its_type(struct: type[msgspec.Struct], model: str) -> None:
    types: dict[str, str] = sdk_model(model).openapi_types
    attributes: dict[str, str] = sdk_model(model).attribute_map
    expected = {attributes[name]: types[name] for name in types}
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    assert set(fields) == set(expected)
    for name, kind in expected.items():
        plain = {"str": str, "int": int, "bool": bool}.get(kind)
        if plain is not None:
            assert plain in (fields[name], *getattr(fields[name], "__args__", ())), name


def test_left_out_fields_are_not_sent_and_null_ones_are() -> None:
    job = jobs.ShowJobResponse(
        request_id="r",
        job_id="j",
        begin_time="b",
        end_time=None,
        status=1,
        server_id="s",
        error_code=None,
        error_msg=None,
        execute_msg=None,
    )
    sent = msgspec.json.decode(msgspec.json.encode(job))
    assert "phone_id" not in sent
    assert sent["end_time"] is None and sent["error_code"] is None
    changed = servers.ChangeCloudPhoneServerResponse(request_id="r", server_id="s", job_id="j")
    assert msgspec.json.decode(msgspec.json.encode(changed)) == {"request_id": "r", "server_id": "s", "job_id": "j"}


def test_a_token_says_either_project_or_domain() -> None:
    domain = identity.NamedDomain(id="d", name="n")
    user = identity.TokenUser(id="u", name="n", password_expires_at="", domain=domain)
    token = identity.Token(expires_at="e", issued_at="i", methods=["password"], user=user, roles=[], domain=domain)
    assert "project" not in msgspec.json.decode(msgspec.json.encode(token))
