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
from opencph.fleet.archives import ArchiveError, ArchiveWriter, entries, relative_target

EXPORT_ENTRIES_MAX = 100_000
OUTPUT_MAX = 1024
_COMMAND_BYTES = 2000


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

    def __init__(self, phone: Connection, file: IO[bytes], exclude: Sequence[str]) -> None:
        self._phone = phone
        self._archive = ArchiveWriter(file)
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
            self._count += 1
            if self._count > EXPORT_ENTRIES_MAX:
                raise ArchiveError(f"more than {EXPORT_ENTRIES_MAX} files and directories were asked for; export them in parts")
            if stat.S_ISDIR(info.mode):
                await asyncio.to_thread(self._archive.head, path, info.mode, info.mtime)
                found = await transfers.list_directory(self._phone, path)
                todo += [(f"{path}/{entry.name}", entry.stat) for entry in sorted(found, reverse=True) if not entry.stat.error]
            elif stat.S_ISREG(info.mode):
                await self._add_file(path, info)
            elif stat.S_ISLNK(info.mode):
                done = await transfers.shell(self._phone, f"readlink {shlex.quote(path)}", OUTPUT_MAX)
                target = relative_target(path, done.text.decode("utf-8", "surrogateescape").rstrip("\n"))
                if not done.code and target:
                    await asyncio.to_thread(self._archive.head, path, info.mode, info.mtime, 0, target)

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
