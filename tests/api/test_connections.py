"""Bandwidths, offerings and connection tickets through the vendor's SDK."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import huaweicloudsdkcph.v1 as cph
import pytest
from sqlalchemy import bindparam, insert

from api.test_operations import HEX_ID, UNKNOWN, UTC, client, make_normal, refused
from opencph.iam import tickets
from opencph.store import tables
from opencph.store.database import command, open_database

if TYPE_CHECKING:
    from api.api_service import Service

__all__ = ["client"]

SHARED_ID = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def server_id(service: Service, client: Any) -> str:
    """A server that is normal, with IPv4 and one EIP."""
    body = service.purchase(server_name="connected")
    (found,) = client.create_net2_cloud_phone_server(cph.CreateNet2CloudPhoneServerRequest(body=body)).server_ids
    make_normal(service, found)
    return str(found)


@pytest.fixture(scope="module")
def shared(service: Service) -> str:
    """A shared bandwidth of 100 Mbit/s."""
    database = open_database(service.database_url)
    with database.write() as tx:
        values = {
            "bandwidth_id": SHARED_ID,
            "project_id": bindparam("project_id"),
            "name": "shared",
            "size_mbit": 100,
            "charge_mode": 0,
            "share_type": 1,
            "create_ms": 1,
            "update_ms": 1,
        }
        tx.run(command(insert(tables.bandwidths).values(values)), project_id=service.project_id)
    database.close()
    return SHARED_ID


def sizes(client: Any) -> dict[str, int]:
    found = client.show_bandwidth_detail(cph.ShowBandwidthDetailRequest())
    return {one.band_width_id: one.band_width_size for one in found.band_widths}


def test_bandwidths_are_listed_and_shared_ones_resized(client: Any, server_id: str, shared: str) -> None:
    server = client.show_cloud_phone_server_detail(cph.ShowCloudPhoneServerDetailRequest(server_id=server_id))
    dedicated = server.band_widths[0].band_width_id
    assert sizes(client) == {dedicated: 300, shared: 100}
    page = client.show_bandwidth_detail(cph.ShowBandwidthDetailRequest(limit=1, offset=1))
    assert [one.band_width_id for one in page.band_widths] == [shared] and UTC.fullmatch(page.band_widths[0].create_time)
    assert client.show_bandwidth_detail(cph.ShowBandwidthDetailRequest(offset=2)).band_widths == []

    def resize(bandwidth_id: str, size: object) -> Any:
        return cph.UpdateBandwidthRequest(band_width_id=bandwidth_id, body={"band_width_size": size})

    for size in (1, 299, 300, 350, 1000, 1500, 2000):
        client.update_bandwidth(resize(shared.upper(), size))
        assert sizes(client)[shared] == size
    for wrong in (0, 301, 325, 1050, 1499, 2500, None, "x"):
        assert refused(client.update_bandwidth, resize(shared, wrong)).error_code == "CPS.0036"
    assert refused(client.update_bandwidth, resize(dedicated, 200)).error_code == "CPS.0160"
    unknown = refused(client.update_bandwidth, resize(SHARED_ID.replace("1", "9"), 200))
    assert (unknown.status_code, unknown.error_code) == (404, "CPS.0115")
    assert refused(client.update_bandwidth, resize("x", 200)).error_code == "CPS.0033"


def test_offerings_name_every_flavor_in_every_zone_page_by_page(client: Any) -> None:
    whole = client.list_cloud_phone_server_model_offerings(cph.ListCloudPhoneServerModelOfferingsRequest())
    models = client.list_cloud_phone_server_models(cph.ListCloudPhoneServerModelsRequest()).server_models
    zones = {one.available_zone for one in whole.models}
    assert whole.count == len(whole.models) == len(zones) * len(models) and len(zones) == 2
    by_name = {(one.available_zone, one.model_name): one.sell_status for one in whole.models}
    assert by_name["cn-east-3a", "physical.kg1.4xlarge.cp"] == "available"
    assert by_name["cn-east-3a", "physical.kg1.4xlarge.a.cp"] == "sellout"  # no phone flavor on sale runs on it
    pages, marker = [], None
    while True:
        request = cph.ListCloudPhoneServerModelOfferingsRequest(limit=5, marker=marker)
        page = client.list_cloud_phone_server_model_offerings(request)
        pages += [(one.available_zone, one.model_name) for one in page.models]
        marker = page.page_info.next_marker
        if marker is None:
            break
    assert pages == list(by_name)
    wrong = cph.ListCloudPhoneServerModelOfferingsRequest(marker="nowhere")
    assert refused(client.list_cloud_phone_server_model_offerings, wrong).error_code == "CPS.0002"
    wrong = cph.ListCloudPhoneServerModelOfferingsRequest(limit=1001)
    assert refused(client.list_cloud_phone_server_model_offerings, wrong).error_code == "CPS.0002"


def test_a_running_phone_gives_a_ticket_that_verifies_and_the_others_a_reason(
    service: Service, client: Any, server_id: str
) -> None:
    (phone,) = client.list_cloud_phones(cph.ListCloudPhonesRequest(server_id=server_id, limit=1)).phones
    body = {"phone_ids": [phone.phone_id, UNKNOWN, "x"], "client_type": "H5_PC"}
    request = cph.BatchShowPhoneConnectInfosRequest(body=body)
    answer = client.batch_show_phone_connect_infos(request)
    (info,) = answer.connect_infos
    server = client.show_cloud_phone_server_detail(cph.ShowCloudPhoneServerDetailRequest(server_id=server_id))
    access = info.access_info
    assert (access.access_ip, access.intranet_ip) == (server.addresses[0].public_ip, server.addresses[0].server_ip)
    assert HEX_ID.fullmatch(access.session_id) and access.access_port >= 10000
    assert abs(int(access.timestamp) / 1000 - time.time()) < 60
    assert [(one.phone_id, one.error_code) for one in answer.errors] == [(UNKNOWN, "CPS.0005"), ("x", "CPS.0004")]
    database = open_database(service.database_url)
    claims = tickets.verify(tickets.ticket_key(database), access.ticket, int(access.timestamp))
    database.close()
    assert (claims.phone_id, claims.session_id, claims.client_type) == (phone.phone_id, access.session_id, "H5_PC")
    again = client.batch_show_phone_connect_infos(request).connect_infos[0].access_info
    assert again.ticket != access.ticket and again.session_id != access.session_id


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"client_type": "IOS"}, "CPS.0009"),
        ({"phone_ids": [], "client_type": "IOS"}, "CPS.0009"),
        ({"phone_ids": [UNKNOWN] * 11, "client_type": "IOS"}, "CPS.0190"),
        ({"phone_ids": [UNKNOWN]}, "CPS.0116"),
        ({"phone_ids": [UNKNOWN], "client_type": "ios"}, "CPS.0116"),
    ],
)
def test_a_body_that_breaks_the_rules_gets_no_ticket(client: Any, body: object, code: str) -> None:
    request = cph.BatchShowPhoneConnectInfosRequest(body=body)
    assert refused(client.batch_show_phone_connect_infos, request).error_code == code
