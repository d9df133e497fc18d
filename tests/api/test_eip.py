"""Public addresses and bandwidths through the vendor's own SDK, and what they have to do with servers."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import huaweicloudsdkeip.v2 as eip
import pytest
from sqlalchemy import bindparam, delete, insert, update

from api.vendor_clients import client_of, refused
from opencph.fleet import generations
from opencph.store import tables
from opencph.store.database import command, open_database

if TYPE_CHECKING:
    from api.api_service import Service

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    return client_of(service, eip.EipClient)


def creation(bandwidth: Any = None, **publicip: Any) -> Any:
    option = eip.CreatePublicipOption(**{"type": "5_bgp", **publicip})
    own = eip.CreatePublicipBandwidthOption(share_type="PER", name="bw", size=10, charge_mode="traffic")
    return eip.CreatePublicipRequest(eip.CreatePublicipRequestBody(bandwidth=bandwidth or own, publicip=option))


def show(client: Any, publicip_id: str) -> Any:
    return client.show_publicip(eip.ShowPublicipRequest(publicip_id)).publicip


def bind(publicip_id: str, port_id: str) -> Any:
    body = eip.UpdatePublicipsRequestBody(eip.UpdatePublicipOption(port_id=port_id))
    return eip.UpdatePublicipRequest(publicip_id, body)


def new_shared(client: Any, size: int = 50) -> Any:
    option = eip.CreateSharedBandwidthOption(name="shared", size=size)
    request = eip.CreateSharedBandwidthRequest(eip.CreateSharedBandwidhRequestBody(option))
    return client.create_shared_bandwidth(request).bandwidth


def buy(service: Service, **changes: Any) -> str:
    body = service.purchase(server_name=f"s{uuid.uuid4().hex[:8]}", **changes)
    answer = service.json("POST", f"{service.v2}/servers", body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["server_ids"][0])


def make_serve(service: Service, server_id: str) -> None:
    """What the worker does when the phones of a new server run."""
    servers, built = tables.servers, tables.generations
    with (database := open_database(service.database_url)).write() as tx:
        tx.run(command(update(servers).where(servers.c.server_id == bindparam("id")).values(status=5)), id=server_id)
        tx.run(command(update(built).where(built.c.server_id == bindparam("id")).values(state="serving")), id=server_id)
    database.close()


def set_status(service: Service, server_id: str, status: int) -> None:
    servers = tables.servers
    with (database := open_database(service.database_url)).write() as tx:
        changed = update(servers).where(servers.c.server_id == bindparam("id")).values(status=bindparam("new"))
        tx.run(command(changed), id=server_id, new=status)
    database.close()


def public_ips(service: Service, server_id: str) -> list[str]:
    detail = service.json("GET", f"{service.v1}/servers/{server_id}").json()
    return [address["public_ip"] for address in detail["addresses"]]


def test_an_eip_is_assigned_shown_renamed_and_released(client: Any, service: Service) -> None:
    made = client.create_publicip(creation(alias="mine")).publicip
    assert made.public_ip_address.startswith("127.71.") and (made.status, made.bandwidth_size) == ("DOWN", 10)
    found = show(client, made.id)
    assert (found.status, found.alias, found.ip_version, found.port_id) == ("DOWN", "mine", 4, None)
    assert (found.bandwidth_name, found.bandwidth_share_type, found.bandwidth_size) == ("bw", "PER", 10)
    assert found.tenant_id == service.project_id
    body = eip.UpdatePublicipsRequestBody(eip.UpdatePublicipOption(alias="other"))
    assert client.update_publicip(eip.UpdatePublicipRequest(made.id, body)).publicip.alias == "other"
    bandwidth = client.show_bandwidth(eip.ShowBandwidthRequest(found.bandwidth_id)).bandwidth
    assert (bandwidth.charge_mode, bandwidth.share_type, bandwidth.size) == ("traffic", "PER", 10)
    assert [info.publicip_address for info in bandwidth.publicip_info] == [made.public_ip_address]
    client.delete_publicip(eip.DeletePublicipRequest(made.id))
    refused(client.show_publicip, eip.ShowPublicipRequest(made.id), 404, "VPC.0504")
    refused(client.show_bandwidth, eip.ShowBandwidthRequest(found.bandwidth_id), 404, "VPC.0306")


def test_an_address_can_be_asked_for_once(client: Any) -> None:
    made = client.create_publicip(creation(ip_address="127.71.100.7")).publicip
    assert made.public_ip_address == "127.71.100.7"
    refused(client.create_publicip, creation(ip_address="127.71.100.7"), 409, "VPC.0501")
    refused(client.create_publicip, creation(ip_address="127.71.200.7"), 400, "VPC.0501")
    refused(client.create_publicip, creation(ip_address="here"), 400, "VPC.0501")


@pytest.mark.parametrize(
    ("publicip", "bandwidth", "code"),
    [
        ({"type": "6_bgp"}, {}, "VPC.0501"),
        ({"ip_version": 6}, {}, "VPC.0501"),
        ({"port_id": "here"}, {}, "VPC.0501"),
        ({"alias": "a b"}, {}, "VPC.0501"),
        ({}, {"size": 2001}, "VPC.0301"),
        ({}, {"size": 0}, "VPC.0301"),
        ({}, {"share_type": "HALF"}, "VPC.0301"),
        ({}, {"charge_mode": "never"}, "VPC.0301"),
        ({}, {"share_type": "WHOLE"}, "VPC.0301"),
        ({}, {"name": "x" * 65}, "VPC.0301"),
    ],
)
def test_what_is_no_eip_is_refused(client: Any, publicip: dict[str, Any], bandwidth: dict[str, Any], code: str) -> None:
    option = eip.CreatePublicipBandwidthOption(**{"share_type": "PER", "size": 5, **bandwidth})
    refused(client.create_publicip, creation(option, **publicip), 400, code)


def test_a_server_takes_an_eip_and_holds_it(client: Any, service: Service) -> None:
    made = client.create_publicip(creation()).publicip
    server_id = buy(service, public_ip={"ids": [made.id]}, band_width=None)
    assert show(client, made.id).status == "BINDING"
    make_serve(service, server_id)
    found = show(client, made.id)
    assert (found.status, bool(found.port_id)) == ("ACTIVE", True)
    detail = service.json("GET", f"{service.v1}/servers/{server_id}").json()
    assert detail["addresses"][0] == {
        "intranet_ip": found.private_ip_address,
        "access_ip": made.public_ip_address,
        "server_ip": found.private_ip_address,
        "public_ip": made.public_ip_address,
    }
    assert detail["band_widths"] == []  # the EIP brought its own
    message = refused(client.delete_publicip, eip.DeletePublicipRequest(made.id), 409, "VPC.0517")
    assert server_id in message


def test_an_eip_is_unbound_and_bound_to_a_port(client: Any, service: Service) -> None:
    first, second = (client.create_publicip(creation()).publicip for _ in range(2))
    server_id = buy(service, public_ip={"ids": [first.id]}, band_width=None)
    make_serve(service, server_id)
    port = show(client, first.id).port_id
    refused(client.update_publicip, bind(second.id, port), 409, "VPC.0511")
    unbound = client.update_publicip(bind(first.id, "")).publicip
    assert (unbound.status, unbound.port_id) == ("DOWN", None) and public_ips(service, server_id) == [""]
    bound = client.update_publicip(bind(second.id, port)).publicip
    assert (bound.status, bound.port_id) == ("ACTIVE", port)
    assert public_ips(service, server_id) == [second.public_ip_address]
    assert client.update_publicip(bind(second.id, port)).publicip == bound
    refused(client.update_publicip, bind(first.id, port), 409, "VPC.0511")
    other = buy(service, public_ip={"ids": [first.id]}, band_width=None)
    make_serve(service, other)
    refused(client.update_publicip, bind(first.id, port), 409, "VPC.0510")
    set_status(service, server_id, 3)
    refused(client.update_publicip, bind(second.id, ""), 409, "VPC.0510")
    refused(client.update_publicip, bind(second.id, UNKNOWN), 409, "VPC.0510")
    refused(client.create_publicip, creation(port_id=UNKNOWN), 404, "VPC.0701")


def test_an_eip_is_bound_as_it_is_made_and_binding_is_published(client: Any, service: Service) -> None:
    first = client.create_publicip(creation()).publicip
    server_id = buy(service, public_ip={"ids": [first.id]}, band_width=None)
    make_serve(service, server_id)
    port = show(client, first.id).port_id
    client.update_publicip(bind(first.id, ""))
    made = client.create_publicip(creation(port_id=port)).publicip
    assert made.status == "ACTIVE" and public_ips(service, server_id) == [made.public_ip_address]
    database = open_database(service.database_url)
    with database.read() as tx:
        route = next(route for route in generations.mappings(tx) if route.server_id == server_id)
    database.close()
    assert [address.public_ip for address in route.addresses] == [made.public_ip_address]


def test_an_eip_that_came_with_a_server_stays_with_it(client: Any, service: Service) -> None:
    server_id = buy(service)
    make_serve(service, server_id)
    (address,) = public_ips(service, server_id)
    (found,) = client.list_publicips(eip.ListPublicipsRequest(public_ip_address=[address])).publicips
    assert (found.status, found.bandwidth_share_type, found.bandwidth_size) == ("ACTIVE", "PER", 300)
    refused(client.update_publicip, bind(found.id, ""), 409, "VPC.0510")
    refused(client.delete_publicip, eip.DeletePublicipRequest(found.id), 409, "VPC.0517")
    detail = service.json("GET", f"{service.v1}/servers/{server_id}").json()
    assert detail["band_widths"][0]["band_width_id"] == found.bandwidth_id
    body = eip.UpdateBandwidthRequestBody(eip.UpdateBandwidthOption(name="wider", size=400))
    changed = client.update_bandwidth(eip.UpdateBandwidthRequest(found.bandwidth_id, body)).bandwidth
    assert (changed.name, changed.size) == ("wider", 400)
    detail = service.json("GET", f"{service.v1}/servers/{server_id}").json()
    assert detail["band_widths"][0]["band_width_size"] == 400


def test_lists_go_by_marker_and_filter(client: Any) -> None:
    made = {client.create_publicip(creation()).publicip.id for _ in range(3)}
    seen: list[str] = []
    marker = None
    while page := client.list_publicips(eip.ListPublicipsRequest(limit=2, marker=marker)).publicips:
        seen += [one.id for one in page]
        marker = page[-1].id
    assert made <= set(seen) and seen == sorted(set(seen))
    some = sorted(made)[:2]
    assert {one.id for one in client.list_publicips(eip.ListPublicipsRequest(id=some)).publicips} == set(some)
    assert client.list_publicips(eip.ListPublicipsRequest(ip_version=6)).publicips == []


def test_a_shared_bandwidth_in_use_is_not_deleted(client: Any, service: Service) -> None:
    shared = new_shared(client)
    assert (shared.share_type, shared.size, shared.charge_mode, shared.publicip_info) == ("WHOLE", 50, "bandwidth", [])
    option = eip.CreatePublicipBandwidthOption(share_type="WHOLE", id=shared.id)
    made = client.create_publicip(creation(option)).publicip
    assert made.bandwidth_size == 50
    listed = client.list_bandwidths(eip.ListBandwidthsRequest(share_type="WHOLE")).bandwidths
    (found,) = [one for one in listed if one.id == shared.id]
    assert [info.publicip_id for info in found.publicip_info] == [made.id]
    assert shared.id not in {one.id for one in client.list_bandwidths(eip.ListBandwidthsRequest(share_type="PER")).bandwidths}
    refused(client.delete_shared_bandwidth, eip.DeleteSharedBandwidthRequest(shared.id), 409, "VPC.0313")
    client.delete_publicip(eip.DeletePublicipRequest(made.id))
    width = {"band_width_share_type": 1, "band_width_id": shared.id}
    server_id = buy(service, band_width=width)
    message = refused(client.delete_shared_bandwidth, eip.DeleteSharedBandwidthRequest(shared.id), 409, "VPC.0313")
    assert server_id in message
    free = new_shared(client, 5)
    client.delete_shared_bandwidth(eip.DeleteSharedBandwidthRequest(free.id))
    refused(client.show_bandwidth, eip.ShowBandwidthRequest(free.id), 404, "VPC.0306")


def test_bandwidths_have_limits(client: Any) -> None:
    for size in (4, 2001):
        option = eip.CreateSharedBandwidthOption(name="shared", size=size)
        request = eip.CreateSharedBandwidthRequest(eip.CreateSharedBandwidhRequestBody(option))
        refused(client.create_shared_bandwidth, request, 400, "VPC.0301")
    shared = new_shared(client)
    for fields in ({"size": 4}, {"size": 2001}, {"name": "a b"}, {}):
        body = eip.UpdateBandwidthRequestBody(eip.UpdateBandwidthOption(**fields))
        refused(client.update_bandwidth, eip.UpdateBandwidthRequest(shared.id, body), 400, "VPC.0301")
    own = show(client, client.create_publicip(creation()).publicip.id).bandwidth_id
    refused(client.delete_shared_bandwidth, eip.DeleteSharedBandwidthRequest(own), 400, "VPC.0301")
    option = eip.CreatePublicipBandwidthOption(share_type="WHOLE", id=own)
    refused(client.create_publicip, creation(option), 400, "VPC.0301")


def test_the_quota_of_eips_holds_here_too(client: Any, service: Service) -> None:
    quotas = tables.quotas
    mine = {"project_id": service.project_id, "resource": "eips"}
    database = open_database(service.database_url)
    with database.write() as tx:
        tx.run(command(insert(quotas).values(**mine, quota_limit=0)))
    try:
        assert "eips" in refused(client.create_publicip, creation(), 409, "VPC.0521")
    finally:
        with database.write() as tx:
            tx.run(command(delete(quotas)))
        database.close()
