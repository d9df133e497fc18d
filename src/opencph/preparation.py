"""What must stand before any part runs: the data directory, the only-one lock, a free port, the database and its first rows."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from opencph.settings import Settings
from opencph.sockets import listen

LOCK_FILE = "up.lock"
LOCK_WAIT_SECONDS = 5.0


class StartError(Exception):
    """OpenCPH cannot start. The message is one sentence that says why and what to do."""


def prepare_directories(settings: Settings) -> None:
    """Make the data directory and those in it, mode 0700. Raises StartError when it cannot be written.

    That of the log is the log's own affair: nothing else waits for it.
    """
    for directory in (settings.data, settings.run_directory, settings.data / "builtin"):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory.stat().st_mode & 0o077:
                directory.chmod(0o700)
            probe = directory / f".write-{os.getpid()}"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise StartError(
                f"cannot write in the data directory {directory}: {error.strerror}; give another one with --data DIR"
            ) from error


class OnlyOne:
    """The lock that keeps a second `opencph up` off the same data directory. Held until every process that has it is gone.

    What is locked is the data directory itself, which nobody can take away without its data. The lock of the file in
    `DATA/run` is for versions that know only that one; the file says which process it is, and is made anew when it is gone.
    """

    def __init__(self, settings: Settings, left: tuple[int, int] | None = None) -> None:
        """`left` are the directory's descriptor and the file's that the program before has locked, -1 for a directory that it
        did not know to lock; then all that can be had is enough. Raises StartError when another process has the lock, and OSError.
        """
        self._settings = settings
        self.directory, self.file = left or (-1, -1)
        if self.directory < 0:
            with suppress(*((StartError, OSError) if left else ())):
                self.directory = self._lock(settings.data, os.O_RDONLY | os.O_DIRECTORY)
        if left is None:
            try:
                self.file = self._lock(settings.run_directory / LOCK_FILE, os.O_RDWR | os.O_CREAT)
            except (StartError, OSError):
                os.close(self.directory)
                raise
            self._say_who()

    def keep(self) -> None:
        """Make the file anew if somebody has taken it away. Raises OSError when it cannot be made."""
        path = self._settings.run_directory / LOCK_FILE
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(self.file)):
                return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with suppress(BlockingIOError):  # somebody has it for a moment, to see who we are
                fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.dup2(new, self.file, inheritable=False)
                self._say_who()
        finally:
            os.close(new)

    def _say_who(self) -> None:
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, str(os.getpid()).encode(), 0)

    def _lock(self, path: Path, how: int) -> int:
        descriptor = os.open(path, how | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            pid = _named(self._settings)
            if pid is not None or time.monotonic() > deadline:
                os.close(descriptor)
                raise StartError(
                    f"another `opencph up` (process {pid or 'unknown'}) uses {self._settings.data}; "
                    "stop it, or give another directory with --data DIR"
                )
            time.sleep(0.02)  # its parts are ending after it was killed, or it is about to say who it is
        return descriptor


def is_in_use(settings: Settings) -> bool:
    """Whether an `opencph up` has the lock of this data directory."""
    return any(map(_is_locked, (settings.data, settings.run_directory / LOCK_FILE)))


def running_up(settings: Settings) -> int | None:
    """The process of the `opencph up` that holds the lock of this data directory; None when none does. Blocks for as long as
    one that holds it needs to say who it is."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while is_in_use(settings):
        pid = _named(settings)
        if pid is not None or time.monotonic() > deadline:
            return pid
        time.sleep(0.02)
    return None


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    """False when another process has the lock."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that locks no directories, as NFS; the lock of the file is left
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    return True


def _named(settings: Settings) -> int | None:
    """The process that the lock file names, if it lives."""
    try:
        pid = (settings.run_directory / LOCK_FILE).read_text().strip()
    except OSError:
        return None
    return int(pid) if pid.isdigit() and Path(f"/proc/{pid}").exists() else None


def check_port_is_free(settings: Settings) -> None:
    """Raises ListenError when something else listens on `settings.listen`, or the address is not this machine's."""
    listen(settings.listen).close()


def prepare_database(settings: Settings, *, part: str = "api") -> None:
    """Bring the schema up to date and make the first rows. Idempotent; several processes may do it at once.

    For a gateway `settings.data` must be where the phones of this database live (a worker sees to that itself). Raises AwayError.
    """
    from opencph.fleet import phone_home
    from opencph.fleet.catalogue import load_catalogue
    from opencph.fleet.hosts import sync_hosts
    from opencph.iam.bootstrap import bootstrap
    from opencph.store.database import open_database
    from opencph.store.migrate import migrate

    migrate(settings.database_url)
    database = open_database(settings.database_url)
    try:
        bootstrap(database, settings)
        catalogue = load_catalogue(settings.catalogue)
        with database.write() as tx:
            sync_hosts(tx, settings, catalogue)
        if part == "gateway":
            phone_home.check(database, settings)
    finally:
        database.close()


def write_credentials(settings: Settings, endpoint: str) -> None:
    """Write `DATA/credentials.json` now that the endpoint is known."""
    from opencph.iam import bootstrap
    from opencph.store.database import open_database

    database = open_database(settings.database_url)
    try:
        bootstrap.write_credentials(database, settings, endpoint)
    finally:
        database.close()
