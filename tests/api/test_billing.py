"""Orders and unsubscription through the vendor's own SDK."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import huaweicloudsdkbss.v2 as bss
import pytest
from sqlalchemy import bindparam, update

from api.vendor_clients import global_client_of, refused
from opencph.fleet import orders
from opencph.store import tables
from opencph.store.database import command, open_database

if TYPE_CHECKING:
    from api.api_service import Service

YEARLY = {"charging_mode": 0, "period_type": 2, "period_num": 1, "is_auto_renew": 0, "is_auto_pay": 1}
UNKNOWN = "0" * 32


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    return global_client_of(service, bss.BssClient)


def buy(service: Service, **changes: Any) -> Any:
    body = service.purchase(server_name=f"s{uuid.uuid4().hex[:8]}", **{"extend_param": YEARLY, **changes})
    answer = service.json("POST", f"{service.v2}/servers", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def end_purchase(service: Service, server_id: str, *, delivered: bool) -> None:
    """What the job of a purchase does last; no worker runs here."""
    servers, built = tables.servers, tables.generations
    with (database := open_database(service.database_url)).write() as tx:
        changed = update(servers).where(servers.c.server_id == bindparam("id")).values(status=bindparam("new"))
        tx.run(command(changed), id=server_id, new=5 if delivered else 2)
        if delivered:
            tx.run(command(update(built).where(built.c.server_id == bindparam("id")).values(state="serving")), id=server_id)
        orders.settle(tx, [server_id], orders.PURCHASE, delivered=delivered)
    database.close()


def details(client: Any, order_id: str, **fields: Any) -> Any:
    return client.show_customer_order_details(bss.ShowCustomerOrderDetailsRequest(order_id=order_id, **fields))


def unsubscription(*resource_ids: str, kind: int = 1) -> Any:
    body = bss.UnsubscribeResourcesReq(resource_ids=list(resource_ids), unsubscribe_type=kind)
    return bss.CancelResourcesSubscriptionRequest(body)


def test_an_order_is_pending_until_its_server_is_normal(client: Any, service: Service) -> None:
    bought = buy(service)
    found = details(client, bought["order_id"])
    assert (found.order_info.status, found.order_info.order_type, found.total_count) == (3, 1, 1)
    assert found.order_info.customer_id == service.credentials["domain_id"]
    assert [line.commercial_resource for line in found.order_line_items] == bought["server_ids"]
    assert found.order_line_items[0].product_id == bought["product_id"]
    end_purchase(service, bought["server_ids"][0], delivered=True)
    assert details(client, bought["order_id"]).order_info.status == 5


def test_an_order_of_several_servers_is_done_when_all_have_ended(client: Any, service: Service) -> None:
    bought = buy(service, count=3)
    first, second, third = bought["server_ids"]
    end_purchase(service, first, delivered=True)
    end_purchase(service, second, delivered=False)
    assert details(client, bought["order_id"]).order_info.status == 3
    end_purchase(service, third, delivered=True)
    found = details(client, bought["order_id"], limit=2, offset=2)
    assert (found.order_info.status, found.total_count, len(found.order_line_items)) == (5, 3, 1)


def test_an_order_of_which_nothing_came_is_cancelled(client: Any, service: Service) -> None:
    bought = buy(service)
    end_purchase(service, bought["server_ids"][0], delivered=False)
    assert details(client, bought["order_id"]).order_info.status == 4


def test_unsubscribing_deletes_the_server(client: Any, service: Service) -> None:
    bought = buy(service)
    (server_id,) = bought["server_ids"]
    end_purchase(service, server_id, delivered=True)
    refused_by_cph = service.json("DELETE", f"{service.v2}/servers", {"server_ids": [server_id]})
    assert refused_by_cph.json()["error_code"] == "CPS.0056"
    (order_id,) = client.cancel_resources_subscription(unsubscription(server_id)).order_ids
    assert service.json("GET", f"{service.v1}/servers/{server_id}").json()["status"] == 6
    found = details(client, order_id)
    assert (found.order_info.status, found.order_info.order_type) == (3, 4)
    refused(client.cancel_resources_subscription, unsubscription(server_id), 400, "CBC.30000067")
    with (database := open_database(service.database_url)).write() as tx:  # what the job of the deletion does last
        orders.settle(tx, [server_id], orders.UNSUBSCRIBE, delivered=True)
    database.close()
    assert details(client, order_id).order_info.status == 5
    assert details(client, bought["order_id"]).order_info.status == 5


def test_only_what_is_subscribed_to_is_unsubscribed_and_all_or_nothing(client: Any, service: Service) -> None:
    good = buy(service)["server_ids"][0]
    end_purchase(service, good, delivered=True)
    by_use = buy(service, extend_param={"charging_mode": 1})["server_ids"][0]
    end_purchase(service, by_use, delivered=True)
    new = buy(service)["server_ids"][0]
    assert "paid for by use" in refused(client.cancel_resources_subscription, unsubscription(good, by_use), 400, "CBC.30000067")
    refused(client.cancel_resources_subscription, unsubscription(good, UNKNOWN), 400, "CBC.30000067")
    refused(client.cancel_resources_subscription, unsubscription(good, new), 400, "CBC.99003651")
    assert service.json("GET", f"{service.v1}/servers/{good}").json()["status"] == 5
    client.cancel_resources_subscription(unsubscription(good, good))


@pytest.mark.parametrize(
    "request_body",
    [{}, {"resource_ids": []}, {"resource_ids": [UNKNOWN] * 11, "unsubscribe_type": 1}, {"resource_ids": [UNKNOWN]}]
    + [{"resource_ids": [UNKNOWN], "unsubscribe_type": kind} for kind in (0, 2, "1")]
    + [{"resource_ids": [one], "unsubscribe_type": 1} for one in (1, "", "x" * 65)],
)
def test_broken_unsubscriptions_are_refused(service: Service, request_body: Any) -> None:
    answer = service.json("POST", "/v2/orders/subscriptions/resources/unsubscribe", request_body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "CBC.0100")
    assert set(answer.json()) == {"error_code", "error_msg"}


def test_an_order_that_is_nobodys_is_not_there(client: Any) -> None:
    refused(client.show_customer_order_details, bss.ShowCustomerOrderDetailsRequest("CS0000000000XXXXX"), 404, "CBC.18000002")
    refused(client.show_customer_order_details, bss.ShowCustomerOrderDetailsRequest("x", limit=101), 400, "CBC.0100")


def test_the_kinds_of_service_are_listed(client: Any, service: Service) -> None:
    found = client.list_service_types(bss.ListServiceTypesRequest(limit=1))
    assert (found.total_count, found.service_types[0].abbreviation) == (3, "CPH")
    named = client.list_service_types(bss.ListServiceTypesRequest(service_type_name="object"))
    assert [one.abbreviation for one in named.service_types] == ["OBS"]
    assert service.json("GET", "/v2/products/service-types", query="limit=1").status_code == 200
    assert service.json("GET", "/v2/products/usage-types").json()["error_code"] == "APIGW.0101"
