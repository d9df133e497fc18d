"""The `opencph` command: reads options, resolves settings and hands over. What the commands do lives in their own modules."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import opencph
from opencph.settings import Settings, SettingsError, unknown_variables

app = typer.Typer(
    name="opencph",
    help="A self-hosted cloud phone host: the Huawei Cloud CPH API on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Data directory (default ~/.local/share/opencph).")]
Listen = Annotated[str | None, typer.Option("--listen", metavar="HOST:PORT", help="HTTP endpoint (default 127.0.0.1:8580).")]
Database = Annotated[
    str | None,
    typer.Option("--database", metavar="URL", help="sqlite:///PATH or postgresql://... (default sqlite:///DIR/opencph.db)."),
]
Runtime = Annotated[str | None, typer.Option("--runtime", metavar="NAME", help="What runs the phones: builtin.")]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings; docs/settings.md has them all.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def _settings(
    data: Path | None,
    listen: str | None = None,
    database: str | None = None,
    runtime: str | None = None,
    config: Path | None = None,
) -> Settings:
    try:
        settings = Settings.load({"data": data, "listen": listen, "database": database, "runtime": runtime}, config)
        for variable in unknown_variables(os.environ):
            print(f"opencph: {variable} is not a setting and does nothing; docs/settings.md has them all", file=sys.stderr)
        return settings
    except SettingsError as error:
        print(f"opencph: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """A self-hosted cloud phone host: the Huawei Cloud CPH API on your own machines."""
    if version:
        print(f"opencph {opencph.__version__}")
        raise typer.Exit


@app.command()
def up(data: Data = None, listen: Listen = None, database: Database = None, runtime: Runtime = None, config: Config = None) -> None:
    """Run everything in the foreground: api, worker, gateway. Prints `ready URL` when all parts answer."""
    from opencph.supervisor import up as run

    raise typer.Exit(run(_settings(data, listen, database, runtime, config)))


@app.command()
def restart(data: Data = None, config: Config = None) -> None:
    """Replace a running `opencph up` and its parts one by one, without a break: after an upgrade, or a change of settings."""
    from opencph.restart_command import restart as run

    raise typer.Exit(run(_settings(data, None, None, None, config)))


def _alone(name: str, settings: Settings) -> None:
    from opencph.supervisor import run_alone

    raise typer.Exit(run_alone(name, settings))


@app.command()
def api(data: Data = None, listen: Listen = None, database: Database = None, config: Config = None) -> None:
    """Run one HTTP process, beside others that share its database."""
    _alone("api", _settings(data, listen, database, None, config))


@app.command()
def worker(data: Data = None, database: Database = None, runtime: Runtime = None, config: Config = None) -> None:
    """Run one worker: jobs, phones and the reconciler."""
    _alone("worker", _settings(data, None, database, runtime, config))


@app.command()
def gateway(data: Data = None, database: Database = None, config: Config = None) -> None:
    """Run one gateway: SSH tunnels and port mappings."""
    _alone("gateway", _settings(data, None, database, None, config))


@app.command()
def status(
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until Ctrl-C.")] = False,
) -> None:
    """Show what runs: processes, servers, phones, jobs, capacity and quota."""
    from opencph.status import status as show

    raise typer.Exit(show(_settings(data, None, database, None, config), as_json=json, watch=watch))


@app.command()
def tunnel(
    phone: Annotated[str, typer.Argument(metavar="PHONE", help="The id or the name of a phone.")],
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port on 127.0.0.1 (default: a free one).")
    ] = 0,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Private key of the server's key pair (default DIR/<key pair>.pem)."),
    ] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
) -> None:
    """Open an SSH tunnel to a phone and print the adb line. Ctrl-C ends it."""
    from opencph.tunnel_command import tunnel as open_tunnel

    raise typer.Exit(open_tunnel(_settings(data, None, database, None, config), phone, port, key))


@app.command()
def doctor(data: Data = None, listen: Listen = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """Say what this machine can run, what is missing, and how to get it. Exits 1 when built-in phones cannot run."""
    from opencph.doctor import doctor as examine

    raise typer.Exit(examine(_settings(data, listen, database, None, config), as_json=json))


objects = typer.Typer(name="objects", help="Objects that calls name as obs://bucket/key.", no_args_is_help=True)
app.add_typer(objects)
Name = Annotated[str, typer.Argument(metavar="obs://BUCKET/KEY")]


def _objects(settings: Settings, action: str, words: list[str], *, recursive: bool = False, json: bool = False) -> None:
    from opencph.object_commands import run

    raise typer.Exit(run(settings, action, words, recursive=recursive, as_json=json))


@objects.command("put")
def put_object(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for stdin.")],
    name: Name,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Upload a file. A bucket that is missing is made."""
    _objects(_settings(data, None, database, None, config), "put", [file, name], json=json)


@objects.command("get")
def get_object(
    name: Name,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, a directory, or - for stdout.")] = ".",
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Download an object."""
    _objects(_settings(data, None, database, None, config), "get", [name, file], json=json)


@objects.command("ls")
def list_objects(
    name: Annotated[str, typer.Argument(metavar="[obs://BUCKET[/PREFIX]]", help="Without it: all buckets.")] = "",
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List buckets, or the objects of one."""
    _objects(_settings(data, None, database, None, config), "ls", [name] if name else [], json=json)


@objects.command("rm")
def remove_object(
    name: Name,
    recursive: Annotated[bool, typer.Option("--recursive", help="All below; without a key the bucket too.")] = False,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Remove an object."""
    _objects(_settings(data, None, database, None, config), "rm", [name], recursive=recursive, json=json)


# --- users, projects, keys, policies, audit ----------------------------------------

users = typer.Typer(name="users", help="Users, and what they may do in which project.", no_args_is_help=True)
projects = typer.Typer(name="projects", help="Projects.", no_args_is_help=True)
keys = typer.Typer(name="keys", help="Access keys.", no_args_is_help=True)
policies = typer.Typer(name="policies", help="Roles of your own: policy documents that grants can name.", no_args_is_help=True)
for _group in (users, projects, keys, policies):
    app.add_typer(_group)
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

    settings = _settings(data, None, database, None, config)
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
    settings = _settings(data, None, database, None, config)
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


@app.command()
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


hosts = typer.Typer(name="hosts", help="The hosts that servers run on.", no_args_is_help=True)
images = typer.Typer(name="images", help="Custom images.", no_args_is_help=True)
app.add_typer(hosts)
app.add_typer(images)
Host = Annotated[str, typer.Argument(metavar="HOST", help="As `opencph hosts ls` names it.")]
ImageName = Annotated[str, typer.Option("--name", metavar="NAME", help="What the image is called.")]


@hosts.command("ls")
def list_hosts(data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """List hosts with zone and state."""
    from opencph.operator_commands import list_hosts as run

    raise typer.Exit(run(_settings(data, None, database, None, config), as_json=json))


@hosts.command("drain")
def drain_host(
    host: Host,
    hours: Annotated[float, typer.Option("--in-hours", metavar="N", min=0, help="Begin N hours from now at the earliest.")] = 24.0,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="What owners read.")] = "",
    replace_disk: Annotated[bool, typer.Option("--replace-disk", help="A local disk is replaced: localdisk-recovery.")] = False,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Send nothing new to a host and announce its maintenance to the owners of its servers; prints the events."""
    from opencph.operator_commands import drain_host as run

    settings = _settings(data, None, database, None, config)
    raise typer.Exit(run(settings, host, hours=hours, reason=reason, replace_disk=replace_disk, as_json=json))


@hosts.command("activate")
def activate_host(host: Host, data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """End the draining of a host; events that have not begun are canceled."""
    from opencph.operator_commands import activate_host as run

    raise typer.Exit(run(_settings(data, None, database, None, config), host, as_json=json))


@hosts.command("adopt")
def adopt_phones(data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """Make this data directory the one where the phones of the database live: the one before is lost, or was moved."""
    from opencph.operator_commands import adopt_phones as run

    raise typer.Exit(run(_settings(data, None, database, None, config), as_json=json))


@images.command("import")
def import_image(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A tar, not compressed, of files below data/ and cache/.")],
    name: ImageName,
    base: Annotated[str, typer.Option("--base", metavar="IMAGE_ID", help="The public image that its phones run.")],
    project: Annotated[str, typer.Option("--project", metavar="PROJECT", help="Id or name (default: the region's).")] = "",
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a custom image of an archive; prints its id."""
    from opencph.operator_commands import make_image as run

    settings = _settings(data, None, database, None, config)
    raise typer.Exit(run(settings, file, name=name, base=base, project=project, as_json=json))


@images.command("capture")
def capture_image(
    phone: Annotated[str, typer.Argument(metavar="PHONE_ID", help="A running phone.")],
    name: ImageName,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a custom image of what a running phone holds; prints its id."""
    from opencph.operator_commands import capture as run

    raise typer.Exit(run(_settings(data, None, database, None, config), phone, name=name, as_json=json))


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="The file to make, or a directory to make one in.")],
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Put all that must not be lost into one file, while everything runs."""
    from opencph.backup_commands import run_backup

    raise typer.Exit(run_backup(_settings(data, None, database, None, config), target, as_json=json))


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `opencph backup` made.")],
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
    check: Annotated[bool, typer.Option("--check", help="Read it through and compare its checksums; restore nothing.")] = False,
) -> None:
    """Bring a backup back, into an empty data directory and an empty database."""
    from opencph.backup_commands import run_restore

    raise typer.Exit(run_restore(_settings(data, None, database, None, config), source, only_check=check, as_json=json))


def main() -> None:
    """The console script."""
    app()
