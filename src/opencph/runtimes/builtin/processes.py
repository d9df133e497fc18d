"""Starting the zygote, and ending processes for good. What hosts are asked to do lives in `runtime.py`."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from opencph.handset import control
from opencph.handset.host import lock_holder
from opencph.log import open_for_owner
from opencph.runtimes import RuntimeFaultError
from opencph.runtimes.builtin.homes import cause_of

ZYGOTE_SECONDS = 20.0
KIND_SECONDS = 6.0  # a host may need 5 s to power its phones off
KILL_SECONDS = 5.0
LOG_FILE = "handset.log"

_logger = structlog.get_logger("opencph.runtimes.builtin")

#: What phones may know of our environment: nothing secret, nothing of settings.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def start_zygote(data: Path) -> None:
    """Start the zygote of this data directory and return when it takes orders. Blocks. Raises RuntimeFaultError.

    One that runs already is left alone.
    """
    run, logs = data / "run", data / "logs"
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"MALLOC_ARENA_MAX": "1"}
    before = 0
    with suppress(OSError):
        before = (logs / LOG_FILE).stat().st_size
    try:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _log_of_phones(logs) as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", "opencph.handset.zygote", str(run)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
    except OSError as error:
        raise RuntimeFaultError(f"the process that makes phones cannot be started: {cause_of(error)}") from error
    assert process.stdout is not None
    with process.stdout:
        said = b""
        ready, _, _ = select.select([process.stdout], [], [], ZYGOTE_SECONDS)
        if ready:
            said = os.read(process.stdout.fileno(), 64)
        if not said:
            process.kill()
    process.wait()  # it has detached itself, or it is dead
    if said.startswith(b"ready"):
        return
    with suppress(OSError):
        control.connect(run / control.ZYGOTE_SOCKET).close()
        return  # another one was faster
    lines: list[str] = []
    with suppress(OSError), (logs / LOG_FILE).open("rb") as log:
        log.seek(before)
        lines = log.read()[-4096:].decode(errors="replace").strip().splitlines()
    cause = lines[-1] if lines else f"it said nothing for {ZYGOTE_SECONDS:.0f} s"
    raise RuntimeFaultError(f"the process that makes phones did not start: {cause}")


def _log_of_phones(logs: Path) -> BinaryIO:
    """What the zygote and its hosts write to: their log, or else our stderr. Phones do not wait for a log."""
    try:
        descriptor = open_for_owner(logs / LOG_FILE)
    except OSError as error:
        _logger.warning("the phones' log cannot be opened; their lines go to stderr", file=LOG_FILE, cause=cause_of(error))
        descriptor = os.dup(2)
    return os.fdopen(descriptor, "ab", buffering=0)


async def wait_until_ended(pid: int, seconds: float) -> bool:
    """Wait for the end of a process that may be nobody's child of ours. False when it still runs."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return True
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, lambda: None if ended.done() else ended.set_result(None))
    try:
        async with asyncio.timeout(seconds):
            await ended
    except TimeoutError:
        return False
    else:
        return True
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped the process (SIGSTOP, a debugger): it will do nothing until somebody else lets it go on."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] in "Tt"


async def end(pid: int, seconds: float) -> None:
    """End a process: kindly for `seconds`, then by force. Raises RuntimeFaultError when even that fails."""
    await asyncio.to_thread(end_processes, [pid], seconds)


def end_processes(pids: Iterable[int], seconds: float) -> None:
    """End processes: kindly for `seconds`, then by force. Raises RuntimeFaultError when even that fails. Blocks."""
    open_pids: dict[int, int] = {}  # pidfd -> pid; a pidfd never means another process that got the same number
    for pid in pids:
        with suppress(ProcessLookupError):
            open_pids[os.pidfd_open(pid)] = pid
    try:
        if seconds > 0:
            _signal(open_pids, signal.SIGTERM)
            _await(open_pids, seconds)
        _signal(open_pids, signal.SIGKILL)
        _await(open_pids, KILL_SECONDS)
        if open_pids:
            raise RuntimeFaultError(f"processes {sorted(open_pids.values())} cannot be ended, not even with SIGKILL")
    finally:
        for descriptor in open_pids:
            os.close(descriptor)


def _signal(open_pids: dict[int, int], number: signal.Signals) -> None:
    for descriptor in open_pids:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)


def _await(open_pids: dict[int, int], seconds: float) -> None:
    """Wait, and drop those that ended."""
    poll = select.poll()
    for descriptor in open_pids:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + seconds
    while open_pids and (left := deadline - time.monotonic()) > 0:
        for descriptor, _events in poll.poll(left * 1000):
            poll.unregister(descriptor)
            del open_pids[descriptor]
            os.close(descriptor)


def end_all(data: Path) -> None:
    """End the zygote and every host of a data directory, whoever started them. Data is kept. Blocks for some seconds at most.

    For the clean stop of `opencph up`, when the worker is gone already.
    """
    run = data.absolute() / "run"
    zygote = _listener(run / control.ZYGOTE_SOCKET) or lock_holder(run / control.ZYGOTE_LOCK)
    if zygote is not None:
        end_processes([zygote], 1.0)  # first, so that it makes no new hosts
    sockets = [path for path in run.glob("*.sock") if control.generation_of(path.name) is not None]
    hosts = {_listener(path) for path in sockets}
    hosts |= {lock_holder(path) for path in (data / "builtin").glob(f"*/{control.HOST_LOCK}")}
    end_processes([pid for pid in hosts if pid is not None], KIND_SECONDS)
    for path in (*sockets, run / control.ZYGOTE_SOCKET):
        path.unlink(missing_ok=True)


def _listener(path: Path) -> int | None:
    """The process that listens on a socket."""
    try:
        with control.connect(path) as connection:
            return control.peer(connection)[0]
    except OSError:
        return None
