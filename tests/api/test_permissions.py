"""Roles, policies, calls that are counted, and the audit record, at the edge of one installation."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api.edge_client import UNKNOWN, World, purchase
from opencph.iam import administration, audit, auth
from opencph.iam.throttling import count_call
from opencph.store.database import Database, StoreUnavailableError
from opencph.wire.errors import CphError


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    data = Path(tempfile.mkdtemp(prefix="ocph-"))
    made = World(data, f"sqlite:///{data / 'opencph.db'}", sync_commands_per_minute=2)
    yield made
    made.close()
    shutil.rmtree(data)


def token_of(world: World, name: str, role: str) -> str:
    user_id, _ = administration.add_user(world.database, name)
    administration.grant(world.database, name, world.mine.project_id, role)
    return world.token(user_id, world.mine.project_id)


def phones(world: World) -> str:
    return f"/v1/{world.mine.project_id}/cloud-phone/phones"


def test_an_operator_restarts_a_phone_and_cannot_buy(world: World) -> None:
    token = token_of(world, "operator", "operator")
    body = {"phones": [{"phone_id": world.mine.ids["phone_id"]}]}
    assert world.call("POST", f"{phones(world)}/batch-restart", body, token=token).status == 200
    servers = f"/v2/{world.mine.project_id}/cloud-phone/servers"
    reply = world.call("POST", servers, purchase(world.mine.ids, "theirs"), token=token)
    assert (reply.status, reply.code) == (403, "CPS.0001") and "cph:servers:create" in reply.message


def test_a_policy_of_ones_own_holds_at_the_edge_and_follows_its_document(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def document(*actions: str) -> str:
        return json.dumps({"Statement": [{"Effect": "Allow", "Action": actions}]})

    administration.put_policy(world.database, "one-phone", document("cph:phones:get"))
    token = token_of(world, "ana", "one-phone")
    phone = f"{phones(world)}/{world.mine.ids['phone_id']}"
    assert world.call("GET", phone, token=token).status == 200
    assert world.call("GET", phones(world), token=token).status == 403
    assert world.call("GET", "/v3/projects", token=token).status == 200, "one's own projects are nobody's to deny"
    administration.put_policy(world.database, "one-phone", document("cph:phones:list"))
    monkeypatch.setattr(auth, "FRESH_SECONDS", -1.0)
    world.edge.authenticator._tokens.clear()
    assert world.call("GET", phone, token=token).status == 403
    assert world.call("GET", phones(world), token=token).status == 200


def test_users_are_listed_to_administrators_and_everybody_sees_itself(world: World) -> None:
    token = token_of(world, "bob", "operator")
    names = {user["name"] for user in world.call("GET", "/v3/users").body["users"]}
    assert {"admin", "other", "bob"} <= names
    (found,) = world.call("GET", "/v3/users", query="name=bob").body["users"]
    assert (found["name"], found["enabled"]) == ("bob", True)
    assert [user["name"] for user in world.call("GET", "/v3/users", token=token).body["users"]] == ["bob"]
    assert world.call("GET", "/v3/users", query="name=admin", token=token).body["users"] == []


def test_a_change_is_recorded_with_what_it_made(world: World) -> None:
    reply = world.call("POST", f"/v2/{world.mine.project_id}/cloud-phone/servers", purchase(world.mine.ids, "recorded"))
    (entry,) = audit.entries(world.database, limit=9, request_id=reply.headers["x-request-id"])
    assert {"recorded", *reply.body["server_ids"]} <= set(json.loads(entry.resources))
    assert (entry.operation, entry.action, entry.status, entry.error_code) == (
        "CreateNet2CloudPhoneServer",
        "cph:servers:create",
        200,
        "",
    )
    assert audit.entries(world.database, limit=9, resource=reply.body["server_ids"][0])[0].seq == entry.seq


def test_what_failed_of_a_batch_is_recorded(world: World) -> None:
    body = {"phone_ids": [world.mine.ids["phone_id"], UNKNOWN]}
    reply = world.call("POST", f"{phones(world)}/batch-stop", body)
    (entry,) = audit.entries(world.database, limit=9, request_id=reply.headers["x-request-id"])
    assert (entry.status, json.loads(entry.resources)) == (200, body["phone_ids"])
    assert entry.error_code == "CPS.0005" or entry.error_msg.startswith("2 of 2"), entry
    assert entry in audit.entries(world.database, limit=100, refused_only=True)


def test_secrets_do_not_get_into_the_record(world: World) -> None:
    made = world.call("POST", f"/v3/{world.mine.project_id}/keypairs", {"keypair": {"name": "secret-pair"}})
    private = made.body["keypair"]["private_key"]
    (entry,) = audit.entries(world.database, limit=9, request_id=made.headers["x-request-id"])
    assert "secret-pair" in entry.resources and private[40:80] not in str(entry)


def test_no_change_without_its_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is written in the change's own transaction: when it cannot be, the change is not made either."""

    def full(tx: Any, entry: audit.Entry) -> None:
        raise StoreUnavailableError("no space left")

    monkeypatch.setattr(audit, "record", full)
    reply = world.call("PUT", f"{phones(world)}/{world.mine.ids['phone_id']}", {"phone_name": "never"})
    assert reply.status == 503
    monkeypatch.undo()
    shown = world.call("GET", f"{phones(world)}/{world.mine.ids['phone_id']}").body
    assert shown["phone_name"] != "never"


def test_calls_of_one_user_are_counted_and_others_are_not_affected(database: Database) -> None:
    now = 1_700_000_000_000
    for second in (0, 10, 20):
        count_call(database, "ana", "RunSyncCommand", 3, now + second * 1000)
    for second in (20, 59):
        with pytest.raises(CphError) as error:
            count_call(database, "ana", "RunSyncCommand", 3, now + second * 1000)
        assert (error.value.code, error.value.status) == ("APIGW.0308", 429)
        assert f"try again in {60 - second} seconds" in error.value.message
    count_call(database, "bob", "RunSyncCommand", 3, now + 20_000)
    count_call(database, "ana", "Other", 3, now + 20_000)
    count_call(database, "ana", "RunSyncCommand", 3, now + 60_001)
    with pytest.raises(CphError):
        count_call(database, "ana", "RunSyncCommand", 3, now + 60_002)


def test_calls_that_come_at_once_are_counted_one_by_one(database: Database) -> None:
    def attempt(_: int) -> bool:
        try:
            count_call(database, "ana", "RunSyncCommand", 6)
        except CphError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(24))) == 6


def test_sync_commands_are_throttled_at_the_edge_and_the_refusal_is_on_record(world: World) -> None:
    body = {"command": "shell", "content": "ls", "phone_ids": [UNKNOWN]}
    replies = [world.call("POST", f"{phones(world)}/sync-commands", body) for _ in range(3)]
    assert [reply.status for reply in replies][2] == 429 and 429 not in [reply.status for reply in replies][:2]
    assert replies[2].code == "APIGW.0308" and 1 <= int(replies[2].headers["retry-after"]) <= 60
    assert "retry-after" not in replies[0].headers
    (entry,) = audit.entries(world.database, limit=9, request_id=replies[2].headers["x-request-id"])
    assert (entry.status, entry.error_code) == (429, "APIGW.0308")
    other = f"/v1/{world.other.project_id}/cloud-phone/phones/sync-commands"
    assert world.call("POST", other, body, token=world.other.token).status != 429


def test_old_entries_go_and_young_ones_stay(database: Database) -> None:
    import time

    now = time.time_ns() // 1_000_000
    with database.write() as tx:
        for number in range(1200):
            age = 200 if number < 1100 else 1
            entry = audit.Entry(now - age * 86_400_000, f"r{number}", "api", "u", "u", "p", "Op", "a:b:c", "[]", 200, "", "")
            audit.record(tx, entry)
    assert audit.delete_old(database, 180) == 1100
    assert len(audit.entries(database, limit=5000)) == 100
