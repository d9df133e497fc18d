"""Files of a phone over ADB: unpacking an archive into it, packing paths of it into one. What archives may hold is `archives`."""

from __future__ import annotations

import asyncio
import posixpath
import shlex
import stat
from collections.abc import Sequence
from typing import IO

from opencph.adb import transfers
from opencph.adb.client import AdbError, Connection
from opencph.adb.sync_protocol import FileStat
from opencph.fleet.archives import ArchiveError, ArchiveWriter, Entry, entries, refusal, relative_target

EXPORT_ENTRIES_MAX = 100_000
OUTPUT_MAX = 1024
LINK_OUTPUT_MAX = 4200
_COMMAND_BYTES = 2000


async def check_places(phone: Connection, archive: IO[bytes]) -> None:
    """Whether everything of an archive that was checked can be made in the phone, before any of it is. Raises AdbError.

    Nothing of the phone is changed by it; what a full disk or a phone that goes away stops is half done all the same.
    """
    places = _Places(phone)
    found = entries(archive)
    while (entry := await asyncio.to_thread(next, found, None)) is not None:
        await places.add(entry)
    await places.ask()


class _Places:
    """What is in the phone where the entries of an archive are to go."""

    def __init__(self, phone: Connection) -> None:
        self._phone = phone
        self._kinds: dict[str, int] = {"/": stat.S_IFDIR}  # path -> type bits of what is there, 0 for nothing
        self._written: dict[str, str] = {}  # directory that something is put into -> the first entry of it

    async def _kind(self, path: str) -> int:
        if path not in self._kinds:
            info = await transfers.look(self._phone, path)
            if not info.error and stat.S_ISLNK(info.mode):
                beyond = await transfers.look(self._phone, f"{path}/.")
                info = beyond if not beyond.error and stat.S_ISDIR(beyond.mode) else info
            self._kinds[path] = 0 if info.error else stat.S_IFMT(info.mode)
        return self._kinds[path]

    async def add(self, entry: Entry) -> None:
        there = "/"
        parts = entry.path.split("/")[1:]
        for number, part in enumerate(parts):
            path = posixpath.join(there, part)
            kind = await self._kind(path)
            if kind == 0:
                break
            last = number == len(parts) - 1
            if kind != stat.S_IFDIR and (not last or stat.S_ISDIR(entry.mode)):
                raise AdbError(f"{entry.path}: {path} is no directory in the phone")
            if last and kind == stat.S_IFDIR and not stat.S_ISDIR(entry.mode):
                raise AdbError(f"{entry.path}: it is a directory in the phone")
            if last:
                break
            there = path
        if not stat.S_ISDIR(entry.mode) or self._kinds.get(entry.path, 0) == 0:
            self._written.setdefault(there, entry.path)

    async def ask(self) -> None:
        """Whether the phone lets anything be put into each directory. It is asked, not tried: who tries can die in between."""
        questions = []
        for directory, entry in self._written.items():
            refused = shlex.quote(f"{entry}: {directory} cannot be written: Read-only file system or no permission")
            questions.append(f"{{ [ -w {shlex.quote(directory)} ] || {{ echo {refused}; false; }}; }}")
        await run_all(self._phone, questions)


async def unpack(phone: Connection, archive: IO[bytes], only: set[str] | None = None) -> None:
    """Make everything of an archive that was checked, at `/` of the phone, or only files of these paths. Raises AdbError."""
    directories: list[tuple[str, int]] = []
    found = entries(archive)
    while (entry := await asyncio.to_thread(next, found, None)) is not None:
        if only is not None and entry.path not in only:
            continue
        if stat.S_ISDIR(entry.mode):
            directories.append((entry.path, stat.S_IMODE(entry.mode)))
        else:
            await transfers.send(phone, entry.pieces(), entry.path, entry.mode, entry.mtime)
    await _make_directories(phone, directories)


async def _make_directories(phone: Connection, directories: Sequence[tuple[str, int]]) -> None:
    """Directories that nothing was put into yet; then all of their modes, the deepest first."""
    missing = [path for path, _ in directories if (await transfers.look(phone, path)).error]
    changed = [(path, mode) for path, mode in reversed(directories) if path in missing or not await _has_mode(phone, path, mode)]
    commands = [f"mkdir -p {shlex.quote(path)}" for path in missing]
    commands += [f"chmod {mode:o} {shlex.quote(path)}" for path, mode in changed if path.count("/") > 2]
    await run_all(phone, commands)


async def run_all(phone: Connection, commands: Sequence[str]) -> None:
    """Run short commands, as many at once as a line may hold. Raises AdbError."""
    line = ""
    for command in [*commands, ""]:
        if line and (not command or len(line) + len(command) > _COMMAND_BYTES):
            done = await transfers.shell(phone, line, OUTPUT_MAX)
            if done.code:
                raise AdbError(done.text.decode("utf-8", "replace").strip() or f"exit code {done.code}")
            line = ""
        line = f"{line} && {command}" if line else command


async def _has_mode(phone: Connection, path: str, mode: int) -> bool:
    return stat.S_IMODE((await transfers.look(phone, path)).mode) == mode


class Exporter:
    """Packs paths of one phone into an archive."""

    def __init__(self, phone: Connection, file: IO[bytes], exclude: Sequence[str], image_version: str = "") -> None:
        self._phone = phone
        self._archive = ArchiveWriter(file, image_version)
        self.left_out: list[str] = []  # what no archive can bring back, and why
        self._exclude = exclude
        self._count = 0
        self._seen: set[str] = set()

    async def pack(self, include: Sequence[str]) -> None:
        """Everything at the paths; a `*` at the end of a path stands for any rest of a name. Raises AdbError, ArchiveError."""
        for pattern in include:
            for path in await self._matches(pattern):
                info = await transfers.look(self._phone, path)
                if not info.error:
                    await self._add(path, info)
        if not self._count:
            raise ArchiveError(f"nothing is at {', '.join(include)[:200]}")
        await asyncio.to_thread(self._archive.close)

    async def _matches(self, pattern: str) -> list[str]:
        if not pattern.endswith("*"):
            return [posixpath.normpath(pattern)]
        directory, _, beginning = pattern[:-1].rpartition("/")
        found = await transfers.list_directory(self._phone, directory or "/")
        return sorted(f"{directory}/{entry.name}" for entry in found if entry.name.startswith(beginning))

    def _excluded(self, path: str) -> bool:
        return any(
            path.startswith(pattern[:-1])
            if pattern.endswith("*")
            else path == pattern or path.startswith(f"{pattern.rstrip('/')}/")
            for pattern in self._exclude
        )

    async def _add(self, path: str, info: FileStat) -> None:
        todo = [(path, info)]
        while todo:
            path, info = todo.pop()
            if path in self._seen or self._excluded(path):
                continue
            self._seen.add(path)
            target = await self._target(path) if stat.S_ISLNK(info.mode) else ""
            problem = refusal(path, target)
            if problem:
                self.left_out.append(problem)
                continue
            self._count += 1
            if self._count > EXPORT_ENTRIES_MAX:
                raise ArchiveError(f"more than {EXPORT_ENTRIES_MAX} files and directories were asked for; export them in parts")
            if stat.S_ISDIR(info.mode):
                await asyncio.to_thread(self._archive.head, path, info.mode, info.mtime)
                found = await transfers.list_directory(self._phone, path)
                todo += [(f"{path}/{entry.name}", entry.stat) for entry in sorted(found, reverse=True) if not entry.stat.error]
            elif stat.S_ISREG(info.mode):
                await self._add_file(path, info)
            elif target:
                await asyncio.to_thread(self._archive.head, path, info.mode, info.mtime, 0, target)

    async def _target(self, path: str) -> str:
        done = await transfers.shell(self._phone, f"readlink {shlex.quote(path)}", LINK_OUTPUT_MAX)
        found = done.text.decode("utf-8", "surrogateescape").rstrip("\n")
        return relative_target(path, found) if found and not done.code else ""

    async def _add_file(self, path: str, info: FileStat) -> None:
        """A file that changes while it is read is kept with the size that it had: cut, or filled up with zeros."""
        await asyncio.to_thread(self._archive.head, path, info.mode, info.mtime, info.size)
        left = info.size
        async for data in transfers.receive(self._phone, path):
            await asyncio.to_thread(self._archive.write, data[:left])
            left -= min(left, len(data))
            if not left:
                break
        while left:
            await asyncio.to_thread(self._archive.write, bytes(min(left, 1 << 20)))
            left -= min(left, 1 << 20)
        await asyncio.to_thread(self._archive.pad, info.size)
