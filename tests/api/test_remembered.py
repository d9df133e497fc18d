"""Answers given again from memory: never to those who may not ask, never after something was committed."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from api.edge_client import World
from opencph.api import remembered
from opencph.api.remembered import RememberedAnswers
from opencph.api.routes import ROUTES
from opencph.iam import administration
from opencph.store.database import command

ID = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    data = Path(tempfile.mkdtemp(prefix="ocph-"))
    made = World(data, f"sqlite:///{data / 'opencph.db'}")
    yield made
    made.close()
    shutil.rmtree(data)


@pytest.fixture
def statements(world: World) -> Iterator[list[str]]:
    """Every statement that the edge's connection runs from here on."""
    ran: list[str] = []
    connection: sqlite3.Connection = world.database._connection()  # type: ignore[attr-defined]
    connection.set_trace_callback(ran.append)
    yield ran
    connection.set_trace_callback(None)


def phone(world: World) -> str:
    return f"/v1/{world.mine.project_id}/cloud-phone/phones/{world.mine.ids['phone_id']}"


def test_asking_again_reads_nothing_and_answers_the_same_with_an_id_of_its_own(world: World, statements: list[str]) -> None:
    ids = world.mine.ids
    for kind in ("phone", "server", "job"):
        path = f"/v1/{world.mine.project_id}/cloud-phone/{kind}s/{ids[f'{kind}_id']}"
        first = world.call("GET", path)
        assert first.status == 200
        statements.clear()
        second = world.call("GET", path)
        assert not [ran for ran in statements if ran.startswith("SELECT")]
        assert second.body.pop("request_id") == second.headers["x-request-id"] != first.body.pop("request_id")
        assert second.body == first.body


@pytest.mark.parametrize("who", ["another connection", "this connection"])
def test_what_anybody_commits_is_in_the_next_answer(world: World, who: str) -> None:
    before = world.call("GET", phone(world)).body["phone_name"]
    sql = f"UPDATE phones SET name = 'renamed by {who}' WHERE phone_id = '{world.mine.ids['phone_id']}'"
    if who == "this connection":
        with world.database.write() as tx:
            tx.run(command(text(sql)))
    else:
        with sqlite3.connect(world.settings.data / "opencph.db") as connection:
            connection.execute(sql)
        connection.close()
    assert world.call("GET", phone(world)).body["phone_name"] == f"renamed by {who}" != before


def test_credentials_project_and_permission_are_asked_for_every_time(world: World) -> None:
    assert world.call("GET", phone(world)).status == 200
    assert world.call("GET", phone(world), token="").status == 401
    assert world.call("GET", phone(world), token="no such token").status == 401
    assert world.call("GET", phone(world), token=world.other.token).status == 403
    stranger = phone(world).replace(world.mine.project_id, world.other.project_id)
    assert world.call("GET", stranger, token=world.other.token).code == "CPS.0005"
    administration.put_policy(world.database, "none", '{"Statement": [{"Effect": "Deny", "Action": ["cph:phones:get"]}]}')
    user_id, _ = administration.add_user(world.database, "denied")
    administration.grant(world.database, "denied", world.mine.project_id, "none")
    token = world.token(user_id, world.mine.project_id)
    assert world.call("GET", phone(world)).status == 200
    assert world.call("GET", phone(world), token=token).status == 403


def test_only_routes_of_one_thing_are_remembered() -> None:
    assert {route.operation for route in ROUTES if route.of_one_thing} == {
        "ShowCloudPhoneDetail",
        "ShowCloudPhoneServerDetail",
        "ShowJob",
    }


def test_without_a_known_version_nothing_is_kept_and_beyond_the_limit_all_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = RememberedAnswers()
    answers.begin(None)
    answers.keep(b"/a", ID, f'{{"request_id":"{ID}"}}'.encode())
    assert answers.find(b"/a", "f" * 32) is None
    monkeypatch.setattr(remembered, "REMEMBERED_MAX", 2)
    answers.begin((1, 0))
    for path in (b"/a", b"/b", b"/c"):
        answers.keep(path, ID, f'{{"request_id":"{ID}"}}'.encode())
    assert answers.find(b"/a", "f" * 32) is None
    assert answers.find(b"/c", "f" * 32) == f'{{"request_id":"{"f" * 32}"}}'.encode()
    answers.keep(b"/d", ID, b'{"no": "id"}')
    assert answers.find(b"/d", ID) is None
