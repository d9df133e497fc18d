"""The directories of generations: made, read, and deleted so that nothing stays. No processes here. All of it blocks."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from opencph.handset import control
from opencph.handset.config import PhoneConfig
from opencph.handset.host import PHONES
from opencph.runtimes import RuntimeFaultError, Stray

TRASH = ".trash"
ASIDE = ".aside"
LOST_AND_FOUND = "lost+found"
STEM_MAX_BYTES = 200  # of a name that something had, with which it is set aside
DELETE_ATTEMPTS = 5
HOLD_SECONDS = 60.0

_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")
_ADVICE = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some of your disk quota",
    errno.EACCES: "give the user that runs OpenCPH the right to write there",
    errno.EPERM: "give the user that runs OpenCPH the right to write there",
    errno.EROFS: "mount that file system for writing",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit of open files (sysctl fs.file-max)",
}


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """What is in a directory and may be somebody's; nothing when it is none."""
    try:
        with os.scandir(directory) as found:
            return [entry for entry in found if not entry.name.startswith(".") and entry.name != LOST_AND_FOUND]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_home(entry: os.DirEntry[str]) -> bool:
    return _NAME.fullmatch(entry.name) is not None and entry.is_dir()


def _printable(text: str) -> str:
    """Text with names of files in it, which may hold any bytes."""
    return text if text.isprintable() else repr(text)


def _shown(path: Path) -> str:
    return _printable(str(path))


def cause_of(error: OSError) -> str:
    """An operating system's error in one sentence, with what to do where that is known."""
    said = error.strerror or str(error)
    where = f": {error.filename}" if error.filename else ""
    advice = _ADVICE.get(error.errno or 0)
    return f"{said}{where}; {advice}" if advice else f"{said}{where}"


class HeldError(Exception):
    """Another process holds the trash."""


class Homes:
    """Everything under `DATA/builtin`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._trash = root / TRASH

    def path(self, generation_id: str) -> Path:
        """Where a generation lives. Raises RuntimeFaultError for an id that is no file name."""
        if not _NAME.fullmatch(generation_id):
            raise RuntimeFaultError(f"generation id {generation_id!r}: only letters, digits, '_' and '-', at most 64")
        return self._root / generation_id

    def names(self) -> list[str]:
        """The generations that have a directory."""
        return [entry.name for entry in _entries(self._root) if _is_home(entry)]

    def exists(self, generation_id: str) -> bool:
        """Whether the generation has a directory."""
        return self.path(generation_id).is_dir()

    def read(self, generation_id: str) -> control.HostFile | None:
        """What is written of the generation; None when nothing readable is."""
        return control.read_host_file(self.path(generation_id))

    def make(self, file: control.HostFile) -> bool:
        """Make the directory and write `host.json`. False when all of it was there. Raises RuntimeFaultError."""
        home = self.path(file.generation_id)
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            home.mkdir(mode=0o700, exist_ok=True)
            if control.read_host_file(home) == file:
                return False
            control.write_host_file(home, file)
        except OSError as error:
            raise RuntimeFaultError(f"the phones' directory cannot be made: {cause_of(error)}") from error
        return True

    def update(self, generation_id: str, configs: Sequence[PhoneConfig]) -> None:
        """Write new settings of some phones. Raises RuntimeFaultError."""
        file = self.read(generation_id)
        if file is None:
            raise RuntimeFaultError(f"generation {generation_id} does not exist in this runtime")
        known = {phone.phone_id: phone for phone in file.phones} | {config.phone_id: config for config in configs}
        new = control.HostFile(generation_id=generation_id, server_id=file.server_id, phones=tuple(known.values()))
        try:
            control.write_host_file(self.path(generation_id), new)
        except OSError as error:
            raise RuntimeFaultError(f"the phones' settings cannot be written: {cause_of(error)}") from error

    def delete(self, generation_id: str) -> None:
        """Delete the directory, and what an earlier attempt left. Raises RuntimeFaultError naming what cannot be deleted."""
        home = self.path(generation_id)
        try:
            if home.exists():
                self._trash.mkdir(mode=0o700, exist_ok=True)
                home.rename(self._trash / f"{generation_id}.{secrets.token_hex(4)}")  # gone for everybody at once
            with self._deleting() as may:
                for left in self._trash.glob(f"{generation_id}.*") if may else ():
                    _delete_tree(left)
        except OSError as error:
            raise RuntimeFaultError(f"the phones' data cannot be deleted: {cause_of(error)}") from error

    def set_aside(self, generation_id: str) -> Path:
        """Move the directory, with all its data, to where nobody looks for phones; returns where. Raises RuntimeFaultError."""
        try:
            return self._put_aside(self.path(generation_id), generation_id)
        except OSError as error:
            raise RuntimeFaultError(f"phones that belong to no server cannot be set aside: {cause_of(error)}") from error

    def set_strays_aside(self) -> list[Stray]:
        """Move what is no generation's directory, and directories of phones that their generation has not, to the same place.

        Names that begin with a dot, and `lost+found`, are the system's or our own and stay. Raises RuntimeFaultError when a
        directory cannot be read.
        """
        try:
            found = list(self._strays())
        except OSError as error:
            raise RuntimeFaultError(f"the phones' directories cannot be looked through: {cause_of(error)}") from error
        strays: list[Stray] = []
        for path, stem in found:
            try:
                strays.append(Stray(what=_shown(path), place=_shown(self._put_aside(path, stem))))
            except FileNotFoundError:
                continue  # another worker was first
            except OSError as error:
                strays.append(Stray(what=_shown(path), place="", cause=_printable(cause_of(error))))
        return strays

    def _strays(self) -> Iterator[tuple[Path, str]]:
        """What nobody knows, and what to call it elsewhere."""
        for entry in _entries(self._root):
            if not _is_home(entry):
                yield Path(entry.path), entry.name
                continue
            there = _entries(Path(entry.path) / PHONES)  # before the file: a phone is written there first
            file = self.read(entry.name) if there else None
            if file is not None:
                known = {phone.directory.name for phone in file.phones}
                yield from ((Path(phone.path), f"{entry.name}-{phone.name}") for phone in there if phone.name not in known)

    def _put_aside(self, path: Path, stem: str) -> Path:
        aside = self._root / ASIDE / f"{os.fsdecode(os.fsencode(stem)[:STEM_MAX_BYTES])}.{secrets.token_hex(4)}"
        aside.parent.mkdir(mode=0o700, exist_ok=True)
        path.rename(aside)
        return aside

    def sweep(self, older_seconds: float = 0.0) -> None:
        """Delete what deletions that were cut short have left, so long ago. What resists is left for the next time."""
        before = time.time() - older_seconds
        with self._deleting() as may:
            for left in self._trash.glob("*") if may else ():
                try:
                    if left.lstat().st_ctime <= before:
                        _delete_tree(left)
                except OSError:
                    continue

    def places(self, generation_id: str) -> list[Path]:
        """Where the directory of a generation may be: in its place, or in the trash."""
        return [self.path(generation_id), *self._trash.glob(f"{generation_id}.*")]

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Nothing is deleted from the trash meanwhile: generations that are removed stay there, to be copied; then they go.

        Raises HeldError when another process holds it, OSError when there can be no trash.
        """
        self._trash.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._trash, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            deadline = time.monotonic() + HOLD_SECONDS  # deletions that have begun come to their end
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise HeldError from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)
            self.sweep()

    @contextmanager
    def _deleting(self) -> Iterator[bool]:
        """Whether what is in the trash may be deleted now; nobody begins to hold it meanwhile."""
        try:
            descriptor = os.open(self._trash, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            may = True
        except BlockingIOError:
            may = False
        try:
            yield may
        finally:
            os.close(descriptor)


def _delete_tree(path: Path) -> None:
    """Delete a tree though its owner took away his own rights, and though a dying process still writes into it."""

    def insist(function: Callable[..., object], name: str, _info: object) -> None:
        # Phones may make directories that nobody may list or enter: give ourselves the rights and try again.
        for each in (Path(name).parent, Path(name)):
            if not each.is_symlink() and each.is_dir():
                each.chmod(stat.S_IRWXU)
        if function in (os.unlink, os.rmdir):
            function(name)
        else:
            shutil.rmtree(name)

    for attempt in range(DELETE_ATTEMPTS):
        try:
            shutil.rmtree(path, onerror=insist)
        except FileNotFoundError:
            if not path.exists():
                return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY) or attempt == DELETE_ATTEMPTS - 1:
                raise
        else:
            return
        time.sleep(0.02 * (attempt + 1))
