"""How every process logs: structlog and the standard library, one stream. Says nothing about what is logged.

Lines go as JSON to `DATA/logs/opencph.log`, to which every process appends, and to stderr: as JSON too, or, on a terminal, only
warnings and errors in words (everything with the level debug).

Who logs never learns of a log that does not work: no error leaves a handler, whatever becomes of the file, its directory or
its disk. It is said on stderr once, the lines that the file lacks are counted, and the file is made anew when it can be.

A line says what it was written for: `serving()` gives the lines of a request its ids, `structlog.contextvars.bind_contextvars`
those of a job or a connection theirs. Both go along into threads that are begun with the context (`asyncio.to_thread`).
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import structlog

FILE_NAME = "opencph.log"
FILE_LIMIT_BYTES = 16 * 1024 * 1024
SECRET_KEYS = re.compile(r"password|secret|token|authorization|signature|private_key|credential", re.IGNORECASE)
SECRET_TEXTS = re.compile(r"(://[^:/@\s]+:)[^@/\s]+(@)|(Signature=|X-Auth-Token: ?|X-Subject-Token: ?)[^\s,]+()", re.IGNORECASE)
#: libraries that talk too much at info
QUIET = ("alembic", "asyncio", "asyncssh", "granian", "_granian", "httpx", "PIL", "psycopg", "sqlalchemy")

#: The request that is being served: its id, operation and project. A plain tuple, for every request sets it.
_request: ContextVar[tuple[str, str, str] | None] = ContextVar("request", default=None)


def serving(request_id: str, operation: str, project_id: str) -> None:
    """What is logged from here on, in this task and what it begins, is of this request. `project_id` may be empty."""
    _request.set((request_id, operation, project_id))


def trace() -> dict[str, str]:
    """What the lines of the job under way carry: for another process that works for it and logs about it."""
    bound = structlog.contextvars.get_contextvars()
    return {name: str(bound[name]) for name in ("job_id", "kind", "server_id", "request_id") if name in bound}


def of_request(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds the request that is being served."""
    found = _request.get()
    if found is not None:
        for name, value in zip(("request_id", "operation", "project_id"), found, strict=True):
            if value:
                event.setdefault(name, value)
    return event


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Secrets never reach a log, whoever passes them: by the name of the key, or by the look of the text."""
    for key, value in event.items():
        if SECRET_KEYS.search(key) and value:
            event[key] = "***"
        elif isinstance(value, str) and ("://" in value or "ignature=" in value or "-token" in value.lower()):
            event[key] = SECRET_TEXTS.sub(lambda found: f"{found[1] or found[3]}***{found[2] or ''}", value)
    return event


def configure(level: str, *, process: str, directory: Path | None = None, style: str = "auto") -> None:
    """Set logging up for this process (again, after a fork). `directory` is `DATA/logs`; None logs to stderr only.

    `style` is what stderr gets: json, text, or auto, which is text on a terminal.
    """
    for_people = sys.stderr.isatty() if style == "auto" else style == "text"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        of_request,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_adder(process),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    before = [structlog.stdlib.ExtraAdder(), *shared]  # records of the standard library carry their values as attributes
    machine = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
    )
    stream = _Stream(sys.stderr)
    stream.setFormatter(_for_people(before) if for_people else machine)
    if for_people and sys.stderr.isatty() and directory is not None and level != "debug":
        stream.setLevel(logging.WARNING)
    handlers: list[logging.Handler] = [stream]
    if directory is not None:
        file = _File(directory / FILE_NAME)
        file.setFormatter(machine)
        handlers.append(file)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def lost_lines() -> int:
    """How many lines of this process are missing in the file."""
    return sum(handler.lost for handler in logging.getLogger().handlers if isinstance(handler, _File))


def trouble() -> str:
    """Why the file cannot be written now, as a sentence; "" when it can. Looks, and makes a file that is gone anew."""
    return "; ".join(filter(None, (handler.look() for handler in logging.getLogger().handlers if isinstance(handler, _File))))


class _Stream(logging.StreamHandler):  # type: ignore[type-arg]  # it takes none when it runs
    """stderr. Lines for which there is no room, or no reader, are dropped: there is nowhere left to tell of it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name it has in logging
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _File(logging.Handler):
    """A file for its owner alone.

    It may be taken away at any time, with its directory too. Each line is one write, so that nothing is held back in memory.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.lost = 0
        self._path = path
        self._descriptor: int | None = None
        self._rest = b""  # of a line for which there was room in part
        self._cause = ""  # why the last line could not be written
        self._told = 0  # how many of the lost lines the file itself tells of
        self._telling = False

    def emit(self, record: logging.LogRecord) -> None:
        """Append the line; an error is told on stderr, never raised."""
        if self._telling:
            return  # it is about this very file
        try:
            line = self._line(record)
        except Exception:
            self.handleError(record)
            return
        try:
            self._tell_what_is_missing()
            self._write(line)
        except OSError as error:
            self.lost += 1
            self._fails(error)

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode(errors="backslashreplace") + b"\n"

    def look(self) -> str:
        """See `trouble`."""
        self.acquire()
        try:
            self._open()
            self._tell_what_is_missing()
        except OSError as error:
            self._fails(error)
        finally:
            self.release()
        return f"lines of the log are lost, {self._path} cannot be written: {self._cause}" if self._cause else ""

    def close(self) -> None:
        """Let go of the file."""
        self.acquire()
        try:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
        finally:
            self.release()
        super().close()

    def _tell_what_is_missing(self) -> None:
        if self._cause:
            self._write(self._line(_record(f"{self.lost - self._told} lines are missing before this: {self._cause}")))
            self._cause, self._told = "", self.lost

    def _fails(self, error: OSError) -> None:
        before, self._cause = self._cause, error.strerror or str(error)
        if before:
            return
        self._telling = True
        try:
            logging.getLogger().handle(_record(f"{self._path} cannot be written: {self._cause}; lines go to stderr alone"))
        finally:
            self._telling = False

    def _write(self, line: bytes) -> None:
        """Append all of it, or keep what there was no room for, for the next time. Raises OSError when nothing was written."""
        descriptor = self._open()
        while self._rest:
            self._rest = self._rest[os.write(descriptor, self._rest) :]
        self._rest = line[os.write(descriptor, line) :]

    def _open(self) -> int:
        """The file that has the name now. Raises OSError."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        if self._descriptor is not None and found is not None and os.path.samestat(found, os.fstat(self._descriptor)):
            return self._descriptor
        descriptor = open_for_owner(self._path)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._rest = descriptor, b""
        return descriptor


def open_for_owner(file: Path) -> int:
    """A descriptor that appends to a log file, which is made, with its directory, if it is not there.

    The file is for its owner alone (0600, its directory 0700), whatever the umask says, and if an older version made it too.
    Nothing that it may be waits for a reader. Raises OSError.
    """
    file.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # it may be a link to a device
            os.fchmod(descriptor, 0o600)
    return descriptor


def _record(text: str) -> logging.LogRecord:
    """A line of the log about itself."""
    return logging.LogRecord("opencph.log", logging.ERROR, __file__, 0, text, None, None)


def rotate(directory: Path) -> None:
    """Put a log file that has grown too long aside as `opencph.log.1`; every process opens the new one by itself."""
    file = directory / FILE_NAME
    with suppress(OSError):  # it is not there, or stays as it is
        if file.stat().st_size > FILE_LIMIT_BYTES:
            file.replace(directory / (FILE_NAME + ".1"))


def _process_adder(process: str) -> Any:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        event.setdefault("pid", os.getpid())
        return event

    return add


def _for_people(before: list[Any]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ],
    )
