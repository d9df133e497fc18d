"""Where logcat's lines go: to stdout, or at the end of a file of the phone, as text or as the log's own binary entries."""

from __future__ import annotations

import contextlib
import os
import struct

from opencph.handset.commands import Context
from opencph.handset.commands.log_format import PRIORITIES, Format, Line
from opencph.handset.commands.options import Refusal, shown
from opencph.handset.trees import blocks

BUFFERS = ("main", "system", "radio", "events", "crash", "stats", "security", "kernel")
_ENTRY = struct.Struct("<HHiIIIII")  # liblog's struct logger_entry of version 4
_FIRST_PRIORITY = 2  # ANDROID_LOG_VERBOSE


class Rotation:
    """-r and -n: from `limit` bytes on (0: never) the file becomes FILE.1, that FILE.2, up to `kept` of them."""

    __slots__ = ("kept", "limit")

    def __init__(self, limit: int, kept: int) -> None:
        self.limit, self.kept = limit, kept


class Output:
    """Takes lines, and writes them when it is flushed. `left` counts down for -m."""

    def __init__(self, context: Context, form: Format | None, path: str, rotation: Rotation, most: int | None) -> None:
        """`form` is None for binary entries."""
        self._context, self._form, self._path, self._rotation = context, form, path, rotation
        self._pieces: list[bytes] = []
        self._begun: set[str] = set()
        self._buffer = ""
        self.left = most
        if path:
            self.flush_file()

    @property
    def full(self) -> bool:
        """Whether -m is reached."""
        return self.left is not None and self.left <= 0

    def begin(self, buffer: str, *, dividers: bool) -> None:
        """Say so when the first line of a buffer comes; with `dividers` also when another's come again."""
        if buffer not in self._begun or (dividers and buffer != self._buffer):
            if self._form is not None:
                self._put(f"--------- {'switch to' if buffer in self._begun else 'beginning of'} {buffer}\n".encode())
            self._begun.add(buffer)
        self._buffer = buffer

    def put(self, line: Line) -> None:
        """One line."""
        self._put(_binary(line) if self._form is None else f"{self._form.line(line)}\n".encode("utf-8", "replace"))

    def _put(self, data: bytes) -> None:
        if self._path:
            self._pieces.append(data)
        else:
            self._context.out(data)

    async def flush(self) -> None:
        """Wait until it is out. Raises Refusal when the file takes no more."""
        if self._path and self._pieces:
            self.flush_file()
        elif not self._path:
            await self._context.drain()

    def flush_file(self) -> None:
        """Append what there is to the file, and turn it over where it is full. Raises Refusal."""
        phone = self._context.phone
        pieces, self._pieces = self._pieces, []
        try:
            phone.files.ensure()
            with phone.files.resolve(self._path) as place:
                fd, size = phone.files.create(place, append=True)
                try:
                    if size < 0:
                        phone.disk.take(blocks(0))
                    size = max(0, size)
                    for data in pieces:
                        phone.disk.take(blocks(size + len(data)) - blocks(size))
                        size += os.write(fd, data)
                        if 0 < self._rotation.limit <= size:
                            os.close(fd)
                            fd = -1
                            self._turn(place.fd, place.name)
                            phone.disk.forget()
                            fd, _ = phone.files.create(place)
                            phone.disk.take(blocks(0))
                            size = 0
                finally:
                    if fd >= 0:
                        os.close(fd)
        except OSError as error:
            why = error.strerror or os.strerror(error.errno or 5)
            raise Refusal(f"logcat: couldn't open output file {shown(self._path)}: {why}", 1) from None

    def _turn(self, directory: int, name: str) -> None:
        kept = self._rotation.kept
        digits = len(str(kept))
        names = [name, *(f"{name}.{number:0{digits}}" for number in range(1, kept + 1))]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            with contextlib.suppress(FileNotFoundError):
                os.rename(newer, older, src_dir_fd=directory, dst_dir_fd=directory)
        if not kept:
            os.unlink(name, dir_fd=directory)


def _binary(line: Line) -> bytes:
    priority = PRIORITIES.index(line.priority) + _FIRST_PRIORITY
    payload = bytes((priority,)) + line.tag.encode("utf-8", "replace") + b"\0" + line.text.encode("utf-8", "replace") + b"\0"
    seconds, fraction = divmod(line.at, 1)
    head = _ENTRY.pack(
        len(payload), _ENTRY.size, line.pid, line.pid, int(seconds), int(fraction * 1_000_000_000), BUFFERS.index(line.buffer), 0
    )
    return head + payload
