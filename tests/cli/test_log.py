"""Logging: one stream for structlog and the standard library, and no secret in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, pathlib, structlog
from opencph import log
directory = pathlib.Path({directory!r})
log.configure("info", process="api", directory=directory)
structlog.get_logger("ours").info("said", password="s3cret", access_key="AK", url="postgresql://u:s3cret@h/n")
structlog.get_logger("ours").debug("not said")
logging.getLogger("theirs").warning("got %s", "Authorization: SDK-HMAC-SHA256 Access=AK, Signature=s3cret")
logging.getLogger("theirs").warning("with", extra={{"secret_key": "s3cret"}})
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger("ours").exception("failed", token="s3cret")
"""


def run(directory: Path) -> tuple[list[dict[str, object]], str]:
    program = PROGRAM.format(directory=str(directory))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    text = (directory / "opencph.log").read_text()
    return [json.loads(line) for line in text.splitlines()], done.stderr


def test_our_lines_and_those_of_libraries_become_json_lines_of_one_shape(tmp_path: Path) -> None:
    lines, stderr = run(tmp_path)
    assert [line["event"].__class__ for line in lines] == [str] * 4
    assert {(line["process"], line["level"]) for line in lines} == {("api", "info"), ("api", "warning"), ("api", "error")}
    assert {line["logger"] for line in lines} == {"ours", "theirs"}
    assert "ZeroDivisionError" in str(lines[-1]["exception"])
    assert [json.loads(line)["event"] for line in stderr.splitlines()] == [line["event"] for line in lines]


def test_a_secret_never_reaches_the_log_whoever_passes_it(tmp_path: Path) -> None:
    lines, stderr = run(tmp_path)
    assert "s3cret" not in json.dumps(lines)
    assert "s3cret" not in stderr
    assert lines[0]["access_key"] == "AK"
