"""The worker process: the jobs engine with the fleet's kinds of work, a runtime, the reconciler and the housekeeping, side by side.

The rules are the fleet's, the phones are the runtime's; here is what starts them, and what ends the process when a part dies.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import structlog
import uvloop

from opencph import objects
from opencph.fleet import (
    Fleet,
    command_jobs,
    encode_servers,
    findings,
    maintenance,
    open_fleet,
    phone_data_jobs,
    phone_home,
    phone_jobs,
    phone_update_jobs,
    reconcile,
    server_jobs,
    server_keypair,
    server_model_change,
    server_restart,
    share_filesystems,
    share_jobs,
)
from opencph.iam import audit
from opencph.jobs import JobKind
from opencph.jobs.engine import Worker
from opencph.jobs.retention import delete_finished
from opencph.log import trouble as log_file_trouble
from opencph.metrics.exchange import answering
from opencph.metrics.families import JOB_LANES_BUSY
from opencph.runtimes import Runtime, RuntimeFaultError
from opencph.runtimes.choice import make_runtime
from opencph.settings import Settings
from opencph.store import processes
from opencph.store.database import StoreError

#: For the database and the disk; more than Python would take by itself on few cores, for all of them mostly wait.
THREADS = 12
STOP_SECONDS = 8.0
RETENTION_SECONDS = 600.0

log = structlog.get_logger("opencph.worker")


class WorkerDiedError(Exception):
    """A part of the worker ended by itself; the process ends with it, so that whoever supervises it starts it anew."""


def run_worker(settings: Settings, ready: Callable[[], None]) -> None:
    """Work until SIGTERM or SIGINT; call `ready` once jobs are being claimed. Blocks; may run in a freshly forked child.

    Raises StoreUnavailableError, SettingsError and AwayError when it cannot start, WorkerDiedError when a part of it dies.
    """
    fleet = open_fleet(settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(fleet, ready))
    finally:
        fleet.close()


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """Every kind of job that this worker can do, by name."""
    return {
        **server_jobs.kinds(fleet, runtime),
        **server_restart.kinds(fleet, runtime),
        **server_model_change.kinds(fleet, runtime),
        **server_keypair.kinds(fleet),
        **share_filesystems.kinds(fleet, runtime),
        **encode_servers.kinds(fleet),
        **phone_jobs.kinds(fleet, runtime),
        **command_jobs.kinds(fleet, runtime),
        **share_jobs.kinds(fleet, runtime),
        **phone_data_jobs.kinds(fleet, runtime),
        **phone_update_jobs.kinds(fleet, runtime),
        **reconcile.kinds(fleet, runtime),
    }


async def _run(fleet: Fleet, ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="worker"))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):  # the last: another process takes over
        loop.add_signal_handler(number, stop.set)
    await asyncio.to_thread(phone_home.check_in, fleet.database, fleet.settings)
    runtime = make_runtime(fleet.settings)
    process_id = await asyncio.to_thread(processes.register, fleet.database, "worker")
    engine = Worker(fleet.database, kinds(fleet, runtime), worker_id=process_id, lease_seconds=fleet.settings.job_lease_seconds)
    parts: dict[str, Coroutine[Any, Any, None]] = {
        "jobs": engine.run(stop),
        "reconciler": reconcile.Reconciler(fleet, runtime).run(stop),
        "heartbeat": _every(processes.HEARTBEAT_SECONDS, stop, lambda: _heartbeat(fleet, process_id)),
        "maintenance": _every(maintenance.ROUNDS_SECONDS, stop, lambda: maintenance.carry_out(fleet)),
        "retention": _every(RETENTION_SECONDS, stop, lambda: _retention(fleet)),
    }
    JOB_LANES_BUSY.read_from(lambda: {(): engine.busy})
    numbers = AsyncExitStack()
    await numbers.enter_async_context(answering("worker", fleet.settings.run_directory))
    tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.sleep(0)  # the parts have begun
        ready()
        tasks.append(asyncio.create_task(_warm(runtime, stop), name="warm-up"))
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        died = next((task for task in tasks if task.done() and not stop.is_set()), None)
        stop.set()
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in late:
            log.warning("did not stop in time", part=task.get_name())
        if died is not None:
            cause = died.exception()
            raise WorkerDiedError(f"the worker's {died.get_name()} ended: {cause or 'without a cause'}") from cause
    finally:
        await numbers.aclose()
        stopping.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
        await runtime.close()
        try:
            await asyncio.to_thread(processes.remove, fleet.database, process_id)
        except StoreError as error:
            log.warning("cannot sign off", error=str(error))


async def _every(seconds: float, stop: asyncio.Event, do: Callable[[], None]) -> None:
    """Call `do` in a thread at once and every `seconds`. A database that fails is logged; the next turn tries again."""
    while not stop.is_set():
        try:
            await asyncio.to_thread(do)
        except StoreError as error:
            log.warning("database", error=str(error))
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            continue


async def _warm(runtime: Runtime, stop: asyncio.Event) -> None:
    """A part like the others, so it lives until `stop`; a runtime that cannot get ready says so again when it is asked to work."""
    try:
        await runtime.warm()
    except RuntimeFaultError as fault:
        log.warning("the runtime is not ready", error=str(fault))
    await stop.wait()


def _heartbeat(fleet: Fleet, process_id: str) -> None:
    if not processes.heartbeat(fleet.database, process_id):
        processes.register(fleet.database, "worker", process_id=process_id)
    if trouble := log_file_trouble():
        with fleet.database.write() as tx:
            findings.report(tx, "log", trouble)


def _retention(fleet: Fleet) -> None:
    delete_finished(fleet.database, fleet.settings.job_retention_days)
    audit.delete_old(fleet.database, fleet.settings.audit_retention_days)
    findings.delete_old(fleet.database, fleet.settings.job_retention_days)
    objects.sweep(objects.spool_of(fleet.settings))
