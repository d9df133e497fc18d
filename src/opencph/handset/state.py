"""What a phone remembers of itself beside its files: boots, persistent properties, settings, packages. Small, made when needed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import msgspec

from opencph.handset.config import HandsetError

FILE_NAME = "state.json"
BOOTS_NAME = "boots"


class PackageState(msgspec.Struct):
    """What was decided about one package; `package_states.py` gives it meaning."""

    enabled: int = 0  # PackageManager's COMPONENT_ENABLED_STATE_...
    hidden: bool = False
    suspended: bool = False
    kept_uid: int = 0  # of a package that is gone but for its data; 0 for all others
    granted: list[str] = msgspec.field(default_factory=list)
    revoked: list[str] = msgspec.field(default_factory=list)


class State(msgspec.Struct):
    """The contents of `state.json`."""

    properties: dict[str, str] = msgspec.field(default_factory=dict)
    settings: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)  # namespace -> name -> value
    size: str = ""  # `wm size` override, "720x1280"
    density: str = ""
    packages: dict[str, PackageState] = msgspec.field(default_factory=dict)  # by name


def count_boot(directory: Path) -> int:
    """One more boot since the phone was made or reset; returns how many. Raises HandsetError when the disk refuses.

    Written in place, for speed: replacing a file makes some file systems write it out at once.
    """
    path = directory / BOOTS_NAME
    try:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            text = os.read(fd, 32).strip()
            boots = int(text) + 1 if text.isdigit() else 1
            os.pwrite(fd, f"{boots:<20}\n".encode(), 0)
        finally:
            os.close(fd)
    except OSError as error:
        raise HandsetError(error.errno, f"cannot write {path}: {error.strerror}") from None
    return boots


def load(directory: Path) -> State:
    """Read it; a phone without one was never told anything. A damaged file counts as none."""
    try:
        return msgspec.json.decode((directory / FILE_NAME).read_bytes(), type=State)
    except (FileNotFoundError, msgspec.DecodeError, NotADirectoryError):
        return State()


def copy(state: State) -> State:
    """One that can be changed without it."""
    return msgspec.convert(msgspec.to_builtins(state), State)


def save(directory: Path, state: State) -> State:
    """Write it, whole or not at all; returns what `load` gives from now on. Raises HandsetError when the disk refuses.

    Words come from anywhere: here, in one place for all, what is no text in them becomes "?".
    """
    path = directory / FILE_NAME
    fresh = directory / f".{FILE_NAME}.{os.getpid()}"
    data = json.dumps(msgspec.to_builtins(state), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
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
    return msgspec.json.decode(data, type=State)


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:  # a nearly full disk takes a part first
            rest = rest[os.write(fd, rest) :]
    finally:
        os.close(fd)


def remove(directory: Path) -> None:
    """Forget everything."""
    for name in (FILE_NAME, BOOTS_NAME):
        (directory / name).unlink(missing_ok=True)
