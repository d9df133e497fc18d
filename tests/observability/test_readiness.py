"""/healthz and /readyz tell the truth while parts are killed, stopped, locked out, and come back by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import text

from e2e.running import StartUp
from observability.looking import log_lines, parsed, ready, scrape, total
from opencph.api.health import FRESH_SECONDS, Readiness
from opencph.api.looks import LOOK_SECONDS
from opencph.store import processes, revisions
from opencph.store.database import Database, Query, open_database, tuple_row
from opencph.testing import RunningCph

WAIT_SECONDS = 40.0


def wait(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:g} s: {what()}"
        time.sleep(0.05)


def missing(cph: RunningCph) -> list[str]:
    """What /readyz misses; the process itself lives all the while."""
    health = httpx.get(f"{cph.endpoint}/healthz", timeout=10)
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    status, told = ready(cph)
    assert (status == 200) == (told == {"status": "ok"}), told
    if status != 200:
        assert (status, told["status"]) == (503, "unavailable") and told["reason"], told
    return list(told.get("missing", []))


def until(cph: RunningCph, wanted: list[str]) -> None:
    wait(lambda: missing(cph) == wanted, lambda: (wanted, ready(cph), log_lines(cph.data)[-5:]))


def pids_of(cph: RunningCph, kind: processes.ProcessKind, url: str | None = None) -> list[int]:
    """Of those that were heard of lately."""
    database = open_database(url or f"sqlite:///{cph.data / 'opencph.db'}")
    try:
        return [process.pid for process in processes.alive(database, kind)]
    finally:
        database.close()


def pid_of(cph: RunningCph, kind: processes.ProcessKind, url: str | None = None) -> int:
    return pids_of(cph, kind, url)[0]


@pytest.mark.parametrize("kind", ["worker", "gateway"])
def test_a_part_that_is_killed_or_stands_still_is_missed_until_it_is_back(start: StartUp, kind: processes.ProcessKind) -> None:
    cph = start(hung_seconds="0")  # nobody replaces it
    until(cph, [])
    first = pid_of(cph, kind)
    os.kill(first, signal.SIGSTOP)  # it is there, and does nothing
    until(cph, [kind])
    found = scrape(cph)
    assert total(found, "opencph_processes_silent") == 1 and total(found, "opencph_up", process=kind) == 0
    os.kill(first, signal.SIGCONT)
    until(cph, [])
    os.kill(first, signal.SIGKILL)
    wait(lambda: missing(cph) == [] and pids_of(cph, kind) not in ([], [first]), lambda: (ready(cph), log_lines(cph.data)[-5:]))
    wait(lambda: total(scrape(cph), "opencph_up", process=kind) == 1, lambda: scrape(cph)["opencph_up"])  # it counts a little later
    found = scrape(cph)
    assert total(found, "opencph_processes_silent") == 0 and total(found, "opencph_up", process=kind) == 1
    sockets = {path.name for path in (cph.data / "run").glob(f"metrics-{kind}-*.sock")}
    assert sockets == {f"metrics-{kind}-{pid_of(cph, kind)}.sock"}, "that of the dead one is gone"
    told = [line["event"] for line in log_lines(cph.data) if line["logger"] == "opencph.api.health"]
    assert told[:2] == ["not ready", "ready again"], "a change is told once"


def test_a_gateway_that_does_not_serve_what_changed_is_missed(start: StartUp) -> None:
    cph = start(hung_seconds="0")
    until(cph, [])
    gateway = pid_of(cph, "gateway")
    os.kill(gateway, signal.SIGSTOP)
    try:
        database = open_database(f"sqlite:///{cph.data / 'opencph.db'}")
        forever = int(time.time() * 1000) + 3_600_000  # a heart that beats, of a gateway that applies nothing
        with database.write() as tx:
            tx.run(Query(text(f"UPDATE processes SET heartbeat_ms = {forever} WHERE kind = 'gateway'"), tuple_row))
            revisions.bump(tx, "network")
        database.close()
        assert missing(cph) == [], "what changed just now may take a moment"
        until(cph, ["gateway"])
        assert "newest addresses" in ready(cph)[1]["reason"]
    finally:
        os.kill(gateway, signal.SIGCONT)
    until(cph, [])


def test_postgresql_that_goes_away_is_missed_and_what_monitoring_sees_goes_on(start: StartUp, own_postgresql_cluster: Any) -> None:
    url = own_postgresql_cluster.create_database()
    cph = start("--database", url)
    until(cph, [])
    own_postgresql_cluster.stop()
    until(cph, ["database"])
    token = (cph.data / "metrics-token").read_text()
    found = scrape(cph)
    assert total(found, "opencph_database_up") == 0 and "opencph_phones" not in found and token
    wait(
        lambda: total(scrape(cph), "opencph_database_errors_total", kind="unavailable", process="worker") > 0,
        lambda: scrape(cph).get("opencph_database_errors_total"),
    )
    own_postgresql_cluster.start()
    until(cph, [])
    assert total(scrape(cph), "opencph_database_up") == 1


def test_postgresql_that_hangs_keeps_no_client_and_no_scrape_waiting(start: StartUp, own_postgresql_cluster: Any) -> None:
    """Its processes are there and do nothing, as when its disk does not answer: no connection breaks."""
    cph = start("--database", own_postgresql_cluster.create_database())
    until(cph, [])
    client = httpx.Client(base_url=cph.endpoint, timeout=45, limits=httpx.Limits(max_connections=None))
    scope = {"project": {"name": cph.credentials["region"]}}
    user = {"name": cph.credentials["user_name"], "password": cph.credentials["password"], "domain": {"name": "admin"}}
    user["domain"]["name"] = cph.credentials["domain_name"]
    login = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    token = client.post("/v3/auth/tokens", json=login).headers["X-Subject-Token"]
    place, headers = f"/v1/{cph.credentials['project_id']}/cloud-phone/phones", {"X-Auth-Token": token}

    def read() -> httpx.Response:
        return client.get(place, params={"limit": 1}, headers=headers)

    def write() -> httpx.Response:
        return client.post(f"{place}/batch-restart", json={"phones": [{"phone_id": "0" * 32}]}, headers=headers)

    assert read().status_code == 200
    as_usual = write()
    with ThreadPoolExecutor(60) as threads, own_postgresql_cluster.frozen():
        asked = [threads.submit(act) for act in (read, write) for _ in range(30)]  # more than the api has threads for
        scrapes = 0
        while not all(one.done() for one in asked):
            metrics = client.get(
                "/metrics", headers={"Authorization": f"Bearer {(cph.data / 'metrics-token').read_text()}"}, timeout=10
            )
            found = parsed(metrics.text)  # within the time that Prometheus waits
            assert total(found, "opencph_database_up") == 0 and "opencph_phones" not in found
            scrapes += 1
        assert scrapes
        for answer in [one.result() for one in asked]:
            assert (answer.status_code, answer.json()["error_code"]) == (503, "CPS.0003"), answer.text
            assert "the database is not available at the moment; try again" in answer.text, "nothing was on its way to be written"
        assert missing(cph) == ["database"]
    until(cph, [])
    wait(lambda: read().status_code == 200, lambda: read().text)
    again = write()
    assert (again.status_code, again.json()["jobs"][0]["error_code"]) == (200, as_usual.json()["jobs"][0]["error_code"])
    assert total(scrape(cph), "opencph_database_up") == 1
    client.close()


def test_a_locked_database_stops_no_probe_and_is_counted_when_it_turns_somebody_away(start: StartUp) -> None:
    cph = start()
    until(cph, [])
    blocker = sqlite3.connect(cph.data / "opencph.db", isolation_level=None, timeout=10)
    blocker.execute("BEGIN IMMEDIATE")  # nobody can write; readers can
    try:
        wait(
            lambda: (
                missing(cph) in ([], ["worker"], ["worker", "gateway"], ["database", "worker", "gateway"])
                and total(scrape(cph), "opencph_database_errors_total", kind="busy") > 0
            ),
            lambda: scrape(cph).get("opencph_database_errors_total"),
        )
        told = ["database", "worker", "gateway"]  # they cannot say that they are alive
        until(cph, told)
        assert "another process has locked it" in ready(cph)[1]["reason"]
        for _look in range(8):  # more than one trial of writing ends meanwhile
            assert missing(cph) == told
            time.sleep(FRESH_SECONDS)
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    until(cph, [])


def test_a_database_of_an_older_version_is_not_ready(start: StartUp) -> None:
    cph = start()
    until(cph, [])
    database = open_database(f"sqlite:///{cph.data / 'opencph.db'}")
    (version,) = database.rows(Query(text("SELECT version_num FROM alembic_version"), tuple_row))[0]
    for told, wanted in (("0001", ["migration"]), ("9999", []), (str(version), [])):
        with database.write() as tx:
            tx.run(Query(text(f"UPDATE alembic_version SET version_num = '{told}'"), tuple_row))
        until(cph, wanted)
    database.close()


class Watched:
    """A database that counts how often it is asked, and lets nobody through while `gate` is closed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.looks = 0
        self.gate = threading.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def read(self) -> Any:
        self.looks += 1
        self.gate.wait(60)
        return self._database.read()


def test_however_many_ask_the_database_is_asked_once_and_one_that_hangs_keeps_nobody_waiting(database: Database) -> None:
    watched = Watched(database)
    readiness = Readiness(cast(Database, watched))

    async def ask(times: int) -> set[tuple[str, ...]]:
        return {found.missing for found in await asyncio.gather(*(readiness.look() for _ in range(times)))}

    async def flood() -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        for _ in range(10):
            assert await ask(200) == {("worker", "gateway")}
        assert 1 <= watched.looks <= 1 + (clock() - begun) / FRESH_SECONDS, "what was found is told again for a second"
        watched.gate.clear()
        await asyncio.sleep(FRESH_SECONDS)
        looks, begun = watched.looks, clock()
        assert await ask(1000) == {("database",)}
        assert clock() - begun < LOOK_SECONDS + 30, "it has a limit"
        await asyncio.sleep(FRESH_SECONDS)
        assert await ask(10) == {("database",)}
        assert watched.looks == looks + 1, "nobody else waits for a database that hangs"
        watched.gate.set()
        await asyncio.sleep(FRESH_SECONDS + 0.5)
        assert await ask(1) == {("worker", "gateway")}

    asyncio.run(flood())
