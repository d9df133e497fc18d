"""Users, projects, keys, policies and the audit record from the command line, and that a grant made there counts at the edge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from opencph.cli import app
from opencph.fleet import open_fleet, quotas
from opencph.iam.auth import Authenticator
from opencph.iam.users import ACCESS_KEY, GRANT, USERS_BY_NAME, check_password
from opencph.preparation import prepare_database, prepare_directories
from opencph.settings import Settings
from opencph.status import read_status
from opencph.store import processes
from opencph.store.database import open_database

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `opencph ARGUMENTS` on a data directory that has been started once."""
    settings = Settings.load({"data": tmp_path / "data"}, environ={})
    prepare_directories(settings)
    prepare_database(settings)

    def call(*arguments: str, text: str | None = None, status: int = 0) -> Result:
        done = CliRunner().invoke(app, [*arguments, "--data", str(settings.data)], input=text)
        assert done.exit_code == status, done.output
        return done

    return call


def shown(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def database_of(tmp_path: Path) -> Any:
    return open_database(Settings.load({"data": tmp_path / "data"}, environ={}).database_url)


def test_a_user_gets_a_password_and_a_role_and_loses_them(run: Run, tmp_path: Path) -> None:
    made = shown(run, "users", "add", "ana")
    run("users", "grant", "ana", "cn-east-3", "operator")
    (_, ana) = shown(run, "users", "list")
    assert (ana["name"], ana["enabled"], ana["grants"]) == ("ana", True, "cn-east-3=operator")
    database = database_of(tmp_path)
    (project,) = shown(run, "projects", "list")
    key = {"user_id": made["user_id"], "project_id": project["project_id"]}
    granted = database.row(GRANT, **key)
    assert granted.role == "operator" and check_password(
        database.rows(USERS_BY_NAME, name="ana")[0].password_hash, made["password"]
    )
    run("users", "grant", "ana", project["project_id"], "reader")
    assert database.row(GRANT, **key).role == "reader"
    run("users", "disable", "ana")
    assert database.row(GRANT, **key) is None
    run("users", "enable", "ana")
    run("users", "revoke", "ana", "cn-east-3")
    assert database.row(GRANT, **key) is None
    run("users", "passwd", "ana", "--password-file", "-", text="correct horse\n")
    assert check_password(database.rows(USERS_BY_NAME, name="ana")[0].password_hash, "correct horse")
    run("users", "rm", "ana")
    assert [user["name"] for user in shown(run, "users", "list")] == ["admin"]
    database.close()


def test_a_project_has_a_network_and_can_be_closed(run: Run, tmp_path: Path) -> None:
    made = shown(run, "projects", "add", "staging")
    run("users", "grant", "admin", "staging", "admin")
    database = database_of(tmp_path)
    user_id = database.rows(USERS_BY_NAME, name="admin")[0].user_id
    assert database.row(GRANT, user_id=user_id, project_id=made["project_id"]).role == "admin"
    run("projects", "disable", "staging")
    assert database.row(GRANT, user_id=user_id, project_id=made["project_id"]) is None
    run("projects", "enable", made["project_id"])
    assert database.row(GRANT, user_id=user_id, project_id=made["project_id"]) is not None
    database.close()


def test_a_key_signs_until_it_is_disabled(run: Run, tmp_path: Path) -> None:
    made = shown(run, "keys", "add", "admin")
    assert made["secret_key"] not in run("keys", "list").stdout
    database = database_of(tmp_path)
    assert database.row(ACCESS_KEY, access_key=made["access_key"]).secret_key == made["secret_key"]
    run("keys", "disable", made["access_key"])
    assert database.row(ACCESS_KEY, access_key=made["access_key"]) is None
    run("keys", "enable", made["access_key"])
    assert database.row(ACCESS_KEY, access_key=made["access_key"]) is not None
    run("keys", "rm", made["access_key"])
    run("keys", "rm", made["access_key"], status=1)
    database.close()


def test_a_policy_of_ones_own_is_a_role(run: Run, tmp_path: Path) -> None:
    document = json.dumps(
        {"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": ["cph:phones:get", "cph:phones:restart"]}]}
    )
    (tmp_path / "policy.json").write_text(document)
    run("policies", "put", "night-shift", str(tmp_path / "policy.json"))
    run("users", "add", "ana")
    run("users", "grant", "ana", "cn-east-3", "night-shift")
    run("policies", "rm", "night-shift", status=1)
    database = database_of(tmp_path)
    authenticator = Authenticator(database, Settings.load({"data": tmp_path / "data"}, environ={}))
    from opencph.iam.tokens import issue

    user_id = database.rows(USERS_BY_NAME, name="ana")[0].user_id
    project_id = shown(run, "projects", "list")[0]["project_id"]
    token, _ = issue(authenticator.token_key, user_id, project_id, 4_000_000_000_000, 3_600_000)
    caller = authenticator.by_token(token.encode())
    assert caller.may("cph:phones:restart") and not caller.may("cph:phones:reset") and not caller.may("cph:servers:list")
    run("policies", "put", "broken", "-", text='{"Statement": []}', status=1)
    run("policies", "put", "admin", "-", text=document, status=1)
    run("users", "revoke", "ana", "cn-east-3")
    run("policies", "rm", "night-shift")
    assert run("policies", "list").stdout == ""
    database.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("users", "add", "admin"), "there is a user admin already"),
        (("users", "add", "a b"), "user name 'a b'"),
        (("users", "disable", "bob"), "there is no user bob"),
        (("users", "rm", "bob"), "there is no user bob"),
        (("users", "grant", "admin", "cn-east-3", "king"), "there is no role king"),
        (("users", "grant", "admin", "mars", "admin"), "there is no project mars"),
        (("users", "revoke", "bob", "cn-east-3"), "there is no user bob"),
        (("projects", "add", "cn-east-3"), "there is a project cn-east-3 already"),
        (("keys", "add", "bob"), "there is no user bob"),
        (("keys", "disable", "AK"), "there is no access key AK"),
        (("policies", "put", "x", "/nowhere"), "cannot read /nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_recorded(run: Run, arguments: tuple[str, ...], said: str) -> None:
    assert said in run(*arguments, status=1).output
    assert shown(run, "audit") == []


def test_a_password_that_is_too_short_is_refused(run: Run) -> None:
    assert "8 to 128 characters" in run("users", "add", "ana", "--password-file", "-", text="short\n", status=1).output


def test_every_change_is_in_the_audit_record(run: Run) -> None:
    run("users", "add", "ana")
    run("users", "grant", "ana", "cn-east-3", "reader")
    access_key = shown(run, "keys", "add", "ana")["access_key"]
    entries = shown(run, "audit")
    assert [entry["operation"] for entry in entries] == ["AddUser", "Grant", "AddKey"]
    assert all((entry["source"], entry["status"], entry["user_id"]) == ("cli", 200, "") for entry in entries)
    assert entries[1]["resources"] == ["ana", "reader"] and len(entries[1]["project_id"]) == 32
    assert [entry["operation"] for entry in shown(run, "audit", "--resource", access_key)] == ["AddKey"]
    assert shown(run, "audit", "--refused") == [] and len(shown(run, "audit", "--limit", "1")) == 1
    assert "Grant" in run("audit").stdout


def test_without_an_installation_the_commands_say_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["users", "list", "--data", str(tmp_path / "nowhere")])
    assert done.exit_code == 1 and "opencph up" in done.output


def test_a_projects_quota_is_the_settings_until_it_is_set_and_again_after_a_reset(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def limits(*arguments: str) -> dict[str, int]:
        return {line["resource"]: line["limit"] for line in shown(run, "projects", "quota", "cn-east-3", *arguments)}

    assert limits() == {"servers": 200, "phones": 10_000, "eips": 200}
    monkeypatch.setenv("OPENCPH_QUOTA_PHONES", "77")  # changed after the first start
    assert limits() == {"servers": 200, "phones": 77, "eips": 200}
    settings = Settings.load({"data": tmp_path / "data"})
    assert {used.name: used.limit for used in read_status(settings).quota}["phones of cn-east-3"] == 77
    fleet = open_fleet(settings)
    (project,) = shown(run, "projects", "list")
    with fleet.database.read() as tx:
        assert quotas.limits(tx, fleet, project["project_id"]) == (200, 77, 200)
    assert limits("--phones", "5", "--eips", "0") == {"servers": 200, "phones": 5, "eips": 0}
    assert {used.name: used.limit for used in read_status(settings).quota}["phones of cn-east-3"] == 5
    with fleet.database.read() as tx:
        assert quotas.limits(tx, fleet, project["project_id"]) == (200, 5, 0)
    fleet.close()
    assert limits("--reset") == {"servers": 200, "phones": 77, "eips": 200}
    assert "there is no project" in run("projects", "quota", "nowhere", status=1).output
    entries = shown(run, "audit")
    assert [entry["operation"] for entry in entries][-2:] == ["SetQuota", "ResetQuota"]


def test_status_shows_what_a_gateway_cannot_open(run: Run, tmp_path: Path) -> None:
    database = database_of(tmp_path)
    process_id = processes.register(database, "gateway")
    processes.applied(database, process_id, 1, "cannot listen on [fd00::7f40:2]:10000: another program")
    assert "cannot listen on [fd00::7f40:2]:10000: another program" in run("status", status=1).output
    assert "cannot listen on" in run("status", "--json", status=1).output
    processes.applied(database, process_id, 2)
    assert "cannot listen" not in run("status", status=1).output
    database.close()
