"""The calls of Huawei's Terraform provider, in its order, with its headers, signatures, success codes and strict types.

The provider itself does not run here. What it sends and what it reads of the answers was taken from its source (resources
`huaweicloud_vpc`, `_vpc_subnet`, `_kps_keypair`, `_cph_server`; `docs/compatibility.md`). A state that is read must be the
configuration again, or Terraform would plan a change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import asyncssh
import pytest

from e2e.go_client import GoClient, UnexpectedStatusError, boolean, nullable_string, number, string
from e2e.running import StartUp

Eventually = Callable[[Callable[[], bool], str], None]
TAG_HEADERS = {"Content-Type": "application/json", "X-Language": "en-us"}
WAIT_SECONDS = 60.0


class Provider:
    """The provider with an access key, a region and one endpoint for all services."""

    def __init__(self, endpoint: str, known: dict[str, Any]) -> None:
        keys = endpoint, known["access_key"], known["secret_key"]
        domain = GoClient(*keys, "", known["domain_id"])
        projects = domain.request("GET", f"/v3/projects?name={known['region']}")["projects"]
        assert [string(one["id"]) for one in projects] == [known["project_id"]]
        assert string(domain.request("GET", "/v3/auth/domains")["domains"][0]["id"]) == known["domain_id"]
        self.client = GoClient(*keys, known["project_id"])
        self.bss = GoClient(*keys, "", known["domain_id"])
        self.bss.request("GET", "/v2/products/service-types?limit=1")

    # --- huaweicloud_vpc ---

    def create_vpc(self, config: dict[str, Any]) -> str:
        option = {key: config[key] for key in ("name", "cidr", "description")}
        made = self.client.request("POST", "/v1/{project_id}/vpcs", {"vpc": option}, ok=(200,))["vpc"]
        vpc_id = string(made["id"])
        assert self.client.request("GET", f"/v1/{{project_id}}/vpcs/{vpc_id}")["vpc"]["status"] == "OK"
        self._tag("vpcs", vpc_id, "create", config["tags"])
        return vpc_id

    def read_vpc(self, vpc_id: str) -> dict[str, Any]:
        found = self.client.request("GET", f"/v1/{{project_id}}/vpcs/{vpc_id}")["vpc"]
        for route in found["routes"]:
            string(route["nexthop"]), string(route["destination"])
        v3 = self.client.request("GET", f"/v3/{{project_id}}/vpc/vpcs/{vpc_id}")["vpc"]
        assert v3["extend_cidrs"] == [] and string(found["enterprise_project_id"]) == "0" and string(found["status"]) == "OK"
        return {
            **{key: string(found[key]) for key in ("name", "cidr", "description")},
            "tags": self._tags("vpcs", vpc_id),
        }

    def update_vpc(self, vpc_id: str, config: dict[str, Any]) -> None:
        option = {key: config[key] for key in ("name", "cidr", "description")}
        string(self.client.request("PUT", f"/v1/{{project_id}}/vpcs/{vpc_id}", {"vpc": option}, ok=(200,))["vpc"]["id"])

    # --- huaweicloud_vpc_subnet ---

    def create_subnet(self, config: dict[str, Any]) -> str:
        option = {
            **{key: config[key] for key in ("name", "cidr", "gateway_ip", "vpc_id", "description", "dhcp_enable")},
            "ipv6_enable": config["ipv6_enable"],
            "dnsList": config["dns_list"],
            "extra_dhcp_opts": [{"opt_name": "ntp", "opt_value": config["ntp_server_address"]}],
        }
        made = self.client.request("POST", "/v1/{project_id}/subnets", {"subnet": option}, ok=(200,))["subnet"]
        subnet_id = string(made["id"])
        assert self.client.request("GET", f"/v1/{{project_id}}/subnets/{subnet_id}")["subnet"]["status"] == "ACTIVE"
        return subnet_id

    def read_subnet(self, subnet_id: str) -> dict[str, Any]:
        found = self.client.request("GET", f"/v1/{{project_id}}/subnets/{subnet_id}")["subnet"]
        for key in ("primary_dns", "secondary_dns", "availability_zone", "neutron_subnet_id"):
            string(found[key])
        for key in ("neutron_subnet_id_v6", "cidr_v6", "gateway_ip_v6"):
            nullable_string(found[key])
        options = {string(one["opt_name"]): nullable_string(one["opt_value"]) for one in found["extra_dhcp_opts"]}
        assert self._tags("subnets", subnet_id) == {}
        return {
            **{key: string(found[key]) for key in ("name", "cidr", "gateway_ip", "vpc_id", "description")},
            **{key: boolean(found[key]) for key in ("dhcp_enable", "ipv6_enable")},
            "dns_list": [string(one) for one in found["dnsList"]],
            "ntp_server_address": options["ntp"],
        }

    def update_subnet(self, subnet_id: str, config: dict[str, Any]) -> None:
        option = {"name": config["name"], "dhcp_enable": config["dhcp_enable"], "description": config["description"]}
        path = f"/v1/{{project_id}}/vpcs/{config['vpc_id']}/subnets/{subnet_id}"
        self.client.request("PUT", path, {"subnet": option}, ok=(200,))

    # --- huaweicloud_kps_keypair ---

    def create_keypair(self, config: dict[str, Any]) -> str:
        option = {"name": config["name"], "type": "ssh", "public_key": config["public_key"]}
        made = self.client.request("POST", "/v3/{project_id}/keypairs", {"keypair": option})
        name = string(made["keypair"]["name"])
        body = {"keypair": {"description": config["description"]}}
        self.client.request("PUT", f"/v3/{{project_id}}/keypairs/{name}", body)
        return name

    def read_keypair(self, name: str) -> dict[str, Any]:
        found = self.client.request("GET", f"/v3/{{project_id}}/keypairs/{name}")["keypair"]
        assert number(found["create_time"]) > 1_600_000_000_000 and string(found["scope"]) == "user"
        string(found["fingerprint"]), string(found["user_id"]), boolean(found["is_key_protection"])
        return {key: string(found[key]) for key in ("name", "public_key", "description")}

    # --- huaweicloud_cph_server ---

    def create_server(self, config: dict[str, Any]) -> str:
        body = {
            "server_name": config["name"],
            "server_model_name": config["server_flavor"],
            "phone_model_name": config["phone_flavor"],
            "image_id": config["image_id"],
            "count": 1,
            "tenant_vpc_id": config["vpc_id"],
            "nics": [{"subnet_id": config["subnet_id"]}],
            "keypair_name": config["keypair_name"],
            "ports": config["ports"],
            "extend_param": {
                "charging_mode": 0,
                "is_auto_pay": 1,
                "period_num": 1,
                "period_type": 2,
                "is_auto_renew": 0,
            },
        }  # the provider leaves out what is empty: without EIP there is no public_ip
        if "eip_type" in config:
            body["public_ip"] = {"eip": {"type": config["eip_type"]}}
            width = config["bandwidth"]
            body["band_width"] = {
                "band_width_share_type": int(width["share_type"]),
                "band_width_charge_mode": int(width["charge_mode"]),
                "band_width_size": width["size"],
            }
        elif "eip_id" in config:
            body["public_ip"] = {"ids": [config["eip_id"]]}
        if "phone_data_volume" in config:
            volume = config["phone_data_volume"]
            body["phone_data_volume"] = {"volume_type": volume["volume_type"], "size": volume["volume_size"]}
        if "server_share_data_volume" in config:
            body["server_share_data_volume"] = config["server_share_data_volume"]
        made = self.client.request("POST", "/v2/{project_id}/cloud-phone/servers", body, ok=(200,))
        server_id, order_id = string(made["server_ids"][0]), string(made["order_id"])
        assert self._status(server_id) in (1, 5)  # to be seen at once
        self._wait(lambda: self._status(server_id) in (5, 8, 10), "the server is normal")
        self._wait(lambda: self._order(order_id) == 5, "the order is completed")
        if config["tags"]:
            self._tag_server(server_id, "create", config["tags"])
        return server_id

    def read_server(self, server_id: str) -> dict[str, Any]:
        found = self.client.request("GET", f"/v1/{{project_id}}/cloud-phone/servers/{server_id}")
        for address in found["addresses"]:
            string(address["server_ip"]), string(address["public_ip"])
        assert all(string(group) for group in found["security_groups"]) and len(found["security_groups"]) == 1
        string(found["metadata"]["order_id"]), string(found["availability_zone"]), string(found["enterprise_project_id"])
        state: dict[str, Any] = {
            "name": string(found["server_name"]),
            "server_flavor": string(found["server_model_name"]),
            "phone_flavor": string(found["phone_model_name"]),
            **{key: string(found[key]) for key in ("keypair_name", "vpc_id", "subnet_id")},
        }
        for width in found["band_widths"][:1]:
            string(width["band_width_id"])
            state["bandwidth"] = {
                "share_type": str(number(width["band_width_share_type"])),
                "charge_mode": str(number(width["band_width_charge_mode"])),
                "size": number(width["band_width_size"]),
            }
        for volume in found["volumes"]:
            string(volume["volume_name"]), string(volume["volume_id"]), string(volume["create_time"])
            assert "phone_data_volume" not in state  # Terraform has room for one
            state["phone_data_volume"] = {
                "volume_type": string(volume["volume_type"]),
                "volume_size": number(volume["volume_size"]),
            }
        shared = found.get("share_volume_info")
        if shared is not None:
            number(shared["version"])
            state["server_share_data_volume"] = {"volume_type": string(shared["volume_type"]), "size": number(shared["size"])}
        tags = self.client.request("GET", f"/v1/{{project_id}}/cph-server/{server_id}/tags")["tags"]
        state["tags"] = {string(tag["key"]): string(tag["value"]) for tag in tags}
        return state

    def update_server(self, server_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        path = f"/v1/{{project_id}}/cloud-phone/servers/{server_id}"
        self.client.request("PUT", path, {"server_name": new["name"]})
        body = {"servers": [{"server_id": server_id, "keypair_name": new["keypair_name"]}]}
        made = self.client.request("PUT", "/v1/{project_id}/cloud-phone/servers/open-access", body)
        job_id = string(made["jobs"][0]["job_id"])
        self._wait(lambda: self._job(job_id) == 2, "the key pair is changed")
        self._tag_server(server_id, "delete", old["tags"])
        self._tag_server(server_id, "create", new["tags"])

    def delete_server(self, server_id: str) -> None:
        body = {"resource_ids": [server_id], "unsubscribe_type": 1}
        made = self.bss.request("POST", "/v2/orders/subscriptions/resources/unsubscribe", body, ok=(200,))
        order_id = string(made["order_ids"][0])
        self._wait(lambda: self._status(server_id) in (404, 6), "the server is deleted")
        self._wait(lambda: self._status(server_id) == 404, "the server is gone")
        self._wait(lambda: self._order(order_id) == 5, "the unsubscription is completed")

    def list_servers(self, **filters: str) -> list[dict[str, Any]]:
        """The data source: pages until one is empty."""
        found: list[dict[str, Any]] = []
        while True:
            query = "&".join(f"{key}={value}" for key, value in {**filters, "limit": 100, "offset": len(found)}.items())
            page = self.client.request("GET", f"/v1/{{project_id}}/cloud-phone/servers?{query}")["servers"]
            if not page:
                return found
            found += page

    # --- what they share ---

    def delete(self, *paths: str) -> None:
        """GET, DELETE, GET, ... until it is gone; 409 means to try again, 400 would be taken for gone."""
        read, remove = paths if len(paths) == 2 else (paths[0], paths[0])

        def gone() -> bool:
            try:
                self.client.request("GET", read)
                self.client.request("DELETE", remove)
            except UnexpectedStatusError as error:
                assert error.status in (404, 409), error
                return error.status == 404
            return False

        self._wait(gone, f"{remove} is gone")

    def _status(self, server_id: str) -> int:
        try:
            return number(self.client.request("GET", f"/v1/{{project_id}}/cloud-phone/servers/{server_id}", ok=(200,))["status"])
        except UnexpectedStatusError as error:
            assert error.status == 404, error
            return 404

    def _order(self, order_id: str) -> int:
        status = number(self.bss.request("GET", f"/v2/orders/customer-orders/details/{order_id}")["order_info"]["status"])
        assert status in (2, 3, 5, 6)
        return status

    def _job(self, job_id: str) -> int:
        status = number(self.client.request("GET", f"/v1/{{project_id}}/cloud-phone/jobs/{job_id}")["status"])
        assert status in (1, 2)
        return status

    def _tag(self, kind: str, resource_id: str, action: str, tags: dict[str, str]) -> None:
        body = {"action": action, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
        self.client.request("POST", f"/v2.0/{{project_id}}/{kind}/{resource_id}/tags/action", body, ok=(200, 204))

    def _tags(self, kind: str, resource_id: str) -> dict[str, str]:
        path = f"/v2.0/{{project_id}}/{kind}/{resource_id}/tags"
        found = self.client.request("GET", path, ok=(200, 202), more=TAG_HEADERS)["tags"]
        return {string(tag["key"]): string(tag["value"]) for tag in found}

    def _tag_server(self, server_id: str, action: str, tags: dict[str, str]) -> None:
        body = {"action": action, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
        self.client.request("POST", f"/v1/{{project_id}}/cph-server/{server_id}/tags/action", body, ok=(204,))

    @staticmethod
    def _wait(done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not done():
            assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:g} s: {what}"
            time.sleep(0.05)


def readable(config: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration can be read back: all but what only a creation takes."""
    return {key: value for key, value in config.items() if key not in ("image_id", "ports", "eip_type", "eip_id")}


@pytest.mark.timeout(300)
def test_a_configuration_is_created_read_without_a_diff_changed_imported_and_destroyed(start: StartUp) -> None:
    cph = start()
    provider = Provider(cph.endpoint, cph.credentials)

    network = {"name": "tf-vpc", "cidr": "192.168.0.0/16", "description": "by terraform", "tags": {"owner": "me"}}
    vpc_id = provider.create_vpc(network)
    assert provider.read_vpc(vpc_id) == network
    network = {**network, "name": "tf-vpc-2", "description": ""}
    provider.update_vpc(vpc_id, network)
    assert provider.read_vpc(vpc_id) == network

    subnet = {
        "name": "tf-subnet",
        "cidr": "192.168.10.0/24",
        "gateway_ip": "192.168.10.1",
        "vpc_id": vpc_id,
        "description": "phones",
        "dhcp_enable": True,
        "ipv6_enable": False,
        "dns_list": ["100.125.1.250", "100.125.129.250"],
        "ntp_server_address": "10.100.0.33",
    }
    subnet_id = provider.create_subnet(subnet)
    assert provider.read_subnet(subnet_id) == subnet
    subnet = {**subnet, "name": "tf-subnet-2", "description": ""}
    provider.update_subnet(subnet_id, subnet)
    assert provider.read_subnet(subnet_id) == subnet

    text = asyncssh.generate_private_key("ssh-ed25519", comment="tf").export_public_key().decode()  # ends with a newline
    keypair = {"name": "tf-key", "public_key": text, "description": "for terraform"}
    assert provider.create_keypair(keypair) == "tf-key"
    assert provider.read_keypair("tf-key") == keypair

    server = {
        "name": "tf-server",
        "server_flavor": "physical.kg1.4xlarge.cp",
        "phone_flavor": "rs2.plus",
        "image_id": "24110020241130d006101e2100000e18",
        "vpc_id": vpc_id,
        "subnet_id": subnet_id,
        "keypair_name": "tf-key",
        "ports": [{"name": "web", "listen_port": 12000, "internet_accessible": "true"}],
        "eip_type": "5_bgp",
        "bandwidth": {"share_type": "0", "charge_mode": "1", "size": 300},
        "phone_data_volume": {"volume_type": "GPSSD", "volume_size": 100},
        "server_share_data_volume": {"volume_type": "GPSSD", "size": 100},
        "tags": {"env": "test", "团队": "一"},
    }
    server_id = provider.create_server(server)
    state = provider.read_server(server_id)
    assert state == readable(server)
    assert provider.read_server(server_id) == state  # a second plan
    assert [one["server_id"] for one in provider.list_servers(server_name="tf-server")] == [server_id]

    changed = {**server, "name": "tf-renamed", "keypair_name": cph.credentials["keypair_name"], "tags": {"env": "production"}}
    provider.update_server(server_id, server, changed)
    state = provider.read_server(server_id)
    assert state == readable(changed)
    imported = Provider(cph.endpoint, cph.credentials).read_server(server_id)  # `terraform import` knows the id alone
    assert imported == state

    provider.delete_server(server_id)
    provider.delete("/v3/{project_id}/keypairs/tf-key")
    provider.delete(f"/v1/{{project_id}}/subnets/{subnet_id}", f"/v1/{{project_id}}/vpcs/{vpc_id}/subnets/{subnet_id}")
    provider.delete(f"/v1/{{project_id}}/vpcs/{vpc_id}")


@pytest.mark.timeout(300)
def test_a_server_with_an_eip_of_the_users_or_none_reads_without_a_diff(start: StartUp) -> None:
    cph = start()
    known = cph.credentials
    provider = Provider(cph.endpoint, known)
    width = {"name": "tf-bandwidth", "size": 5, "share_type": "PER", "charge_mode": "traffic"}
    made = provider.client.request("POST", "/v1/{project_id}/publicips", {"publicip": {"type": "5_bgp"}, "bandwidth": width})
    eip = made["publicip"]
    server = {
        "name": "tf-server",
        "server_flavor": "physical.rx1.xlarge",
        "phone_flavor": "rx1.cp.c15.d46.e1v1",
        "image_id": "24110020241130d006101e2100000e18",
        "vpc_id": known["vpc_id"],
        "subnet_id": known["subnet_id"],
        "keypair_name": known["keypair_name"],
        "ports": [{"name": "web", "listen_port": 12000, "internet_accessible": "true"}],
        "tags": {},
    }
    with_eip = provider.create_server({**server, "eip_id": eip["id"]})
    without = provider.create_server({**server, "name": "tf-private"})
    for server_id, name, public_ip in ((with_eip, "tf-server", eip["public_ip_address"]), (without, "tf-private", "")):
        state = provider.read_server(server_id)
        assert state == readable({**server, "name": name})
        detail = provider.client.request("GET", f"/v1/{{project_id}}/cloud-phone/servers/{server_id}")
        assert [one["public_ip"] for one in detail["addresses"]] == [public_ip]
    path = f"/v1/{{project_id}}/publicips/{eip['id']}"
    assert provider.client.request("GET", path)["publicip"]["status"] == "ACTIVE"
    provider.delete_server(with_eip)
    assert provider.client.request("GET", path)["publicip"]["status"] == "DOWN"
    provider.delete_server(without)
    provider.delete(path)


def types(item: dict[str, Any], strings: str, numbers: str) -> None:
    for name in strings.split():
        string(item[name])
    for name in numbers.split():
        number(item[name])


def test_the_data_sources_find_what_they_assert(start: StartUp) -> None:
    cph = start()
    provider = Provider(cph.endpoint, cph.credentials)
    v1 = "/v1/{project_id}/cloud-phone"
    for model in provider.client.request("GET", f"{v1}/server-models")["server_models"]:
        types(model, "server_model_name", "cpu memory product_type")
        types(model["extend_spec"], "cpu memory disk network_interface gpu bms_flavor", "gpu_count numa_count")
    for model in provider.client.request("GET", f"{v1}/phone-models")["phone_models"]:
        types(
            model,
            "phone_model_name server_model_name resolution image_label extend_spec",
            "cpu memory disk phone_capacity status product_type",
        )
    for image in provider.client.request("GET", f"{v1}/phone-images")["phone_images"]:
        types(image, "image_id image_name os_type os_name image_label", "is_public")
    known = cph.credentials
    server_id = provider.create_server(
        {
            "name": "tf-server",
            "server_flavor": "physical.rx1.xlarge",
            "phone_flavor": "rx1.cp.c15.d46.e1v1",
            "image_id": "24110020241130d006101e2100000e18",
            **{key: known[key] for key in ("vpc_id", "subnet_id", "keypair_name")},
            "ports": [{"name": "web", "listen_port": 12000, "internet_accessible": "true"}],
            "eip_type": "5_bgp",
            "bandwidth": {"share_type": "0", "charge_mode": "0", "size": 10},
            "tags": {},
        }
    )
    (server,) = provider.list_servers(server_id=server_id, network_version="v2", status="5")
    types(
        server,
        "server_model_name keypair_name subnet_id subnet_cidr enterprise_project_id availability_zone phone_model_name cidr "
        "network_version vpc_cidr resource_project_id update_time server_name vpc_id create_time",
        "status",
    )
    phones = provider.client.request("GET", f"{v1}/phones?server_id={server_id}&offset=0&limit=200")["phones"]
    assert len(phones) == 15
    for phone in phones:
        types(
            phone,
            "phone_id phone_model_name create_time update_time phone_name server_id image_id vnc_enable availability_zone "
            "image_version imei traffic_type",
            "status type volume_mode",
        )
        types(phone["metadata"], "order_id product_id", "")
    assert provider.client.request("GET", f"{v1}/phones?server_id={server_id}&offset=200&limit=200")["phones"] == []
