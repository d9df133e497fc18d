"""`opencph up` with parts that hang, frozen or in an event loop that does not turn: they are replaced, and nobody else is."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from huaweicloudsdkcph.v1 import CphClient, CreateNet2CloudPhoneServerRequest, ListCloudPhonesRequest, RestartCloudPhoneRequest

from api.vendor_clients import client_of
from e2e.running import PARTS, Eventually, StartUp, answers, pids, said, server_status, words
from opencph.jobs.failpoints import ARMED, REACHED
from opencph.testing import RunningCph, purchase

#: The least there may be, so that tests are short.
HUNG = "3"


def bought(cph: RunningCph, name: str) -> str:
    request = CreateNet2CloudPhoneServerRequest(body=purchase(cph.credentials, name))
    return str(client_of(cph, CphClient).create_net2_cloud_phone_server(request).server_ids[0])


def normal(cph: RunningCph, server_id: str) -> bool:
    return server_status(client_of(cph, CphClient), server_id) == 5


def restart_one_phone(cph: RunningCph, server_id: str) -> None:
    client = client_of(cph, CphClient)
    (phone,) = client.list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=1)).phones
    client.restart_cloud_phone(RestartCloudPhoneRequest(body={"phones": [{"phone_id": phone.phone_id}]}))


def boots(cph: RunningCph) -> dict[str, str]:
    return {str(path): path.read_text() for path in (cph.data / "builtin").glob("*/phones/*/boots")}


def rows(cph: RunningCph, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{cph.data}/opencph.db?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def replaced(cph: RunningCph, name: str, pid: int) -> Callable[[], bool]:
    """Whether another process is that part, and serves."""
    return lambda: pids(cph).get(name, pid) != pid and said(cph, f'"event": "the {name} is ready", "level": "warning"')


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_frozen_is_replaced_and_no_phone_notices(start: StartUp, eventually: Eventually, name: str) -> None:
    cph = start(hung_seconds=HUNG)
    server_id = bought(cph, "before")
    eventually(lambda: normal(cph, server_id), f"the server is normal: {words(cph)}")
    before, booted = pids(cph), boots(cph)
    os.kill(before[name], signal.SIGSTOP)
    eventually(replaced(cph, name, before[name]), f"another {name}: {words(cph)}")
    (told,) = [line for line in cph.output if " hangs, its event loop has not turned for 3 s; killed: " in line]
    assert f'"part_pid": {before[name]}' in told and f"the {name} hangs" in told
    assert not psutil.pid_exists(before[name])
    assert {other: pid for other, pid in pids(cph).items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }
    assert boots(cph) == booted
    eventually(lambda: answers(cph), "the endpoint answers where it did")
    another = bought(cph, "after")
    eventually(lambda: normal(cph, another), f"work goes on: {words(cph)}")
    assert {path: boots(cph)[path] for path in booted} == booted
    assert cph.stop() == 0


def test_an_event_loop_that_does_not_turn_is_found_though_the_process_runs(
    start: StartUp, eventually: Eventually, directory: Path
) -> None:
    """At a failpoint before an effect the worker's event loop goes round in a loop of its own, for up to a minute."""
    halt = directory / "halt"
    halt.mkdir()
    cph = start(hung_seconds=HUNG, failpoint_directory=str(halt))
    server_id = bought(cph, "spinning")
    eventually(lambda: normal(cph, server_id), f"the server is normal: {words(cph)}")
    (halt / ARMED).write_text("restart_phone:power:before")
    before = pids(cph)
    restart_one_phone(cph, server_id)
    eventually((halt / REACHED).exists, f"the worker spins: {words(cph)}")
    assert psutil.Process(before["worker"]).status() != psutil.STATUS_STOPPED
    eventually(replaced(cph, "worker", before["worker"]), f"another worker: {words(cph)}")
    assert said(cph, "the worker hangs")
    eventually(lambda: rows(cph, "SELECT count(*) FROM jobs WHERE status = 1") == [(0,)], f"the job goes on: {words(cph)}")
    assert rows(cph, "SELECT status FROM jobs WHERE kind = 'restart_phone'") == [(2,)]
    assert (halt / REACHED).exists(), "nobody released the first one"


def test_a_worker_that_is_frozen_while_it_holds_the_write_lock_of_sqlite_holds_nobody_up_for_ever(
    start: StartUp, eventually: Eventually, directory: Path
) -> None:
    halt = directory / "halt"
    halt.mkdir()
    (halt / ARMED).write_text("create_server:serve:after")  # in the transaction of the step
    cph = start(hung_seconds=HUNG, failpoint_directory=str(halt))
    before = pids(cph)
    server_id = bought(cph, "locked")
    eventually((halt / REACHED).exists, f"the worker is in the middle of a transaction: {words(cph)}")
    os.kill(before["worker"], signal.SIGSTOP)
    with (
        closing(sqlite3.connect(cph.data / "opencph.db", isolation_level=None, timeout=0)) as writer,
        pytest.raises(sqlite3.OperationalError, match="database is locked"),
    ):
        writer.execute("BEGIN IMMEDIATE")
    eventually(replaced(cph, "worker", before["worker"]), f"another worker: {words(cph)}")
    eventually(lambda: normal(cph, server_id), f"its job goes on: {words(cph)}")
    assert rows(cph, "SELECT count(*), count(DISTINCT server_id) FROM generations WHERE state = 'serving'") == [(1, 1)]


@pytest.mark.parametrize("first", ["the supervisor", "the parts"])
def test_nobody_is_ended_when_everything_stands_still_together(start: StartUp, eventually: Eventually, first: str) -> None:
    """As the machine of a laptop that sleeps. For twice as long as a part may hang; and Ctrl-Z stops `up` alone."""
    cph = start(hung_seconds="4")
    before = pids(cph)
    everybody = [cph.process.pid, *before.values()]
    if first == "the parts":
        everybody.reverse()
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(8)
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    cph.process.send_signal(signal.SIGSTOP)
    time.sleep(6)
    cph.process.send_signal(signal.SIGCONT)
    server_id = bought(cph, "awake")
    eventually(lambda: normal(cph, server_id), f"work goes on: {words(cph)}")
    for _look in range(6):  # had those seconds counted, it would be over by now
        assert pids(cph) == before, words(cph)
        time.sleep(1)
    assert not said(cph, "hangs")


def test_with_0_nobody_is_ended_for_hanging(start: StartUp, eventually: Eventually) -> None:
    cph = start(hung_seconds="0")
    before = pids(cph)
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6)
    assert pids(cph) == before
    for pid in before.values():
        os.kill(pid, signal.SIGCONT)
    server_id = bought(cph, "patient")
    eventually(lambda: normal(cph, server_id), f"work goes on: {words(cph)}")
    assert pids(cph) == before and not said(cph, "hangs")


def test_after_a_rolling_restart_the_new_parts_are_watched(start: StartUp, eventually: Eventually) -> None:
    cph = start(hung_seconds=HUNG)
    old = pids(cph)
    subprocess.run([sys.executable, "-m", "opencph", "restart", "--data", str(cph.data)], check=True, capture_output=True)
    eventually(lambda: set(pids(cph).values()).isdisjoint(old.values()), f"all are replaced: {words(cph)}")
    eventually(lambda: len(psutil.Process(cph.process.pid).children()) == len(PARTS), "the old ones have left")
    before = pids(cph)
    os.kill(before["gateway"], signal.SIGSTOP)
    eventually(lambda: pids(cph).get("gateway", before["gateway"]) != before["gateway"], f"another gateway: {words(cph)}")
    eventually(lambda: said(cph, "the gateway hangs"), f"it is said: {words(cph)}")
    eventually(lambda: answers(cph) and len(pids(cph)) == len(PARTS), f"all parts are there: {words(cph)}")


def test_a_part_that_dies_before_its_turn_in_a_rolling_restart_is_there_once_afterwards(
    start: StartUp, eventually: Eventually
) -> None:
    cph = start()
    old = pids(cph)
    restart = subprocess.Popen([sys.executable, "-m", "opencph", "restart", "--data", str(cph.data)])
    eventually(lambda: names(cph).count("opencph-worker") == 2, f"the new worker is there: {words(cph)}")
    os.kill(old["api"], signal.SIGKILL)
    assert restart.wait(60) == 0, words(cph)
    eventually(lambda: said(cph, "the api was killed by signal 9; starting it again"), f"it is said: {words(cph)}")
    eventually(lambda: sorted(names(cph)) == sorted(f"opencph-{name}" for name in PARTS), f"one of each: {names(cph)} {words(cph)}")
    assert set(pids(cph).values()).isdisjoint(old.values())


def names(cph: RunningCph) -> list[str]:
    found = []
    for child in psutil.Process(cph.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            found.append(child.name())
    return found
