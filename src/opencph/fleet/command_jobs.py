"""What the worker does for ADB commands: push, install, uninstall, shell, in many phones of one server at a time, through ADB only.

A command may run a second time when the worker dies while it runs: the work is carried on, and nothing tells how far the phone was.
"""

from __future__ import annotations

import asyncio
import shlex
import stat
from collections.abc import Sequence
from typing import IO

import msgspec

from opencph.adb import transfers
from opencph.adb.client import AdbError, Connection
from opencph.fleet import Fleet, archives, phone_files
from opencph.fleet.archives import ArchiveError
from opencph.fleet.command_payloads import PHONE_COMMAND, PhoneCommandJob
from opencph.fleet.job_errors import job_failed
from opencph.fleet.phone_reach import Reach, Target, reached
from opencph.jobs import Batch, Job, JobFailedError, JobKind, Step
from opencph.metrics.families import COMMANDS
from opencph.store.database import Transaction
from opencph.wire.command_checks import install_words
from opencph.wire.commands import INSTALL, INSTALL_MULTIPLE, PUSH, SHELL, UNINSTALL
from opencph.wire.object_names import ObjectName, parse

CONTENT_FAULT = "CPS.0118"
OUTPUT_BYTES_MAX = 1024
TAR_BYTES_MAX, APK_BYTES_MAX = 6 << 30, 2 << 30
SHELL_SECONDS, INSTALL_SECONDS, PUSH_SECONDS = 60.0, 600.0, 3600.0
SHELLS_AT_ONCE, TRANSFERS_AT_ONCE = 32, 4
STAGING = "/data/local/tmp"
#: "Run command failed.", as the page's example has it; the table gives this code another text (cph-api.md section 6).
COMMAND_FAILED, COMMAND_FAILED_TEXT = "CPS.0191", "Run command failed."


def kinds(fleet: Fleet) -> dict[str, JobKind]:
    """The kind `phone_command`."""
    work = _Commands(fleet)
    kind = JobKind(name=PHONE_COMMAND, steps=(Step("run", effect=work.run), Step("finish", commit=_finish)), batched=True)
    return {PHONE_COMMAND: kind}


def _finish(tx: Transaction, batch: Batch) -> None:
    """Nothing to change: a command leaves the phone's status alone."""


def command_failed(cause: str) -> JobFailedError:
    """The end of a command that the phone refused."""
    return JobFailedError(COMMAND_FAILED, f"{COMMAND_FAILED_TEXT} {cause}".strip())


async def run_shell(phone: Connection, content: str) -> transfers.ShellOutput:
    """A command line in a phone; of its output as much as execute_msg holds. Raises AdbError."""
    return await transfers.shell(phone, content, OUTPUT_BYTES_MAX)


def shown_output(output: bytes) -> str:
    """execute_msg: at most 1024 bytes of text, cut at a whole character."""
    text = output.decode("utf-8", "replace").replace("\0", "\ufffd")
    return text.encode()[:OUTPUT_BYTES_MAX].decode("utf-8", "ignore")


class _Commands:
    def __init__(self, fleet: Fleet) -> None:
        self.reach = Reach(fleet)

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
            async with reached(target, COMMAND_FAILED) as phone:
                done = await run_shell(phone, content)
            batch.execute_msgs[job.job_id] = shown_output(done.text)
            if done.code:
                raise command_failed(f"Exit code {done.code}.")

        await self.reach.each(batch, jobs, work, at_once=SHELLS_AT_ONCE, seconds=SHELL_SECONDS)

    async def _uninstall(self, batch: Batch, content: str, jobs: Sequence[Job]) -> None:
        async def work(job: Job, target: Target) -> None:
            async with reached(target, COMMAND_FAILED) as phone:
                try:
                    await _package_manager(batch, job, phone, f"pm uninstall {content}")
                except JobFailedError:
                    if job.attempts == 1 or (await transfers.shell(phone, f"pm path {content}", OUTPUT_BYTES_MAX)).text:
                        raise
                    batch.execute_msgs[job.job_id] = "Success\n"  # a worker that died had removed it

        await self.reach.each(batch, jobs, work, at_once=SHELLS_AT_ONCE, seconds=SHELL_SECONDS)

    async def _push(self, batch: Batch, content: str, jobs: Sequence[Job]) -> None:
        name = parse(content)
        assert name is not None  # checked when the call was accepted
        _, file = await self.reach.fetch(jobs[0].project_id, name, TAR_BYTES_MAX, CONTENT_FAULT)
        with file:
            size = await checked(file, CONTENT_FAULT)
            lock = asyncio.Lock()

            async def work(job: Job, target: Target) -> None:
                async with reached(target, COMMAND_FAILED) as phone:
                    await check_room(phone, target, size)
                    async with lock:  # one reader of the file at a time; the phones of a server share a disk anyway
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
                async with reached(target, COMMAND_FAILED) as phone:
                    await check_room(phone, target, 2 * sum(sizes))  # the package, and its copy while it is installed
                    await _install_apks(batch, job, phone, flags, files, sizes, lock, multiple=command == INSTALL_MULTIPLE)

            await self.reach.each(batch, jobs, work, at_once=TRANSFERS_AT_ONCE, seconds=INSTALL_SECONDS)
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


async def _install_apks(
    batch: Batch,
    job: Job,
    phone: Connection,
    flags: Sequence[str],
    files: Sequence[IO[bytes]],
    sizes: Sequence[int],
    lock: asyncio.Lock,
    *,
    multiple: bool,
) -> None:
    """Push to a place of the job's own, install from there, and take it away again."""
    base = f"{STAGING}/{job.job_id}"  # whoever takes the job up again writes over it, and takes it away
    paths = [f"{base}-{number}.apk" for number in range(len(files))]
    options = " ".join(shlex.quote(flag) for flag in flags)
    try:
        async with lock:
            for path, file in zip(paths, files, strict=True):
                file.seek(0)
                await transfers.send(phone, iter(lambda file=file: file.read(1 << 20), b""), path, stat.S_IFREG | 0o644, 0)  # type: ignore[misc]
        if not multiple:
            await _package_manager(batch, job, phone, f"pm install {options} {paths[0]}")
            return
        begun = await transfers.shell(phone, f"pm install-create {options} -S {sum(sizes)}", OUTPUT_BYTES_MAX)
        text = begun.text.decode("utf-8", "replace")
        session = text.partition("[")[2].partition("]")[0]
        if begun.code or not session.isdigit():
            raise command_failed(text.strip())
        for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
            written = await transfers.shell(phone, f"pm install-write -S {size} {session} {number}.apk {path}", OUTPUT_BYTES_MAX)
            if written.code or not written.text.lstrip().startswith(b"Success"):
                await transfers.shell(phone, f"pm install-abandon {session}", OUTPUT_BYTES_MAX)
                raise command_failed(written.text.decode("utf-8", "replace").strip())
        await _package_manager(batch, job, phone, f"pm install-commit {session}")
    finally:
        await transfers.shell(phone, f"rm -f {' '.join(paths)}", OUTPUT_BYTES_MAX)


async def _package_manager(batch: Batch, job: Job, phone: Connection, command: str) -> None:
    """Run pm; its answer is the job's output. It may say that it failed and exit with 0 all the same."""
    done = await transfers.shell(phone, command, OUTPUT_BYTES_MAX)
    text = shown_output(done.text)
    batch.execute_msgs[job.job_id] = text
    if done.code or "Success" not in text:
        raise command_failed(text.strip() or f"Exit code {done.code}.")
