"""Files on their way into and out of a phone: counted against the disk, compressed if the peer asked. The service is `sync.py`.

What only touches the file itself may be called in a thread; what counts the disk belongs to the event loop.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from opencph.adb import sync_protocol as wire
from opencph.handset.trees import BLOCK_BYTES, blocks

if TYPE_CHECKING:
    from opencph.handset.compression import Decoder, Encoder
    from opencph.handset.disk import Disk
    from opencph.handset.files import Files, Place

CHUNK_BYTES = 8 + wire.DATA_MAX
COMPRESS_BYTES = 256 * 1024  # of a file, compressed at once
PIECES_MAX = os.sysconf("SC_IOV_MAX")  # that one call writes
UNPACKED_BYTES = 1024 * 1024  # about so much is unpacked before it is written


class Upload:
    """A file that is being received. Removed again unless it is finished."""

    __slots__ = ("_disk", "_fd", "_files", "_link", "_mode", "_path", "_place", "size", "taken")

    def __init__(self, files: Files, disk: Disk, path: str, mode: int) -> None:
        """Raises OSError; the words before its text say at what it failed."""
        self._files, self._disk = files, disk
        self._path, self._mode = path, mode
        self._fd = -1
        self._link: bytearray | None = bytearray() if stat.S_ISLNK(mode) else None
        self.size = 0
        self.taken = 0
        files.ensure()
        disk.used()  # counted before anything changes
        files.make_parents(path, lambda: disk.take(BLOCK_BYTES))
        self._place: Place = files.resolve(path, follow=self._link is None)
        try:
            files.writable(self._place)
            if self._link is None:
                self._fd, before = files.create(self._place)
                if before >= 0:
                    disk.take(-blocks(before))
                disk.take(BLOCK_BYTES)
                self.taken = BLOCK_BYTES
        except OSError:
            self.abandon()
            raise

    def write(self, pieces: list[memoryview]) -> None:
        """Append. Raises OSError (ENOSPC when the disk is full: then nothing of it is kept)."""
        for step in self.steps(pieces):
            step()

    def steps(self, pieces: list[memoryview]) -> Iterator[Callable[[], None]]:
        """The same in steps that may each run in a thread; taking them from here may not. Raises OSError."""
        length = sum(map(len, pieces))
        if self._link is not None:
            for piece in pieces:
                self._link += piece
            if len(self._link) > wire.PATH_MAX * 4:
                raise OSError(36, os.strerror(36))
            return
        more = blocks(self.size + length) - self.taken
        if more > 0:
            self._disk.take(more)
            self.taken += more
        self.size += length
        yield lambda: self._append(pieces, length)

    def _append(self, pieces: list[memoryview], length: int) -> None:
        if len(pieces) > PIECES_MAX:
            pieces = [memoryview(b"".join(pieces))]
        written = os.writev(self._fd, pieces)
        while written < length:  # a nearly full disk of the machine takes a part first
            rest = memoryview(b"".join(pieces))[written:]
            written += os.write(self._fd, rest)

    def finish(self, mtime: int) -> None:
        """Set mode and time. Raises OSError."""
        place = self._place
        if self._link is not None:
            target = bytes(self._link).partition(b"\0")[0]  # as C reads it
            if place.name:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place.name, dir_fd=place.fd)
            self._disk.take(BLOCK_BYTES)
            os.symlink(target, os.fsencode(place.name), dir_fd=place.fd)
            owner = self._files.owner
            if owner is not None:
                os.chown(place.name, owner, owner, dir_fd=place.fd, follow_symlinks=False)
            os.utime(place.name, (mtime, mtime), dir_fd=place.fd, follow_symlinks=False)
        else:
            os.fchmod(self._fd, self._mode & 0o777)
            os.utime(self._fd, (mtime, mtime))
            os.close(self._fd)
            self._fd = -1
        place.close()

    def abandon(self) -> None:
        """Remove what there is of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError):
                os.unlink(self._place.name, dir_fd=self._place.fd)
            self._disk.take(-self.taken)
        self._place.close()


class Download:
    """A file that is being sent: DATA chunks, as many to a message as fit."""

    __slots__ = ("_at", "_buffer", "_fd")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._buffer = bytearray()

    def next(self, limit: int, flags: int = 0) -> memoryview | bytes:
        """The next chunks, at most `limit` bytes; DONE at the end, then nothing. Raises OSError.

        With the flag RWF_NOWAIT it raises BlockingIOError where the machine's disk would have to be asked.
        """
        if self._fd < 0:
            return b""
        count = max(1, limit // CHUNK_BYTES)
        chunk = wire.DATA_MAX if limit >= CHUNK_BYTES else limit - 8
        if not self._buffer:
            self._buffer = bytearray(count * (8 + chunk))
        view = memoryview(self._buffer)
        buffers = [view[at + 8 : at + 8 + chunk] for at in range(0, count * (8 + chunk), 8 + chunk)]
        try:
            got = os.preadv(self._fd, buffers, self._at, flags)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP and flags:  # this file system cannot say
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
            raise
        self._at += got
        if not got:
            self.close()
            return wire.REQUEST.pack(wire.DONE, 0)
        whole, rest = divmod(got, chunk)
        for index in range(whole):
            wire.REQUEST.pack_into(self._buffer, index * (8 + chunk), wire.DATA, chunk)
        end = whole * (8 + chunk)
        if rest:
            wire.REQUEST.pack_into(self._buffer, end, wire.DATA, rest)
            end += 8 + rest
        return view[:end]

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Discarded:
    """A push that only tries how fast it is (`adb push -n`): nothing is kept."""

    def write(self, pieces: list[memoryview]) -> None:
        """Take it."""

    def steps(self, pieces: list[memoryview]) -> Iterator[Callable[[], None]]:
        """Nothing to do."""
        return iter(())

    def finish(self, mtime: int) -> None:
        """Well received."""

    def abandon(self) -> None:
        """Nothing there to remove."""


class Decompressed:
    """A push that comes compressed."""

    def __init__(self, target: Upload | Discarded, decoder: Decoder) -> None:
        self._target, self._decoder = target, decoder

    def write(self, pieces: list[memoryview]) -> None:
        """Raises OSError for what the file raises, and when it is damaged."""
        for step in self.steps(pieces):
            step()

    def steps(self, pieces: list[memoryview]) -> Iterator[Callable[[], None]]:
        """As of the file itself: unpack some, write it, and so on."""
        unpacked = chain.from_iterable(map(self._decoder.decode, pieces))
        some: list[memoryview] = []

        def unpack() -> None:
            some.clear()
            size = 0
            for plain in unpacked:
                if plain:
                    some.append(memoryview(plain))
                    size += len(plain)
                if size >= UNPACKED_BYTES:
                    return

        while True:
            yield unpack
            if not some:
                return
            yield from self._target.steps(list(some))

    def finish(self, mtime: int) -> None:
        """Raises OSError when the end is missing."""
        if not self._decoder.ended:
            raise OSError(errno.EPROTO, "the compressed data ends too early")
        self._target.finish(mtime)

    def abandon(self) -> None:
        """Remove what there is of it."""
        self._target.abandon()


class CompressedDownload:
    """A pull that goes out compressed."""

    def __init__(self, fd: int, encoder: Encoder) -> None:
        self._fd = fd
        self._encoder = encoder
        self._ended = False

    def next(self, limit: int, flags: int = 0) -> memoryview | bytes:
        """The next chunks; DONE at the end, then nothing. Raises OSError. With flags always BlockingIOError."""
        if self._fd < 0:
            return b""
        if flags:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if self._ended:
            self.close()
            return wire.REQUEST.pack(wire.DONE, 0)
        packed = b""
        while not packed and not self._ended:
            data = os.read(self._fd, COMPRESS_BYTES)
            self._ended = not data
            packed = self._encoder.encode(memoryview(data)) if data else self._encoder.end()
        framed = bytearray()
        chunk = min(wire.DATA_MAX, max(1, limit - 8))
        for at in range(0, len(packed), chunk):
            piece = packed[at : at + chunk]
            framed += wire.REQUEST.pack(wire.DATA, len(piece)) + piece
        return bytes(framed) if framed else self.next(limit)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
