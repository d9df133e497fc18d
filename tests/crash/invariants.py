"""What must be true of an installation at all times, and what must be left of a case: nothing that nobody knows of."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import psutil
from sqlalchemy import func, select

from crash.program import ViolationError, until
from crash.site import Site
from opencph.fleet import generation_routes
from opencph.fleet.address_check import listened_on
from opencph.fleet.shared_storage import APPS, FILES
from opencph.jobs.failpoints import Passed
from opencph.runtimes import ADB_PORT
from opencph.store import tables
from opencph.store.database import Query, StoreError, scalar, tuple_row

QUIET_SECONDS = 20.0
LOOK_SECONDS = 0.03
NORMAL, CHANGING, CREATING = 5, 3, 1
LISTEN = "0A"
#: what of the data directory other invariants look at, what comes and goes by itself, and file systems, which stay
JUDGED_APART = ("builtin", "objects", "shared", "run", "logs", "share-filesystems")
PROCESSING = 3
COUNTED = (
    tables.servers,
    tables.generations,
    tables.kept_public_keys,
    tables.server_addresses,
    tables.phones,
    tables.eips,
    tables.bandwidths,
    tables.share_filesystems,
    tables.share_apps,
    tables.share_files,
    tables.buckets,
    tables.hosts,
)


class _Whole(NamedTuple):
    server_id: str
    status: int
    generation_id: str | None
    state: str | None
    phone_count: int | None
    phones: int
    addresses: int


_s, _g = tables.servers.c, tables.generations.c
_WHOLE = Query(
    select(
        _s.server_id,
        _s.status,
        _s.generation_id,
        _g.state,
        _g.phone_count,
        select(func.count()).select_from(tables.phones).where(tables.phones.c.generation_id == _s.generation_id).scalar_subquery(),
        select(func.count())
        .select_from(tables.server_addresses)
        .where(tables.server_addresses.c.generation_id == _s.generation_id)
        .scalar_subquery(),
    ).join(tables.generations, _g.generation_id == _s.generation_id, isouter=True),
    _Whole,
)
_COUNTS = {table.name: Query[int](select(func.count()).select_from(table), scalar) for table in COUNTED}
_OF_SERVERS = ("encode_servers", "share_filesystems", "share_apps", "share_files", "server_tags", "generations", "phones")
_ORPHANS = {
    name: Query[str](
        select(tables.metadata.tables[name].c.server_id).where(
            tables.metadata.tables[name].c.server_id.not_in(select(_s.server_id))
        ),
        scalar,
    )
    for name in _OF_SERVERS
}
_GENERATIONS: Query[tuple[object, ...]] = Query(select(_g.generation_id, _g.state), tuple_row)
_OPEN_ORDERS: Query[str] = Query(select(tables.orders.c.order_id).where(tables.orders.c.status == PROCESSING), scalar)
_LEASED: Query[str] = Query(
    select(tables.jobs.c.job_id).where(tables.jobs.c.status != 1, tables.jobs.c.lease_owner.is_not(None)), scalar
)
_PHONES: Query[tuple[object, ...]] = Query(
    select(tables.phones.c.phone_ip, tables.phones.c.status, tables.phones.c.generation_id), tuple_row
)


def broken(site: Site) -> list[str]:
    """What servers point at, if that is not a whole generation."""
    found = []
    for row in site.database.rows(_WHOLE):
        if row.state is None:
            found.append(f"server {row.server_id} points at nothing: {row}")
        elif row.phones != row.phone_count or not row.addresses:
            found.append(f"server {row.server_id} points at a part of a generation: {row}")
        elif row.state != "serving" and row.status in (NORMAL, CHANGING):
            found.append(f"server {row.server_id} points at a generation that does not serve: {row}")
    return found


class Watch:
    """Looks at `broken` again and again, for as long as its block lasts, whatever is killed meanwhile."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.found: list[str] = []

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with suppress(StoreError):
                self.found += broken(self._site)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        if kind is None and (found := self.found + broken(self._site)):
            raise ViolationError("; ".join(dict.fromkeys(found)))


def done_once(passed: Sequence[Passed], deaths: int, undo_effects: Container[tuple[str, str]]) -> list[str]:
    """Jobs that did more than they should, from the points that they passed while `deaths` workers were killed.

    Nothing is done of a step once it is recorded, nor forward once its job is being undone; a process does an effect once, and
    another process does it again only when the first died before it was recorded. `undo_effects` are the steps (kind, step) whose
    undo does more than to write rows: what only writes rows is not begun before its transaction is there.
    """
    found = []
    over: set[tuple[str, str, bool]] = set()  # job, step, back
    turned: set[str] = set()
    effects: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for one in passed:
        back = one.point.startswith("undo_")
        for job_id in one.job_ids:
            where = f"{one.kind}:{one.step}:{one.point} of job {job_id}"
            if (job_id, one.step, back) in over:
                found.append(f"{where} comes after it was recorded")
            if back and (one.point == "undo_recorded" or (one.kind, one.step) in undo_effects):
                turned.add(job_id)
            elif not back and job_id in turned:
                found.append(f"{where} comes after undoing began")
            if one.point.endswith("recorded"):
                over.add((job_id, one.step, back))
            elif one.point == "after":
                effects[one.kind, one.step, job_id].append(one.pid)
    for (kind, step, job_id), pids in effects.items():
        if len(pids) > len(set(pids)):
            found.append(f"one process did {kind}:{step} of job {job_id} {len(pids)} times")
        elif len(pids) > 1 + deaths:
            found.append(f"{kind}:{step} of job {job_id} was done {len(pids)} times, and {deaths} workers died")
    return found


class Possessions(NamedTuple):
    """What an installation has when all is quiet, to be compared with what it has later."""

    counts: dict[str, int]
    objects: frozenset[str]
    files: frozenset[str]  # everything else of the data directory that is not of one generation
    trees: dict[str, frozenset[str]]  # phone -> its files

    def kept(self, later: Possessions, allowed: Iterable[str], objects: Iterable[str]) -> list[str]:
        """What there is more or less of later, but for what a case may leave."""
        found = [
            f"rows of {name}: {count} -> {later.counts[name]}" for name, count in self.counts.items() if later.counts[name] != count
        ]
        found += [f"object {name}" for name in sorted(later.objects - self.objects - set(objects))]
        found += [f"object {name} is missing" for name in sorted(self.objects - later.objects)]
        found += [f"file {name}" for name in sorted(later.files - self.files)]
        found += [f"file {name} is missing" for name in sorted(self.files - later.files)]
        starts = tuple(allowed)
        for phone, tree in later.trees.items():
            new = [name for name in sorted(tree - self.trees.get(phone, tree)) if not name.startswith(starts)]
            found += [f"file of a phone: {name}" for name in new]
        return found


def possessions(site: Site) -> Possessions:
    """What there is now."""
    with site.database.read() as tx:
        counts = {name: tx.row(query) or 0 for name, query in _COUNTS.items()}
    objects = site.data / "objects"
    phones = {path.name: path for path in (site.data / "builtin").glob("*/phones/*")}
    return Possessions(
        counts,
        frozenset(str(path.relative_to(objects)) for path in objects.rglob("*") if path.is_file() and ".spool" not in path.parts),
        frozenset(_others(site.data)),
        {phone: frozenset(_tree(path)) for phone, path in phones.items()},
    )


def _others(data: Path) -> Iterable[str]:
    for top in data.iterdir():
        if top.name not in JUDGED_APART and not top.name.startswith("opencph.db"):
            yield from (str(path.relative_to(data)) for path in (top, *top.rglob("*")))


def _tree(top: Path) -> Iterable[str]:
    """What is on a phone's disk; what the phone keeps beside it for itself is its own."""
    for directory in ("data", "cache"):
        for path in (top / directory).rglob("*"):
            if not path.is_dir() or path.is_symlink():
                yield str(path.relative_to(top))


def nothing_leaks(site: Site) -> None:
    """What the machine has is what the database has. What goes away by itself gets a while for it."""
    last: list[str] = []

    def clean() -> bool:
        last[:] = leaks(site)
        return not last

    until(clean, QUIET_SECONDS, lambda: f"nothing leaks: {'; '.join(last)} {site.words()}", 0.1)


def leaks(site: Site) -> list[str]:
    """Everything that nobody accounts for, and everything that should be there and is not."""
    found = broken(site)
    generations = {str(one): str(state) for one, state in site.database.rows(_GENERATIONS)}
    found += [f"generation {one} is {state}" for one, state in generations.items() if state != "serving"]
    for name, query in _ORPHANS.items():
        found += [f"row of {name} of a server that is gone: {server_id}" for server_id in site.database.rows(query)]
    found += [f"order {order} is still being processed" for order in site.database.rows(_OPEN_ORDERS)]
    found += [f"job {job} has ended and is still leased" for job in site.database.rows(_LEASED)]
    found += _files(site, set(generations)) + _processes(site, set(generations)) + _listeners(site) + _shares(site)
    return found


def _files(site: Site, generations: set[str]) -> list[str]:
    homes = {path.name for path in (site.data / "builtin").iterdir() if path.is_dir()} - {".trash"}
    found = [f"directory {name} of no generation" for name in sorted(homes - generations)]
    found += [f"no directory of generation {name}" for name in sorted(generations - homes)]
    found += [f"trash: {path.name}" for path in (site.data / "builtin" / ".trash").glob("*")]
    sockets = {path.name for path in (site.data / "run").glob("host-*")}
    wanted = {f"host-{one}.sock" for one in generations}
    found += [f"socket {name} of no host" for name in sorted(sockets - wanted)] + [
        f"no socket {name}" for name in sorted(wanted - sockets)
    ]
    found += [f"half a file: {path.relative_to(site.directory)}" for path in _unfinished(site)]
    return found + [f"temporary file {path.name}" for path in site.temporary.iterdir()]


def _unfinished(site: Site) -> Iterable[Path]:
    for path in (site.data / "shared").rglob("*.part"):
        yield path
    spool = site.store.spool
    for path in spool.rglob("*") if spool.exists() else ():
        if path.is_file():
            yield path
    for phone in (site.data / "builtin").glob("*/phones/*/data"):
        for pattern in ("local/tmp/*.apk*", "local/tmp/.cph/*", "app/*.tmp", "**/.*.part", "**/.upload*"):
            with suppress(FileNotFoundError):
                yield from phone.glob(pattern)


def _processes(site: Site, generations: set[str]) -> list[str]:
    assert site.process is not None
    hosts, zygote = site.hosts(), site.zygote()
    found = [f"process {pid} carries the phones of no generation" for pid, one in hosts.items() if one not in generations]
    found += [f"generation {one} has no host" for one in generations - set(hosts.values())]
    known = {site.process.pid, *hosts, zygote}
    for process in site.processes():
        with suppress(psutil.Error):
            ancestors = {process.pid, *(parent.pid for parent in process.parents())} - (
                {zygote} if process.pid != zygote else set()
            )
            if not ancestors & known:
                found.append(f"process {process.pid} is nobody's: {' '.join(process.cmdline())[:120]}")
    return found


def _shares(site: Site) -> list[str]:
    found = []
    home = site.data / "shared"
    for directory in home.iterdir() if home.is_dir() else ():
        named = {row.archive for row in site.database.rows(APPS, of_server=directory.name)}
        named |= {row.archive for row in site.database.rows(FILES, of_server=directory.name)}
        kept = {path.name for path in directory.iterdir()}
        found += [f"shared archive {name} of nobody" for name in sorted(kept - {f"{one}.tar" for one in named})]
        found += [f"shared archive {one} is missing" for one in sorted(named) if f"{one}.tar" not in kept]
    return found


def _listeners(site: Site) -> list[str]:
    """Ports that are open in our block of addresses, against what phones and gateway should listen on."""
    network = IPv4Network(site.settings.network)
    listening = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        address, _, port = words[1].partition(":")
        ip = IPv4Address(int.from_bytes(bytes.fromhex(address)[::-1], "big"))
        if words[3] == LISTEN and ip in network:
            listening.add((str(ip), int(port, 16)))
    with site.database.read() as tx:
        routes = generation_routes.mappings(tx)
        phones = tx.rows(_PHONES)
    opened = {pair for route in routes for pair in listened_on(route, site.settings.ssh_port) if ":" not in pair[0]}
    ports = {route.generation_id: [port.listen_port for port in route.ports] for route in routes}
    of_phones = {(str(ip), port) for ip, _, one in phones for port in (ADB_PORT, *ports.get(str(one), ()))}
    found = [f"{ip}:{port} is open for nobody" for ip, port in sorted(listening - opened - of_phones)]
    found += [f"the gateway does not listen on {ip}:{port}" for ip, port in sorted(opened - listening)]
    running = {(str(ip), ADB_PORT) for ip, status, _ in phones if status == 2}
    return found + [f"the phone {ip}:{port} does not listen" for ip, port in sorted(running - listening)]
