"""Whether this process is up, and whether the installation can serve. Without credentials, so what is told is little and cheap."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from weakref import WeakKeyDictionary

import structlog

from opencph.api.call import Answer, Call, Result
from opencph.api.looks import LOOK_SECONDS, Look
from opencph.store import migrate, processes, revisions
from opencph.store.database import Database, StoreBusyError, StoreError, StoreFullError
from opencph.wire.health import ShowHealthResponse, ShowReadinessResponse

#: What was found is told again for so long: however often somebody asks, the database is asked once.
FRESH_SECONDS = 1.0
#: A trial of writing, made when parts are missing, keeps a look for so long.
TRIAL_SECONDS = 0.5
#: A trial that waits so long for its turn to write will not get it soon.
TURN_SECONDS = 2.0
#: A gateway may be behind the database for so long: it is applying what changed.
BEHIND_SECONDS = 5.0

_LOCKED = "the database cannot be written: another process has locked it"

_logger = structlog.get_logger("opencph.api.health")


def show_health(call: Call) -> Result:
    """The event loop of this process turns. Asks nobody else."""
    return ShowHealthResponse()


async def show_readiness(call: Call) -> Result:
    """Whether the installation can serve; 503 and what is missing when not.

    The database answers and has this version's tables, a worker lives, and a gateway serves what the database says.
    """
    readiness = _readiness.get(call.fleet.database)
    if readiness is None:
        readiness = _readiness[call.fleet.database] = Readiness(call.fleet.database)
    health = await readiness.look()
    return health if health.status == "ok" else Answer(503, health)


class Readiness:
    """What was found of one database lately. For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._look = Look("ready", self._read, self._keep)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="opencph-trial")
        self._writing: Future[None] | None = None
        self._asked = 0.0
        self._cause = ""  # why the last trial of writing failed
        self._found = ShowReadinessResponse("ok")
        self._when = float("-inf")
        self._behind: tuple[float, int] | None = None  # since when a gateway lacks which revision

    async def look(self) -> ShowReadinessResponse:
        """What is missing now, or was FRESH_SECONDS ago."""
        if time.monotonic() - self._when < FRESH_SECONDS:
            return self._found
        try:
            return await self._look.answer()
        except TimeoutError:
            self._keep(_lacking(database=f"the database has not answered for {LOOK_SECONDS:g} s"))
            return self._found

    def _keep(self, found: ShowReadinessResponse) -> None:
        if found.status != self._found.status:
            tell = _logger.info if found.status == "ok" else _logger.warning
            tell("ready again" if found.status == "ok" else "not ready", reason=found.reason or None)
        self._found, self._when = found, time.monotonic()

    def _read(self) -> ShowReadinessResponse:
        """Ask the database. Blocks."""
        database = self._database
        try:
            if not migrate.is_current(database):
                return _lacking(migration="the database lacks this version's tables; start OpenCPH on it once to migrate it")
            with database.read() as tx:
                workers, gateways = processes.alive(tx, "worker"), processes.alive(tx, "gateway")
                revision = revisions.read(tx, "network")
        except StoreError:
            return _lacking(database="the database does not answer")
        lacks = {} if workers else {"worker": "no worker says that it is alive"}
        if not gateways:
            lacks["gateway"] = "no gateway says that it is alive"
        elif self._is_behind(max(gateway.applied_revision for gateway in gateways), revision):
            lacks["gateway"] = f"the gateway has not served the newest addresses for {BEHIND_SECONDS:g} s"
        if not lacks:
            self._cause, self._writing = "", None  # old news, should something be missing again
        elif why := self._cannot_write():
            lacks = {"database": why} | lacks
        return _lacking(**lacks) if lacks else ShowReadinessResponse("ok")

    def _cannot_write(self) -> str:
        """Why nobody can say that he lives, in words for everybody: "" when the database can be written, or that is not known yet.

        Who waits for his turn to write is asked by the next look; till he has had it, what was found before holds.
        """
        if self._writing is None:
            self._writing, self._asked = self._writer.submit(processes.try_writing, self._database), time.monotonic()
        wait([self._writing], TRIAL_SECONDS)
        if self._writing.done():
            self._cause = _why_not_written(self._writing.exception())
            self._writing = None
        elif time.monotonic() - self._asked >= TURN_SECONDS:
            self._cause = self._cause or _LOCKED
        return self._cause

    def _is_behind(self, served: int, revision: int) -> bool:
        """Whether a revision that was there BEHIND_SECONDS ago is not served yet. One that always gets there is in time."""
        now = time.monotonic()
        if self._behind is None or served >= self._behind[1]:
            self._behind = None if served >= revision else (now, revision)
            return False
        return now - self._behind[0] >= BEHIND_SECONDS


def _why_not_written(error: BaseException | None) -> str:
    if isinstance(error, StoreFullError):
        return f"the database cannot be written: {error}"
    if isinstance(error, StoreBusyError):
        return _LOCKED
    return "the database cannot be written" if isinstance(error, StoreError) else ""


def _lacking(**parts: str) -> ShowReadinessResponse:
    return ShowReadinessResponse("unavailable", "; ".join(parts.values()), tuple(parts))


_readiness: WeakKeyDictionary[Database, Readiness] = WeakKeyDictionary()
