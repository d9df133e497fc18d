"""What is taken away from a whole installation for a while: its database, its disk, its sense of time. Work waits, or fails with
its cause, and nothing is lost. `CRASH_OUTAGE_SECONDS` says for how long (`make crash`: 30).
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from crash.invariants import Watch, broken, nothing_leaks, possessions
from crash.program import until
from crash.site import V1, Reply, Site
from postgresql_cluster import PostgresqlCluster

#: short in `make test`; `make crash` makes it longer than any lease
OUTAGE_SECONDS = float(os.environ.get("CRASH_OUTAGE_SECONDS", "5"))
HOUR = 3600
CONTENTS, FILE = b"whole" * 2000, "/data/local/tmp/kept"
MIB = 1 << 20

pytestmark = pytest.mark.timeout(300)


@contextmanager
def site_of(*arguments: str | None, **options: object) -> Iterator[Site]:
    """An installation of the test's own; nothing of it is left."""
    site = Site(*arguments, **options)  # type: ignore[arg-type]
    try:
        yield site
    finally:
        left = site.close()
    assert left == []


def change_during(site: Site, take_away: Callable[[], object], give_back: Callable[[], object]) -> list[Reply]:
    """Change the server; half-way something is away for OUTAGE_SECONDS. The change goes through; returns what the API said then."""
    site.push(site.phones()[0], CONTENTS, FILE)
    before, old = possessions(site), site.server()
    after = site.jobs()[-1].seq
    site.halt.arm("change_server:boot:before")
    site.change(site.home)
    until(site.halt.is_reached, 30, lambda: f"the change begins: {site.words()}")
    phones = site.phones()
    replies = []
    take_away()
    try:
        site.halt.release()
        over = time.monotonic() + OUTAGE_SECONDS
        while time.monotonic() < over:
            replies.append(site.call("GET", f"{V1}/servers/{site.home}"))
            assert site.pull(phones[0], FILE) == CONTENTS  # whatever is away, phones serve
            time.sleep(0.5)
    finally:
        give_back()
    jobs = site.jobs_ended(after)
    assert [(job.kind, job.status) for job in jobs if job.kind == "change_server"] == [("change_server", 2)], jobs
    assert site.server().generation_id != old.generation_id
    assert broken(site) == []
    site.settle()
    nothing_leaks(site)
    assert before.kept(possessions(site), (), ()) == []
    return replies


def said(replies: list[Reply]) -> set[int]:
    return {reply.status for reply in replies}


def test_a_database_that_is_stopped_is_waited_for(own_postgresql_cluster: PostgresqlCluster) -> None:
    cluster = own_postgresql_cluster
    with site_of(cluster.create_database()) as site:
        replies = change_during(site, cluster.stop, cluster.start)
        assert said(replies) <= {200, 500, 503}
        assert said(replies) != {200}


def test_a_database_that_does_not_answer_is_waited_for(own_postgresql_cluster: PostgresqlCluster) -> None:
    """As behind a cut line: connections stand, and nothing comes."""
    cluster = own_postgresql_cluster

    def everyone() -> list[psutil.Process]:
        (server,) = [one for one in psutil.Process().children() if one.pid == cluster.pid]
        return [server, *server.children(recursive=True)]

    def send(number: signal.Signals) -> None:
        for process in everyone():
            with suppress(psutil.Error):
                process.send_signal(number)

    with site_of(cluster.create_database()) as site:
        stopped_at = time.monotonic()
        site.halt.arm("restart_phone:power:before")
        phones = site.phones()
        site.ask("POST", f"{V1}/phones/batch-restart", {"phones": [{"phone_id": phone.phone_id} for phone in phones]})
        until(site.halt.is_reached, 30, lambda: f"the restart begins: {site.words()}")
        boots = site.boots()
        send(signal.SIGSTOP)
        try:
            site.halt.release()
            time.sleep(max(0.0, OUTAGE_SECONDS - (time.monotonic() - stopped_at)))
        finally:
            send(signal.SIGCONT)
        assert {job.status for job in site.jobs_ended(0)} == {2}
        site.settle()
        assert site.boots() == [count + 1 for count in boots]
        nothing_leaks(site)


def test_a_database_that_somebody_locks_is_waited_for() -> None:
    with site_of() as site:
        locker = sqlite3.connect(site.data / "opencph.db", isolation_level=None, timeout=30)
        replies = change_during(site, lambda: locker.execute("BEGIN IMMEDIATE"), lambda: locker.execute("ROLLBACK"))
        locker.close()
        assert said(replies) == {200}  # who only reads does not wait


def test_a_full_disk_costs_a_job_at_most_and_nothing_that_was_there() -> None:
    if os.geteuid() != 0:
        pytest.skip("a disk of a chosen size needs root")
    try:
        with site_of(disk_bytes=64 * MIB) as site:
            _fill_and_empty(site)
    except subprocess.CalledProcessError:
        pytest.skip("this machine does not let us mount a disk")


def _fill_and_empty(site: Site) -> None:
    site.push(site.phones()[0], CONTENTS, FILE)
    before, old = possessions(site), site.server()
    after = site.jobs()[-1].seq
    filling = site.data / "filling"
    site.halt.arm("change_server:build:before")
    site.change(site.home)
    until(site.halt.is_reached, 30, lambda: f"the change begins: {site.words()}")
    with Watch(site):
        _fill(filling)
        site.halt.release()
        refused = site.call("POST", f"{V1}/phones/batch-restart", {"phones": [{"phone_id": site.phones()[1].phone_id}]})
        assert refused.status >= 400, refused
        assert site.pull(site.phones()[0], FILE) == CONTENTS
        time.sleep(2)
        filling.unlink()
        jobs = site.jobs_ended(after)
    (changed,) = [job for job in jobs if job.kind == "change_server"]
    if changed.status == -1:
        assert "space" in (changed.error_msg or ""), changed
        assert site.server() == old
        assert site.pull(site.phones()[0], FILE) == CONTENTS
    site.settle()
    nothing_leaks(site)
    assert before.kept(possessions(site), ("data/local/tmp/kept",), ()) == []
    site.change(site.home)
    assert site.jobs_ended(changed.seq)[-1].status == 2


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


# --- time ----------------------------------------


@contextmanager
def clock() -> Iterator[tuple[dict[str, str], Callable[[float], None]]]:
    """The environment of processes whose wall clock can be set, and how to set it: seconds from the true time."""
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("no libfaketime: apt-get install libfaketime")
    with tempfile.NamedTemporaryFile("w", prefix="ocph-clock-") as file:
        told = Path(file.name)

        def jump(seconds: float) -> None:
            fresh = told.with_suffix(".new")
            fresh.write_text(f"{seconds:+.0f}")
            fresh.rename(told)

        jump(0)
        yield (
            {
                "LD_PRELOAD": str(libraries[0]),
                "FAKETIME_TIMESTAMP_FILE": file.name,
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_XRESET": "1",
            },
            jump,
        )


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_clocks_that_jump_by_hours_disturb_no_work(request: pytest.FixtureRequest, database: str) -> None:
    url = request.getfixturevalue("postgresql_cluster").create_database() if database == "postgresql" else None
    with clock() as (environment, jump), site_of(url, environment=environment) as site:
        before = possessions(site)
        for point, there, back in (
            ("change_server:boot:before", 6 * HOUR, 0),
            ("change_server:swap:after", -6 * HOUR, 0),
            ("change_server:publish:before", 13 * HOUR, 12 * HOUR),
        ):
            after = site.jobs()[-1].seq
            site.halt.arm(point)
            site.change(site.home)
            until(site.halt.is_reached, 30, lambda point=point: f"somebody comes to {point}: {site.words()}")  # type: ignore[misc]
            jump(there)
            site.kill("worker")  # its lease reads as in the future, or as long past
            site.halt.disarm()
            assert site.call("GET", f"{V1}/servers/{site.home}").status == 200  # the token is a day's
            jump(back)
            jobs = site.jobs_ended(after)
            assert [job.status for job in jobs if job.kind == "change_server"] == [2], jobs
            site.settle()
            nothing_leaks(site)
        site.kill("gateway")
        jump(0)
        site.settle()
        nothing_leaks(site)
        assert before.kept(possessions(site), (), ()) == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_token_from_a_clock_that_was_ahead_is_worth_no_more_than_another(request: pytest.FixtureRequest, database: str) -> None:
    url = request.getfixturevalue("postgresql_cluster").create_database() if database == "postgresql" else None
    with clock() as (environment, jump), site_of(url, environment=environment) as site:
        jump(30 * HOUR)
        assert site.call("GET", f"{V1}/servers/{site.home}").status == 401
        site.token = site._token()
        assert site.call("GET", f"{V1}/servers/{site.home}").status == 200
        jump(0)
        site.token = site._token()
        assert site.call("GET", f"{V1}/servers/{site.home}").status == 200
