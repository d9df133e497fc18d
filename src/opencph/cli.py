"""The `opencph` command: reads options, resolves settings and hands over. What the commands do lives in their own modules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import opencph
from opencph.account_cli import audit, keys, policies, projects, users
from opencph.cli_options import Config, Data, Database, Json, Listen, Runtime, settings_of
from opencph.settings import Settings

app = typer.Typer(
    name="opencph",
    help="A self-hosted cloud phone host: the Huawei Cloud CPH API on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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

    raise typer.Exit(run(settings_of(data, listen, database, runtime, config)))


@app.command()
def restart(data: Data = None, config: Config = None) -> None:
    """Replace a running `opencph up` and its parts one by one, without a break: after an upgrade, or a change of settings."""
    from opencph.restart_command import restart as run

    raise typer.Exit(run(settings_of(data, None, None, None, config)))


def _alone(name: str, settings: Settings) -> None:
    from opencph.parts import run_alone

    raise typer.Exit(run_alone(name, settings))


@app.command()
def api(data: Data = None, listen: Listen = None, database: Database = None, config: Config = None) -> None:
    """Run one HTTP process, beside others that share its database."""
    _alone("api", settings_of(data, listen, database, None, config))


@app.command()
def worker(data: Data = None, database: Database = None, runtime: Runtime = None, config: Config = None) -> None:
    """Run one worker: jobs, phones and the reconciler."""
    _alone("worker", settings_of(data, None, database, runtime, config))


@app.command()
def gateway(data: Data = None, database: Database = None, config: Config = None) -> None:
    """Run one gateway: SSH tunnels and port mappings."""
    _alone("gateway", settings_of(data, None, database, None, config))


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

    raise typer.Exit(show(settings_of(data, None, database, None, config), as_json=json, watch=watch))


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

    raise typer.Exit(open_tunnel(settings_of(data, None, database, None, config), phone, port, key))


@app.command()
def doctor(data: Data = None, listen: Listen = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """Say what this machine can run, what is missing, and how to get it. Exits 1 when built-in phones cannot run."""
    from opencph.doctor import doctor as examine

    raise typer.Exit(examine(settings_of(data, listen, database, None, config), as_json=json))


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
    _objects(settings_of(data, None, database, None, config), "put", [file, name], json=json)


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
    _objects(settings_of(data, None, database, None, config), "get", [name, file], json=json)


@objects.command("ls")
def list_objects(
    name: Annotated[str, typer.Argument(metavar="[obs://BUCKET[/PREFIX]]", help="Without it: all buckets.")] = "",
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List buckets, or the objects of one."""
    _objects(settings_of(data, None, database, None, config), "ls", [name] if name else [], json=json)


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
    _objects(settings_of(data, None, database, None, config), "rm", [name], recursive=recursive, json=json)


for _group in (users, projects, keys, policies):
    app.add_typer(_group)
app.command()(audit)

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

    raise typer.Exit(run(settings_of(data, None, database, None, config), as_json=json))


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

    settings = settings_of(data, None, database, None, config)
    raise typer.Exit(run(settings, host, hours=hours, reason=reason, replace_disk=replace_disk, as_json=json))


@hosts.command("activate")
def activate_host(host: Host, data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """End the draining of a host; events that have not begun are canceled."""
    from opencph.operator_commands import activate_host as run

    raise typer.Exit(run(settings_of(data, None, database, None, config), host, as_json=json))


@hosts.command("adopt")
def adopt_phones(data: Data = None, database: Database = None, config: Config = None, json: Json = False) -> None:
    """Make this data directory the one where the phones of the database live: the one before is lost, or was moved."""
    from opencph.operator_commands import adopt_phones as run

    raise typer.Exit(run(settings_of(data, None, database, None, config), as_json=json))


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

    settings = settings_of(data, None, database, None, config)
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

    raise typer.Exit(run(settings_of(data, None, database, None, config), phone, name=name, as_json=json))


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

    raise typer.Exit(run_backup(settings_of(data, None, database, None, config), target, as_json=json))


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

    raise typer.Exit(run_restore(settings_of(data, None, database, None, config), source, only_check=check, as_json=json))


def main() -> None:
    """The console script."""
    app()
