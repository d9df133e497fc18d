"""The targets that talk to a phone: ADB messages of one connection, and the file service. The phone has no sandbox here: what runs
inside one is the shell's business, and every line of a fuzzer would start processes."""

from __future__ import annotations

import asyncio
import errno
import functools
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from fuzz.targets import Target
from opencph.adb import messages
from opencph.adb import sync_protocol as wire
from opencph.adb.device import DeviceConnection, Stream
from opencph.adb.messages import AUTH, CLSE, CNXN, OKAY, OPEN, STLS, WRTE
from opencph.handset.config import HandsetError, PhoneConfig
from opencph.handset.disk import Disk
from opencph.handset.files import Files
from opencph.handset.nodes import Blob, layout
from opencph.handset.phone import Phone
from opencph.handset.sync import SyncService
from opencph.handset.trees import remove_tree

MIB = 1 << 20
TURNS = 40
TASKS_MAX, TASK_SECONDS = 200, 30
COMMANDS = (CNXN, AUTH, OPEN, OKAY, WRTE, CLSE, STLS, 0)


class _Transport(asyncio.Transport):
    """A socket that takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.sent = 0

    def write(self, data: Any) -> None:
        self.sent += len(data)

    def abort(self) -> None:
        self.closed = True

    close = abort

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class _NoSandbox(Phone):
    """A phone whose shell cannot start."""

    async def enter_sandbox(self, *_: object, **__: object) -> NoReturn:
        raise HandsetError(errno.ENOSYS, "no sandbox here")


class _World:
    """A loop with a running phone in it. What a callback or a task raises is kept, for the target to raise."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.raised: list[BaseException] = []
        self.loop.set_exception_handler(self._heard)
        self.directory = tempfile.TemporaryDirectory(prefix="ocph-")
        self.phone = _NoSandbox(
            PhoneConfig(
                phone_id="0" * 32,
                name="fuzz",
                ip="127.0.0.1",
                adb_port=0,
                imei="869287243397729",
                model_name="rx1.cp.c60.d10.e1v1",
                memory_bytes=256 * MIB,
                data_bytes=4 * MIB,
                directory=Path(self.directory.name) / "p",
            )
        )
        self.loop.run_until_complete(self.phone.start())

    def _heard(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if (exception := context.get("exception")) is not None:
            self.raised.append(exception)


_worlds: list[_World] = []


def _world() -> _World:
    if not _worlds:
        _worlds.append(_World())
    return _worlds[0]


def _messages(data: bytes) -> bytes:
    """Bytes of a fuzzer as messages: kind, two ids, a length and the payload; the header is made to fit, or not."""
    out, at = b"", 0
    while at + 5 <= len(data):
        kind, one, two, size, flags = data[at : at + 5]
        payload = data[at + 5 : at + 5 + size]
        at += 5 + size
        command = COMMANDS[kind % len(COMMANDS)]
        arg0, arg1 = (value if value < 0xF0 else 0xFFFFFF00 | value for value in (one, two))
        if command == CNXN:
            arg0, arg1 = messages.VERSION - (one & 1), messages.MAX_PAYLOAD if two else two
        length = len(payload) if flags < 0xF0 else len(payload) + flags * 4096
        out += messages.header(command, arg0, arg1, length, messages.checksum(payload)) + payload
    return out


def adb(data: bytes) -> None:
    """Messages of one peer to a running phone. The phone must stay as it is, and raise nothing."""
    world = _world()
    stream = _messages(data)

    async def speak() -> None:
        phone = world.phone
        await phone.start()
        assert phone.daemon is not None
        connection, transport = DeviceConnection(phone.daemon), _Transport()
        connection.connection_made(transport)
        view = memoryview(stream)
        while view and not transport.closed:
            room = connection.get_buffer(-1)
            size = min(len(room), len(view))
            assert size, "the connection has no room for what comes"
            room[:size] = view[:size]
            view = view[size:]
            connection.buffer_updated(size)
            await asyncio.sleep(0)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        if len(asyncio.all_tasks()) > TASKS_MAX:  # they may take a moment, and then must end
            _, late = await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=TASK_SECONDS)
            assert not late, late

    world.loop.run_until_complete(speak())
    if world.raised:
        raise world.raised.pop()


def _adb_seeds() -> Iterable[bytes]:
    def one(command: int, arg0: int, arg1: int, payload: bytes = b"", flags: int = 0) -> bytes:
        return bytes([COMMANDS.index(command), arg0, arg1, len(payload), flags]) + payload

    hello = one(CNXN, 0, 1, b"host::features=shell_v2,delayed_ack\0")
    old = one(CNXN, 1, 1, b"host::\0")
    names: tuple[bytes, ...] = (
        b"sync:",
        b"shell,v2,raw:getprop",
        b"exec:cat /data/x",
        b"shell:logcat",
        b"reverse:forward:tcp:1;tcp:2",
        b"track-jdwp",
    )
    names += (
        b"abb:package\0list",
        b"tcp:1",
        b"framebuffer:",
        b"localfilesystem:/data/x",
        b"root:",
        b"tcpip:5",
        b"shell:pm list packages",
    )
    for name in names:
        window = struct.pack("<I", 4096)
        yield (
            hello + one(OPEN, 1, 255, name + b"\0") + one(OKAY, 1, 1, window) + one(WRTE, 1, 1, b"\0\4\0\0\0abcd") + one(CLSE, 1, 1)
        )
        yield old + one(OPEN, 1, 0, name + b"\0") + one(OKAY, 1, 1) + one(WRTE, 1, 1, wire.request(b"STAT", b"/data"))
    yield hello + one(AUTH, 3, 0, b"key") + one(WRTE, 9, 9, b"x", 255)


class _Recorder(Stream):
    """A stream that forgets what the service sends."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    @property
    def max_payload(self) -> int:
        return MIB

    @property
    def idle(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def close(self) -> None:
        pass


@functools.cache
def _sync_loop() -> asyncio.AbstractEventLoop:
    """Apart from the running phone's, whose tasks are no concern of a file service."""
    return asyncio.new_event_loop()


def sync(data: bytes) -> None:
    """Requests to the file service, cut into pieces of the size of the first byte. Nothing may appear outside of the phone."""
    with tempfile.TemporaryDirectory(prefix="ocph-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:  # noqa: S108
        home = Path(name)
        files = Files(home / "p", None, layout({"build.prop": Blob(lambda: b"ro.x=1\n")}, {}, {}))
        files.ensure()
        (home / "p" / "data" / "up").symlink_to("../../../../..")
        service = SyncService(_Recorder(), files, Disk(home / "p", MIB))
        step = (data[0] if data else 0) + 1

        async def speak() -> None:
            for at in range(1, len(data), step):
                service.on_data(memoryview(data[at : at + step]))
                service.on_ready()
                await asyncio.sleep(0)
            service.on_close()
            if working := asyncio.all_tasks() - {asyncio.current_task()}:  # a file that could not be read at once
                done, late = await asyncio.wait(working, timeout=TASK_SECONDS)
                assert not late, late
                for task in done:
                    task.result()

        _sync_loop().run_until_complete(speak())
        assert [path.name for path in home.iterdir()] == ["p"]
        remove_tree(home / "p")


def _sync_seeds() -> Iterable[bytes]:
    def data(content: bytes) -> bytes:
        return struct.pack("<4sI", b"DATA", len(content)) + content + struct.pack("<4sI", b"DONE", 1)

    for path in (b"/data/a", b"/data/../../x", b"/data/up/x", b"/data/b/c\xff"):
        for kind in (b"STAT", b"STA2", b"LST2", b"LIST", b"LIS2", b"RECV"):
            yield b"\x10" + wire.request(kind, path)
        for mode in (0o100644, 0o120777, 0o104755, 0o20644):
            yield b"\xff" + wire.request(b"SEND", path + b",%d" % mode) + data(b"/etc/passwd") + wire.request(b"RECV", path)
            for flags in (0, 1, 2, 0x80000000):
                yield b"\x40" + wire.request(b"SND2", path) + struct.pack("<4sII", b"SND2", mode, flags) + data(b"hello")
        yield b"\x40" + wire.request(b"RCV2", path) + struct.pack("<4sI", b"RCV2", 0) + wire.request(b"QUIT", b"")


TARGETS: dict[str, Target] = {"adb": Target(adb, _adb_seeds), "sync": Target(sync, _sync_seeds)}
