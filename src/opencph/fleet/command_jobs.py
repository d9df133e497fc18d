"""What the worker does for ADB commands: push, install, uninstall, shell, in many phones of one server at a time, through ADB only.

No command runs twice: who takes up the work of a worker that died waits for the command that runs, or reads how it ended
(`command_runs`). What it leaves in phones for that is taken away in a step of its own, after its end is recorded.
"""

from __future__ import annotations

import asyncio
import shlex
import stat
from collections.abc import Sequence
from typing import IO

import msgspec

from opencph.adb import transfers
from opencph.adb.client import AdbError, Connection, connect
from opencph.fleet import Fleet, archives, command_runs, phone_files
from opencph.fleet.archives import ArchiveError
from opencph.fleet.command_payloads import PHONE_COMMAND, PhoneCommandJob
from opencph.fleet.job_errors import COMMAND_FAILED, job_failed
from opencph.fleet.phone_reach import LATE_SECONDS, Reach, Target, Work
from opencph.jobs import Batch, Job, JobFailedError, JobKind, Step
from opencph.metrics.families import COMMANDS
from opencph.runtimes import Runtime
from opencph.store.database import Transaction
from opencph.wire.command_checks import install_words
from opencph.wire.commands import INSTALL, INSTALL_MULTIPLE, PUSH, SHELL, UNINSTALL
from opencph.wire.object_names import ObjectName, parse

CONTENT_FAULT = "CPS.0118"
OUTPUT_BYTES_MAX = 1024
TAR_BYTES_MAX, APK_BYTES_MAX = 6 << 30, 2 << 30
SHELL_SECONDS, INSTALL_SECONDS, PUSH_SECONDS = 60.0, 600.0, 3600.0
SHELLS_AT_ONCE, TRANSFERS_AT_ONCE = 32, 4


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kind `phone_command`. `runtime` is asked for phones that should run and are not there."""
    work = _Commands(fleet, runtime)
    steps = (Step("run", effect=work.run), Step("forget", effect=work.forget), Step("finish", commit=_finish))
    return {PHONE_COMMAND: JobKind(name=PHONE_COMMAND, steps=steps, batched=True)}


def _finish(tx: Transaction, batch: Batch) -> None:
    """Nothing to change: a command leaves the phone's status alone."""


def command_failed(cause: str) -> JobFailedError:
    """The end of a command that the phone refused."""
    return job_failed(COMMAND_FAILED, cause)


async def run_shell(phone: Connection, content: str, output: bytearray) -> int:
    """A command line in a phone; its exit code. `output` gets what it prints, as much as execute_msg holds. Raises AdbError."""
    return (await transfers.shell(phone, content, OUTPUT_BYTES_MAX, output)).code


def shown_output(output: bytes | bytearray) -> str:
    """execute_msg: at most 1024 bytes of text, cut at a whole character."""
    text = output.decode("utf-8", "replace").replace("\0", "\ufffd")
    return text.encode()[:OUTPUT_BYTES_MAX].decode("utf-8", "ignore")


class _Commands:
    def __init__(self, fleet: Fleet, runtime: Runtime) -> None:
        self.reach = Reach(fleet, runtime)

    async def run(self, batch: Batch) -> None:
        groups: dict[tuple[str, str], list[Job]] = {}
        for job in batch.alive:
            payload = msgspec.json.decode(job.payload, type=PhoneCommandJob)
            groups.setdefault((payload.command, payload.content), []).append(job)
        for (command, content), jobs in groups.items():
            try:
                await self._one_command(batch, command, content, jobs)
            except JobFailedError as failed:
                for job in jobs:
                    batch.fail(job.job_id, failed.code, failed.message)
            for job in jobs:
                COMMANDS.add(command, "failed" if job.job_id in batch.failures else "done")
        for job_id, failure in batch.failures.items():
            batch.fail_late(job_id, failure.code, failure.message)
        batch.failures.clear()

    async def forget(self, batch: Batch) -> None:
        """Take the marks of these commands away: their end is recorded, nobody will take them up again. Phones that are down keep
        theirs until they come back."""
        payloads = {job.job_id: msgspec.json.decode(job.payload, type=PhoneCommandJob) for job in batch.jobs}
        marked = [job for job in batch.jobs if command_runs.leaves_marks(payloads[job.job_id])]
        await command_runs.forget_in(await self.reach.addresses(marked))

    async def _one_command(self, batch: Batch, command: str, content: str, jobs: Sequence[Job]) -> None:
        if command == SHELL:
            await self._shell(batch, content, jobs)
        elif command == UNINSTALL:
            await self._uninstall(batch, content, jobs)
        elif command == PUSH:
            await self._push(batch, content, jobs)
        elif command in (INSTALL, INSTALL_MULTIPLE):
            await self._install(batch, command, content, jobs)
        else:
            raise job_failed("CPS.0117", f"command {command!r}")

    async def _shell(self, batch: Batch, content: str, jobs: Sequence[Job]) -> None:
        async def work(job: Job, target: Target) -> None:
            async with self.reach.reached(target, COMMAND_FAILED) as phone:
                code, _ = await _run_once(batch, job, phone, content)
            if code:
                raise command_failed(f"Exit code {code}.")

        await self.reach.each(batch, jobs, work, at_once=SHELLS_AT_ONCE, seconds=SHELL_SECONDS, late=_printed(batch))

    async def _uninstall(self, batch: Batch, content: str, jobs: Sequence[Job]) -> None:
        async def work(job: Job, target: Target) -> None:
            async with self.reach.reached(target, COMMAND_FAILED) as phone:
                await _package_manager(batch, job, phone, f"pm uninstall {content}")

        await self.reach.each(batch, jobs, work, at_once=SHELLS_AT_ONCE, seconds=SHELL_SECONDS, late=_printed(batch))

    async def _push(self, batch: Batch, content: str, jobs: Sequence[Job]) -> None:
        name = parse(content)
        assert name is not None  # checked when the call was accepted
        _, file = await self.reach.fetch(jobs[0].project_id, name, TAR_BYTES_MAX, CONTENT_FAULT)
        with file:
            size = await checked(file, CONTENT_FAULT)
            lock = asyncio.Lock()

            async def work(job: Job, target: Target) -> None:
                async with self.reach.reached(target, COMMAND_FAILED) as phone:
                    await check_room(phone, target, size)
                    async with lock:  # one reader of the file at a time; the phones of a server share a disk anyway
                        await phone_files.check_places(phone, file)
                        await phone_files.unpack(phone, file)

            await self.reach.each(batch, jobs, work, at_once=TRANSFERS_AT_ONCE, seconds=PUSH_SECONDS)

    async def _install(self, batch: Batch, command: str, content: str, jobs: Sequence[Job]) -> None:
        flags, apks = install_words(content)
        files: list[IO[bytes]] = []
        sizes: list[int] = []
        try:
            for apk in apks:
                name = parse(apk) or ObjectName("", apk)
                info, file = await self.reach.fetch(jobs[0].project_id, name, APK_BYTES_MAX, CONTENT_FAULT)
                files.append(file)
                sizes.append(info.size)
            lock = asyncio.Lock()

            async def work(job: Job, target: Target) -> None:
                async with self.reach.reached(target, COMMAND_FAILED) as phone:
                    line = install_line(job.job_id, flags, sizes, multiple=command == INSTALL_MULTIPLE)
                    if not await command_runs.is_begun(phone, job.job_id):
                        await check_room(phone, target, 2 * sum(sizes))  # the packages, and their copies while they are installed
                        async with lock:
                            await _send_apks(job, phone, files)
                    await _package_manager(batch, job, phone, line)

            await self.reach.each(batch, jobs, work, at_once=TRANSFERS_AT_ONCE, seconds=INSTALL_SECONDS, late=_printed(batch))
        finally:
            for file in files:
                file.close()


async def checked(file: IO[bytes], fault: str, roots: tuple[str, ...] = ()) -> int:
    """Look through an archive before any phone sees it; bytes of its files. Raises JobFailedError with `fault`."""
    try:
        return await asyncio.to_thread(archives.check, file, TAR_BYTES_MAX, roots)
    except ArchiveError as error:
        raise job_failed(fault, str(error)) from error


async def check_room(phone: Connection, target: Target, size: int) -> None:
    """Raises AdbError when the phone's disk has not that much room: then nothing was written."""
    done = await transfers.shell(phone, "df -k /data", OUTPUT_BYTES_MAX)
    words = done.text.decode("utf-8", "replace").strip().rpartition("\n")[2].split()
    free = int(words[3]) * 1024 if len(words) > 3 and words[3].isdigit() else target.data_volume_gib << 30
    if size > free:
        raise AdbError(f"the phone's disk has {free} bytes left, and {size} are needed")


def _apk_path(job_id: str, number: int) -> str:
    return f"{command_runs.directory(job_id)}/{number}.apk"


async def _send_apks(job: Job, phone: Connection, files: Sequence[IO[bytes]]) -> None:
    """Push to a place of the job's own; whoever takes the job up again before it is begun writes over it."""
    for number, file in enumerate(files):
        file.seek(0)
        pieces = iter(lambda file=file: file.read(1 << 20), b"")  # type: ignore[misc]
        await transfers.send(phone, pieces, _apk_path(job.job_id, number), stat.S_IFREG | 0o644, 0)


def install_line(job_id: str, flags: Sequence[str], sizes: Sequence[int], *, multiple: bool) -> str:
    """The line that installs what was pushed; a session that cannot be written to the end is abandoned by the line itself."""
    options = "".join(f" {shlex.quote(flag)}" for flag in flags)
    if not multiple:
        return f"pm install{options} {_apk_path(job_id, 0)}"
    lines = [
        f"t=$(pm install-create{options} -S {sum(sizes)}); s=${{t#*[}}; s=${{s%%]*}}",
        'case $s in ""|*[!0-9]*) echo "$t"; exit 1;; esac',
    ]
    for number, size in enumerate(sizes):
        write = f"t=$(pm install-write -S {size} $s {number}.apk {_apk_path(job_id, number)})"
        lines += [write, 'case $t in *Success*) ;; *) echo "$t"; pm install-abandon $s >/dev/null; exit 1;; esac']
    return "; ".join([*lines, "pm install-commit $s"])


async def _run_once(batch: Batch, job: Job, phone: Connection, line: str) -> tuple[int, str]:
    """Run a line; its exit code, and what it printed, which is the job's output however this ends."""
    output = bytearray()
    try:
        code = await command_runs.run_once(phone, job.job_id, job.attempts, line, output)
    finally:
        text = batch.execute_msgs[job.job_id] = shown_output(output)
    return code, text


def _printed(batch: Batch) -> Work:
    """What is still asked where time was up: what the command printed until then, unless that came already."""

    async def late(job: Job, target: Target) -> None:
        if not batch.execute_msgs.get(job.job_id):
            async with await connect(target.ip, timeout=LATE_SECONDS) as phone:
                batch.execute_msgs[job.job_id] = shown_output(await command_runs.printed(phone, job.job_id))

    return late


async def _package_manager(batch: Batch, job: Job, phone: Connection, command: str) -> None:
    """Run pm once; its answer is the job's output. It may say that it failed and exit with 0 all the same."""
    code, text = await _run_once(batch, job, phone, command)
    if code or "Success" not in text:
        raise command_failed(text.strip() or f"Exit code {code}.")
