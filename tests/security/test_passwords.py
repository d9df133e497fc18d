"""Guessing of passwords is slowed down and locks nobody out who is elsewhere; what is stored of a password does not tell it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from api.api_service import Service
from opencph.iam import login_guard, users
from opencph.iam.login_guard import CLIENT_TIMES, STRANGERS_TIMES, LoginGuard
from opencph.store import tables
from opencph.store.database import Query, open_database, tuple_row
from opencph.wire.errors import CphError
from security.raw_http import service

LIMIT = 3


@pytest.fixture(scope="module")
def api() -> Iterator[Service]:
    with service(176, login_failures_per_minute=LIMIT) as running:
        yield running


def log_in(api: Service, password: str, source: str, name: str = "") -> httpx.Response:
    user = {"name": name or api.credentials["user_name"], "password": password, "domain": {"name": api.credentials["domain_name"]}}
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source), timeout=60) as client:
        return client.post(
            f"{api.endpoint}/v3/auth/tokens", json={"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
        )


def test_after_some_wrong_passwords_even_the_right_one_waits_but_only_there(api: Service) -> None:
    right = api.credentials["password"]
    for _ in range(LIMIT):
        assert log_in(api, "wrong", "127.0.0.31").status_code == 401
    for password in ("wrong", right):
        held = log_in(api, password, "127.0.0.31")
        assert (held.status_code, held.json()["error_code"]) == (429, "APIGW.0308")
        assert f"try again in {held.headers['retry-after']} seconds" in held.json()["error_msg"]
    assert log_in(api, right, "127.0.0.32").status_code == 201
    assert log_in(api, "x", "127.0.0.31", name="another").status_code == 401, "another user from there may still try"
    log = (api.data / "log").read_text() + "".join(path.read_text() for path in (api.data / "logs").glob("*"))
    assert "login refused" in log and "127.0.0.31" in log and right not in log


def test_one_client_cannot_try_many_users_for_ever(api: Service) -> None:
    answers = [log_in(api, "wrong", "127.0.0.33", name=f"user-{number}").status_code for number in range(LIMIT * CLIENT_TIMES + 3)]
    assert answers == [401] * (LIMIT * CLIENT_TIMES) + [429] * 3


def test_many_strangers_slow_each_other_down_and_not_who_was_in_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = LoginGuard(LIMIT)
    guard.succeeded("home", "user")
    for number in range(LIMIT * STRANGERS_TIMES):
        guard.check(f"stranger-{number}", "user")
        guard.failed(f"stranger-{number}", "user")
    with pytest.raises(CphError) as refused:
        guard.check("a new stranger", "user")
    assert (refused.value.code, refused.value.status) == ("APIGW.0308", 429)
    guard.check("home", "user")
    guard.check("a new stranger", "another user")
    later = time.monotonic() + login_guard.WINDOW_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    guard.check("a new stranger", "user")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_guard, "REMEMBERED_MAX", 50)
    guard = LoginGuard(LIMIT)
    for number in range(200):
        guard.failed(f"client-{number}", f"user-{number}")
        guard.succeeded(f"client-{number}", f"user-{number}")
    assert len(guard._failures) <= 50 and len(guard._known) <= 50


def test_a_password_is_stored_as_argon2(api: Service) -> None:
    database = open_database(api.database_url)
    try:
        stored = [str(row[0]) for row in database.rows(Query(select(tables.users.c.password_hash), tuple_row))]
    finally:
        database.close()
    assert stored and all(text.startswith("$argon2id$") for text in stored)
    assert all(api.credentials["password"] not in text for text in stored)


class Counting:
    """A hasher that counts."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self.hasher, self.count = hasher, 0

    def hash(self, password: str) -> str:
        return self.hasher.hash(password)

    def verify(self, stored: str, password: str) -> bool:
        self.count += 1
        return self.hasher.verify(stored, password)


def test_a_user_that_does_not_exist_costs_as_much_as_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed."""
    stored = users.hash_password("right")
    hasher = Counting(users._HASHER)
    monkeypatch.setattr(users, "_HASHER", hasher)
    for password_hash, password, right in ((None, "right", False), (stored, "wrong", False), (stored, "right", True)):
        before = hasher.count
        assert users.check_password(password_hash, password) is right
        assert hasher.count == before + 1
