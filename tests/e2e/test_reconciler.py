"""What happens to real phones behind our back: killed, stopped, removed, added. It is found, told, and put right if it can be."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from jobs_fleet.small_world import World, eventually
from opencph.adb.client import AdbError, connect
from opencph.fleet import findings, phone_home, reconcile
from opencph.fleet.adb_check import silent_phones
from opencph.fleet.reconcile import Reconciler
from opencph.handset import control
from opencph.handset.host import lock_holder
from opencph.runtimes.builtin import BuiltinRuntime, end_all
from opencph.store import tables
from opencph.store.database import command

FILE = "/data/local/tmp/mine"


class Scene:
    """A server of three light phones, a worker and a reconciler in this process, and how to do harm."""

    def __init__(self, world: World, server_id: str) -> None:
        self.world, self.server_id = world, server_id
        self.data = world.settings.data
        self.generation_id = world.server(server_id).generation_id
        self.home = self.data / "builtin" / self.generation_id
        self.boots = {phone.phone_id: self.boots_of(phone.phone_id) for phone in world.phones(server_id)}

    def boots_of(self, phone_id: str) -> str:
        return (self.home / "phones" / phone_id / "boots").read_text()

    def host(self) -> int:
        holder = lock_holder(self.home / control.HOST_LOCK)
        assert holder is not None, "the phones have no host"
        return holder

    def zygote(self) -> int:
        holder = lock_holder(self.data / "run" / control.ZYGOTE_LOCK)
        assert holder is not None, "there is no zygote"
        return holder

    def statuses(self) -> list[int]:
        return [phone.status for phone in self.world.phones(self.server_id)]

    def found(self, what: str) -> list[str]:
        with self.world.database.read() as tx:
            return [one.text for one in findings.recent(tx) if one.what == what]

    def state(self) -> str:
        with self.world.database.read() as tx:
            told = findings.recent(tx)
        return f"phones {self.statuses()}, server {self.world.server(self.server_id)}, jobs {self.world.jobs()}, found {told}"

    async def down(self, count: int = 3) -> None:
        """Wait until so many phones read -7, or a job that brings them back has been there."""
        await eventually(
            lambda: self.statuses().count(-7) == count or any(job.kind == "recover_server" for job in self.world.jobs()),
            lambda: f"{count} phones are abnormal: {self.state()}",
        )

    async def back(self) -> None:
        """Wait until all phones run, also by what ADB says."""
        phones = self.world.phones(self.server_id)
        await eventually(
            lambda: self.statuses() == [2] * 3 and self.world.server(self.server_id).status == 5,
            lambda: f"all phones are back: {self.state()}",
            60.0,
        )
        assert await silent_phones({phone.phone_id: phone.ip for phone in phones}) == {}

    async def kept(self) -> list[bytes | None]:
        """The file of each phone."""
        return [await _file(phone.ip) for phone in self.world.phones(self.server_id)]


async def _file(ip: str) -> bytes | None:
    async with await connect(ip) as phone:
        try:
            return await phone.pull(FILE)
        except AdbError:
            return None


@pytest.fixture
def handsets(database_url: str) -> Iterator[World]:
    """A world whose data directory is short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))
    world = World(directory, database_url)
    world.prepare()
    try:
        yield world
    finally:
        world.fleet.close()
        end_all(directory)
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def scene(world: World) -> AsyncIterator[Scene]:
    phone_home.check_in(world.database, world.settings)
    runtime = BuiltinRuntime(world.settings.data, boots_at_once=200)
    try:
        async with world.working(runtime):
            (server_id,) = await world.bought()
            for phone in world.phones(server_id):
                async with await connect(phone.ip) as connection:
                    await connection.push(phone.phone_id.encode(), FILE)
            stop = asyncio.Event()
            running = asyncio.create_task(Reconciler(world.fleet, runtime).run(stop))
            try:
                yield Scene(world, server_id)
            finally:
                stop.set()
                await running
    finally:
        await runtime.shutdown()


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "RECONCILE_SECONDS", 0.3)
    monkeypatch.setattr(reconcile, "CONSISTENCY_SECONDS", 0.3)


def play(world: World, act: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        async with scene(world) as set_up:
            await act(set_up)

    asyncio.run(main())


def _kill_host(on: Scene) -> None:
    os.kill(on.host(), signal.SIGKILL)


def _stop_host(on: Scene) -> None:
    os.kill(on.host(), signal.SIGSTOP)


def _kill_zygote_and_host(on: Scene) -> None:
    os.kill(on.zygote(), signal.SIGKILL)
    _kill_host(on)


def _stop_zygote_and_kill_host(on: Scene) -> None:
    os.kill(on.zygote(), signal.SIGSTOP)
    _kill_host(on)


def _remove_socket(on: Scene) -> None:
    (on.data / "run" / control.host_socket(on.generation_id)).unlink()


def _remove_socket_of_zygote_and_kill_host(on: Scene) -> None:
    (on.data / "run" / control.ZYGOTE_SOCKET).unlink()
    _kill_host(on)


def _remove_run_directory(on: Scene) -> None:
    shutil.rmtree(on.data / "run")


@pytest.mark.parametrize(
    "harm",
    [
        _kill_host,
        _stop_host,
        _kill_zygote_and_host,
        _stop_zygote_and_kill_host,
        _remove_socket,
        _remove_socket_of_zygote_and_kill_host,
        _remove_run_directory,
    ],
)
def test_phones_that_went_down_are_found_told_and_brought_back_with_their_data(
    handsets: World, harm: Callable[[Scene], None]
) -> None:
    async def act(on: Scene) -> None:
        before = on.host()
        harm(on)
        await on.down()
        await on.back()
        assert on.host() != before
        assert await on.kept() == [phone.phone_id.encode() for phone in on.world.phones(on.server_id)]
        (told,) = on.found("phones_down")
        assert told.startswith(f"3 phones of server {on.server_id} were down: their host is gone (")
        assert on.found("data_lost") == []

    play(handsets, act)


@pytest.mark.parametrize("command", ["reboot -p", "svc power shutdown"])
def test_a_phone_that_was_powered_off_from_inside_is_brought_up_again(handsets: World, command: str) -> None:
    """Its power is the API's: stopped phones are those that a stop job stopped."""

    async def act(on: Scene) -> None:
        first, *others = on.world.phones(on.server_id)
        async with await connect(first.ip) as phone:
            assert (await phone.shell(command)).code == 0
        await on.down(1)
        await on.back()
        assert await on.kept() == [phone.phone_id.encode() for phone in (first, *others)]
        assert int(on.boots_of(first.phone_id)) == int(on.boots[first.phone_id]) + 1
        assert {phone.phone_id: on.boots_of(phone.phone_id) for phone in others}.items() <= on.boots.items()

    play(handsets, act)


def test_a_phone_whose_directory_was_removed_starts_anew_and_that_is_told(handsets: World) -> None:
    async def act(on: Scene) -> None:
        first, *others = on.world.phones(on.server_id)
        before = on.host()
        shutil.rmtree(on.home / "phones" / first.phone_id)
        await on.down(1)
        await on.back()
        assert on.host() == before
        assert await on.kept() == [None, *(phone.phone_id.encode() for phone in others)]
        assert {phone.phone_id: on.boots_of(phone.phone_id) for phone in others}.items() <= on.boots.items()
        text = f"the data of 1 phones of server {on.server_id} is gone; they start anew, empty ({first.phone_id})"
        assert on.found("data_lost") == [text]

    play(handsets, act)


def test_a_generation_whose_directory_was_removed_starts_anew_and_that_is_told(handsets: World) -> None:
    async def act(on: Scene) -> None:
        shutil.rmtree(on.home)
        await on.down()
        await on.back()
        assert await on.kept() == [None] * 3
        (told,) = on.found("data_lost")
        assert told.startswith(f"the data of 3 phones of server {on.server_id} is gone; they start anew, empty")

    play(handsets, act)


def test_a_directory_that_somebody_put_there_is_set_aside_with_all_that_is_in_it(handsets: World) -> None:
    async def act(on: Scene) -> None:
        foreign = on.data / "builtin" / "holiday-pictures"
        foreign.mkdir()
        (foreign / "one.png").write_bytes(b"picture")
        await eventually(lambda: bool(on.found("set_aside")), lambda: f"it is told: {on.state()}")
        assert not foreign.exists()
        (place,) = (on.data / "builtin" / ".aside").iterdir()
        assert (place / "one.png").read_bytes() == b"picture"
        (told,) = on.found("set_aside")
        assert "holiday-pictures" in told and str(place) in told
        assert on.statuses() == [2] * 3

    play(handsets, act)


def test_what_lies_among_the_phones_data_and_is_none_of_it_is_set_aside_and_kept(handsets: World) -> None:
    async def act(on: Scene) -> None:
        builtin, odd = on.data / "builtin", os.fsdecode(b"\xff\n" + b"x" * 250)
        phone = on.home / "phones" / ("a" * 32)
        strays = [phone, builtin / "my dir", builtin / odd]
        for stray in strays:
            stray.mkdir()
            (stray / "one").write_text("kept")
        for name in ("hello", "hello.txt"):
            (builtin / name).write_text("kept")
            strays.append(builtin / name)
        stay = [builtin / name for name in ("lost+found", ".nfs0001")]
        for one in stay:
            one.mkdir()
        await eventually(lambda: len(on.found("set_aside")) == len(strays), lambda: f"all are told: {on.state()}")
        assert not any(os.path.lexists(stray) for stray in strays)
        assert all(one.is_dir() for one in stay)
        places = list((builtin / ".aside").iterdir())
        assert [(place / "one" if place.is_dir() else place).read_text() for place in places] == ["kept"] * len(strays)
        assert any(f"{phone} is nothing that was made here: it is in {builtin}/.aside/" in text for text in on.found("set_aside"))
        assert await on.kept() == [one.phone_id.encode() for one in on.world.phones(on.server_id)]
        assert {one.phone_id: on.boots_of(one.phone_id) for one in on.world.phones(on.server_id)} == on.boots
        (builtin / ".aside").rename(builtin / ".before")
        (builtin / ".aside").touch()
        (builtin / "again.txt").touch()
        await eventually(lambda: bool(on.found("contradiction")), lambda: f"what cannot be moved is told: {on.state()}")
        assert "again.txt is nothing that was made here, and cannot be set aside: File exists" in on.found("contradiction")[0]
        assert on.statuses() == [2] * 3

    play(handsets, act)


def test_a_phone_that_runs_though_its_row_says_stopped_is_stopped_and_keeps_its_data(handsets: World) -> None:
    async def act(on: Scene) -> None:
        first = on.world.phones(on.server_id)[0]
        on.world.execute(command(update(tables.phones).where(tables.phones.c.phone_id == first.phone_id).values(status=8)))
        await eventually(lambda: bool(on.found("contradiction")), lambda: f"it is told: {on.state()}")
        await eventually(lambda: on.statuses() == [8, 2, 2], lambda: f"it is stopped: {on.state()}")
        with pytest.raises(AdbError):
            await connect(first.ip)
        (start,) = on.world.restart(first.phone_id).jobs
        await on.world.ended(start.job_id or "")
        await on.back()
        assert await on.kept() == [phone.phone_id.encode() for phone in on.world.phones(on.server_id)]

    play(handsets, act)


def _forget_server(world: World, server_id: str) -> None:
    """As a database is that was restored from a backup of the time before the server was bought."""
    generation_id = world.server(server_id).generation_id
    for table in (tables.server_addresses, tables.phones, tables.bandwidths, tables.eips):
        world.execute(command(delete(table).where(table.c.generation_id == generation_id)))
    for table in (tables.order_servers, tables.servers, tables.generations):
        world.execute(command(delete(table).where(table.c.server_id == server_id)))


@pytest.mark.parametrize("known", [True, False])
def test_phones_without_rows_are_removed_when_a_job_of_ours_was_about_them_and_else_set_aside(handsets: World, known: bool) -> None:
    async def act(on: Scene) -> None:
        host = on.host()
        _forget_server(on.world, on.server_id)
        if not known:
            on.world.execute(command(delete(tables.jobs)))
        what = "removed" if known else "set_aside"
        await eventually(lambda: any(on.generation_id in text for text in on.found(what)), "it is told")
        assert not on.home.exists()
        await eventually(lambda: not Path(f"/proc/{host}").exists(), "its host has ended")
        kept = list((on.data / "builtin").glob(f".aside/*/phones/*{FILE}"))
        assert len(kept) == (0 if known else 3)

    play(handsets, act)


def test_when_the_directory_of_all_phones_is_not_there_nothing_is_made_anew(handsets: World) -> None:
    async def act(on: Scene) -> None:
        (on.data / "builtin").rename(on.data / "unmounted")
        (on.data / "builtin").mkdir()
        await eventually(lambda: bool(on.found("away")), lambda: f"it is told: {on.state()}")
        await asyncio.sleep(2 * reconcile.RECONCILE_SECONDS)  # two more looks
        assert not any(job.kind == "recover_server" for job in on.world.jobs())
        assert list((on.data / "builtin").iterdir()) == []
        (on.data / "builtin").rmdir()
        (on.data / "unmounted").rename(on.data / "builtin")
        _kill_host(on)
        await on.down()
        await on.back()
        assert await on.kept() == [phone.phone_id.encode() for phone in on.world.phones(on.server_id)]

    play(handsets, act)
