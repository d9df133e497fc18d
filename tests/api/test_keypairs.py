"""Key pairs through the vendor's SDKs, in the shape of the key pair service and in Nova's."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import asyncssh
import huaweicloudsdkecs.v2 as ecs
import huaweicloudsdkkps.v3 as kps
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

from api.vendor_clients import client_of, refused

if TYPE_CHECKING:
    from api.api_service import Service


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    return client_of(service, kps.KpsClient)


@pytest.fixture(scope="module")
def nova(service: Service) -> Any:
    return client_of(service, ecs.EcsClient)


def new_name() -> str:
    return f"key-{uuid.uuid4().hex[:8]}"


def create(client: Any, name: str, **fields: Any) -> Any:
    return client.create_keypair(creation(name, **fields)).keypair


def creation(name: Any, **fields: Any) -> Any:
    return kps.CreateKeypairRequest(kps.CreateKeypairRequestBody(kps.CreateKeypairAction(name=name, **fields)))


def test_a_key_pair_that_is_made_gives_its_private_key_once(client: Any) -> None:
    name = new_name()
    made = create(client, name, type="ssh")
    private = asyncssh.import_private_key(made.private_key)
    assert private.get_algorithm() == "ssh-rsa" and private.convert_to_public() == asyncssh.import_public_key(made.public_key)
    assert (made.name, made.type) == (name, "ssh") and made.user_id
    found = client.list_keypair_detail(kps.ListKeypairDetailRequest(name)).keypair
    assert (found.public_key, found.fingerprint) == (made.public_key, made.fingerprint)
    assert (found.scope, found.type, found.is_key_protection, found.frozen_state) == ("user", "ssh", False, 0)
    assert not hasattr(found, "private_key") and isinstance(found.id, int) and found.create_time > 1_600_000_000_000


@pytest.mark.parametrize("kind", ["ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_a_public_key_is_kept_as_it_is_given(client: Any, kind: str) -> None:
    text = asyncssh.generate_private_key(kind, comment="me@here").export_public_key().decode()
    name = new_name()
    made = create(client, name, public_key=text)
    assert made.private_key is None and made.public_key == text
    assert client.list_keypair_detail(kps.ListKeypairDetailRequest(name)).keypair.public_key == text


@pytest.mark.parametrize(
    "fields",
    [
        {"public_key": "ssh-rsa nonsense"},
        {"public_key": "not a key"},
        {"public_key": "ssh-rsa AAAA\nssh-rsa AAAA"},
        {"name": "two words"},
        {"name": "x" * 65},
        {"name": "Schlüssel"},
        {"name": ""},
        {"type": "x509"},
        {"scope": "domain"},
        {"key_protection": kps.KeyProtection(private_key="x")},
    ],
)
def test_what_is_no_key_pair_is_refused(client: Any, fields: dict[str, Any]) -> None:
    given = {"name": new_name(), **fields}
    assert "keypair." in refused(client.create_keypair, creation(given.pop("name"), **given), 400, "KPS.0400")


def test_a_name_is_taken_once(client: Any) -> None:
    name = new_name()
    create(client, name)
    assert name in refused(client.create_keypair, creation(name), 409, "KPS.0409")


def test_a_description_is_changed_and_pages_go_by_name(client: Any, service: Service) -> None:
    names = sorted(new_name() for _ in range(3))
    for name in names:
        create(client, name)
    body = kps.UpdateKeypairDescriptionRequestBody(kps.UpdateKeypairDescriptionReq("for the lab"))
    client.update_keypair_description(kps.UpdateKeypairDescriptionRequest(names[0], body))
    assert client.list_keypair_detail(kps.ListKeypairDetailRequest(names[0])).keypair.description == "for the lab"
    seen: list[str] = []
    marker = ""
    while True:
        page = client.list_keypairs(kps.ListKeypairsRequest(limit="2", marker=marker or None))
        seen += [item.keypair.name for item in page.keypairs]
        assert page.page_info.current_count == len(page.keypairs)
        marker = page.page_info.next_marker
        if not marker:
            break
    assert seen == sorted(seen) and {*names, service.credentials["keypair_name"]} <= set(seen)


def test_a_key_pair_that_is_deleted_is_gone_in_both_shapes(client: Any, nova: Any) -> None:
    name = new_name()
    create(client, name)
    client.delete_keypair(kps.DeleteKeypairRequest(name))
    refused(client.list_keypair_detail, kps.ListKeypairDetailRequest(name), 404, "KPS.0404")
    refused(client.delete_keypair, kps.DeleteKeypairRequest(name), 404, "KPS.0404")
    with pytest.raises(ClientRequestException) as caught:
        nova.nova_show_keypair(ecs.NovaShowKeypairRequest(name))
    assert caught.value.status_code == 404


def test_nova_shows_the_same_key_pairs(client: Any, nova: Any, service: Service) -> None:
    name = new_name()
    body = ecs.NovaCreateKeypairRequestBody(ecs.NovaCreateKeypairOption(name=name, type="ssh"))
    made = nova.nova_create_keypair(ecs.NovaCreateKeypairRequest(body=body)).keypair
    assert asyncssh.import_private_key(made.private_key) and made.user_id
    assert client.list_keypair_detail(kps.ListKeypairDetailRequest(name)).keypair.fingerprint == made.fingerprint
    listed = {item.keypair.name: item.keypair for item in nova.nova_list_keypairs(ecs.NovaListKeypairsRequest()).keypairs}
    assert listed[name].public_key == made.public_key and service.credentials["keypair_name"] in listed
    shown = nova.nova_show_keypair(ecs.NovaShowKeypairRequest(name)).keypair
    assert (shown.name, shown.deleted, shown.public_key) == (name, False, made.public_key)
    nova.nova_delete_keypair(ecs.NovaDeleteKeypairRequest(name))
    refused(client.list_keypair_detail, kps.ListKeypairDetailRequest(name), 404, "KPS.0404")


def test_nova_refuses_in_its_own_shape(service: Service) -> None:
    path = f"/v2.1/{service.project_id}/os-keypairs"
    missing = service.json("GET", f"{path}/nobody")
    assert missing.status_code == 404 and missing.json()["itemNotFound"]["code"] == 404
    bad = service.json("POST", path, {"keypair": {"name": "a b"}})
    assert bad.status_code == 400 and "keypair.name" in bad.json()["badRequest"]["message"]
    taken = service.json("POST", path, {"keypair": {"name": service.credentials["keypair_name"]}})
    assert taken.status_code == 409 and taken.json()["conflictingRequest"]["code"] == 409


def test_a_server_keeps_the_key_of_a_key_pair_that_is_deleted(client: Any, service: Service) -> None:
    from sqlalchemy import bindparam, update

    from opencph.fleet.generation_routes import mappings
    from opencph.store import tables
    from opencph.store.database import command, open_database

    name = new_name()
    first = create(client, name)
    bought = service.json("POST", f"{service.v2}/servers", service.purchase(server_name=new_name(), keypair_name=name)).json()
    (server_id,) = bought["server_ids"]
    client.delete_keypair(kps.DeleteKeypairRequest(name))
    create(client, name)  # another key under the same name
    client.delete_keypair(kps.DeleteKeypairRequest(name))
    database = open_database(service.database_url)
    serving = command(
        update(tables.generations).where(tables.generations.c.server_id == bindparam("of_server")).values(state="serving")
    )
    with database.write() as tx:
        tx.run(serving, of_server=server_id)
    with database.read() as tx:
        keys = {route.server_id: route.public_key for route in mappings(tx)}
    database.close()
    assert keys[server_id] == first.public_key
    assert service.json("GET", f"{service.v1}/servers/{server_id}").json()["keypair_name"] == name
    again = service.json("POST", f"{service.v2}/servers", service.purchase(server_name=new_name(), keypair_name=name))
    assert again.json()["error_code"] == "CPS.0067"
