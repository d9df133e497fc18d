"""A private PostgreSQL for the tests: made with initdb, reached by a unix socket only, gone at the end."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

PR_SET_PDEATHSIG = 1
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # what a test writes need not survive a power cut
    "shared_buffers": "32MB",
    "max_connections": "200",
    "max_worker_processes": "0",
    "max_parallel_workers": "0",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


def find_binaries() -> Path | None:
    """Where initdb and postgres are: Debian's directory of the newest version, else the PATH."""
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if versions:
        return max(versions, key=lambda path: float(path.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def missing() -> str | None:
    """Why there can be no cluster, or None."""
    if find_binaries() is None:
        return "no PostgreSQL: neither /usr/lib/postgresql/*/bin/initdb nor initdb in PATH; apt-get install postgresql"
    if os.geteuid() == 0 and _server_user() is None:
        return "no PostgreSQL: it refuses to run as root, and there is no user `postgres` or `nobody` to run it as"
    return None


def _server_user() -> str | None:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


class PostgresqlCluster:
    """A running server. `stop()` and `start()` as often as a test likes, `remove()` at the end."""

    def __init__(self) -> None:
        binaries = find_binaries()
        assert binaries is not None, missing()
        self._binaries = binaries
        self._server: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.template = "template1"  # of databases that are made
        self.directory = Path(tempfile.mkdtemp(prefix="ocpg-", dir="/tmp"))
        self._user = _server_user() if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self.directory, self._user, pwd.getpwnam(self._user).pw_gid)
        arguments = ["--no-sync", "--auth=trust", "--username=opencph", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        made = self._popen([binaries / "initdb", "-D", self.directory / "data", *arguments])
        assert made.wait() == 0, self._log()
        self.start()

    def _log(self) -> str:
        return (self.directory / "log").read_text()

    def _popen(self, command: list[str | Path]) -> subprocess.Popen[bytes]:
        group = pwd.getpwnam(self._user).pw_gid if self._user else None
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                preexec_fn=_die_with_parent,
                user=self._user,
                group=group,
                extra_groups=None if group is None else [],
            )

    def url(self, database: str) -> str:
        """The URL of a database in this cluster."""
        return f"postgresql://opencph@/{database}?host={self.directory}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        self._server = self._popen([self._binaries / "postgres", "-D", self.directory / "data", "-k", self.directory, *settings])
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._server.poll() is None, self._log()
                assert time.monotonic() < deadline, "PostgreSQL did not start within 30 s"
                time.sleep(0.02)

    def stop(self) -> None:
        """Cut every connection and stop; the data stays."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # PostgreSQL's "fast" shutdown
            self._server.wait(timeout=30)
            self._server = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server is there and answers nobody, as when its disk hangs; nothing of it ends, and nothing is lost."""
        server = psutil.Process(self.pid)
        server.suspend()
        stopped = server.children(recursive=True)
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in (*stopped, server):
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def create_database(self, template: str | None = None) -> str:
        """Make one more database and return its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or self.template}"'.encode())
        return self.url(name)

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._server is not None
        return self._server.pid

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever still uses it."""
        name = url.removeprefix("postgresql://opencph@/").split("?")[0]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())

    def remove(self) -> None:
        """Stop for good."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
