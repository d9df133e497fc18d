"""The file service (`sync:`) of a phone: what `adb push`, `pull`, `ls` and `sync` talk to. Framing lives in `adb.sync_protocol`."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING

from opencph.adb import sync_protocol as wire
from opencph.adb.device import Service, Stream
from opencph.adb.sync_protocol import FileStat
from opencph.handset.compression import COMPRESSIONS, decoder, encoder
from opencph.handset.transfers import CompressedDownload, Decompressed, Discarded, Download, Upload

if TYPE_CHECKING:
    from opencph.handset.disk import Disk
    from opencph.handset.files import Files

_MODE = re.compile(r"0[xX](?P<hex>[0-9a-fA-F]{1,8})|0(?P<octal>[0-7]{0,11})|(?P<decimal>[1-9][0-9]{0,9})")
MODE_MAX = 0xFFFFFFFF
INLINE_BYTES = 64 * 1024  # of a message: more is written in a thread
NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class SyncService(Service):
    """One `sync:` stream: requests one after the other, until QUIT or a failure."""

    __slots__ = (
        "_buffer",
        "_closed",
        "_disk",
        "_download",
        "_draining",
        "_files",
        "_left",
        "_listing",
        "_state",
        "_stream",
        "_upload",
        "_waiting",
        "_working",
    )

    def __init__(self, stream: Stream, files: Files, disk: Disk) -> None:
        self._stream = stream
        self._files = files
        self._disk = disk
        self._buffer = bytearray()  # the beginning of what is not complete yet
        self._state = "request"  # or "chunk" between DATA headers, "setup" after the path of SND2 and RCV2
        self._left = 0  # bytes of the DATA chunk at hand that are still to come
        self._upload: Upload | Decompressed | Discarded | None = None
        self._draining = False  # a push failed: swallow its data, as old adb clients need it
        self._download: Download | CompressedDownload | None = None
        self._listing: Iterator[bytes] | None = None
        self._working: asyncio.Task[None] | None = None  # what takes its time, in a thread: the file and the fields are its own
        self._waiting: list[bytes] = []  # messages that came meanwhile
        self._closed = False

    def on_data(self, data: memoryview) -> bool:
        """Requests, or pieces of a file. Large pieces are written in a thread, so that the host's other phones do not wait."""
        if self._working is not None:
            self._waiting.append(bytes(data))
            return False
        if self._upload is not None and len(data) > INLINE_BYTES:
            self._waiting.append(bytes(data))
            self._work(self._receive())
            return False
        try:
            for pieces in self._feed(data):
                self._write(pieces)
        except _EndError as end:
            self._end(end)
        return True

    def _work(self, work: Coroutine[None, None, None]) -> None:
        self._working = asyncio.get_running_loop().create_task(work)

    async def _receive(self) -> None:
        """What waits, one message after the other."""
        try:
            while self._waiting and not self._closed:
                self._stream.hold()  # as adbd does it: first the acknowledgement of a message, then what answers it
                try:
                    for pieces in self._feed(memoryview(self._waiting.pop(0))):
                        await self._write_beside(pieces)
                except _EndError as end:
                    self._end(end)
                finally:
                    self._stream.acknowledge()
                    self._stream.release()
        finally:
            self._worked()
        if self._download is not None and self._stream.idle:  # asked for in the same message
            self.on_ready()

    def _worked(self) -> None:
        self._working = None
        if self._closed:
            self._let_go()

    def _end(self, end: _EndError) -> None:
        if end.args:
            self._stream.write(wire.fail(str(end)))
        self._finish()

    def on_ready(self) -> None:
        """The peer took what we sent: send more of the file or the listing."""
        if self._download is not None:
            if self._working is not None:
                return
            try:
                data = self._download.next(self._stream.max_payload, NOWAIT)
            except BlockingIOError:
                self._work(self._read(self._download))
                return
            except OSError as error:
                self._unreadable(error)
                return
            self._sent(data)
        elif self._listing is not None:
            batch = bytearray()
            for entry in self._listing:
                batch += entry
                if len(batch) >= wire.DATA_MAX:
                    break
            else:
                self._listing = None
            self._stream.write(batch)

    async def _read(self, download: Download | CompressedDownload) -> None:
        try:
            data = await asyncio.to_thread(download.next, self._stream.max_payload)
        except OSError as error:
            self._working = None
            if not self._closed:
                self._unreadable(error)
        else:
            self._working = None
            if not self._closed:
                self._sent(data)
        finally:
            self._worked()
            if self._waiting and not self._closed:
                self._work(self._receive())

    def _sent(self, data: memoryview | bytes) -> None:
        if len(data) == 8 and data[:4] == wire.DONE:
            self._download = None
        self._stream.write(data)

    def _unreadable(self, error: OSError) -> None:
        assert self._download is not None
        self._download.close()
        self._download = None
        self._stream.write(wire.fail(f"read failed: {error.strerror}"))

    def on_close(self) -> None:
        """The peer is gone: nothing half-done stays."""
        self._closed = True
        self._waiting.clear()
        if self._working is None:
            self._let_go()

    def _let_go(self) -> None:
        if self._upload is not None:
            self._upload.abandon()
            self._upload = None
        if self._download is not None:
            self._download.close()
            self._download = None
        self._listing = None

    def _finish(self) -> None:
        self._let_go()
        self._state = "end"
        self._stream.close()

    # parsing

    def _feed(self, data: memoryview) -> Iterator[list[memoryview]]:
        """Take a message apart; yields what is to be written to the file that is being received. Raises _EndError."""
        at, end = 0, len(data)
        pieces: list[memoryview] = []
        while at < end:
            if self._state == "end":
                return
            if self._state == "chunk" and self._left:
                take = min(self._left, end - at)
                if self._upload is not None:
                    pieces.append(data[at : at + take])
                at += take
                self._left -= take
                continue
            need = self._need()
            if not self._buffer and end - at >= need:
                whole: memoryview | bytearray = data[at : at + need]
                at += need
            else:
                take = min(need - len(self._buffer), end - at)
                self._buffer += data[at : at + take]
                at += take
                need = self._need()
                if len(self._buffer) < need:
                    continue
                whole = self._buffer
            if self._state == "request" and len(whole) == wire.REQUEST.size:
                kind, length = wire.REQUEST.unpack(whole)
                if kind == wire.QUIT:
                    raise _EndError
                if length > wire.PATH_MAX:
                    raise _EndError("path too long")
                if length:
                    self._buffer = bytearray(whole)
                    continue
            if self._state == "chunk":
                kind, length = wire.REQUEST.unpack(whole)
                if kind == wire.DATA:
                    if length > wire.DATA_MAX:
                        raise _EndError("oversize data message")
                    self._left = length
                    self._buffer = bytearray()
                    continue
                if pieces:
                    yield pieces
                    pieces = []
                if kind == wire.QUIT:
                    raise _EndError
                if kind != wire.DONE:
                    raise _EndError("invalid data message")
                self._buffer = bytearray()
                self._done(length)
                continue
            whole = bytearray(whole)
            self._buffer = bytearray()
            self._request(whole)
        if pieces:
            yield pieces

    def _need(self) -> int:
        """Bytes that make the next whole thing: a header, a header with its path, or that and the setup of SND2 and RCV2."""
        if self._state == "chunk" or len(self._buffer) < wire.REQUEST.size:
            return wire.REQUEST.size
        kind, length = wire.REQUEST.unpack_from(self._buffer)
        extra = {wire.SND2: wire.SEND_V2_SETUP.size, wire.RCV2: wire.RECV_V2_SETUP.size}.get(kind, 0)
        return int(wire.REQUEST.size + length + extra)

    def _request(self, whole: bytearray) -> None:
        kind, length = wire.REQUEST.unpack_from(whole)
        path = bytes(whole[wire.REQUEST.size : wire.REQUEST.size + length]).decode("utf-8", "surrogateescape")
        setup = bytes(whole[wire.REQUEST.size + length :])
        write = self._stream.write
        if self._download is not None or self._listing is not None:
            raise _EndError("one request at a time: the answer before is not finished")
        if kind == wire.STAT:
            write(wire.stat_v1(self._files.stat(path, follow=False)))
        elif kind in (wire.STA2, wire.LST2):
            write(wire.stat_v2(kind, self._files.stat(path, follow=kind == wire.STA2)))
        elif kind in (wire.LIST, wire.LIS2):
            self._listing = self._entries(path, kind == wire.LIS2)
            self._begin()
        elif kind in (wire.RECV, wire.RCV2):
            flags = wire.RECV_V2_SETUP.unpack(setup)[1] if setup else 0
            try:
                packing = encoder(flags & COMPRESSIONS) if flags & COMPRESSIONS else None
                fd = self._files.open_read(path)
                self._download = Download(fd) if packing is None else CompressedDownload(fd, packing)
            except OSError as error:
                write(wire.fail(f"open failed: {error.strerror}"))
                return
            self._begin()
        elif kind == wire.SEND:
            path, comma, mode = path.rpartition(",")
            if not comma:
                raise _EndError("missing , in ID_SEND")
            self._send(path, _mode(mode), 0)
        elif kind == wire.SND2:
            if not setup:
                raise _EndError("no setup in ID_SEND_V2")
            _, mode_bits, flags = wire.SEND_V2_SETUP.unpack(setup)
            self._send(path, mode_bits, flags)
        else:
            raise _EndError(f"unknown command {kind.decode('ascii', 'replace')!r}")

    def _begin(self) -> None:
        if self._stream.idle:
            self.on_ready()

    def _entries(self, path: str, version2: bool) -> Iterator[bytes]:
        try:
            for name, info in self._files.list(path):
                if version2:
                    yield wire.dent_v2(name, info)
                elif not info.error:
                    yield wire.dent_v1(name, info)
        except OSError as error:
            if version2 and not error.errno:  # nothing is said of why; an empty listing is adbd's answer
                yield wire.dent_v2(b"", FileStat(error=5))
        yield wire.LIST_DONE_V2 if version2 else wire.LIST_DONE_V1

    # receiving a file

    def _send(self, path: str, mode: int, flags: int) -> None:
        self._state, self._left = "chunk", 0
        self._draining = False
        if not stat.S_IFMT(mode):
            mode |= stat.S_IFREG
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            self._refuse("only files and symbolic links can be pushed")
            return
        try:
            unpacking = decoder(flags & COMPRESSIONS) if flags & COMPRESSIONS else None
            dropped = flags & wire.FLAG_DRY_RUN or self._files.is_null(path)
            target = Discarded() if dropped else Upload(self._files, self._disk, path, mode)
            self._upload = target if unpacking is None else Decompressed(target, unpacking)
        except OSError as error:
            self._refuse(f"couldn't create file: {error.strerror}")

    def _refuse(self, text: str) -> None:
        if self._upload is not None:
            self._upload.abandon()
            self._upload = None
        self._draining = True
        self._stream.write(wire.fail(text))

    def _write(self, pieces: list[memoryview]) -> None:
        if self._upload is None:
            return
        try:
            self._upload.write(pieces)
        except OSError as error:
            self._refuse(f"write failed: {error.strerror}")

    async def _write_beside(self, pieces: list[memoryview]) -> None:
        if self._upload is None:
            return
        loop = asyncio.get_running_loop()
        try:
            for step in self._upload.steps(pieces):
                await loop.run_in_executor(None, step)
                if self._closed:
                    return
        except OSError as error:
            self._refuse(f"write failed: {error.strerror}")

    def _done(self, mtime: int) -> None:
        self._state = "request"
        if self._draining:
            raise _EndError
        assert self._upload is not None
        upload, self._upload = self._upload, None
        try:
            upload.finish(mtime)
        except OSError as error:
            upload.abandon()
            self._stream.write(wire.fail(f"couldn't finish file: {error.strerror}"))
            return
        self._stream.write(wire.REQUEST.pack(wire.OKAY, 0))


def _mode(text: str) -> int:
    """The mode behind the comma of SEND, as adbd's strtoul reads it. Raises _EndError for what is none, or too much for one."""
    found = _MODE.fullmatch(text)
    if found is None:
        raise _EndError("bad mode")
    base = {"hex": 16, "octal": 8, "decimal": 10}[found.lastgroup or "decimal"]
    mode = int(found[found.lastgroup or 0] or "0", base)
    if mode > MODE_MAX:
        raise _EndError("bad mode")
    return mode


class _EndError(Exception):
    """The session ends; the text, if any, goes to the peer as FAIL."""
