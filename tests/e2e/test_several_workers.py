"""Several workers, apis and gateways on one PostgreSQL: they share the work, take over from each other, and keep off phones that
live elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from huaweicloudsdkcph.v1 import (
    CphClient,
    CreateNet2CloudPhoneServerRequest,
    ListCloudPhonesRequest,
    RestartCloudPhoneRequest,
)

from api.vendor_clients import client_of
from e2e.running import Eventually, server_status
from opencph.jobs.failpoints import ARMED, REACHED
from opencph.runtimes.builtin import end_all
from opencph.testing import RunningCph, own_network, purchase, start_up

if TYPE_CHECKING:
    from postgresql_cluster import PostgresqlCluster

SERVERS = 6


class Site:
    """Processes of one database, each started alone, as on several machines."""

    def __init__(self, directory: Path, url: str, network: str) -> None:
        self.directory, self.url, self.network = directory, url, network
        self.running: list[RunningCph] = []

    def start(self, part: str, *, data: str = "data", network: str | None = None, wait: bool = True, **settings: str) -> RunningCph:
        """One part on a data directory of this site; the database is everybody's."""
        settings = {"log_level": "info", **settings}
        found = start_up(self.directory / data, network or self.network, "--database", self.url, settings=settings, command=part)
        self.running.append(found)
        if wait:
            found.wait_until_ready()
        return found

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql.encode()).fetchall()

    def words(self) -> str:
        """What the processes logged last."""
        logs = [path.read_text() for path in self.directory.glob("*/logs/opencph.log")]
        return "\n".join("\n".join(text.splitlines()[-15:]) for text in logs)


@pytest.fixture
def site(directory: Path, postgresql_cluster: PostgresqlCluster) -> Iterator[Site]:
    url = postgresql_cluster.create_database(template="template1")
    with ExitStack() as stack:
        made = Site(directory, url, stack.enter_context(own_network()))
        yield made
        for cph in made.running:
            if cph.process.poll() is None:
                os.kill(cph.process.pid, signal.SIGCONT)
        for cph in reversed(made.running):
            cph.stop()
        for data in directory.iterdir():
            end_all(data)
    postgresql_cluster.drop_database(url)


def buy(client: CphClient, api: RunningCph, name: str, count: int = 1) -> list[str]:
    body = purchase(api.credentials, name, count)
    return [str(one) for one in client.create_net2_cloud_phone_server(CreateNet2CloudPhoneServerRequest(body=body)).server_ids]


def all_normal(client: CphClient, server_ids: list[str]) -> Callable[[], bool]:
    return lambda: all(server_status(client, server_id) == 5 for server_id in server_ids)


def test_the_jobs_of_many_servers_are_spread_over_the_workers(site: Site, eventually: Eventually) -> None:
    apis = [site.start("api"), site.start("api", data="second-api")]
    for part in ("worker", "worker", "worker", "gateway", "gateway"):
        site.start(part)
    clients = [client_of(apis[0], CphClient), client_of(apis[1], CphClient)]
    # the second api has a data directory of its own, and knows the same users
    assert apis[0].credentials["access_key"] == apis[1].credentials["access_key"]
    bought = [
        server_id for number in range(SERVERS) for server_id in buy(clients[number % 2], apis[number % 2], f"spread-{number}")
    ]
    eventually(all_normal(clients[1], bought), f"all are normal: {site.words()}")
    for _round in range(3):
        jobs = []
        for server_id in bought:
            phones = clients[0].list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=10)).phones
            wanted = {"phones": [{"phone_id": phone.phone_id} for phone in phones]}
            jobs += clients[1].restart_cloud_phone(RestartCloudPhoneRequest(body=wanted)).jobs
        assert len(jobs) == SERVERS * 10
        eventually(lambda: site.rows("SELECT count(*) FROM jobs WHERE status = 1") == [(0,)], f"all jobs ended: {site.words()}")
    done = Counter(line.split('"pid": ')[1].split("}")[0] for line in _begun(site))
    workers = {str(cph.process.pid) for cph in site.running[2:5]}
    assert set(done) <= workers
    assert len(done) >= 2, f"one worker did everything: {done}"
    assert site.rows("SELECT count(*) FROM jobs WHERE status <> 2") == [(0,)]
    assert site.rows("SELECT count(*) FROM processes WHERE kind = 'worker'") == [(3,)]


def _begun(site: Site) -> list[str]:
    lines = (site.directory / "data" / "logs" / "opencph.log").read_text().splitlines()
    return [line for line in lines if '"event": "job begun"' in line]


@pytest.mark.parametrize("death", ["killed", "stopped"])
def test_the_jobs_of_a_dead_worker_are_taken_over(site: Site, eventually: Eventually, death: str) -> None:
    """`killed` is seen at once on the same machine; one that is `stopped`, as by a machine that hangs, loses its lease."""
    api, first = site.start("api"), site.start("worker")
    site.start("gateway")
    client = client_of(api, CphClient)
    warm = buy(client, api, "warm")
    eventually(all_normal(client, warm), f"the first server is normal: {site.words()}")
    bought = buy(client, api, "taken", 3)
    eventually(lambda: site.rows("SELECT 1 FROM jobs WHERE lease_owner IS NOT NULL LIMIT 1") != [], "a job is leased")
    os.kill(first.process.pid, signal.SIGKILL if death == "killed" else signal.SIGSTOP)
    second = site.start("worker")
    eventually(all_normal(client, bought), f"the second worker finishes: {site.words()}")
    assert second.process.poll() is None
    if death == "stopped":
        os.kill(first.process.pid, signal.SIGCONT)
    eventually(all_normal(client, bought), "and what the first one wakes up to changes nothing")
    assert site.rows("SELECT count(*) FROM jobs WHERE status <> 2") == [(0,)]
    assert site.rows("SELECT count(*), count(DISTINCT server_id) FROM generations WHERE state = 'serving'") == [(4, 4)]


def test_a_worker_that_is_frozen_while_it_takes_jobs_keeps_no_other_from_taking_them(site: Site, eventually: Eventually) -> None:
    """It holds the lock that everybody needs who takes jobs, in a transaction that it does not end."""
    api, first = site.start("api"), site.start("worker")
    site.start("gateway")
    client = client_of(api, CphClient)
    os.kill(first.process.pid, signal.SIGSTOP)
    bought = buy(client, api, "locked")
    with psycopg.connect(site.url) as holding:
        holding.execute("SELECT 1 FROM jobs WHERE status = 1 FOR UPDATE")
        os.kill(first.process.pid, signal.SIGCONT)
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'transactionid'"
        eventually(lambda: site.rows(waiting) != [], f"the worker takes the job, and waits for its row: {site.words()}")
        os.kill(first.process.pid, signal.SIGSTOP)
    locked = (
        "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND state = 'idle in transaction'"
    )
    eventually(
        lambda: _frozen(site) and site.rows(locked) != [],
        f"its transaction is open under the lock of the leases, and nobody works in it: {site.words()}",
    )
    site.start("worker")
    eventually(all_normal(client, bought), f"the second worker does the job: {site.words()}")
    os.kill(first.process.pid, signal.SIGCONT)
    again = buy(client, api, "after")
    eventually(all_normal(client, again), f"and the first one finds its way back: {site.words()}")
    assert first.process.poll() is None
    assert site.rows("SELECT count(*) FROM jobs WHERE status <> 2") == [(0,)]


def test_a_worker_that_is_frozen_in_the_middle_of_a_step_loses_it(site: Site, eventually: Eventually) -> None:
    halt = site.directory / "halt"
    halt.mkdir()
    (halt / ARMED).write_text("create_server:serve:after")  # in the transaction of the step
    api, first = site.start("api"), site.start("worker", failpoint_directory=str(halt))
    site.start("gateway")
    client = client_of(api, CphClient)
    bought = buy(client, api, "middle")
    eventually((halt / REACHED).exists, f"the worker is in the middle of a step: {site.words()}")
    os.kill(first.process.pid, signal.SIGSTOP)
    assert _frozen(site)
    site.start("worker")
    eventually(all_normal(client, bought), f"the second worker takes it over: {site.words()}")
    (halt / REACHED).unlink()
    os.kill(first.process.pid, signal.SIGCONT)
    eventually(lambda: "due to idle-in-transaction timeout" in site.words(), f"the first one sees that it lost: {site.words()}")
    again = buy(client, api, "after")
    eventually(all_normal(client, again), f"and it does no harm: {site.words()}")
    assert site.rows("SELECT count(*) FROM jobs WHERE status <> 2") == [(0,)]
    assert site.rows("SELECT count(*), count(DISTINCT server_id) FROM generations WHERE state = 'serving'") == [(2, 2)]


def _frozen(site: Site) -> bool:
    return site.rows("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'") != []


def test_a_worker_with_another_directory_does_no_harm_to_phones_that_live_elsewhere(site: Site, eventually: Eventually) -> None:
    api, worker = site.start("api"), site.start("worker")
    site.start("gateway")
    client = client_of(api, CphClient)
    (server_id,) = buy(client, api, "safe")
    eventually(all_normal(client, [server_id]), f"the server is normal: {site.words()}")
    homes = sorted(path.name for path in (site.directory / "data" / "builtin").iterdir())
    boots = _boots(site)
    for part in ("worker", "gateway"):
        for state in ("beside it", "after its end"):
            if state == "after its end" and part == "gateway":
                continue
            if state == "after its end":
                assert worker.stop() == 0
            other = site.start(part, data="other", wait=False)
            assert other.process.wait(40) == 1, other.output
            other.stop()  # all that it said is read
            (said,) = [line for line in other.output if line.startswith("opencph ")]
            assert said.startswith(f"opencph {part} cannot run: the phones of this database live in {site.directory}/data on ")
            assert "opencph hosts adopt" in said
    site.start("worker")
    assert server_status(client, server_id) == 5
    assert sorted(path.name for path in (site.directory / "data" / "builtin").iterdir()) == homes
    assert not [path for path in (site.directory / "other" / "builtin").iterdir() if not path.name.startswith(".")]
    assert _boots(site) == boots
    assert site.rows("SELECT count(*) FROM phones WHERE status <> 2") == [(0,)]
    assert site.rows("SELECT count(*) FROM jobs WHERE kind = 'recover_server'") == [(0,)]


def _boots(site: Site) -> dict[str, str]:
    files = (site.directory / "data" / "builtin").glob("*/phones/*/boots")
    return {str(path): path.read_text() for path in files}


def test_phones_can_be_given_another_home_by_an_operator(site: Site, eventually: Eventually) -> None:
    api, worker = site.start("api"), site.start("worker")
    site.start("gateway")
    client = client_of(api, CphClient)
    (server_id,) = buy(client, api, "moved")
    eventually(all_normal(client, [server_id]), f"the server is normal: {site.words()}")
    adopt = [sys.executable, "-m", "opencph", "hosts", "adopt", "--data", str(site.directory / "new"), "--database", site.url]
    refused = subprocess.run(adopt, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "stop it first" in refused.stderr
    assert worker.stop() == 0
    end_all(site.directory / "data")
    shutil.rmtree(site.directory / "data" / "builtin")  # its disk is lost
    again = site.start("worker", wait=False)
    assert again.process.wait(40) == 1, again.output
    assert subprocess.run(adopt, capture_output=True, text=True, check=False).returncode == 0
    site.start("worker", data="new")
    eventually(
        lambda: bool(site.rows("SELECT 1 FROM jobs WHERE kind = 'recover_server' AND status = 2")), f"brought back: {site.words()}"
    )
    eventually(all_normal(client, [server_id]), f"the server is normal again: {site.words()}")
    ((text,),) = site.rows("SELECT text FROM findings WHERE what = 'data_lost'")
    assert f"the data of 60 phones of server {server_id} is gone; they start anew, empty" in str(text)


def test_many_processes_that_start_at_once_on_an_empty_database_all_get_ready(site: Site) -> None:
    started = [site.start(part, wait=False) for part in ("api", "api", "worker", "worker", "gateway", "gateway")]
    for cph in started:
        cph.wait_until_ready(90)
    assert site.rows("SELECT count(*) FROM alembic_version") == [(1,)]
    assert site.rows("SELECT count(*) FROM users") == [(1,)]
    assert site.rows("SELECT count(*) FROM homes") == [(1,)]
