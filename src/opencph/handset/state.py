"""What a phone remembers of itself beside its files: boots, persistent properties, settings. One small file, made when needed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from opencph.handset.config import HandsetError

FILE_NAME = "state.json"


class State(msgspec.Struct):
    """The contents of `state.json`."""

    boots: int = 0  # since the phone was made or reset
    properties: dict[str, str] = msgspec.field(default_factory=dict)
    settings: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)  # namespace -> name -> value
    size: str = ""  # `wm size` override, "720x1280"
    density: str = ""


def load(directory: Path) -> State:
    """Read it; a phone without one has never booted. A damaged file counts as none."""
    try:
        return msgspec.json.decode((directory / FILE_NAME).read_bytes(), type=State)
    except (FileNotFoundError, msgspec.DecodeError, NotADirectoryError):
        return State()


def save(directory: Path, state: State) -> None:
    """Write it, whole or not at all. Raises HandsetError when the disk refuses."""
    path = directory / FILE_NAME
    fresh = directory / f".{FILE_NAME}.{os.getpid()}"
    data = msgspec.json.encode(state)
    try:
        try:
            _write(fresh, data)
        except FileNotFoundError:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(fresh, data)
        fresh.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise HandsetError(error.errno, f"cannot write {path}: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def remove(directory: Path) -> None:
    """Forget everything."""
    (directory / FILE_NAME).unlink(missing_ok=True)
