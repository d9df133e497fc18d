"""The worker as a process: it stops when told to, leaves its phones running, and does not go on without one of its parts."""

from __future__ import annotations

import signal

from sqlalchemy import text

from crash.installation import Installation
from opencph.store.database import command


def test_a_stop_is_clean_and_phones_run_on(installation: Installation, server_id: str) -> None:
    worker = installation.start_worker()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0, installation.words()
    installation.stop_workers()
    installation.serves(server_id)


def test_a_stop_in_the_middle_of_work_leaves_it_to_the_next_worker_at_once(installation: Installation, server_id: str) -> None:
    world = installation.world
    worker = installation.start_worker()
    job_id = world.change(server_id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0, installation.words()
    installation.stop_workers()
    installation.start_worker()
    installation.ended(seconds=8)  # less than a lease
    assert world.job(job_id).status == 2
    installation.serves(server_id)
    installation.nothing_leaks()


def test_a_worker_with_a_dead_part_ends_so_that_it_is_started_anew(installation: Installation, server_id: str) -> None:
    worker = installation.start_worker()
    installation.world.execute(command(text("ALTER TABLE servers RENAME TO hidden_servers")))
    try:
        assert worker.wait(30) == 1, installation.words()
    finally:
        installation.world.execute(command(text("ALTER TABLE hidden_servers RENAME TO servers")))
    assert "reconciler" in installation.words()
    installation.stop_workers()
    installation.start_worker()
    installation.serves(server_id)
