"""GET /metrics: the numbers of this installation in Prometheus' text format. What is counted is in `opencph.metrics.families`.

For who has the scrape token of `DATA/metrics-token`, and for administrators. Ids, names and addresses are in no label.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import stat
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakKeyDictionary

import opencph
from opencph.api.call import Answer, Call, Result
from opencph.api.looks import Look
from opencph.fleet import census
from opencph.iam import Caller
from opencph.iam.policies import Policy
from opencph.metrics import QUICK_SECONDS, Labels, Value, exchange, exposition, families
from opencph.settings import Settings
from opencph.store.database import Database, StoreError

TOKEN_FILE = "metrics-token"  # noqa: S105 - its name
TOKEN_BYTES_MAX = 4096
ACTION = "opencph:metrics:show"
SCRAPER = Caller(
    user_id="", user_name="metrics", domain_id="", domain_name="", project_id="", role="metrics", policy=Policy([ACTION])
)
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
PARTS = ("api", "worker", "gateway")
_BEARER = b"bearer "
_AWAY: dict[str, Mapping[Labels, Value]] = {families.DATABASE_UP.name: {(): 0}}


async def show_metrics(call: Call) -> Result:
    """The numbers of every process of this data directory, and of the whole installation.

    A database that does not answer, and processes that do not, keep a scrape no longer than they are waited for.
    """
    fleet = call.fleet
    gathered, known = await asyncio.gather(exchange.gather(fleet.settings.run_directory, "api"), _known(fleet.database))
    answered = Counter(one.process for one in gathered.snapshots)
    whole: dict[str, Mapping[Labels, Value]] = {
        families.UP.name: {(part,): answered[part] for part in PARTS},
        families.SILENT.name: {(): gathered.silent},
        families.BUILD_INFO.name: {(opencph.__version__,): 1},
    }
    text = await asyncio.get_running_loop().run_in_executor(_writer, exposition.text_of, gathered.snapshots, whole | known)
    return Answer(200, content=text, content_type=exposition.CONTENT_TYPE.encode())


async def _known(database: Database) -> dict[str, Mapping[Labels, Value]]:
    look = _looks.get(database)
    if look is None:
        look = _looks[database] = Look("census", lambda: _whole(database))
    try:
        return await look.answer()
    except TimeoutError:
        return _AWAY


def _whole(database: Database) -> dict[str, Mapping[Labels, Value]]:
    """What the database knows of everything. Blocks."""
    try:
        with database.read() as tx:
            phones, servers, jobs = census.phones_by_state(tx), census.servers_by_state(tx), census.open_jobs(tx)
    except StoreError:
        return _AWAY
    return {
        families.DATABASE_UP.name: {(): 1},
        families.PHONES.name: {(state,): count for state, count in phones.items()},
        families.SERVERS.name: {(state,): count for state, count in servers.items()},
        families.JOBS_WAITING.name: {(job.kind,): job.jobs for job in jobs if job.waiting},
        families.JOBS_RUNNING.name: {(job.kind,): job.jobs for job in jobs if not job.waiting},
        families.JOB_OLDEST.name: {(): max((job.oldest_seconds for job in jobs if job.waiting), default=0.0)},
        families.JOB_OLDEST_RUNNING.name: {(): max((job.oldest_seconds for job in jobs if not job.waiting), default=0.0)},
    }


_looks: WeakKeyDictionary[Database, Look[dict[str, Mapping[Labels, Value]]]] = WeakKeyDictionary()
_writer = ThreadPoolExecutor(1, thread_name_prefix="opencph-metrics")


# --- who may ask ----------------------------------------


def make_scrape_token(settings: Settings) -> Path:
    """Make `DATA/metrics-token` (0600) unless it is there. Several processes may do it at once; one token stays. Raises OSError."""
    path = settings.data / TOKEN_FILE
    if not path.exists():
        new = path.with_name(f".{TOKEN_FILE}-{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(new, path)
        except FileExistsError:
            pass  # another process was faster
        finally:
            new.unlink()
    return path


def is_scraper(settings: Settings, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request bears the scrape token. The file is read each time, so that a new token holds at once."""
    given = headers.get(b"authorization", b"")
    if given[: len(_BEARER)].lower() != _BEARER:
        return False
    try:
        wanted = _contents(settings.data / TOKEN_FILE).strip()
    except OSError:
        return False
    return len(wanted) >= 16 and hmac.compare_digest(given[len(_BEARER) :].strip(), wanted)


def _contents(path: Path) -> bytes:
    """What a small file has. Nothing but a file is read, for others make who opens or reads them wait. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, TOKEN_BYTES_MAX) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


# --- counting requests ----------------------------------------


class RequestNumbers:
    """Counts the requests of one process. Only its event loop writes, so that a request costs a look-up and two additions."""

    def __init__(self, in_flight: Callable[[], int]) -> None:
        self._rows: dict[tuple[str, str, int], list[float]] = {}
        families.REQUESTS.read_from(self._counts)
        families.REQUEST_SECONDS.read_from(self._seconds)
        families.REQUESTS_IN_FLIGHT.read_from(lambda: {(): in_flight()})

    def answered(self, operation: str, method: str, status: int, seconds: float) -> None:
        """A request was answered, or given up by its client (status 499)."""
        row = self._rows.get((operation, method, status))
        if row is None:
            row = self._new_row(operation, method, status)
        row[bisect_left(QUICK_SECONDS, seconds)] += 1
        row[-1] += seconds

    def _new_row(self, operation: str, method: str, status: int) -> list[float]:
        """The methods of clients are without number; those that no route has share one row."""
        known = method if method in METHODS else "other"
        return self._rows.setdefault((operation, known, status), [0.0] * (len(QUICK_SECONDS) + 2))

    def _counts(self) -> dict[Labels, Value]:
        counts = Counter[Labels]()
        for (operation, method, status), row in list(self._rows.items()):
            counts[operation, method, f"{status // 100}xx"] += int(sum(row[:-1]))
        return dict(counts)

    def _seconds(self) -> dict[Labels, Value]:
        sums: dict[Labels, list[float]] = {}
        for (operation, _method, _status), row in list(self._rows.items()):
            before = sums.get((operation,))
            sums[operation,] = list(row) if before is None else [a + b for a, b in zip(before, row, strict=True)]
        return dict(sums)
