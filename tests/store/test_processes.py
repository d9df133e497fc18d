"""Who is alive, and what the id of a process proves; counters of change."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from sqlalchemy import update

from opencph.store import processes, revisions
from opencph.store.database import Database, command, open_database
from opencph.store.tables import processes as table

NEW_ID = "from opencph.store.processes import new_process_id; print(new_process_id('gateway'), flush=True); input()"


def test_a_process_registers_lives_and_leaves(database: Database) -> None:
    process_id = processes.register(database, "gateway")
    (found,) = processes.alive(database, "gateway")
    assert (found.process_id, found.kind, found.applied_revision) == (process_id, "gateway", 0)
    assert processes.alive(database, "worker") == []
    assert processes.heartbeat(database, process_id)
    assert processes.applied(database, process_id, 7)
    with database.read() as tx:
        assert processes.alive(tx, "gateway")[0].applied_revision == 7
    processes.remove(database, process_id)
    assert processes.alive(database, "gateway") == []
    assert not processes.heartbeat(database, process_id)
    assert not processes.applied(database, process_id, 8)


def test_a_silent_process_is_not_alive(database: Database) -> None:
    processes.register(database, "gateway")
    with database.write() as tx:
        tx.run(command(update(table).values(heartbeat_ms=table.c.heartbeat_ms - 11_000)))
    assert processes.alive(database, "gateway") == []
    assert len(processes.alive(database, "gateway", within_seconds=20)) == 1


def test_a_process_of_this_machine_that_was_killed_is_dead_at_once(database: Database) -> None:
    with subprocess.Popen([sys.executable, "-c", NEW_ID], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process_id = process.stdout.readline().strip()
        processes.register(database, "gateway", process_id=process_id)
        assert not processes.is_provably_dead(process_id)
        assert len(processes.alive(database, "gateway")) == 1
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has reaped it yet
        assert processes.is_provably_dead(process_id)
        assert processes.alive(database, "gateway") == []
    assert processes.is_provably_dead(process_id)
    own = processes.register(database, "gateway")
    with database.read() as tx:
        assert [row.process_id for row in tx.rows(processes._ALL)] == [own]  # the dead one was swept away


def test_a_pid_that_was_given_away_again_does_not_keep_a_process_alive() -> None:
    parts = processes.new_process_id("api").split("/")
    parts[4] = str(int(parts[4]) - 1)
    assert processes.is_provably_dead("/".join(parts))


def test_nothing_is_proved_about_a_process_elsewhere() -> None:
    parts = processes.new_process_id("api").split("/")
    parts[2] = "another-kernel"
    parts[3] = "999999999"
    assert not processes.is_provably_dead("/".join(parts))
    assert not processes.is_provably_dead("worker-1")


def test_a_counter_rises_by_one_with_each_transaction(database: Database) -> None:
    assert revisions.read(database, "network") == 0
    second = open_database(database.url)

    def bump(opened: Database) -> None:
        for _ in range(25):
            with opened.write() as tx:
                revisions.bump(tx, "network")

    threads = [threading.Thread(target=bump, args=(opened,)) for opened in (database, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert revisions.read(database, "network") == 50
    with database.write() as tx:
        assert revisions.bump(tx, "network") == 51
        assert revisions.bump(tx, "other") == 1
    second.close()
