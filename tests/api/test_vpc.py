"""VPCs, subnets, tags and security groups through the vendor's own SDK."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import huaweicloudsdkvpc.v2 as vpc
import huaweicloudsdkvpc.v3 as vpc_v3
import pytest

from api.vendor_clients import client_of, refused

if TYPE_CHECKING:
    from api.api_service import Service

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    return client_of(service, vpc.VpcClient)


@pytest.fixture
def network(client: Any) -> Any:
    """A VPC of the test's own."""
    option = vpc.CreateVpcOption(name=f"vpc-{uuid.uuid4().hex[:8]}", cidr="192.168.0.0/16", description="for one test")
    return client.create_vpc(vpc.CreateVpcRequest(vpc.CreateVpcRequestBody(option))).vpc


def new_subnet(client: Any, vpc_id: str, cidr: str, gateway_ip: str, **more: Any) -> Any:
    option = vpc.CreateSubnetOption(name="subnet", cidr=cidr, gateway_ip=gateway_ip, vpc_id=vpc_id, **more)
    return client.create_subnet(vpc.CreateSubnetRequest(vpc.CreateSubnetRequestBody(option))).subnet


def subnet_request(vpc_id: str, **fields: Any) -> Any:
    given = {"name": "subnet", "cidr": "192.168.1.0/24", "gateway_ip": "192.168.1.1", "vpc_id": vpc_id, **fields}
    return vpc.CreateSubnetRequest(vpc.CreateSubnetRequestBody(vpc.CreateSubnetOption(**given)))


def test_a_vpc_is_made_shown_changed_listed_and_deleted(client: Any, network: Any, service: Service) -> None:
    assert (network.status, network.cidr, network.description) == ("OK", "192.168.0.0/16", "for one test")
    assert (network.tenant_id, network.enterprise_project_id, network.routes) == (service.project_id, "0", [])
    found = client.show_vpc(vpc.ShowVpcRequest(network.id)).vpc
    assert found == network
    option = vpc.UpdateVpcOption(name="renamed", description="", cidr="192.168.0.0/17")
    changed = client.update_vpc(vpc.UpdateVpcRequest(network.id, vpc.UpdateVpcRequestBody(option))).vpc
    assert (changed.name, changed.description, changed.cidr) == ("renamed", "", "192.168.0.0/17")
    ids = [one.id for one in client.list_vpcs(vpc.ListVpcsRequest()).vpcs]
    assert {network.id, service.credentials["vpc_id"]} <= set(ids) and ids == sorted(ids)
    client.delete_vpc(vpc.DeleteVpcRequest(network.id))
    refused(client.show_vpc, vpc.ShowVpcRequest(network.id), 404, "VPC.0003")


def test_pages_of_vpcs_go_by_limit_and_marker(client: Any, network: Any) -> None:
    everything = [one.id for one in client.list_vpcs(vpc.ListVpcsRequest()).vpcs]
    seen: list[str] = []
    marker = None
    while page := client.list_vpcs(vpc.ListVpcsRequest(limit=1, marker=marker)).vpcs:
        seen.append(page[0].id)
        marker = page[-1].id
    assert seen == everything and len(seen) >= 2
    refused(client.list_vpcs, vpc.ListVpcsRequest(limit=2001), 400, "VPC.0101")


def test_a_subnet_gives_back_what_was_asked(client: Any, network: Any) -> None:
    options = [vpc.ExtraDhcpOption("ntp", "10.100.0.33"), vpc.ExtraDhcpOption("addresstime", "24h")]
    made = new_subnet(
        client,
        network.id,
        "192.168.1.0/24",
        "192.168.1.1",
        description="rack 4",
        ipv6_enable=True,
        dhcp_enable=False,
        dns_list=["8.8.8.8", "114.114.114.114"],
        availability_zone="az1",
        extra_dhcp_opts=options,
    )
    found = client.show_subnet(vpc.ShowSubnetRequest(made.id)).subnet
    assert found == made and found.status == "ACTIVE"
    assert (found.primary_dns, found.secondary_dns, found.dns_list) == (
        "8.8.8.8",
        "114.114.114.114",
        ["8.8.8.8", "114.114.114.114"],
    )
    assert (found.description, found.dhcp_enable, found.availability_zone) == ("rack 4", False, "az1")
    assert found.extra_dhcp_opts == options
    assert found.cidr_v6.startswith("fd00:") and found.cidr_v6.endswith("/64")
    assert found.gateway_ip_v6 and found.neutron_subnet_id and found.neutron_subnet_id_v6 and found.neutron_network_id == made.id
    option = vpc.UpdateSubnetOption(name="other", dns_list=["9.9.9.9"], dhcp_enable=True)
    request = vpc.UpdateSubnetRequest(network.id, made.id, vpc.UpdateSubnetRequestBody(option))
    assert client.update_subnet(request).subnet.to_dict() == {"id": made.id, "status": "ACTIVE"}
    changed = client.show_subnet(vpc.ShowSubnetRequest(made.id)).subnet
    assert (changed.name, changed.dns_list, changed.secondary_dns, changed.dhcp_enable) == ("other", ["9.9.9.9"], "", True)
    assert (changed.description, changed.cidr_v6) == ("rack 4", made.cidr_v6)
    second = new_subnet(client, network.id, "192.168.2.0/24", "192.168.2.1", ipv6_enable=True)
    assert second.cidr_v6 != made.cidr_v6
    listed = client.list_subnets(vpc.ListSubnetsRequest(vpc_id=network.id)).subnets
    assert {one.id for one in listed} == {made.id, second.id}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1"}, "VPC.0203"),
        ({"cidr": "192.168.9.0/24", "gateway_ip": "192.168.9.1"}, "VPC.0204"),
        ({"cidr": "192.168.8.0/22", "gateway_ip": "192.168.8.1"}, "VPC.0204"),
        ({"cidr": "192.168.1.0/29"}, "VPC.0212"),
        ({"cidr": "192.168.1.1/24"}, "VPC.0212"),
        ({"cidr": "192.168.1.0"}, "VPC.0212"),
        ({"cidr": "everything"}, "VPC.0212"),
        ({"gateway_ip": "192.168.2.1"}, "VPC.0201"),
        ({"gateway_ip": "192.168.1.0"}, "VPC.0201"),
        ({"gateway_ip": "192.168.1.255"}, "VPC.0201"),
        ({"gateway_ip": "here"}, "VPC.0201"),
        ({"name": "x" * 65}, "VPC.0201"),
        ({"name": "a b"}, "VPC.0201"),
        ({"dns_list": ["8.8.8.8.8"]}, "VPC.0201"),
    ],
)
def test_a_subnet_that_does_not_fit_is_refused(client: Any, network: Any, fields: dict[str, Any], code: str) -> None:
    new_subnet(client, network.id, "192.168.9.0/24", "192.168.9.1")
    assert refused(client.create_subnet, subnet_request(network.id, **fields), 400, code).startswith("subnet.")


def test_a_subnet_needs_a_vpc_of_the_project(client: Any) -> None:
    refused(client.create_subnet, subnet_request(UNKNOWN), 404, "VPC.0003")


@pytest.mark.parametrize(
    "cidr", ["8.8.0.0/16", "192.168.0.0/30", "10.0.0.0/7", "127.0.0.0/20", "127.71.64.0/18", "127.71.128.0/20"]
)
def test_a_vpc_gets_no_block_that_others_use(client: Any, cidr: str) -> None:
    request = vpc.CreateVpcRequest(vpc.CreateVpcRequestBody(vpc.CreateVpcOption(name="x", cidr=cidr)))
    assert "vpc.cidr" in refused(client.create_vpc, request, 400, "VPC.0101")


def test_addresses_of_this_machine_are_given_once_whatever_the_vpc(client: Any) -> None:
    vpcs = [
        client.create_vpc(vpc.CreateVpcRequest(vpc.CreateVpcRequestBody(vpc.CreateVpcOption(name=name, cidr="127.99.0.0/16")))).vpc
        for name in ("one", "two")
    ]
    new_subnet(client, vpcs[0].id, "127.99.1.0/24", "127.99.1.1")
    refused(client.create_subnet, subnet_request(vpcs[1].id, cidr="127.99.0.0/23", gateway_ip="127.99.0.1"), 400, "VPC.0204")
    new_subnet(client, vpcs[1].id, "127.99.2.0/24", "127.99.2.1")
    private = [
        client.create_vpc(vpc.CreateVpcRequest(vpc.CreateVpcRequestBody(vpc.CreateVpcOption(name=name, cidr="10.0.0.0/8")))).vpc
        for name in ("three", "four")
    ]
    assert {new_subnet(client, one.id, "10.1.0.0/24", "10.1.0.1").cidr for one in private} == {"10.1.0.0/24"}


def test_a_vpc_must_go_on_containing_its_subnets(client: Any, network: Any) -> None:
    new_subnet(client, network.id, "192.168.200.0/24", "192.168.200.1")
    body = vpc.UpdateVpcRequestBody(vpc.UpdateVpcOption(cidr="192.168.0.0/17"))
    assert "192.168.200.0/24" in refused(client.update_vpc, vpc.UpdateVpcRequest(network.id, body), 400, "VPC.0117")


def test_what_is_in_use_is_not_deleted(client: Any, network: Any) -> None:
    subnet = new_subnet(client, network.id, "192.168.1.0/24", "192.168.1.1")
    refused(client.delete_vpc, vpc.DeleteVpcRequest(network.id), 409, "VPC.0104")
    refused(client.delete_subnet, vpc.DeleteSubnetRequest(UNKNOWN, subnet.id), 404, "VPC.0202")
    client.delete_subnet(vpc.DeleteSubnetRequest(network.id, subnet.id))
    refused(client.show_subnet, vpc.ShowSubnetRequest(subnet.id), 404, "VPC.0202")
    client.delete_vpc(vpc.DeleteVpcRequest(network.id))


def test_a_server_holds_its_subnet(client: Any, network: Any, service: Service) -> None:
    subnet = new_subnet(client, network.id, "192.168.1.0/24", "192.168.1.1")
    body = service.purchase(server_name=f"s{uuid.uuid4().hex[:8]}", tenant_vpc_id=network.id, nics=[{"subnet_id": subnet.id}])
    bought = service.json("POST", f"{service.v2}/servers", body)
    assert bought.status_code == 200, bought.text
    message = refused(client.delete_subnet, vpc.DeleteSubnetRequest(network.id, subnet.id), 409, "VPC.0209")
    assert bought.json()["server_ids"][0] in message
    detail = service.json("GET", f"{service.v1}/servers/{bought.json()['server_ids'][0]}").json()
    assert detail["addresses"][0]["server_ip"].startswith("192.168.1.") and detail["vpc_cidr"] == "192.168.0.0/16"


def test_v3_shows_a_vpc_with_its_tags(client: Any, network: Any, service: Service) -> None:
    tags = [vpc.ResourceTag("owner", "团队"), vpc.ResourceTag("cost", "")]
    body = vpc.BatchCreateVpcTagsRequestBody("create", tags)
    client.batch_create_vpc_tags(vpc.BatchCreateVpcTagsRequest(network.id, body))
    shown = client.show_vpc_tags(vpc.ShowVpcTagsRequest(network.id)).tags
    assert [(tag.key, tag.value) for tag in shown] == [("cost", ""), ("owner", "团队")]
    found = client_of(service, vpc_v3.VpcClient).show_vpc(vpc_v3.ShowVpcRequest(network.id)).vpc
    assert (found.id, found.status, found.extend_cidrs, found.project_id) == (network.id, "ACTIVE", [], service.project_id)
    assert {tag.key: tag.value for tag in found.tags} == {"owner": "团队", "cost": ""}
    missing = service.json("GET", f"/v3/{service.project_id}/vpc/vpcs/{UNKNOWN}")
    assert missing.status_code == 404 and set(missing.json()) == {"request_id", "error_code", "error_msg"}
    gone = vpc.BatchDeleteVpcTagsRequestBody("delete", [vpc.ResourceTag("cost")])
    client.batch_delete_vpc_tags(vpc.BatchDeleteVpcTagsRequest(network.id, gone))
    assert [tag.key for tag in client.show_vpc_tags(vpc.ShowVpcTagsRequest(network.id)).tags] == ["owner"]


def test_subnets_have_tags_too_and_at_most_twenty(client: Any, network: Any) -> None:
    subnet = new_subnet(client, network.id, "192.168.1.0/24", "192.168.1.1", tags=["a*1", "b"])
    shown = client.show_subnet_tags(vpc.ShowSubnetTagsRequest(subnet.id)).tags
    assert [(tag.key, tag.value) for tag in shown] == [("a", "1"), ("b", "")]
    many = vpc.BatchCreateSubnetTagsRequestBody("create", [vpc.ResourceTag(f"k{n}", "v") for n in range(19)])
    refused(client.batch_create_subnet_tags, vpc.BatchCreateSubnetTagsRequest(subnet.id, many), 400, "VPC.1814")
    bad = vpc.BatchCreateSubnetTagsRequestBody("create", [vpc.ResourceTag("a=b", "v")])
    assert "tags[0].key" in refused(
        client.batch_create_subnet_tags, vpc.BatchCreateSubnetTagsRequest(subnet.id, bad), 400, "VPC.1801"
    )
    assert len(client.show_subnet_tags(vpc.ShowSubnetTagsRequest(subnet.id)).tags) == 2
    refused(client.show_subnet_tags, vpc.ShowSubnetTagsRequest(UNKNOWN), 404, "VPC.0202")


def test_every_project_has_a_default_security_group_that_servers_show(client: Any, service: Service) -> None:
    default = client.list_security_groups(vpc.ListSecurityGroupsRequest()).security_groups[0]
    assert default.name == "default"
    assert client.show_security_group(vpc.ShowSecurityGroupRequest(default.id)).security_group == default
    directions = {(rule.direction, rule.ethertype) for rule in default.security_group_rules}
    assert directions == {("egress", "IPv4"), ("egress", "IPv6"), ("ingress", "IPv4"), ("ingress", "IPv6")}
    refused(client.delete_security_group, vpc.DeleteSecurityGroupRequest(default.id), 409, "VPC.0606")
    bought = service.json("POST", f"{service.v2}/servers", service.purchase(server_name=f"s{uuid.uuid4().hex[:8]}")).json()
    detail = service.json("GET", f"{service.v1}/servers/{bought['server_ids'][0]}").json()
    assert detail["security_groups"] == [default.id]


def test_security_groups_are_made_listed_and_deleted(client: Any) -> None:
    body = vpc.CreateSecurityGroupRequestBody(vpc.CreateSecurityGroupOption(name="web", vpc_id=UNKNOWN))
    made = client.create_security_group(vpc.CreateSecurityGroupRequest(body)).security_group
    assert (made.name, made.vpc_id, made.enterprise_project_id) == ("web", UNKNOWN, "0")
    assert made.id in [one.id for one in client.list_security_groups(vpc.ListSecurityGroupsRequest()).security_groups]
    of_vpc = client.list_security_groups(vpc.ListSecurityGroupsRequest(vpc_id=UNKNOWN)).security_groups
    assert [one.id for one in of_vpc] == [made.id]
    client.delete_security_group(vpc.DeleteSecurityGroupRequest(made.id))
    refused(client.show_security_group, vpc.ShowSecurityGroupRequest(made.id), 404, "VPC.0603")


def test_what_is_not_there_of_the_service_is_no_api(service: Service) -> None:
    for method, path in (("GET", "routes"), ("POST", "security-group-rules"), ("PUT", "vpcs")):
        answer = service.json(method, f"/v1/{service.project_id}/{path}", None if method == "GET" else {})
        assert (answer.status_code, answer.json()["error_code"]) == (404, "APIGW.0101")


@pytest.mark.parametrize("body", [None, [], {}, {"vpc": []}, {"vpc": {"name": 1}}, {"vpc": {"cidr": {}}}, {"vpc": {"name": {}}}])
def test_broken_bodies_are_refused_in_the_services_own_shape(service: Service, body: object) -> None:
    answer = service.json("POST", f"/v1/{service.project_id}/vpcs", body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "message"} and answer.json()["code"] == "VPC.0101"


def test_a_purchase_and_the_deletion_of_its_subnet_at_once_have_one_winner(client: Any, network: Any, service: Service) -> None:
    bought = deleted = 0
    for number in range(8):
        subnet = new_subnet(client, network.id, f"192.168.{number}.0/24", f"192.168.{number}.1")
        name = f"s{uuid.uuid4().hex[:8]}"
        body = service.purchase(server_name=name, tenant_vpc_id=network.id, nics=[{"subnet_id": subnet.id}])
        with ThreadPoolExecutor(2) as both:
            purchase = both.submit(service.json, "POST", f"{service.v2}/servers", body)
            deletion = both.submit(service.json, "DELETE", f"/v1/{service.project_id}/subnets/{subnet.id}")
        outcome = purchase.result().status_code, deletion.result().status_code
        assert outcome in ((200, 409), (400, 204)), (purchase.result().text, deletion.result().text)
        bought, deleted = bought + (outcome[0] == 200), deleted + (outcome[1] == 204)
        found = service.json("GET", f"/v1/{service.project_id}/subnets/{subnet.id}")
        assert found.status_code == (200 if outcome[0] == 200 else 404)
    assert bought + deleted == 8
