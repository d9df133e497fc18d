"""Puts every call that changes something on record, in the transaction that makes the change. What a record is: `iam.audit`."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace

import msgspec
import structlog

from opencph.api.call import Answer, Call, Result
from opencph.api.errors import refusal
from opencph.api.routing import Route
from opencph.iam import audit
from opencph.iam.throttling import count_call
from opencph.store.database import Database, Dialect, Query, Row, StoreError, Transaction, Value
from opencph.wire.errors import CphError

#: ids in an answer that name no resource of the caller's
_NOT_RESOURCES = frozenset(
    ("request_id", "job_id", "job_ids", "order_id", "product_id", "enterprise_project_id", "project_id", "image_id")
)
#: how deep ids are looked for in bodies and answers
_DEPTH = 3

_logger = structlog.get_logger("opencph.api")


class _Database:
    """A database that adds one record to the first transaction that commits."""

    def __init__(self, database: Database, entry: audit.Entry) -> None:
        self._database = database
        self._entry = entry
        self.recorded = False
        self.dialect: Dialect = database.dialect
        self.url = database.url
        self.reads_inline = database.reads_inline

    def row(self, query: Query[Row], **params: Value) -> Row | None:
        return self._database.row(query, **params)

    def rows(self, query: Query[Row], **params: Value) -> list[Row]:
        return self._database.rows(query, **params)

    def read(self) -> AbstractContextManager[Transaction]:
        return self._database.read()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        with self._database.write() as tx:
            yield tx
            if not self.recorded:
                audit.record(tx, self._entry)
        self.recorded = True

    def begin_snapshot(self) -> Hashable:
        return self._database.begin_snapshot()

    def end_snapshot(self) -> None:
        self._database.end_snapshot()

    def wait_for_change(self, seconds: float) -> bool:
        return self._database.wait_for_change(seconds)

    def close(self) -> None:
        self._database.close()


def audited(route: Route, call: Call) -> Result:
    """Call the handler, and put on record who called it on what, and how it ended. Raises what the handler raises."""
    entry = _entry(route, call)
    database = _Database(call.fleet.database, entry)
    try:
        if route.calls_per_minute:
            limit = getattr(call.fleet.settings, route.calls_per_minute)
            count_call(call.fleet.database, call.caller.user_id, route.operation, limit)
        result = route.handler(replace(call, fleet=replace(call.fleet, database=database)))
    except Exception as error:
        note(call.fleet.database, _ended(entry, route, error), again=database.recorded)
        raise
    ended = _as_answered(entry, result)
    if ended != entry or not database.recorded:
        note(call.fleet.database, ended, again=database.recorded)
    return result


def refused(route: Route, call: Call, error: CphError) -> None:
    """Put on record that a call was refused before its handler was asked."""
    note(call.fleet.database, _ended(_entry(route, call), route, error))


def note(database: Database, entry: audit.Entry, *, again: bool = False) -> None:
    """Write the record in a transaction of its own, or write it again. What was answered stays answered when that fails."""
    try:
        with database.write() as tx:
            (audit.amend if again else audit.record)(tx, entry)
    except StoreError as error:
        _logger.error("a call is not in the audit record", **_said(entry), cause=str(error))


def _said(entry: audit.Entry) -> dict[str, str | int]:
    names = ("request_id", "user_name", "project_id", "operation", "resources", "status", "error_code")
    return {name: getattr(entry, name) for name in names}


def _entry(route: Route, call: Call) -> audit.Entry:
    """The record of a call that succeeds."""
    resources = list(call.params)
    if call.body:
        with suppress(ValueError, RecursionError):  # the handler refuses it
            _find(msgspec.json.decode(call.body), "", resources, _DEPTH)
    return audit.Entry(
        time_ms=time.time_ns() // 1_000_000,
        request_id=call.request_id,
        source=audit.API,
        user_id=call.caller.user_id,
        user_name=call.caller.user_name,
        project_id=call.caller.project_id,
        operation=route.operation,
        action=route.action,
        resources=audit.named(resources),
        status=200,
        error_code="",
        error_msg="",
    )


def _find(value: object, key: str, found: list[str], depth: int) -> None:
    """Gather the texts of fields that are called `..._id`, `..._ids`, `id` or `name`."""
    if isinstance(value, str):
        names = key.endswith(("_id", "_ids")) or key in ("id", "ids", "name", "server_name")
        if value and names and key not in _NOT_RESOURCES and "\0" not in value:
            found.append(value[:128])
    elif isinstance(value, dict) and depth:
        for name, inner in value.items():
            _find(inner, name, found, depth - 1)
    elif isinstance(value, list) and depth:
        for inner in value:
            _find(inner, key, found, depth if isinstance(inner, str) else depth - 1)


def _ended(entry: audit.Entry, route: Route, error: Exception) -> audit.Entry:
    """The record of a call that failed."""
    seen = refusal(error, entry.request_id, route.operation, identity=route.identity, log=False)
    body = msgspec.to_builtins(seen.body)
    code = body.get("error_code") or body.get("code") or f"HTTP {seen.status}"
    message = body.get("error_msg") or body.get("message") or str(error)
    return entry._replace(status=seen.status, error_code=str(code), error_msg=_cut(str(message)))


def _as_answered(entry: audit.Entry, result: Result) -> audit.Entry:
    """The record of a call that was answered: what it made, and which of its items failed."""
    status, body = (result.status, result.body) if isinstance(result, Answer) else (200, result)
    if not isinstance(body, msgspec.Struct):
        return entry._replace(status=status)
    shown = msgspec.to_builtins(body)
    resources: list[str] = msgspec.json.decode(entry.resources)
    made: list[str] = []
    _find(shown, "", made, _DEPTH)
    items = [item for item in shown.get("jobs") or [] if isinstance(item, dict)]
    failed = [item for item in items if item.get("error_code")]
    if failed:
        first = f"{failed[0].get('phone_id') or failed[0].get('server_id')}: {failed[0].get('error_msg')}"
        message = _cut(f"{len(failed)} of {len(items)} refused; {first}")
        entry = entry._replace(error_code=str(failed[0]["error_code"]), error_msg=message)
    if set(made) - set(resources) and len(resources) <= audit.RESOURCES_MAX:
        entry = entry._replace(resources=audit.named([*resources, *made]))
    return entry._replace(status=status)


def _cut(text: str) -> str:
    text = text.replace("\0", "")
    return text if len(text) <= audit.MESSAGE_MAX_CHARACTERS else f"{text[: audit.MESSAGE_MAX_CHARACTERS - 3]}..."
