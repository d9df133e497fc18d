"""Which projects the identity service lists, and which roles a token says that it carries."""

from __future__ import annotations

from sqlalchemy import select, update

from opencph.iam import identity
from opencph.iam.auth import Authenticator
from opencph.iam.bootstrap import Credentials
from opencph.iam.tokens import issue
from opencph.iam.users import USER_BY_ID
from opencph.settings import Settings
from opencph.store import tables
from opencph.store.database import Database, Query, command, scalar
from opencph.wire import identity_checks


def test_a_disabled_project_is_listed_as_such_and_is_none_to_act_in(
    database: Database, settings: Settings, credentials: Credentials
) -> None:
    authenticator = Authenticator(database, settings)
    user_id: str | None = database.row(Query(select(tables.users.c.user_id), scalar))
    assert user_id is not None and database.row(USER_BY_ID, user_id=user_id) is not None
    caller = authenticator.by_token(issue(authenticator.token_key, user_id, "", 0, 4_000_000_000_000)[0].encode())
    with database.write() as tx:
        tx.run(command(update(tables.projects).values(enabled=0)))

    def listed(**query: str) -> list[tuple[str, bool]]:
        found = identity.list_projects(authenticator, caller, identity_checks.list_projects(query), "http://h").projects
        return [(one.id, one.enabled) for one in found]

    assert listed() == listed(enabled="false") == [(credentials.project_id, False)] and listed(enabled="true") == []
    assert identity.list_auth_projects(authenticator, caller, "http://h").projects == []


def test_a_token_without_project_says_every_role_of_its_user(
    database: Database, settings: Settings, credentials: Credentials
) -> None:
    authenticator = Authenticator(database, settings)
    user_id: str | None = database.row(Query(select(tables.users.c.user_id), scalar))
    assert user_id is not None
    with database.write() as tx:
        tx.run(command(update(tables.grants).values(role="operator")))
    token = issue(authenticator.token_key, user_id, "", 0, 4_000_000_000_000)[0].encode()
    said = identity.show_token(authenticator, settings, token, "http://h", catalog=False).token
    assert [role.name for role in said.roles] == ["operator"]
    with database.write() as tx:
        tx.run(command(tables.grants.delete()))
    said = identity.show_token(authenticator, settings, token, "http://h", catalog=False).token
    assert [role.name for role in said.roles] == ["reader"]
