"""Who gets in, and who does not: tokens, signatures, clocks, disabled users and keys, foreign projects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, update

from opencph.iam import auth
from opencph.iam.auth import Authenticator, LookupNeededError, Request
from opencph.iam.bootstrap import Credentials
from opencph.iam.tokens import issue
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Database, Query, command, scalar
from opencph.wire.errors import CphError
from opencph.wire.signatures import sign

OTHER_PROJECT = "f" * 32

BUY = "cph:servers:create"


@pytest.fixture
def authenticator(database: Database, settings: Settings, credentials: Credentials) -> Authenticator:
    return Authenticator(database, settings)


@pytest.fixture
def user_id(database: Database, credentials: Credentials) -> str:
    from sqlalchemy import select

    found = database.row(Query(select(tables.users.c.user_id), scalar))
    assert isinstance(found, str)
    return found


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    moved = Clock()
    monkeypatch.setattr(auth, "time", moved)
    yield moved


def run(database: Database, statement: Any, **params: Any) -> None:
    with database.write() as tx:
        assert tx.run(command(statement), **params) == 1


def signed(credentials: Credentials, project_id: str, *, at: float | None = None, stated: str = "") -> Request:
    path = f"/v1/{project_id}/cloud-phone/phones" if project_id else "/v3/projects"
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at if at is not None else time.time()))
    headers = {"Host": "h", "X-Sdk-Date": date, **({"X-Project-Id": stated} if stated else {})}
    headers["Authorization"] = sign(credentials.access_key, credentials.secret_key, "GET", path, "", headers)
    return Request(
        b"GET", path.encode(), b"", {name.lower().encode(): value.encode() for name, value in headers.items()}, b"", project_id
    )


def with_token(token: str) -> Request:
    return Request(b"GET", b"/", b"", {b"x-auth-token": token.encode()}, b"", "")


def refused(authenticator: Authenticator, request: Request) -> CphError:
    with pytest.raises(CphError) as error:
        authenticator.authenticate(request)
    return error.value


def token_of(authenticator: Authenticator, user_id: str, project_id: str, clock: Clock | None = None) -> str:
    return issue(authenticator.token_key, user_id, project_id, int((clock or Clock()).now * 1000), 3_600_000)[0]


def test_a_token_makes_the_caller(authenticator: Authenticator, credentials: Credentials, user_id: str) -> None:
    caller = authenticator.authenticate(with_token(token_of(authenticator, user_id, credentials.project_id)))
    assert (caller.user_id, caller.user_name, caller.domain_name) == (user_id, "admin", "opencph")
    assert (caller.project_id, caller.role, caller.may(BUY)) == (credentials.project_id, "admin", True)


def test_a_domain_token_has_no_project_and_the_rights_of_all_projects(authenticator: Authenticator, user_id: str) -> None:
    caller = authenticator.authenticate(with_token(token_of(authenticator, user_id, "")))
    assert (caller.project_id, caller.may(BUY)) == ("", True)


def test_a_signature_makes_the_caller(authenticator: Authenticator, credentials: Credentials, user_id: str) -> None:
    caller = authenticator.authenticate(signed(credentials, credentials.project_id, stated=credentials.project_id))
    assert (caller.user_id, caller.project_id, caller.role) == (user_id, credentials.project_id, "admin")


def test_a_signed_call_without_project_is_made_for_none(authenticator: Authenticator, credentials: Credentials) -> None:
    assert authenticator.authenticate(signed(credentials, "")).project_id == ""


def test_no_credentials_are_refused(authenticator: Authenticator) -> None:
    error = refused(authenticator, Request(b"GET", b"/", b"", {}, b"", ""))
    assert (error.code, error.status) == ("APIGW.0301", 401)
    assert "no credentials" in error.message


@pytest.mark.parametrize("token", ["", "x", "a.b", "é", "x" * 10_000])
def test_a_wrong_token_is_refused(authenticator: Authenticator, token: str) -> None:
    assert refused(authenticator, with_token(token)).status == 401


def test_an_expired_token_is_refused_also_when_it_is_remembered(
    authenticator: Authenticator, credentials: Credentials, user_id: str, clock: Clock
) -> None:
    token = issue(authenticator.token_key, user_id, credentials.project_id, int(clock.now * 1000), 2_000)[0]
    authenticator.authenticate(with_token(token))
    clock.now += 2.1
    assert "expired" in refused(authenticator, with_token(token)).message


def test_a_token_for_a_project_without_grant_is_refused(authenticator: Authenticator, user_id: str) -> None:
    assert refused(authenticator, with_token(token_of(authenticator, user_id, OTHER_PROJECT))).status == 401


@pytest.mark.parametrize("seconds", [-901, 901, -86_400, 10**9])
def test_a_signature_from_another_time_is_refused(authenticator: Authenticator, credentials: Credentials, seconds: int) -> None:
    error = refused(authenticator, signed(credentials, credentials.project_id, at=time.time() + seconds))
    assert (error.code, error.status) == ("APIGW.0301", 401)
    assert "X-Sdk-Date" in error.message


@pytest.mark.parametrize("seconds", [-890, 890])
def test_a_clock_that_is_a_little_off_is_fine(authenticator: Authenticator, credentials: Credentials, seconds: int) -> None:
    authenticator.authenticate(signed(credentials, credentials.project_id, at=time.time() + seconds))


def test_a_captured_request_is_worth_nothing_later(authenticator: Authenticator, credentials: Credentials, clock: Clock) -> None:
    request = signed(credentials, credentials.project_id, at=clock.now)
    authenticator.authenticate(request)
    clock.now += 901
    assert refused(authenticator, request).status == 401


def test_a_temporary_access_key_is_refused(authenticator: Authenticator, credentials: Credentials) -> None:
    request = signed(credentials, credentials.project_id)
    assert authenticator.authenticate(request).project_id == credentials.project_id
    assert authenticator.authenticate(request._replace(headers={**request.headers, b"x-security-token": b""})).project_id
    temporary = {**request.headers, b"x-security-token": b"from-somewhere"}
    error = refused(authenticator, request._replace(headers=temporary))
    assert (error.code, error.status) == ("APIGW.0301", 401) and "X-Security-Token" in error.message
    with pytest.raises(CphError, match="X-Security-Token"):
        authenticator.expect(temporary)


def test_an_unknown_access_key_and_a_wrong_secret_are_refused(authenticator: Authenticator, credentials: Credentials) -> None:
    wrong = Credentials(access_key=credentials.access_key, secret_key="x" * 40)
    assert "does not match" in refused(authenticator, signed(wrong, credentials.project_id)).message
    unknown = Credentials(access_key="UNKNOWN", secret_key="x" * 40)
    assert "does not exist" in refused(authenticator, signed(unknown, credentials.project_id)).message


def test_a_foreign_project_is_forbidden(authenticator: Authenticator, credentials: Credentials) -> None:
    error = refused(authenticator, signed(credentials, OTHER_PROJECT))
    assert (error.code, error.status) == ("APIGW.0302", 403)


def test_the_stated_project_must_be_that_of_the_path(authenticator: Authenticator, credentials: Credentials) -> None:
    error = refused(authenticator, signed(credentials, credentials.project_id, stated=OTHER_PROJECT))
    assert (error.code, error.status) == ("APIGW.0302", 403)


def test_a_disabled_access_key_is_out_within_seconds(
    database: Database, authenticator: Authenticator, credentials: Credentials, clock: Clock
) -> None:
    authenticator.authenticate(signed(credentials, credentials.project_id))
    run(database, update(tables.access_keys).values(enabled=0))
    clock.now += auth.FRESH_SECONDS + 0.1
    assert "disabled" in refused(authenticator, signed(credentials, credentials.project_id)).message


@pytest.mark.parametrize("table", ["users", "projects"])
def test_a_disabled_user_or_project_is_out_within_seconds(
    database: Database, authenticator: Authenticator, credentials: Credentials, user_id: str, clock: Clock, table: str
) -> None:
    token = token_of(authenticator, user_id, credentials.project_id, clock)
    authenticator.authenticate(with_token(token))
    authenticator.authenticate(signed(credentials, credentials.project_id))
    run(database, update(tables.metadata.tables[table]).values(enabled=0))
    clock.now += auth.FRESH_SECONDS + 0.1
    assert refused(authenticator, with_token(token)).status == 401
    assert refused(authenticator, signed(credentials, credentials.project_id)).status in (401, 403)


def test_a_role_is_the_projects(database: Database, authenticator: Authenticator, credentials: Credentials, user_id: str) -> None:
    project = {"project_id": OTHER_PROJECT, "domain_id": credentials.domain_id, "name": "second", "enabled": 1}
    run(database, insert(tables.projects).values(project))
    run(database, insert(tables.grants).values(user_id=user_id, project_id=OTHER_PROJECT, role="reader"))
    assert authenticator.authenticate(signed(credentials, OTHER_PROJECT)).may(BUY) is False
    assert authenticator.authenticate(signed(credentials, credentials.project_id)).may(BUY) is True


def test_without_lookup_only_what_is_remembered_is_answered(
    authenticator: Authenticator, credentials: Credentials, user_id: str, clock: Clock
) -> None:
    requests = (
        with_token(token_of(authenticator, user_id, credentials.project_id, clock)),
        signed(credentials, credentials.project_id, at=clock.now),
    )
    for request in requests:
        with pytest.raises(LookupNeededError):
            authenticator.authenticate(request, lookup=False)
        caller = authenticator.authenticate(request)
        assert authenticator.authenticate(request, lookup=False) == caller
        clock.now += auth.FRESH_SECONDS + 0.1
        with pytest.raises(LookupNeededError):
            authenticator.authenticate(request, lookup=False)


def test_what_is_remembered_is_bounded(
    authenticator: Authenticator, credentials: Credentials, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_MAX", 3)
    for _ in range(8):
        authenticator.authenticate(with_token(token_of(authenticator, user_id, credentials.project_id)))
    assert len(authenticator._tokens) == 3
