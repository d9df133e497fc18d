"""What must stand before any part runs: the data directory, the only-one lock, a free port, the database and its first rows."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from opencph.settings import Settings
from opencph.sockets import listen

LOCK_FILE = "up.lock"
LOCK_WAIT_SECONDS = 5.0


class StartError(Exception):
    """OpenCPH cannot start. The message is one sentence that says why and what to do."""


def prepare_directories(settings: Settings) -> None:
    """Make the data directory and those in it, mode 0700. Raises StartError when it cannot be written."""
    for directory in (settings.data, settings.run_directory, settings.log_directory, settings.data / "builtin"):
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
    """The lock that keeps a second `opencph up` off the same data directory. Held until every process that has it is gone."""

    def __init__(self, settings: Settings) -> None:
        self.descriptor = os.open(settings.run_directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(self.descriptor, 32, 0).decode().strip()
                if Path(f"/proc/{pid or 'unknown'}").exists() or time.monotonic() > deadline:
                    os.close(self.descriptor)
                    raise StartError(
                        f"another `opencph up` (process {pid or 'unknown'}) uses {settings.data}; "
                        "stop it, or give another directory with --data DIR"
                    ) from None
                time.sleep(0.02)  # its parts are ending after it was killed
                continue
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)
            return


def running_up(settings: Settings) -> int | None:
    """The process of the `opencph up` that holds the lock of this data directory; None when none does."""
    try:
        descriptor = os.open(settings.run_directory / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 32, 0).decode().strip()
        return int(pid) if pid.isdigit() and Path(f"/proc/{pid}").exists() else None
    finally:
        os.close(descriptor)
    return None


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
