"""What several commands of `opencph` take, and the settings that come of it. Which commands there are is in `cli`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from opencph.settings import Settings, SettingsError, unknown_variables

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


def settings_of(
    data: Path | None,
    listen: str | None = None,
    database: str | None = None,
    runtime: str | None = None,
    config: Path | None = None,
) -> Settings:
    """The settings of this call. Ends the command with status 2 when one of them cannot be used."""
    try:
        settings = Settings.load({"data": data, "listen": listen, "database": database, "runtime": runtime}, config)
        for variable in unknown_variables(os.environ):
            print(f"opencph: {variable} is not a setting and does nothing; docs/settings.md has them all", file=sys.stderr)
        return settings
    except SettingsError as error:
        print(f"opencph: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
