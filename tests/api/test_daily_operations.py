"""Daily operations through the vendor's SDK: names, restart, key pairs, flavors, properties, traffic. No worker runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import huaweicloudsdkcph.v1 as cph
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

from api.test_operations import HEX_ID, UNKNOWN, client, make_normal, refused

if TYPE_CHECKING:
    from api.api_service import Service

__all__ = ["client"]


@pytest.fixture(scope="module")
def server_id(service: Service, client: Any) -> str:
    """A server that is normal."""
    body = service.purchase(server_name="daily")
    (found,) = client.create_net2_cloud_phone_server(cph.CreateNet2CloudPhoneServerRequest(body=body)).server_ids
    make_normal(service, found)
    return str(found)


@pytest.fixture(scope="module")
def phone_ids(client: Any, server_id: str) -> list[str]:
    found = client.list_cloud_phones(cph.ListCloudPhonesRequest(server_id=server_id, limit=5))
    return [phone.phone_id for phone in found.phones]


def test_servers_and_phones_are_renamed(client: Any, server_id: str, phone_ids: list[str]) -> None:
    def rename(server_id: str, name: str) -> Any:
        body = cph.UpdateServerNameRequestBody(server_name=name)
        return cph.UpdateServerNameRequest(server_id=server_id, body=body)

    assert HEX_ID.fullmatch(client.update_server_name(rename(server_id, "每日_x-1")).request_id)
    shown = client.show_cloud_phone_server_detail(cph.ShowCloudPhoneServerDetailRequest(server_id=server_id))
    assert shown.server_name == "每日_x-1"
    for name in ("", "a b", "x" * 61, "x.y"):
        assert refused(client.update_server_name, rename(server_id, name)).error_code == "CPS.0087"
    unknown = refused(client.update_server_name, rename(UNKNOWN, "x"))
    assert (unknown.status_code, unknown.error_code) == (404, "CPS.0015")

    def rename_phone(phone_id: str, name: str) -> Any:
        return cph.UpdatePhoneNameRequest(phone_id=phone_id, body=cph.UpdatePhoneNameRequestBody(phone_name=name))

    assert HEX_ID.fullmatch(client.update_phone_name(rename_phone(phone_ids[0], "x" * 60)).request_id)
    assert client.show_cloud_phone_detail(cph.ShowCloudPhoneDetailRequest(phone_id=phone_ids[0])).phone_name == "x" * 60
    for name in ("", "a b", "x" * 61):
        assert refused(client.update_phone_name, rename_phone(phone_ids[0], name)).error_code == "CPS.0025"
    unknown = refused(client.update_phone_name, rename_phone(UNKNOWN, "x"))
    assert (unknown.status_code, unknown.error_code) == (404, "CPS.0005")


def test_a_name_that_another_server_has_is_refused(service: Service, client: Any, server_id: str) -> None:
    client.create_net2_cloud_phone_server(cph.CreateNet2CloudPhoneServerRequest(body=service.purchase(server_name="taken")))
    request = cph.UpdateServerNameRequest(server_id=server_id, body=cph.UpdateServerNameRequestBody(server_name="taken"))
    assert refused(client.update_server_name, request).error_code == "CPS.0087"


def test_properties_are_updated(client: Any, phone_ids: list[str]) -> None:
    body = {
        "phones": [
            {"phone_id": phone_ids[1], "property": '{"com.cph.mainkeys":1}', "custom_property": {"my.own": "value"}},
            {"phone_id": UNKNOWN, "property": "{}"},
        ]
    }
    jobs = client.update_cloud_phone_property(cph.UpdateCloudPhonePropertyRequest(body=body)).jobs
    assert HEX_ID.fullmatch(jobs[0].job_id) and jobs[0].error_code is None
    assert (jobs[1].job_id, jobs[1].error_code) == (None, "CPS.0005")
    shown = client.show_cloud_phone_detail(cph.ShowCloudPhoneDetailRequest(phone_id=phone_ids[1]))
    assert shown._property == '{"com.cph.mainkeys":1}' and shown.custom_property == {"my.own": "value"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "CPS.0077"),
        ({"phones": []}, "CPS.0077"),
        ({"phones": [{"phone_id": UNKNOWN}]}, "CPS.0078"),
        ({"phones": [{"phone_id": UNKNOWN, "property": 1}]}, "CPS.0078"),
        ({"phones": [{"phone_id": UNKNOWN, "property": "", "custom_property": {"a": 1}}]}, "CPS.0078"),
    ],
)
def test_a_body_of_properties_with_a_wrong_form_is_refused(client: Any, body: object, code: str) -> None:
    assert refused(client.update_cloud_phone_property, cph.UpdateCloudPhonePropertyRequest(body=body)).error_code == code


def test_the_traffic_of_phones_is_routed(client: Any, phone_ids: list[str]) -> None:
    def route(**body: object) -> Any:
        return cph.ImportTrafficRequest(body=body)

    (job,) = client.import_traffic(route(traffic_type="routing", phone_ids=[phone_ids[2]])).jobs
    assert HEX_ID.fullmatch(job.job_id)
    shown = client.show_cloud_phone_detail(cph.ShowCloudPhoneDetailRequest(phone_id=phone_ids[2]))
    assert shown.traffic_type == "routing"
    assert refused(client.import_traffic, route(traffic_type="sideways", phone_ids=phone_ids)).error_code == "CPS.0116"
    assert refused(client.import_traffic, route(traffic_type="direct", phone_ids=[])).error_code == "CPS.0009"
    many = route(traffic_type="direct", phone_ids=[UNKNOWN] * 101)
    assert refused(client.import_traffic, many).error_code == "CPS.0190"


def test_key_pairs_and_restarts_are_accepted_per_server(service: Service, client: Any, server_id: str) -> None:
    body = {
        "servers": [
            {"server_id": server_id, "keypair_name": service.credentials["keypair_name"]},
            {"server_id": UNKNOWN, "keypair_name": "x"},
        ]
    }
    jobs = client.update_keypair(cph.UpdateKeypairRequest(body=body)).jobs
    assert HEX_ID.fullmatch(jobs[0].job_id) and jobs[0].server_id == server_id
    assert (jobs[1].server_id, jobs[1].error_code) == (UNKNOWN, "CPS.0015")
    assert refused(client.update_keypair, cph.UpdateKeypairRequest(body={"servers": []})).error_code == "CPS.0095"
    missing = {"servers": [{"server_id": server_id}]}
    assert refused(client.update_keypair, cph.UpdateKeypairRequest(body=missing)).error_code == "CPS.0068"
    make = cph.RestartCloudPhoneServerRequest
    (job,) = client.restart_cloud_phone_server(make(body={"server_ids": [server_id]})).jobs
    assert HEX_ID.fullmatch(job.job_id)
    shown = client.show_cloud_phone_server_detail(cph.ShowCloudPhoneServerDetailRequest(server_id=server_id))
    assert shown.status == 13
    make_normal(service, server_id)
    assert refused(client.restart_cloud_phone_server, make(body={"server_ids": []})).error_code == "CPS.0095"
    many = make(body={"server_ids": [UNKNOWN] * 101})
    assert refused(client.restart_cloud_phone_server, many).error_code == "CPS.0096"


def test_another_flavor_is_ordered(service: Service, client: Any, server_id: str) -> None:
    def order(**changes: object) -> Any:
        body = {
            "server_id": server_id,
            "server_model_name": "physical.kg1.4xlarge.cp",
            "phone_model_name": "kg1.cp.c20.d64SSD.e1v1",
            "extend_param": {"is_auto_pay": 1},
        }
        return cph.ChangeCloudPhoneServerModelRequest(body={**body, **changes})

    with pytest.raises(ClientRequestException, match=r"CPS\.0016"):
        client.change_cloud_phone_server_model(order(server_id="x"))
    call = client.change_cloud_phone_server_model
    assert refused(call, order()).error_code == "CPS.0089"  # it has these flavors already
    assert refused(call, order(server_id=UNKNOWN)).error_code == "CPS.0015"
    assert refused(call, order(server_model_name="")).error_code == "CPS.0088"
    assert refused(call, order(phone_model_name="kg1.cp.c100.d10SSD.e1v1")).error_code == "CPS.0028"
    assert refused(call, order(extend_param={"is_auto_pay": 2})).error_code == "CPS.0060"


def test_a_bare_server_is_bought_and_shown(service: Service, client: Any) -> None:
    def bare(**changes: object) -> Any:
        body = {
            "server_name": "bare",
            "server_model_name": "physical.kg1.4xlarge.cp",
            "count": 1,
            "order_param": {"charging_mode": 0, "period_type": 2, "period_num": 1},
            "nics": [{"subnet_id": service.credentials["subnet_id"]}],
            "public_ip": {
                "type": "5_bgp",
                "count": 1,
                "band_width": {"band_width_share_type": 0, "band_width_size": 100, "band_width_charge_mode": 1},
            },
            "data_volume": {"volume_type": "SSD", "size": 50},
            "keypair_name": service.credentials["keypair_name"],
        }
        return cph.CreateCloudPhoneSingleServerRequest(body={**body, **changes})

    bought = client.create_cloud_phone_single_server(bare())
    call = client.create_cloud_phone_single_server
    assert bought.order_id and bought.product_id
    shown = client.show_cloud_phone_server_detail(cph.ShowCloudPhoneServerDetailRequest(server_id=bought.server_ids[0]))
    assert (shown.server_name, shown.status, shown.phone_model_name) == ("bare", 1, "")
    assert call(bare(server_name="bare-inside", public_ip={})).server_ids
    for changes, code in (
        ({"server_name": "bare"}, "CPS.0087"),
        ({"count": 11}, "CPS.0024"),
        ({"order_param": None}, "CPS.0055"),
        ({"nics": []}, "CPS.0226"),
        ({"public_ip": None}, "CPS.0238"),
        ({"public_ip": {"count": 2}}, "CPS.0238"),
        ({"public_ip": {"count": 1, "type": "5_bgp"}}, "CPS.0031"),
        ({"data_volume": {"volume_type": "SSD", "size": 50, "count": 2}}, "CPS.0157"),
        ({"keypair_name": ""}, "CPS.0068"),
        ({"image_id": "x" * 37}, "CPS.0030"),
    ):
        assert refused(call, bare(**{"server_name": "other", **changes})).error_code == code, changes


def test_shared_file_systems_are_attached_and_detached(client: Any, server_id: str) -> None:
    def body(**changes: object) -> dict[str, object]:
        return {"type": "sfs_turbo", "id": "share-1", "server_ids": [server_id, UNKNOWN], **changes}

    attached = client.attach_share_filesystem(cph.AttachShareFilesystemRequest(body=body(path="/team/one")))
    assert HEX_ID.fullmatch(attached.jobs[0].job_id) and attached.jobs[0].server_id == server_id
    assert attached.jobs[1].job_id is None
    detached = client.detach_share_filesystem(cph.DetachShareFilesystemRequest(body=body()))
    assert [one.job_id for one in detached.jobs] == [None, None]  # the worker has not attached it yet
    for changes, code in (
        ({"type": "nfs"}, "CPS.0116"),
        ({"id": "a/b"}, "CPS.0086"),
        ({"server_ids": []}, "CPS.0095"),
        ({"server_ids": [UNKNOWN] * 21}, "CPS.0096"),
        ({"path": "/a/../b"}, "CPS.0199"),
        ({"path": "a"}, "CPS.0199"),
    ):
        request = cph.AttachShareFilesystemRequest(body=body(**changes))
        assert refused(client.attach_share_filesystem, request).error_code == code, changes
