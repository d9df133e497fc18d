"""What was found to be wrong and put right, or left for an operator to see: the rows of `findings`. Who finds it is not here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

import structlog
from sqlalchemy import bindparam, delete, exists, insert, literal_column, select

from opencph.fleet.times import now_ms
from opencph.store.database import Database, Query, Transaction, command
from opencph.store.tables import findings

#: A finding that is the same as one of the last so many milliseconds is not written down again.
SAME_MS = 3600 * 1000
DAY_MS = 24 * 3600 * 1000

What = Literal["phones_down", "data_lost", "set_aside", "removed", "contradiction", "away", "log"]

log = structlog.get_logger("opencph.findings")


class Finding(NamedTuple):
    """One row."""

    time_ms: int
    what: str
    server_id: str | None
    text: str


_f = findings.c
_KNOWN = exists().where(_f.time_ms > bindparam("since"), _f.what == bindparam("what_"), _f.text == bindparam("text_"))
_IS_KNOWN: Query[int] = Query(select(literal_column("1")).where(_KNOWN), int)
_INSERT = command(
    insert(findings).values(
        time_ms=bindparam("time_ms"), what=bindparam("what"), server_id=bindparam("server_id"), text=bindparam("text")
    )
)
_RECENT: Query[Finding] = Query(
    select(_f.time_ms, _f.what, _f.server_id, _f.text)
    .where(_f.time_ms > bindparam("since"))
    .order_by(_f.seq.desc())
    .limit(bindparam("most")),
    Finding,
)
_DELETE_OLD = command(delete(findings).where(_f.time_ms <= bindparam("before")))


def report(tx: Transaction, what: What, text: str, server_id: str | None = None) -> None:
    """Write a finding down, with the transaction that puts it right where there is one, and say it in the log.

    One that was written down within the last hour is not written again.
    """
    now = now_ms()
    if tx.row(_IS_KNOWN, since=now - SAME_MS, what_=what, text_=text) is None:
        tx.run(_INSERT, time_ms=now, what=what, server_id=server_id, text=text)
        log.warning(text, what=what, server_id=server_id)


def report_down(tx: Transaction, server_id: str, down: Collection[str], lost: Collection[str], *, alive: bool) -> None:
    """Phones (their ids) that should run and did not; `alive`: what carries them is there.

    Of those that are `lost` the directory is gone as well: they come back empty, and somebody must know.
    """
    if down:
        text = f"{len(down)} phones of server {server_id} were down{'' if alive else ': their host is gone'}"
        report(tx, "phones_down", f"{text} ({_named(down)})", server_id)
    if lost:
        text = f"the data of {len(lost)} phones of server {server_id} is gone; they start anew, empty"
        report(tx, "data_lost", f"{text} ({_named(lost)})", server_id)


def report_running(tx: Transaction, server_id: str, phone_ids: Collection[str]) -> None:
    """Phones (their ids) that are stopped and run."""
    text = f"{len(phone_ids)} phones of server {server_id} were stopped (8) and ran: they are stopped again ({_named(phone_ids)})"
    report(tx, "contradiction", text, server_id)


def _named(phone_ids: Collection[str]) -> str:
    return f"{', '.join(sorted(phone_ids)[:3])}{', ...' if len(phone_ids) > 3 else ''}"


def recent(tx: Transaction, *, within_ms: int = DAY_MS, most: int = 30) -> list[Finding]:
    """What was found lately, the newest first."""
    return tx.rows(_RECENT, since=now_ms() - within_ms, most=most)


def delete_old(database: Database, days: int) -> None:
    """Delete findings that are older than so many days."""
    with database.write() as tx:
        tx.run(_DELETE_OLD, before=now_ms() - days * DAY_MS)
