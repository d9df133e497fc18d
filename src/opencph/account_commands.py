"""`opencph users|projects|keys|policies|audit`: prints what `iam.administration` and `iam.audit` do. Needs the database, and no
running process."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opencph.iam import administration, audit
from opencph.iam.administration import AdministrationError
from opencph.iam.policies import PolicyError
from opencph.settings import Settings, SettingsError
from opencph.store.database import Database, StoreError, open_database


def run(settings: Settings, work: Callable[[Database], object], *, as_json: bool = False) -> int:
    """Do `work` on the database and print what it returns: a list as a table, a dict as lines. Returns the exit status."""
    try:
        settings.check_started()
        database = open_database(settings.database_url)
        try:
            result = work(database)
        finally:
            database.close()
    except (AdministrationError, PolicyError, SettingsError, StoreError) as error:
        print(f"opencph: {error}", file=sys.stderr)
        return 1
    _show(result, as_json)
    return 0


def read_password(path: str | None) -> str | None:
    """The first line of a file, or of stdin for `-`; None when no file is named."""
    if path is None:
        return None
    text = sys.stdin.readline() if path == "-" else _read(path)
    return text.split("\n", 1)[0].rstrip("\r")


def read_document(path: str) -> str:
    """A policy document, from a file, or from stdin for `-`."""
    return sys.stdin.read() if path == "-" else _read(path)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AdministrationError(f"cannot read {path}: {error}") from error


def add_user(database: Database, name: str, password_file: str | None) -> dict[str, str]:
    """Make a user; shows the password when it was made up."""
    given = read_password(password_file)
    user_id, password = administration.add_user(database, name, given)
    return {"user": name, "user_id": user_id} | ({} if given is not None else {"password": password})


def set_password(database: Database, name: str, password_file: str | None) -> dict[str, str]:
    """Set a password; shows it when it was made up."""
    given = read_password(password_file)
    password = administration.set_password(database, name, given)
    return {"user": name} | ({} if given is not None else {"password": password})


def add_project(database: Database, name: str) -> dict[str, str]:
    """Make a project."""
    return {"project": name, "project_id": administration.add_project(database, name)}


def quota(
    database: Database, settings: Settings, project: str, given: Mapping[str, int | None], reset: bool
) -> list[dict[str, str | int]]:
    """Set what is given, or reset; then every limit of the project and whose it is."""
    limits = {resource: limit for resource, limit in given.items() if limit is not None}
    if reset:
        administration.reset_quotas(database, project)
    if limits:
        administration.set_quotas(database, project, limits)
    own = administration.list_quotas(database, project)
    return [
        {
            "resource": resource,
            "limit": own.get(resource, getattr(settings, f"quota_{resource}")),
            "from": "this project" if resource in own else f"OPENCPH_QUOTA_{resource.upper()}",
        }
        for resource in given
    ]


def add_key(database: Database, user: str) -> dict[str, str]:
    """Make an access key; the secret is shown this once."""
    access_key, secret_key = administration.add_key(database, user)
    return {"user": user, "access_key": access_key, "secret_key": secret_key}


def show_audit(database: Database, **filters: Any) -> list[dict[str, Any]]:
    """The newest entries, oldest of them first."""
    minutes = filters.pop("minutes")
    since_ms = time.time_ns() // 1_000_000 - minutes * 60_000 if minutes else 0
    rows = audit.entries(database, since_ms=since_ms, **filters)
    return [row._asdict() | {"resources": json.loads(row.resources), "time": _time(row.time_ms)} for row in reversed(rows)]


def _time(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1000))


def _show(result: object, as_json: bool) -> None:
    if result is None:
        return
    rows: Sequence[Any] | None = result if isinstance(result, list) else None
    if as_json:
        plain = [row._asdict() if hasattr(row, "_asdict") else row for row in rows] if rows is not None else result
        print(json.dumps(plain, indent=2))
    elif rows is None:
        assert isinstance(result, dict)
        for name, value in result.items():
            print(f"{name}: {value}")
    elif rows:
        _table([row if isinstance(row, dict) else row._asdict() for row in rows])


#: columns of the audit table, and their order; the rest is in --json
_AUDIT = ("time", "user_name", "operation", "resources", "status", "error_code", "request_id")


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = _AUDIT if "operation" in rows[0] else tuple(rows[0])
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.removesuffix("_ms"), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(column, row[column]) for column in columns))
    console = Console(highlight=False, markup=False)
    console.print(table) if console.is_terminal else Console(highlight=False, markup=False, width=400).print(table)


def _cell(column: str, value: object) -> str:
    if column.endswith("_ms") and isinstance(value, int):
        return _time(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(value[:3]) + (f" and {len(value) - 3} more" if len(value) > 3 else "")
    return str(value)
