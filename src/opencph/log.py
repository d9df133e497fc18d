"""How every process logs: structlog and the standard library, one stream. Says nothing about what is logged.

Lines go as JSON to `DATA/logs/opencph.log`, to which every process appends, and to stderr: as JSON too, or, on a terminal, only
warnings and errors in words (everything with the level debug).
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

FILE_NAME = "opencph.log"
FILE_LIMIT_BYTES = 16 * 1024 * 1024
SECRET_KEYS = re.compile(r"password|secret|token|authorization|signature|private_key|credential", re.IGNORECASE)
SECRET_TEXTS = re.compile(r"(://[^:/@\s]+:)[^@/\s]+(@)|(Signature=|X-Auth-Token: ?|X-Subject-Token: ?)[^\s,]+()", re.IGNORECASE)
#: libraries that talk too much at info
QUIET = ("alembic", "asyncio", "asyncssh", "granian", "_granian", "httpx", "PIL", "psycopg", "sqlalchemy")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Secrets never reach a log, whoever passes them: by the name of the key, or by the look of the text."""
    for key, value in event.items():
        if SECRET_KEYS.search(key) and value:
            event[key] = "***"
        elif isinstance(value, str) and ("://" in value or "ignature=" in value or "-token" in value.lower()):
            event[key] = SECRET_TEXTS.sub(lambda found: f"{found[1] or found[3]}***{found[2] or ''}", value)
    return event


def configure(level: str, *, process: str, directory: Path | None = None) -> None:
    """Set logging up for this process (again, after a fork). `directory` is `DATA/logs`; None logs to stderr only."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
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
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_for_people(before) if sys.stderr.isatty() else machine)
    if sys.stderr.isatty() and directory is not None and level != "debug":
        stream.setLevel(logging.WARNING)
    handlers: list[logging.Handler] = [stream]
    if directory is not None:
        file = logging.handlers.WatchedFileHandler(directory / FILE_NAME, encoding="utf-8", delay=True)
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


def rotate(directory: Path) -> None:
    """Put a log file that has grown too long aside as `opencph.log.1`; every process opens the new one by itself."""
    file = directory / FILE_NAME
    if file.exists() and file.stat().st_size > FILE_LIMIT_BYTES:
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
