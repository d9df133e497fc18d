"""The `opencph` command: reads options, resolves settings and hands over. What the commands do lives in their own modules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import opencph
from opencph.settings import Settings, SettingsError

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
        return Settings.load({"data": data, "listen": listen, "database": database, "runtime": runtime}, config)
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


def main() -> None:
    """The console script."""
    app()
