"""`opencph status`: what runs now, read straight from the database. Changes nothing."""

from __future__ import annotations

import json
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import bindparam, func, literal_column, select

from opencph.fleet import census
from opencph.fleet.findings import Finding, recent
from opencph.fleet.statuses import SERVER_STATES
from opencph.jobs import FAILED
from opencph.settings import Settings
from opencph.store import processes
from opencph.store.database import QUICK_STATEMENT_SECONDS, Query, StoreError, open_database
from opencph.store.tables import eips, generations, hosts, jobs, phones, projects, quotas, servers

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

REFRESH_SECONDS = 1.0
PARTS: tuple[processes.ProcessKind, ...] = ("api", "worker", "gateway")
WIDTH_OF_FILES = 200
RECENT_MS = 24 * 3600 * 1000
SHOWN_AT_MOST = 30


class Server(NamedTuple):
    """One server as it serves."""

    server_id: str
    name: str
    status: int
    server_model_name: str
    phone_model_name: str
    availability_zone: str
    phone_count: int
    running: int


class Failure(NamedTuple):
    """A job that failed lately."""

    kind: str
    server_id: str | None
    error_code: str | None
    error_msg: str | None
    end_ms: int


class Used(NamedTuple):
    """How much of something is used."""

    name: str
    used: int
    limit: int


class Status(msgspec.Struct, frozen=True):
    """Everything that `opencph status` shows."""

    database: str
    processes: list[processes.Process]
    servers: int
    newest_servers: list[Server]
    phones: dict[str, int]
    jobs_running: dict[str, int]
    jobs_waiting: dict[str, int]  # of those, by kind, the ones that no worker works on
    oldest_job_seconds: float
    jobs_failed_24h: list[Failure]
    found_24h: list[Finding]  # what was killed, removed or added behind our back
    capacity: list[Used]
    quota: list[Used]


_serving = generations.c.generation_id == servers.c.generation_id

SERVER_COUNT = Query(select(func.count()).select_from(servers), int)
NEWEST_SERVERS = Query(
    select(
        servers.c.server_id,
        servers.c.name,
        servers.c.status,
        *(func.coalesce(generations.c[name], literal_column("''")) for name in ("server_model_name", "phone_model_name")),
        func.coalesce(generations.c.availability_zone, literal_column("''")),
        func.coalesce(generations.c.phone_count, literal_column("0")),
        select(func.count())
        .where(phones.c.generation_id == generations.c.generation_id, phones.c.status == 2)
        .correlate(generations)
        .scalar_subquery(),
    )
    .join(generations, _serving, isouter=True)  # one whose generation has no row is told of, too
    .order_by(servers.c.seq.desc())
    .limit(SHOWN_AT_MOST),
    Server,
)
JOBS_FAILED = Query(
    select(jobs.c.kind, jobs.c.server_id, jobs.c.error_code, jobs.c.error_msg, jobs.c.end_ms)
    .where(jobs.c.status == FAILED, jobs.c.end_ms > bindparam("since"))
    .order_by(jobs.c.end_ms.desc())
    .limit(SHOWN_AT_MOST),
    Failure,
)
CAPACITY = Query(
    select(hosts.c.host_id, hosts.c.state, func.coalesce(func.sum(generations.c.phone_count), 0), hosts.c.phone_capacity)
    .outerjoin(generations, generations.c.host_id == hosts.c.host_id)
    .group_by(hosts.c.host_id, hosts.c.state, hosts.c.phone_capacity)
    .order_by(hosts.c.host_id),
    lambda host_id, state, used, limit: Used(f"phones on {host_id}" + ("" if state == "active" else f", {state}"), used, limit),
)
_used = {
    "servers": select(func.count()).select_from(generations).where(generations.c.project_id == projects.c.project_id),
    "phones": select(func.coalesce(func.sum(generations.c.phone_count), 0)).where(
        generations.c.project_id == projects.c.project_id
    ),
    "eips": select(func.count()).select_from(eips).where(eips.c.project_id == projects.c.project_id),
}
QUOTA = {
    resource: Query(
        select(
            projects.c.name,
            used.correlate(projects).scalar_subquery(),
            func.coalesce(quotas.c.quota_limit, bindparam("setting")),
        )
        .select_from(projects.outerjoin(quotas, (projects.c.project_id == quotas.c.project_id) & (quotas.c.resource == resource)))
        .order_by(projects.c.name),
        Used,
    )
    for resource, used in _used.items()
}


def read_status(settings: Settings) -> Status:
    """Read it all in one snapshot. Raises StoreError."""
    now = time.time_ns() // 1_000_000
    database = open_database(settings.database_url, statement_seconds=QUICK_STATEMENT_SECONDS)
    try:
        with database.read() as tx:
            open_jobs = census.open_jobs(tx)
            return Status(
                database=settings.database_shown,
                processes=[process for kind in PARTS for process in processes.alive(tx, kind)],
                servers=tx.row(SERVER_COUNT) or 0,
                newest_servers=tx.rows(NEWEST_SERVERS),
                phones=census.phones_by_state(tx),
                jobs_running=_by_kind(open_jobs),
                jobs_waiting=_by_kind([job for job in open_jobs if job.waiting]),
                oldest_job_seconds=max((job.oldest_seconds for job in open_jobs), default=0.0),
                jobs_failed_24h=tx.rows(JOBS_FAILED, since=now - RECENT_MS),
                found_24h=recent(tx, within_ms=RECENT_MS, most=SHOWN_AT_MOST),
                capacity=tx.rows(CAPACITY),
                quota=[
                    used._replace(name=f"{resource} of {used.name}")
                    for resource, query in QUOTA.items()
                    for used in tx.rows(query, setting=getattr(settings, f"quota_{resource}"))
                ],
            )
    finally:
        database.close()


def status(settings: Settings, *, as_json: bool = False, watch: bool = False) -> int:
    """Print the status, once or until Ctrl-C. Returns 0 when api, worker and gateway run, 1 when not, or when nothing is there."""
    if settings.database_file is not None and not settings.database_file.exists():
        print(f"nothing has been started with {settings.data} yet: opencph up --data {settings.data}", file=sys.stderr)
        return 1
    try:
        now = read_status(settings)
        if as_json:
            print(json.dumps(_as_builtins(now), indent=2))
        elif watch and sys.stdout.isatty():
            _watch(settings, now)
        else:
            from rich.console import Console

            console = Console(highlight=False)
            if not console.is_terminal:
                console.width = max(console.width, WIDTH_OF_FILES)  # nothing is cut short in a pipe
            console.print(*_render(now), sep="\n")
    except StoreError as error:
        print(f"opencph status: {error}", file=sys.stderr)
        return 1
    return 0 if set(PARTS) <= {process.kind for process in now.processes} else 1


def _by_kind(open_jobs: Sequence[census.OpenJobs]) -> dict[str, int]:
    counts = Counter[str]()
    for job in open_jobs:
        counts[job.kind] += job.jobs
    return dict(counts)


def _as_builtins(now: Status) -> dict[str, object]:
    def records(rows: Sequence[NamedTuple]) -> list[dict[str, object]]:
        return [row._asdict() for row in rows]

    plain = msgspec.structs.asdict(now)
    return {name: records(value) if isinstance(value, list) else value for name, value in plain.items()}


def _watch(settings: Settings, now: Status) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.markup import escape

    console = Console()
    first = Group(*_fitting(now, console, []))
    with suppress(KeyboardInterrupt), Live(first, console=console, screen=sys.stdout.isatty(), auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH_SECONDS)
            try:
                now, trouble = read_status(settings), ""
            except StoreError as error:  # what was known last stays, and is told to be old
                trouble = f"[red]{escape(str(error))}; this is what it said last[/]"
            live.update(Group(*_fitting(now, console, [trouble] if trouble else [])), refresh=True)


def _fitting(now: Status, console: Console, above: list[RenderableType]) -> list[RenderableType]:
    """As much as the terminal has lines for: the lists get shorter, the newest stay, and nothing is missing at the end."""
    from rich.console import Group

    def too_long(most: int) -> bool:
        return len(console.render_lines(Group(*above, *_render(now, most)))) > console.height

    fitting = bisect_left(range(1, SHOWN_AT_MOST + 1), True, key=too_long)
    return [*above, *_render(now, fitting)]


def _render(now: Status, most: int = SHOWN_AT_MOST) -> list[RenderableType]:
    from rich.markup import escape
    from rich.table import Table

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in columns:
            made.add_column(
                column, style=None, header_style="dim", justify="right" if column in ("used", "limit", "phones") else "left"
            )
        return made

    def cut(rows: Sequence[object]) -> str:
        return f" (the newest {most} of {len(rows)})" if len(rows) > most else ""

    clock = time.time_ns() // 1_000_000
    parts = table("Processes", "part", "host", "pid", "up for")
    for process in now.processes:
        parts.add_row(process.kind, process.host_name, str(process.pid), _duration(clock - process.start_ms))
    for kind in PARTS:
        if kind not in {process.kind for process in now.processes}:
            parts.add_row(f"[red]{kind}[/]", "[red]not running[/]", "", "")
    shown: list[RenderableType] = [f"database {now.database}", parts]
    shown += [f"[red]the {one.kind} (pid {one.pid}) {escape(one.missing)}[/]" for one in now.processes if one.missing]
    if now.newest_servers:
        title = f"Servers ({now.servers})" if now.servers <= most else f"Servers (the newest {most} of {now.servers})"
        rows = table(title, "name", "server_id", "status", "flavor", "zone", "phones")
        for server in now.newest_servers[:most]:
            colour = {5: "green", 2: "red"}.get(server.status, "yellow")
            rows.add_row(
                escape(server.name),
                server.server_id,
                f"[{colour}]{SERVER_STATES.get(server.status, server.status)}[/]",
                server.phone_model_name,
                server.availability_zone,
                f"{server.running}/{server.phone_count} running",
            )
        shown.append(rows)
    listed = ", ".join(f"{count:,} {state}" for state, count in sorted(now.phones.items())) or "none"
    running = ", ".join(f"{count:,} {kind}" for kind, count in sorted(now.jobs_running.items())) or "none"
    waiting = sum(now.jobs_waiting.values())
    if now.jobs_running:
        running += f" ({waiting:,} wait for a worker; the oldest is {_duration(int(now.oldest_job_seconds * 1000))} old)"
    shown += [f"[bold]Phones[/]        {listed}", f"[bold]Jobs running[/]  {running}"]
    if now.jobs_failed_24h:
        failures = table(f"Jobs that failed in the last 24 hours{cut(now.jobs_failed_24h)}", "kind", "server_id", "ago", "why")
        for job in now.jobs_failed_24h[:most]:
            why = f"{job.error_code or ''} {job.error_msg or ''}".strip()
            failures.add_row(job.kind, job.server_id or "", _duration(clock - job.end_ms), escape(why))
        shown.append(failures)
    if now.found_24h:
        found = table(f"Found in the last 24 hours{cut(now.found_24h)}", "what", "server_id", "ago", "told")
        for one in now.found_24h[:most]:
            found.add_row(one.what, one.server_id or "", _duration(clock - one.time_ms), escape(one.text))
        shown.append(found)
    limits = table("Capacity and quota", "what", "used", "limit")
    for used in (*now.capacity, *now.quota):
        limits.add_row(used.name, f"{used.used:,}", f"{used.limit:,}")
    return [*shown, limits]


def _duration(milliseconds: int) -> str:
    seconds = max(0, milliseconds // 1000)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
