"""The ports of servers through the vendor's own SDK: what an EIP can be bound to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import huaweicloudsdkeip.v2 as eip
import huaweicloudsdkvpc.v2 as vpc
import pytest

from api.test_eip import UNKNOWN, bind, buy, creation, make_serve, public_ips, set_status
from api.vendor_clients import client_of, refused
from opencph.fleet.statuses import ServerStatus

if TYPE_CHECKING:
    from api.api_service import Service

NO_EIP: dict[str, Any] = {"public_ip": {"count": 0}, "band_width": None}


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    return client_of(service, vpc.VpcClient)


@pytest.fixture(scope="module")
def server_id(service: Service) -> str:
    """A server without EIP."""
    made = buy(service, **NO_EIP)
    make_serve(service, made)
    return made


def ports(client: Any, **filters: Any) -> list[Any]:
    return list(client.list_ports(vpc.ListPortsRequest(**filters)).ports)


def test_the_port_of_a_server_without_eip_is_found_and_takes_one(client: Any, service: Service, server_id: str) -> None:
    (port,) = ports(client, device_id=server_id)
    detail = service.json("GET", f"{service.v1}/servers/{server_id}").json()
    assert (port.device_id, port.status, port.network_id) == (server_id, "ACTIVE", service.credentials["subnet_id"])
    assert [address.ip_address for address in port.fixed_ips] == [detail["addresses"][0]["server_ip"]]
    subnet = client.show_subnet(vpc.ShowSubnetRequest(port.network_id)).subnet
    assert [address.subnet_id for address in port.fixed_ips] == [subnet.neutron_subnet_id]
    assert (port.device_owner, port.tenant_id) == (f"compute:{detail['availability_zone']}", service.project_id)
    assert client.show_port(vpc.ShowPortRequest(port.id)).port == port
    assert public_ips(service, server_id) == [""]
    addresses = client_of(service, eip.EipClient)
    made = addresses.create_publicip(creation()).publicip
    bound = addresses.update_publicip(bind(made.id, port.id)).publicip
    assert (bound.status, bound.port_id, bound.private_ip_address) == ("ACTIVE", port.id, port.fixed_ips[0].ip_address)
    assert public_ips(service, server_id) == [made.public_ip_address]
    assert ports(client, device_id=server_id) == [port]


def test_every_filter_finds_what_it_names_and_nothing_else(client: Any, service: Service, server_id: str) -> None:
    (port,) = ports(client, device_id=server_id.upper())
    other = buy(service, **NO_EIP)
    address = port.fixed_ips[0]
    own: tuple[dict[str, Any], ...] = (
        {"id": [port.id, UNKNOWN]},
        {"fixed_ips": [f"ip_address={address.ip_address}"]},
        {"fixed_ips": [f"ip_address={address.ip_address}", f"subnet_id={address.subnet_id.upper()}"]},
    )
    for given in own:
        assert ports(client, **given) == [port], given
    both = {one.id for one in ports(client)}
    assert {port.id} | {one.id for one in ports(client, device_id=other)} <= both
    everything = {"network_id": port.network_id, "device_owner": port.device_owner, "security_groups": port.security_groups}
    for field, value in {**everything, "admin_state_up": True, "enable_efi": False, "enterprise_project_id": "0"}.items():
        assert {one.id for one in ports(client, **{field: value})} == both, field
    nobodys: tuple[dict[str, Any], ...] = (
        *({"id": [UNKNOWN]}, {"network_id": UNKNOWN}, {"device_id": "0" * 32}, {"name": "x"}, {"mac_address": "fa:16:3e:00:00:01"}),
        *({"admin_state_up": False}, {"enable_efi": True}, {"security_groups": [UNKNOWN]}, {"enterprise_project_id": "x"}),
        {"fixed_ips": [f"ip_address={address.ip_address}", f"subnet_id={UNKNOWN}"]},
    )
    for given in nobodys:
        assert ports(client, **given) == [], given
    refused(client.list_ports, vpc.ListPortsRequest(fixed_ips=["127.0.0.1"]), 400, "VPC.0702")


def test_ports_come_in_pages(client: Any, service: Service, server_id: str) -> None:
    buy(service, **NO_EIP)
    everything = [port.id for port in ports(client)]
    seen: list[str] = []
    while page := ports(client, limit=1, marker=seen[-1] if seen else None):
        seen += [port.id for port in page]
    assert seen == everything == sorted(everything) and len(seen) > 1


def test_a_port_says_whether_its_server_is_being_made_runs_or_is_stopped(client: Any, service: Service) -> None:
    made = buy(service, **NO_EIP)
    (port,) = ports(client, device_id=made)
    assert (port.status, ports(client, device_id=made, status="BUILD")) == ("BUILD", [port])
    addresses = client_of(service, eip.EipClient)
    refused(addresses.create_publicip, creation(port_id=port.id), 409, "VPC.0510")
    make_serve(service, made)
    assert client.show_port(vpc.ShowPortRequest(port.id)).port.status == "ACTIVE"
    set_status(service, made, ServerStatus.STOPPED)
    assert client.show_port(vpc.ShowPortRequest(port.id)).port.status == "DOWN"


@pytest.mark.parametrize("port_id", [UNKNOWN, "here", "0" * 32])
def test_what_is_no_port_is_not_there(client: Any, port_id: str) -> None:
    refused(client.show_port, vpc.ShowPortRequest(port_id), 404, "VPC.0701")
