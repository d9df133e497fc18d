"""`opencph users|projects|keys|policies|audit` on the command line: reads options and hands over to `account_commands`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from opencph.cli_options import Config, Data, Database, Json, settings_of

users = typer.Typer(name="users", help="Users, and what they may do in which project.", no_args_is_help=True)
projects = typer.Typer(name="projects", help="Projects.", no_args_is_help=True)
keys = typer.Typer(name="keys", help="Access keys.", no_args_is_help=True)
policies = typer.Typer(name="policies", help="Roles of your own: policy documents that grants can name.", no_args_is_help=True)
User = Annotated[str, typer.Argument(metavar="USER")]
Project = Annotated[str, typer.Argument(metavar="PROJECT", help="Name or id.")]
AccessKey = Annotated[str, typer.Argument(metavar="ACCESS_KEY")]
Policy = Annotated[str, typer.Argument(metavar="NAME")]
PasswordFile = Annotated[
    str | None, typer.Option("--password-file", metavar="FILE", help="First line is the password; - for stdin. Default: made up.")
]


def _account(
    work: Callable[[Any, Any], object],
    data: Path | None,
    database: str | None,
    config: Path | None,
    json: bool = False,
) -> None:
    """Run `work(account_commands, database)`."""
    from opencph import account_commands

    settings = settings_of(data, None, database, None, config)
    raise typer.Exit(account_commands.run(settings, lambda opened: work(account_commands, opened), as_json=json))


@users.command("list")
def list_users(data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """List users and their grants."""
    _account(lambda do, db: do.administration.list_users(db), data, database, config, json)


@users.command("add")
def add_user(
    user: User,
    password_file: PasswordFile = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a user. It may do nothing until it is granted a role."""
    _account(lambda do, db: do.add_user(db, user, password_file), data, database, config, json)


@users.command("passwd")
def set_password(
    user: User,
    password_file: PasswordFile = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Give a user another password."""
    _account(lambda do, db: do.set_password(db, user, password_file), data, database, config, json)


@users.command("enable")
def enable_user(user: User, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Let a user in again."""
    _account(lambda do, db: do.administration.enable_user(db, user, True), data, database, config)


@users.command("disable")
def disable_user(user: User, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Keep a user out, with its tokens and keys, within seconds."""
    _account(lambda do, db: do.administration.enable_user(db, user, False), data, database, config)


@users.command("rm")
def remove_user(user: User, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Remove a user, its grants and its keys."""
    _account(lambda do, db: do.administration.remove_user(db, user), data, database, config)


@users.command("grant")
def grant(
    user: User,
    project: Project,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="admin, operator, reader, or the name of a policy.")],
    data: Data = None,
    database: Database = None,
    config: Config = None,
) -> None:
    """Give a user a role in a project, instead of the one it has there."""
    _account(lambda do, db: do.administration.grant(db, user, project, role), data, database, config)


@users.command("revoke")
def revoke(user: User, project: Project, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Take a user's role in a project away."""
    _account(lambda do, db: do.administration.revoke(db, user, project), data, database, config)


@projects.command("list")
def list_projects(data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """List projects."""
    _account(lambda do, db: do.administration.list_projects(db), data, database, config, json)


@projects.command("add")
def add_project(project: Project, data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """Make a project, with a VPC and a subnet."""
    _account(lambda do, db: do.add_project(db, project), data, database, config, json)


@projects.command("enable")
def enable_project(project: Project, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Let callers into a project again."""
    _account(lambda do, db: do.administration.enable_project(db, project, True), data, database, config)


@projects.command("disable")
def disable_project(project: Project, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Keep all callers out of a project; its servers run on."""
    _account(lambda do, db: do.administration.enable_project(db, project, False), data, database, config)


Limit = Annotated[int | None, typer.Option(metavar="N", min=0, max=2**53, help="The limit from now on.")]


@projects.command("quota")
def project_quota(
    project: Project,
    servers: Limit = None,
    phones: Limit = None,
    eips: Limit = None,
    reset: Annotated[bool, typer.Option("--reset", help="Let the settings hold again.")] = False,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show what a project may have in all, or set it for this project."""
    settings = settings_of(data, None, database, None, config)
    given = {"servers": servers, "phones": phones, "eips": eips}
    _account(lambda do, db: do.quota(db, settings, project, given, reset), data, database, config, json)


@keys.command("list")
def list_keys(data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """List access keys, without their secrets."""
    _account(lambda do, db: do.administration.list_keys(db), data, database, config, json)


@keys.command("add")
def add_key(user: User, data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """Make an access key. Its secret is shown this once."""
    _account(lambda do, db: do.add_key(db, user), data, database, config, json)


@keys.command("enable")
def enable_key(access_key: AccessKey, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Let an access key sign again."""
    _account(lambda do, db: do.administration.enable_key(db, access_key, True), data, database, config)


@keys.command("disable")
def disable_key(access_key: AccessKey, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Keep an access key from signing."""
    _account(lambda do, db: do.administration.enable_key(db, access_key, False), data, database, config)


@keys.command("rm")
def remove_key(access_key: AccessKey, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Remove an access key."""
    _account(lambda do, db: do.administration.remove_key(db, access_key), data, database, config)


@policies.command("list")
def list_policies(data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """List the policies and their documents."""
    _account(lambda do, db: do.administration.list_policies(db), data, database, config, json)


@policies.command("put")
def put_policy(
    name: Policy,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A policy document in JSON; - for stdin.")],
    data: Data = None,
    database: Database = None,
    config: Config = None,
) -> None:
    """Make a policy, or give it another document."""
    _account(lambda do, db: do.administration.put_policy(db, name, do.read_document(file)), data, database, config)


@policies.command("rm")
def remove_policy(name: Policy, data: Data = None, database: Database = None, config: Config = None) -> None:
    """Remove a policy that no grant names."""
    _account(lambda do, db: do.administration.remove_policy(db, name), data, database, config)


def audit(
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=100_000, help="How many, the newest.")] = 50,
    minutes: Annotated[int, typer.Option("--minutes", metavar="N", min=0, help="Only those of the last N minutes.")] = 0,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only those of one user.")] = None,
    project: Annotated[str | None, typer.Option("--project", metavar="ID", help="Only those of one project.")] = None,
    operation: Annotated[str | None, typer.Option("--operation", metavar="NAME", help="Only those of one operation.")] = None,
    resource: Annotated[str | None, typer.Option("--resource", metavar="TEXT", help="Only those that name it.")] = None,
    request_id: Annotated[str | None, typer.Option("--request", metavar="ID", help="Only that of one X-Request-Id.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only those that were refused, in whole or in part.")] = False,
) -> None:
    """Show who changed what, or was refused to."""
    filters = {
        "limit": limit,
        "minutes": minutes,
        "user_name": user,
        "project_id": project,
        "operation": operation,
        "resource": resource,
        "request_id": request_id,
        "refused_only": refused,
    }
    _account(lambda do, db: do.show_audit(db, **filters), data, database, config, json)
