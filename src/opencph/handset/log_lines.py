"""The log lines of the zygote and of hosts: JSON, with what the one who asked wants them to carry. Small, so not structlog's."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar

#: What the lines of the work under way carry: the job that boots a phone, say. Means nothing here.
_trace: ContextVar[Mapping[str, str]] = ContextVar("trace", default={})  # noqa: B039 - never written to


def carry(trace: Mapping[str, str]) -> None:
    """What is logged from here on in this task carries `trace`."""
    _trace.set(trace)


class JsonLines(logging.Formatter):
    """One line of JSON per record, named as the lines of the other processes."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            **_trace.get(),
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "process": "handset",
            "pid": os.getpid(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure() -> None:
    """Log to stderr in such lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
