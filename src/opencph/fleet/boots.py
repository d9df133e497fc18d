"""Bringing phones up for a job: which are down, booted, and asked whether they answer. What becomes of those that do not is the
job's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar

import msgspec
from sqlalchemy import bindparam, select

from opencph.adb.client import AdbError, Connection, NobodyListensError, connect
from opencph.fleet import Fleet, command_runs, findings, generations
from opencph.fleet.adb_check import silent_phones
from opencph.fleet.command_payloads import PHONE_COMMAND, PhoneCommandJob
from opencph.fleet.statuses import PHONE_STATES, PhoneStatus
from opencph.jobs import RUNNING
from opencph.metrics.families import RECOVERIES
from opencph.runtimes import GenerationInventory, PhoneSpec, Runtime, RuntimeFaultError
from opencph.store import tables
from opencph.store.database import Query, StoreBusyError, StoreError, StoreUnavailableError, scalar

CONNECT_SECONDS = 10.0
BRING_UP_SECONDS = 30.0
#: A phone that did not come up is not booted again for so long: the other jobs of its server get the same answer.
AGAIN_SECONDS = 10.0
DATABASE_PAUSE_SECONDS = 0.25
#: What runs unless something happened to it; the second is what the reconciler says when something did.
SHOULD_RUN: frozenset[int] = frozenset({PhoneStatus.RUNNING, PhoneStatus.ABNORMAL})
#: What a job that waits behind ours will do to a phone that ran when ours was accepted.
STILL_RUNS: frozenset[int] = SHOULD_RUN | {PhoneStatus.RESTARTING, PhoneStatus.RESETTING}


Found = TypeVar("Found")


class Boot(NamedTuple):
    """Why phones are not up, by phone_id: those that the runtime could not boot, and those that do not answer ADB."""

    failed: dict[str, str]
    silent: dict[str, str]


async def bring_up(runtime: Runtime, generation_id: str, phones: Sequence[PhoneSpec]) -> Boot:
    """Boot phones, and ask them. What runs is left alone. Raises RuntimeFaultError.

    When some do not answer all is done once more: what carried them may have died after they were booted.
    """
    boot = Boot({}, {})
    for _ in range(2):
        failed = dict(await runtime.start(generation_id, [phone.phone_id for phone in phones]))
        asked = {phone.phone_id: phone.ip for phone in phones if phone.phone_id not in failed}
        boot = Boot(failed, await silent_phones(asked))
        if not boot.silent:
            break
    return boot


class _OfPhone(Protocol):
    @property
    def phone_id(self) -> str: ...


Row = TypeVar("Row", bound=_OfPhone)


def down_and_lost(found: GenerationInventory | None, phones: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """Which phones of a generation do not run, of those that should; and which of these have lost their directory as well.

    `found` is what the runtime has of it, None when that is nothing. What phones have whose host is gone, it cannot say.
    """
    if found is None:
        return phones, phones
    if not found.alive:
        return phones, ()
    down = [phone for phone in phones if found.phones.get(phone.phone_id, "absent") in ("absent", "stopped")]
    return down, [phone for phone in down if found.phones.get(phone.phone_id, "absent") == "absent"]


class _PhoneRow(NamedTuple):
    phone_id: str
    server_id: str
    status: int


class _Rows(NamedTuple):
    """What the database says of a generation."""

    phones: dict[str, _PhoneRow]
    specs: Sequence[PhoneSpec]
    commanded: set[str]  # phones in which marks of commands must stay: their jobs have not ended


_p, _j = tables.phones.c, tables.jobs.c
_GENERATION_OF: Query[str] = Query(select(_p.generation_id).where(_p.phone_id == bindparam("phone_id")), scalar)
_PHONES = Query(
    select(_p.phone_id, _p.server_id, _p.status).where(_p.generation_id == bindparam("generation_id")),
    _PhoneRow,
)


class _Command(NamedTuple):
    phone_id: str
    payload: str


_COMMANDS = Query(
    select(_j.phone_id, _j.payload).where(_j.lane == bindparam("server_id"), _j.kind == PHONE_COMMAND, _j.status == RUNNING),
    _Command,
)


class _Turn:
    """One at a time brings the phones of a generation up; what came of it the last time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.ended = float("-inf")  # in loop seconds
        self.causes: dict[str, str] = {}  # by phone_id, why it did not come up


class Comebacks:
    """Connections to phones, for jobs in the lane of their server: what should run and is not there is brought up first.

    So a job does not fail because the process that carries its phone was killed before the job began with it; the reconciler, which
    waits for the lane, would come too late. All phones of the server that are down come up at once. Nothing of a job was sent to a
    phone that is brought up, as far as this attempt goes; what an earlier one began, the marks of `command_runs` tell.
    """

    def __init__(self, fleet: Fleet, runtime: Runtime) -> None:
        self.fleet = fleet
        self.runtime = runtime
        self._turns: dict[str, _Turn] = {}

    async def connect(self, phone_id: str, ip: str) -> Connection:
        """Raises AdbError: nobody is there although the phone was booted, or must not be; or it does not speak ADB."""
        try:
            return await connect(ip, timeout=CONNECT_SECONDS)
        except NobodyListensError as error:
            nobody = error
        generation_id = await self._read(lambda: self.fleet.database.row(_GENERATION_OF, phone_id=phone_id))
        if generation_id is None:
            raise nobody
        turn = self._turn(generation_id)
        async with turn.lock:
            try:
                return await connect(ip, timeout=CONNECT_SECONDS)  # who had the turn before us has brought it up with the others
            except NobodyListensError as error:
                nobody = error
            again = asyncio.get_running_loop().time() - turn.ended < AGAIN_SECONDS and phone_id in turn.causes
            if not again:
                await self._bring_up(turn, phone_id, generation_id)
        try:
            return await connect(ip, timeout=CONNECT_SECONDS)
        except NobodyListensError as error:
            cause = turn.causes.get(phone_id) or str(error)
            raise AdbError(f"{nobody}; it was not brought up: {cause}; restart it with batch-restart") from error

    def _turn(self, generation_id: str) -> _Turn:
        now = asyncio.get_running_loop().time()
        self._turns = {one: turn for one, turn in self._turns.items() if turn.lock.locked() or now - turn.ended < AGAIN_SECONDS}
        return self._turns.setdefault(generation_id, _Turn())

    async def _read(self, read: Callable[[], Found]) -> Found:
        """Ask the database, and again while it is away. Raises AdbError."""
        deadline = asyncio.get_running_loop().time() + BRING_UP_SECONDS
        while True:
            try:
                return await asyncio.to_thread(read)
            except (StoreBusyError, StoreUnavailableError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise AdbError(f"whether the phone should run is not known: {error}") from error
            await asyncio.sleep(DATABASE_PAUSE_SECONDS)

    async def _bring_up(self, turn: _Turn, phone_id: str, generation_id: str) -> None:
        """Boot what should run of a generation and does not; `turn` says what came of it. Raises AdbError when it must not run."""
        rows = await self._read(lambda: self._rows(generation_id))
        row = rows.phones.get(phone_id)
        if row is None or row.status not in STILL_RUNS:
            state = "gone" if row is None else PHONE_STATES.get(row.status, str(row.status))
            raise AdbError(f"it is {state}; start it with batch-restart")
        turn.causes = {phone_id: f"it was not up within {BRING_UP_SECONDS:.0f} s"}
        try:
            async with asyncio.timeout(BRING_UP_SECONDS):
                await self._boot(turn, row, generation_id, rows)
        except TimeoutError:
            pass  # said already
        except RuntimeFaultError as fault:
            turn.causes = dict.fromkeys(turn.causes, str(fault))
        finally:
            turn.ended = asyncio.get_running_loop().time()

    async def _boot(self, turn: _Turn, row: _PhoneRow, generation_id: str, rows: _Rows) -> None:
        found = next((one for one in await self.runtime.inventory() if one.generation_id == generation_id), None)
        alive = found is not None and found.alive
        down, lost = down_and_lost(found, [one for one in rows.phones.values() if one.status in SHOULD_RUN])
        wanted = {one.phone_id for one in (*down, row)}
        turn.causes = dict.fromkeys(wanted, turn.causes[row.phone_id])
        await asyncio.to_thread(self._report, row.server_id, alive, down, lost)
        phones = [phone for phone in rows.specs if phone.phone_id in wanted]
        boot = await bring_up(self.runtime, generation_id, phones)
        turn.causes = boot.silent | boot.failed
        back = wanted - turn.causes.keys() - rows.commanded
        await command_runs.forget_in({phone.phone_id: phone.ip for phone in phones if phone.phone_id in back})

    def _rows(self, generation_id: str) -> _Rows:
        with self.fleet.database.read() as tx:
            phones = {row.phone_id: row for row in tx.rows(_PHONES, generation_id=generation_id)}
            server_id = next((row.server_id for row in phones.values()), "")
            jobs = tx.rows(_COMMANDS, server_id=server_id)
            commands = [(job.phone_id, msgspec.json.decode(job.payload, type=PhoneCommandJob)) for job in jobs]
            commanded = {phone_id for phone_id, payload in commands if command_runs.leaves_marks(payload)}
            return _Rows(phones, generations.spec(tx, self.fleet, generation_id).phones if phones else (), commanded)

    def _report(self, server_id: str, alive: bool, down: Sequence[_PhoneRow], lost: Sequence[_PhoneRow]) -> None:
        """What the reconciler would have found; it sets what it said of them before right."""
        new = [row.phone_id for row in down if row.status == PhoneStatus.RUNNING]
        if not new:
            return
        RECOVERIES.add("server")
        with suppress(StoreError), self.fleet.database.write() as tx:  # the log has it then
            findings.report_down(
                tx, server_id, new, [row.phone_id for row in lost if row.status == PhoneStatus.RUNNING], alive=alive
            )
