"""The file service: what it keeps, what it refuses, what it cleans up."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handset.one_phone import dial, running, until
from opencph.adb import sync_protocol as wire
from opencph.adb.client import AdbError
from opencph.adb.device import Stream
from opencph.handset.disk import Disk
from opencph.handset.files import Files
from opencph.handset.nodes import Blob, layout
from opencph.handset.sync import SyncService
from opencph.handset.transfers import Download, Upload
from opencph.handset.trees import BLOCK_BYTES, remove_tree

MIB = 1024 * 1024


def _files(directory: Path) -> Files:
    files = Files(directory, None, layout({"build.prop": Blob(lambda: b"ro.x=1\n")}, {}, {}))
    files.ensure()
    return files


def test_no_path_leaves_the_phone(home: Path) -> None:
    files = _files(home / "p")
    secret = home / "secret"
    secret.write_text("host")
    data = home / "p" / "data"
    (data / "absolute").symlink_to(secret)
    (data / "relative").symlink_to("../../secret")
    (data / "up").symlink_to("../../../../../../../../../..")
    (data / "loop").symlink_to("loop")
    for path in (
        "/data/absolute",
        "/data/relative",
        f"/data/up{secret}",
        "/data/../../secret",
        "/../../../../../etc/hostname",
        f"/data/up/../..{secret}",
        "/data/local/../../../secret",
        "/etc/hostname",
        "/proc/self/environ",
        str(secret),
        "/data/loop",
    ):
        assert files.stat(path).error, path
        with pytest.raises(OSError):
            os.close(files.open_read(path))
    assert files.stat("/data/up/data").error == 0  # it leads to the phone's own root


def test_pushing_through_links_stays_inside(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            await adb.push(b"1", "/data/first")
            data = home / "p" / "data"
            (data / "out").symlink_to(home)
            (data / "file").symlink_to(home / "target")
            for path in ("/data/out/x", "/data/file", "/data/../../x", "/x", "/data/media/../../../x"):
                try:
                    await adb.push(b"x", path)
                except AdbError:
                    continue
            assert sorted(path.name for path in home.iterdir()) == ["p"]

    asyncio.run(main())


def test_links_of_the_phone_are_followed_inside_it(home: Path) -> None:
    files = _files(home / "p")
    (home / "p" / "data" / "media" / "0" / "x").write_text("x")
    (home / "p" / "data" / "link").symlink_to("/sdcard/x")
    for path in ("/sdcard/x", "/mnt/sdcard/x", "/storage/self/primary/x", "/storage/emulated/0/x", "/data/link", "/sdcard/../0/x"):
        with os.fdopen(files.open_read(path)) as file:
            assert file.read() == "x"
    assert stat.S_ISLNK(files.stat("/data/link", follow=False).mode)
    assert stat.S_ISREG(files.stat("/data/link").mode)
    assert stat.S_ISDIR(files.stat("/sdcard/").mode)


def test_special_files_are_not_opened(home: Path) -> None:
    files = _files(home / "p")
    os.mkfifo(home / "p" / "data" / "fifo")
    with pytest.raises(OSError):
        files.open_read("/data/fifo")

    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            with pytest.raises(AdbError):
                await adb.push(b"x", "/data/fifo")

    asyncio.run(main())


def test_the_disk_is_full_to_the_block_and_partial_files_go(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p", data_bytes=2 * MIB) as phone, await dial(phone) as adb:
            await adb.push(b"", "/data/local/tmp/first")
            left = phone.disk.remaining()
            with pytest.raises(AdbError, match="No space left on device"):
                await adb.push(bytes(left + 1), "/data/local/tmp/big")
            assert (await adb.stat("/data/local/tmp/big")).error
            assert phone.disk.remaining() == left
            await adb.push(bytes(left), "/data/local/tmp/exact")
            assert phone.disk.remaining() == 0
            for path in ("/data/local/tmp/more", "/data/new/directory/x"):
                with pytest.raises(AdbError, match="No space left on device"):
                    await adb.push(b"x", path)
            await adb.push(bytes(left - BLOCK_BYTES), "/data/local/tmp/exact")  # over itself: the old one makes room
            counted = phone.disk.used()
            phone.disk.forget()
            assert phone.disk.used() == counted

    asyncio.run(main())


def test_a_client_that_vanishes_leaves_no_half_file(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone:
            adb = await dial(phone)
            stream = await adb.open("sync:")
            target = home / "p" / "data" / "half"
            await stream.write(wire.request(wire.SEND, b"/data/half,33188") + wire.REQUEST.pack(wire.DATA, 60_000) + bytes(100))
            await until(target.exists)
            await adb.close()
            await until(lambda: not target.exists())
            counted = phone.disk.used()
            phone.disk.forget()
            assert phone.disk.used() == counted

    asyncio.run(main())


def test_a_client_that_vanishes_while_much_is_written_or_read_leaves_nothing_behind(home: Path) -> None:
    """Both ways: what is written in a thread, and what is sent to nobody."""

    async def main() -> None:
        async with running(home / "p", data_bytes=256 * MIB) as phone:
            for _ in range(5):
                adb = await dial(phone)
                pushing = asyncio.create_task(adb.push(bytes(64 * MIB), "/data/half"))
                await until((home / "p" / "data" / "half").exists)
                await adb.close()
                with suppress(AdbError, OSError):
                    await pushing
                await until(lambda: not (home / "p" / "data" / "half").exists())
            with (home / "p" / "data" / "large").open("wb") as file:
                file.truncate(128 * MIB)
            phone.disk.forget()
            for _ in range(5):
                adb = await dial(phone)
                stream = await adb.open("sync:")
                await stream.write(wire.request(wire.RECV, b"/data/large"))
                await stream.read_exactly(100_000)
                await adb.close()
            await until(lambda: not _open_files(home / "p"))
            counted = phone.disk.used()
            phone.disk.forget()
            assert phone.disk.used() == counted
            async with await dial(phone) as adb:
                assert len(await adb.pull("/data/large")) == 128 * MIB

    asyncio.run(main())


def _open_files(directory: Path) -> list[str]:
    """What this process has open below a directory."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(entry.readlink()))
    return [path for path in found if path.startswith(str(directory))]


def test_a_file_in_more_pieces_than_one_call_writes_arrives_whole(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            data = os.urandom(20_000)
            stream = await adb.open("sync:")
            pieces = b"".join(wire.REQUEST.pack(wire.DATA, 1) + data[at : at + 1] for at in range(len(data)))
            await stream.write(wire.request(wire.SEND, b"/data/pieces,33188") + pieces + wire.REQUEST.pack(wire.DONE, 1))
            assert await stream.read_exactly(8) == wire.REQUEST.pack(wire.OKAY, 0)
            assert await adb.pull("/data/pieces") == data

    asyncio.run(main())


def test_a_request_in_the_message_that_ends_a_large_file_is_answered(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            stream = await adb.open("sync:")
            chunk = wire.REQUEST.pack(wire.DATA, 60_000) + bytes(60_000)
            words = wire.request(wire.SEND, b"/data/file,33188") + 3 * chunk + wire.REQUEST.pack(wire.DONE, 1)
            await stream.write(words + wire.request(wire.RECV, b"/data/file"))
            async with asyncio.timeout(20):
                assert await stream.read_exactly(8) == wire.REQUEST.pack(wire.OKAY, 0)
                got = b""
                while True:
                    kind, length = wire.REQUEST.unpack(await stream.read_exactly(8))
                    if kind == wire.DONE:
                        break
                    got += await stream.read_exactly(length)
            assert got == bytes(180_000)

    asyncio.run(main())


def test_version_two_of_every_request_works(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            stream = await adb.open("sync:")
            await stream.write(wire.request(wire.SND2, b"/data/two") + wire.SEND_V2_SETUP.pack(wire.SND2, 0o100640, 0))
            await stream.write(wire.REQUEST.pack(wire.DATA, 3) + b"two" + wire.REQUEST.pack(wire.DONE, 1_600_000_000))
            assert await stream.read_exactly(8) == wire.REQUEST.pack(wire.OKAY, 0)
            await stream.write(wire.request(wire.LST2, b"/data/two"))
            kind, *fields = wire.STAT_V2.unpack(await stream.read_exactly(wire.STAT_V2.size))
            found = wire.FileStat(*fields)
            assert (kind, found.mode, found.size, found.mtime, found.uid) == (wire.LST2, 0o100640, 3, 1_600_000_000, 2000)
            await stream.write(wire.request(wire.RCV2, b"/data/two") + wire.RECV_V2_SETUP.pack(wire.RCV2, 0))
            assert await stream.read_exactly(19) == wire.REQUEST.pack(wire.DATA, 3) + b"two" + wire.REQUEST.pack(wire.DONE, 0)
            await stream.write(wire.request(wire.LIS2, b"/data/local"))
            names = []
            while True:
                entry = wire.DENT_V2.unpack(await stream.read_exactly(wire.DENT_V2.size))
                if entry[0] == wire.DONE:
                    break
                names.append(await stream.read_exactly(entry[-1]))
            assert names == [b".", b"..", b"tmp"]
            await stream.write(wire.request(wire.SEND, b"/data/link,41471") + wire.REQUEST.pack(wire.DATA, 9) + b"/data/two")
            await stream.write(wire.REQUEST.pack(wire.DONE, 1_600_000_000))
            assert await stream.read_exactly(8) == wire.REQUEST.pack(wire.OKAY, 0)
            assert (home / "p" / "data" / "link").readlink() == Path("/data/two")
            await stream.write(wire.request(wire.QUIT, b""))
            assert await stream.read() == b""

    asyncio.run(main())


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (wire.request(wire.STAT, b"x" * 1025), b"path too long"),
        (wire.request(b"EVIL", b"/x"), b"unknown command"),
        (wire.request(wire.SEND, b"/data/x"), b"missing ,"),
        (wire.request(wire.SEND, b"/data/x,33188") + wire.REQUEST.pack(wire.DATA, 65537), b"oversize"),
        (wire.request(wire.SEND, b"/data/x,33188") + wire.REQUEST.pack(b"JUNK", 1), b"invalid data message"),
        (wire.request(wire.SEND, b"/data/x,99999999999"), b"bad mode"),
        (wire.request(wire.SEND, b"/data/x,4294967296"), b"bad mode"),
        (wire.request(wire.SEND, b"/data/x,0x100000000"), b"bad mode"),
        (wire.request(wire.SEND, b"/data/x," + b"9" * 900), b"bad mode"),
        (wire.request(wire.SEND, "/data/x,²".encode()), b"bad mode"),
        (wire.request(wire.SEND, b"/data/x,-1"), b"bad mode"),
        (wire.request(wire.SEND, b"/data/x,"), b"bad mode"),
        (
            wire.request(wire.SND2, b"/data/x") + wire.SEND_V2_SETUP.pack(wire.SND2, 33188, wire.FLAG_ZSTD | wire.FLAG_LZ4),
            b"compression",
        ),
    ],
)
def test_broken_requests_get_their_reason(home: Path, request_bytes: bytes, answer: bytes) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            stream = await adb.open("sync:")
            await stream.write(request_bytes)
            kind, length = wire.REQUEST.unpack(await stream.read_exactly(8))
            assert kind == wire.FAIL and answer in await stream.read_exactly(length)
            assert not (home / "p" / "data" / "x").exists() or (await adb.stat("/data/x")).error == 0

    asyncio.run(main())


class _Recorder(Stream):
    """A stream that keeps what the service sends."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = bytearray()

    @property
    def max_payload(self) -> int:
        return 1 << 20

    @property
    def idle(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def close(self) -> None:
        pass


_SYNC_KINDS = st.sampled_from(
    [b"STAT", b"STA2", b"LST2", b"LIST", b"LIS2", b"SEND", b"SND2", b"RECV", b"RCV2", b"DATA", b"DONE", b"QUIT", b"????"]
)
_PATHS = (
    st.sampled_from([b"/data/a", b"/data/a,33188", b"/../x", b"", b"\0", b"/data/\xff,0", b","])
    | st.binary(max_size=20)
    | st.integers(0, 1 << 70).map(lambda mode: b"/data/a,%d" % mode)
)
_PIECES = st.builds(wire.request, _SYNC_KINDS, _PATHS) | st.builds(
    lambda k, n: struct.pack("<4sI", k, n), _SYNC_KINDS, st.integers(0, 70_000)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES | st.binary(max_size=30), max_size=8), st.integers(1, 200))
def test_no_sequence_of_requests_breaks_the_file_service(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], step: int
) -> None:
    directory = tmp_path_factory.mktemp("sync")
    service = SyncService(_Recorder(), _files(directory / "p"), Disk(directory / "p", MIB))
    stream = b"".join(pieces)
    for at in range(0, len(stream), step):
        service.on_data(memoryview(stream[at : at + step]))
        service.on_ready()
    service.on_close()
    assert sorted(path.name for path in directory.iterdir()) == ["p"]
    remove_tree(directory)


def test_links_with_several_names_count_once_and_directories_cost_a_block(home: Path) -> None:
    files = _files(home / "p")
    disk = Disk(files.directory, 64 * MIB)
    before = disk.used()
    data = home / "p" / "data"
    (data / "one").write_bytes(bytes(5000))
    os.link(data / "one", data / "two")
    (data / "directory").mkdir()
    disk.forget()
    assert disk.used() - before == 2 * BLOCK_BYTES + BLOCK_BYTES


def test_a_tree_too_deep_to_count_is_a_full_disk(home: Path) -> None:
    files = _files(home / "p")
    disk = Disk(files.directory, 64 * MIB)
    fd = os.open(home / "p" / "data", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    disk.forget()
    assert disk.remaining() == 0
    remove_tree(home / "p")


def test_sizes_and_places_beyond_four_gib_hold(home: Path) -> None:
    """Without moving 4 GiB (`python -m bench large` does): a file with a hole is told, read and written on beyond them."""
    large, near = 5 << 30, (4 << 30) - 100_000

    async def main() -> None:
        async with running(home / "p", data_bytes=16 << 30) as phone, await dial(phone) as adb:
            await adb.push(b"", "/data/large")
            with (home / "p" / "data" / "large").open("r+b") as file:
                file.truncate(large)
                file.seek(4 << 30)
                file.write(b"beyond")
            info = await adb.stat("/data/large")
            assert info.size in (large, large & 0xFFFFFFFF)
            stream = await adb.open("sync:")
            await stream.write(wire.request(wire.LST2, b"/data/large"))
            _, *fields = wire.STAT_V2.unpack(await stream.read_exactly(wire.STAT_V2.size))
            assert wire.FileStat(*fields).size == large

            download = Download(phone.files.open_read("/data/large"))
            download._at = near
            got = b""
            while len(got) < 100_006:
                chunks = bytes(download.next(1 << 20))
                while chunks:
                    _, length = wire.REQUEST.unpack(chunks[:8])
                    got, chunks = got + chunks[8 : 8 + length], chunks[8 + length :]
            download.close()
            assert got[:100_006] == bytes(100_000) + b"beyond"

            upload = Upload(phone.files, phone.disk, "/data/grown", stat.S_IFREG | 0o644)
            os.lseek(upload._fd, near, os.SEEK_SET)
            phone.disk.take(near)
            upload.size = upload.taken = near
            upload.write([memoryview(bytes(99_990)), memoryview(b"x" * 30)])
            upload.finish(0)
            assert (home / "p" / "data" / "grown").stat().st_size == (4 << 30) + 20
            with (home / "p" / "data" / "grown").open("rb") as file:
                file.seek((4 << 30) - 10)
                assert file.read() == b"x" * 30

    asyncio.run(main())
