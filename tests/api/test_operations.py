"""The operations through the vendor's own SDK, and their answers on the wire. No worker runs here: jobs stay running."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import huaweicloudsdkcph.v1 as cph
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from sqlalchemy import bindparam, update

from opencph.store import tables
from opencph.store.database import command, open_database

if TYPE_CHECKING:
    from api.api_service import Service

HEX_ID = re.compile(r"[0-9a-f]{32}")
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
UNKNOWN = "0" * 32
PROPERTY = '{"sys.prop.writephonenum":"13666666666","sys.prop.writeimsi":"460021624617113","sys.prop.writewifissid":"test_wifi"}'


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    """The vendor's client, with an access key."""
    keys = service.credentials["access_key"], service.credentials["secret_key"], service.project_id
    return cph.CphClient.new_builder().with_credentials(BasicCredentials(*keys)).with_endpoints([service.endpoint]).build()


@pytest.fixture(scope="module")
def server_id(service: Service, client: Any) -> str:
    """A server that has been bought, with its 20 phones, and made normal as the worker would."""
    bought = client.create_net2_cloud_phone_server(
        cph.CreateNet2CloudPhoneServerRequest(body=service.purchase(server_name="first"))
    )
    assert HEX_ID.fullmatch(bought.request_id) and bought.order_id and bought.product_id
    (found,) = bought.server_ids
    make_normal(service, found)
    return str(found)


def make_normal(service: Service, server_id: str) -> None:
    database = open_database(service.database_url)
    servers, phones, generations = tables.servers, tables.phones, tables.generations
    with database.write() as tx:
        of_server = generations.c.server_id == bindparam("id")
        tx.run(command(update(generations).where(of_server).values(state="serving")), id=server_id)
        tx.run(command(update(servers).where(servers.c.server_id == bindparam("id")).values(status=5)), id=server_id)
        tx.run(command(update(phones).where(phones.c.server_id == bindparam("id")).values(status=2)), id=server_id)
    database.close()


@pytest.fixture(scope="module")
def phone_id(client: Any, server_id: str) -> str:
    found = client.list_cloud_phones(cph.ListCloudPhonesRequest(server_id=server_id, limit=1))
    return str(found.phones[0].phone_id)


def refused(call: Any, request: Any) -> ClientRequestException:
    with pytest.raises(ClientRequestException) as error:
        call(request)
    assert HEX_ID.fullmatch(error.value.request_id)
    return error.value


def test_a_server_that_was_bought_shows_what_was_asked_for(service: Service, client: Any, server_id: str) -> None:
    shown = client.show_cloud_phone_server_detail(cph.ShowCloudPhoneServerDetailRequest(server_id=server_id))
    assert shown.server_name == "first"
    assert (shown.server_model_name, shown.phone_model_name) == ("physical.kg1.4xlarge.cp", "kg1.cp.c20.d64SSD.e1v1")
    assert (shown.vpc_id, shown.subnet_id) == (service.credentials["vpc_id"], service.credentials["subnet_id"])
    assert shown.keypair_name == service.credentials["keypair_name"]
    assert len(shown.addresses) == 1 and shown.addresses[0].public_ip == shown.addresses[0].access_ip
    assert [(one.band_width_size, one.band_width_charge_mode, one.band_width_share_type) for one in shown.band_widths] == [
        (300, 1, 0)
    ]
    assert UTC.fullmatch(shown.create_time)
    listed = client.list_cloud_phone_servers(cph.ListCloudPhoneServersRequest(server_id=server_id))
    assert (listed.count, listed.servers[0].server_name) == (1, "first")


def test_a_phone_has_every_field_of_the_seed_page_with_its_type(service: Service, server_id: str, phone_id: str) -> None:
    response = service.signed("GET", f"{service.v1}/phones/{phone_id}")
    assert response.status_code == 200
    phone = response.json()
    texts: tuple[str, ...]
    texts = ("request_id", "phone_name", "server_id", "phone_id", "image_id", "image_version", "vnc_enable", "phone_model_name")
    texts += ("property", "imei", "traffic_type", "availability_zone", "create_time", "update_time")
    assert all(isinstance(phone[name], str) for name in texts)
    assert all(type(phone[name]) is int for name in ("status", "volume_mode", "type"))
    assert phone["has_encrypt"] is False
    assert phone["request_id"] == response.headers["X-Request-Id"]
    assert re.fullmatch(r"\d{15}", phone["imei"])
    assert set(phone["metadata"]) == {"order_id", "product_id"}
    assert phone["phone_data_volume"] == {"volume_type": "SSD", "volume_size": 64}
    adb, web = phone["access_infos"]
    assert (adb["type"], adb["listen_port"], adb["public_ip"], adb["access_ip"]) == ("adb", 5555, "", "")
    assert (web["type"], web["listen_port"]) == ("web", 20000)
    assert web["public_ip"] and web["public_ip"] == web["access_ip"]
    for info in (adb, web):
        assert info["phone_ip"] == info["device_ip"] and info["server_ip"] == info["intranet_ip"]
        assert type(info["access_port"]) is int
    assert adb["access_port"] != web["access_port"]


def test_all_lists_answer_the_sdk(client: Any, server_id: str) -> None:
    page = client.list_cloud_phones(cph.ListCloudPhonesRequest(server_id=server_id, limit=15))
    rest = client.list_cloud_phones(cph.ListCloudPhonesRequest(server_id=server_id, limit=15, offset=15))
    beyond = client.list_cloud_phones(cph.ListCloudPhonesRequest(server_id=server_id, offset=1000))
    assert (page.count, len(page.phones), len(rest.phones), beyond.phones) == (20, 15, 5, [])
    assert len({phone.phone_id for phone in [*page.phones, *rest.phones]}) == 20
    models = client.list_cloud_phone_models(cph.ListCloudPhoneModelsRequest(status=1)).phone_models
    assert {"kg1.cp.c20.d64SSD.e1v1", "rx1.cp.c60.d10.e1v1", "rs2.plus"} <= {model.phone_model_name for model in models}
    assert client.list_cloud_phone_server_models(cph.ListCloudPhoneServerModelsRequest(product_type=0)).server_models
    images = client.list_cloud_phone_images(cph.ListCloudPhoneImagesRequest(image_type="public")).phone_images
    assert "20060220200717f201120a2300000e91" in {image.image_id for image in images}


def test_the_seed_pages_change_is_accepted_and_shows_in_server_and_job(service: Service, client: Any) -> None:
    buying = cph.CreateNet2CloudPhoneServerRequest(body=service.purchase(server_name="to-change"))
    (server_id,) = client.create_net2_cloud_phone_server(buying).server_ids
    make_normal(service, server_id)
    body = {
        "phone_model_name": "kg1.cp.c20.d64SSD.e1v1",
        "image_id": "20060220200717f201120a2300000e91",
        "keypair_name": service.credentials["keypair_name"],
        "property": PROPERTY,
        "ports": [
            {"name": "myServer1", "listen_port": 20000, "internet_accessible": "false"},
            {"name": "myServer2", "listen_port": 20001, "internet_accessible": "true"},
        ],
        "extend_param": {"enterprise_project_id": "0"},
        "tenant_vpc_id": service.credentials["vpc_id"],
        "nics": [{"subnet_id": service.credentials["subnet_id"]}],
        "public_ip": {"eip": {"type": "5_bgp"}},
        "band_width": {"band_width_share_type": 0, "band_width_size": 300, "band_width_charge_mode": 1},
    }
    raw = service.json("POST", f"{service.v2}/servers/{server_id}/change", body)
    assert raw.status_code == 200, raw.text
    assert set(raw.json()) == {"request_id", "server_id", "job_id"}
    assert raw.json()["server_id"] == server_id
    job = client.show_job(cph.ShowJobRequest(job_id=raw.json()["job_id"]))
    assert (job.status, job.server_id, job.error_code, job.end_time) == (1, server_id, None, None)
    listed = client.list_jobs(cph.ListJobsRequest(request_id=raw.json()["request_id"])).jobs
    assert [one.job_id for one in listed] == [raw.json()["job_id"]]
    shown = client.show_cloud_phone_server_detail(cph.ShowCloudPhoneServerDetailRequest(server_id=server_id))
    assert (shown.status, shown.server_name) == (3, "to-change")
    again = service.json("POST", f"{service.v2}/servers/{server_id}/change", body)
    assert (again.status_code, again.json()["error_code"]) == (400, "CPS.0099")


def test_power_calls_answer_one_entry_per_phone(client: Any, server_id: str, phone_id: str) -> None:
    body = cph.RestartCloudPhoneRequestBody(phones=[{"phone_id": phone_id}, {"phone_id": UNKNOWN}, {"phone_id": "malformed"}])
    answer = client.restart_cloud_phone(cph.RestartCloudPhoneRequest(body=body))
    first, unknown, malformed = answer.jobs
    assert first.phone_id == phone_id and HEX_ID.fullmatch(first.job_id) and first.error_code is None
    assert (unknown.phone_id, unknown.error_code, unknown.job_id) == (UNKNOWN, "CPS.0005", None)
    assert malformed.error_code == "CPS.0004"
    jobs = client.list_jobs(cph.ListJobsRequest(request_id=answer.request_id)).jobs
    assert [(job.phone_id, job.status) for job in jobs] == [(phone_id, 1)]
    others = client.list_cloud_phones(cph.ListCloudPhonesRequest(server_id=server_id, status=2)).phones
    reset = cph.ResetCloudPhoneRequest(body=cph.ResetCloudPhoneRequestBody(phones=[{"phone_id": others[0].phone_id}]))
    assert client.reset_cloud_phone(reset).jobs[0].job_id
    stop = cph.StopCloudPhoneRequest(body=cph.StopCloudPhoneRequestBody(phone_ids=[others[1].phone_id]))
    assert client.stop_cloud_phone(stop).jobs[0].job_id


def test_a_server_is_deleted_by_a_job(service: Service, client: Any) -> None:
    buying = cph.CreateNet2CloudPhoneServerRequest(body=service.purchase(server_name="to-delete"))
    (server_id,) = client.create_net2_cloud_phone_server(buying).server_ids
    make_normal(service, server_id)
    deleting = cph.DeleteCloudPhoneServerRequest(body=cph.DeleteCloudPhoneServerRequestBody(server_ids=[server_id]))
    deleted = client.delete_cloud_phone_server(deleting)
    assert client.show_job(cph.ShowJobRequest(job_id=deleted.job_id)).status == 1


def test_unknown_ids_answer_404_with_their_code(client: Any) -> None:
    for call, request, code in (
        (client.show_cloud_phone_detail, cph.ShowCloudPhoneDetailRequest(phone_id=UNKNOWN), "CPS.0005"),
        (client.show_cloud_phone_server_detail, cph.ShowCloudPhoneServerDetailRequest(server_id=UNKNOWN), "CPS.0015"),
        (client.show_job, cph.ShowJobRequest(job_id=UNKNOWN), "CPS.0011"),
        (client.show_job, cph.ShowJobRequest(job_id="never/was"), "CPS.0011"),
        (client.list_jobs, cph.ListJobsRequest(request_id=UNKNOWN), "CPS.0050"),
    ):
        error = refused(call, request)
        assert (error.status_code, error.error_code) == (404, code), error


def test_malformed_requests_answer_400_with_their_code(client: Any, server_id: str) -> None:
    for call, request, code in (
        (client.show_cloud_phone_detail, cph.ShowCloudPhoneDetailRequest(phone_id="x"), "CPS.0004"),
        (client.show_cloud_phone_server_detail, cph.ShowCloudPhoneServerDetailRequest(server_id="x"), "CPS.0016"),
        (client.list_cloud_phones, cph.ListCloudPhonesRequest(limit=201), "CPS.0002"),
        (client.list_jobs, cph.ListJobsRequest(), "CPS.0049"),
        (
            client.change_cloud_phone_server,
            cph.ChangeCloudPhoneServerRequest(server_id=server_id, body={"image_id": "x"}),
            "CPS.0027",
        ),
        (client.restart_cloud_phone, cph.RestartCloudPhoneRequest(body={"phones": []}), "CPS.0077"),
        (client.stop_cloud_phone, cph.StopCloudPhoneRequest(body={"phone_ids": []}), "CPS.0009"),
        (client.delete_cloud_phone_server, cph.DeleteCloudPhoneServerRequest(body={"server_ids": []}), "CPS.0095"),
    ):
        error = refused(call, request)
        assert (error.status_code, error.error_code) == (400, code), error


def test_a_refused_purchase_leaves_nothing(service: Service, client: Any, server_id: str) -> None:
    before = client.list_cloud_phone_servers(cph.ListCloudPhoneServersRequest()).count
    for changes, code in (
        ({"tenant_vpc_id": str(uuid.uuid4())}, "CPS.0236"),
        ({"keypair_name": "no-such-key"}, "CPS.0067"),
        ({"phone_model_name": "no.such.flavor"}, "CPS.0028"),
    ):
        body = service.purchase(server_name="never", **changes)
        error = refused(client.create_net2_cloud_phone_server, cph.CreateNet2CloudPhoneServerRequest(body=body))
        assert error.error_code == code, error
    assert client.list_cloud_phone_servers(cph.ListCloudPhoneServersRequest()).count == before
