"""The built-in runtime with real zygotes, hosts and phones."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from opencph.runtimes import GenerationSpec, RuntimeFaultError
from opencph.runtimes.builtin import BuiltinRuntime, end_all
from runtimes.phones import SECONDS, generation, greets, host_pid, ids, is_running, processes_of, until, zygote_pid


def runtime_of(data: Path) -> BuiltinRuntime:
    return BuiltinRuntime(data, boots_at_once=200)


async def running(runtime: BuiltinRuntime, spec: GenerationSpec) -> None:
    """Make the generation and boot all of it."""
    await runtime.create(spec)
    assert await runtime.start(spec.generation_id, ids(spec)) == {}


async def states(runtime: BuiltinRuntime, spec: GenerationSpec) -> Mapping[str, str]:
    (found,) = [one for one in await runtime.inventory() if one.generation_id == spec.generation_id]
    return found.phones


def test_sixty_phones_boot_answer_adb_stop_and_vanish(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation(60)
        await runtime.create(spec)
        assert set((await states(runtime, spec)).values()) == {"stopped"}
        assert not await greets(spec.phones[0].ip)
        assert await runtime.start(spec.generation_id, ids(spec)) == {}
        assert all(await asyncio.gather(*(greets(phone.ip) for phone in spec.phones)))
        (found,) = await runtime.inventory()
        assert found.alive
        assert found.generation_id == spec.generation_id
        assert found.server_id == spec.server_id
        assert found.phones == dict.fromkeys(ids(spec), "running")
        assert await runtime.stop(spec.generation_id, ids(spec)[:30]) == {}
        assert list((await states(runtime, spec)).values()) == ["stopped"] * 30 + ["running"] * 30
        assert not await greets(spec.phones[0].ip)
        assert await greets(spec.phones[59].ip)
        pid = host_pid(data, spec)
        await runtime.remove(spec.generation_id)
        assert not is_running(pid)
        assert await runtime.inventory() == []
        assert [path.name for path in (data / "builtin").rglob("*")] == [".trash"]
        assert sorted(path.name for path in (data / "run").iterdir()) == ["zygote.lock", "zygote.sock"]
        assert not await greets(spec.phones[59].ip)

    asyncio.run(go())


def test_every_call_may_come_twice(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await runtime.create(spec)
        await runtime.create(spec)
        for _ in range(2):
            assert await runtime.start(spec.generation_id, ids(spec)) == {}
        pid = host_pid(data, spec)
        await runtime.create(spec)
        assert host_pid(data, spec) == pid
        assert set((await states(runtime, spec)).values()) == {"running"}
        for _ in range(2):
            assert await runtime.stop(spec.generation_id, ids(spec)) == {}
        for _ in range(2):
            assert await runtime.reset(spec.generation_id, ids(spec)) == {}
        for _ in range(2):
            await runtime.remove(spec.generation_id)
        await runtime.remove("never-heard-of")

    asyncio.run(go())


def test_what_is_not_there_is_said_so(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        for call in (runtime.start, runtime.stop, runtime.reset):
            with pytest.raises(RuntimeFaultError, match="does not exist in this runtime"):
                await call(spec.generation_id, ids(spec))
        with pytest.raises(RuntimeFaultError, match="does not exist in this runtime"):
            await runtime.update(spec.generation_id, spec.phones)
        await runtime.create(spec)
        assert await runtime.start(spec.generation_id, ["other"]) == {"other": "the runtime does not have this phone"}
        with pytest.raises(RuntimeFaultError, match="only letters"):
            await runtime.remove("../" + spec.generation_id)

    asyncio.run(go())


def test_a_host_that_was_killed_is_told_dead_and_start_brings_it_back_with_its_data(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await running(runtime, spec)
        kept = data / "builtin" / spec.generation_id / "phones" / ids(spec)[0] / "data" / "kept"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("kept")
        pid = host_pid(data, spec)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_running(pid), "the host's death")
        (found,) = await runtime.inventory()
        assert not found.alive
        assert found.server_id == spec.server_id
        assert found.phones == dict.fromkeys(ids(spec), "stopped")
        assert await runtime.stop(spec.generation_id, ids(spec)) == {}
        assert await runtime.start(spec.generation_id, ids(spec)) == {}
        assert await greets(spec.phones[0].ip)
        assert kept.read_text() == "kept"

    asyncio.run(go())


def test_hosts_outlive_the_zygote_and_a_new_zygote_makes_the_next_ones(data: Path) -> None:
    async def go() -> None:
        runtime, first, second = runtime_of(data), generation(), generation()
        await running(runtime, first)
        zygote, pid = zygote_pid(data), host_pid(data, first)
        os.kill(zygote, signal.SIGKILL)
        await until(lambda: not is_running(zygote), "the zygote's death")
        assert await greets(first.phones[0].ip)
        await running(runtime, second)
        assert host_pid(data, first) == pid
        assert zygote_pid(data) != zygote
        assert len(await runtime.inventory()) == 2

    asyncio.run(go())


def test_a_second_runtime_adopts_what_the_first_one_left(data: Path) -> None:
    spec = generation()
    asyncio.run(running(runtime_of(data), spec))
    pid = host_pid(data, spec)

    async def go() -> None:
        runtime = runtime_of(data)
        (found,) = await runtime.inventory()
        assert found.alive
        assert set(found.phones.values()) == {"running"}
        assert await runtime.start(spec.generation_id, ids(spec)) == {}
        assert host_pid(data, spec) == pid
        await runtime.remove(spec.generation_id)
        assert not is_running(pid)

    asyncio.run(go())


def test_several_runtimes_that_start_a_dead_host_at_once_make_one(data: Path) -> None:
    async def go() -> None:
        spec = generation()
        await running(runtime_of(data), spec)
        pid = host_pid(data, spec)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_running(pid), "the host's death")
        answers = await asyncio.gather(*(runtime_of(data).start(spec.generation_id, ids(spec)) for _ in range(4)))
        assert answers == [{}] * 4
        assert await greets(spec.phones[0].ip)

    asyncio.run(go())


def test_new_settings_reach_a_phone_that_runs_and_one_whose_host_is_dead(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await running(runtime, spec)
        renamed = msgspec.structs.replace(spec.phones[1], name="renamed", data_bytes=2 << 30)
        await runtime.update(spec.generation_id, [renamed])
        os.kill(host_pid(data, spec), signal.SIGKILL)
        again = msgspec.structs.replace(spec.phones[2], properties={"sys.prop.writeimsi": "460021624617113"})
        await runtime.update(spec.generation_id, [again])
        assert await runtime.start(spec.generation_id, ids(spec)) == {}
        written = json.loads((data / "builtin" / spec.generation_id / "host.json").read_bytes())["phones"]
        assert [phone["name"] for phone in written] == ["phone-00001", "renamed", "phone-00003"]
        assert written[1]["data_bytes"] == 2 << 30
        assert written[2]["properties"] == {"sys.prop.writeimsi": "460021624617113"}

    asyncio.run(go())


def test_a_taken_address_fails_that_phone_alone_and_is_named(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        with socket.create_server((spec.phones[1].ip, 5555)):
            await runtime.create(spec)
            causes = await runtime.start(spec.generation_id, ids(spec))
            assert list(causes) == [spec.phones[1].phone_id]
            assert f"{spec.phones[1].ip}:5555" in causes[spec.phones[1].phone_id]
            assert await greets(spec.phones[2].ip)
        assert await runtime.start(spec.generation_id, ids(spec)) == {}

    asyncio.run(go())


def test_a_place_that_cannot_be_written_is_named(data: Path) -> None:
    (data / "builtin").write_text("a file where a directory must be")
    with pytest.raises(RuntimeFaultError, match=f"the phones' directory cannot be made: .*{data}/builtin"):
        asyncio.run(runtime_of(data).create(generation()))


def test_a_full_disk_is_said_and_leaves_nothing(data: Path) -> None:
    """In a mount namespace of its own, on a disk of 64 KiB."""
    script = (
        "import asyncio, sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
        "from runtimes.phones import generation; from opencph.runtimes.builtin import BuiltinRuntime, end_all\n"
        "data, spec = Path(sys.argv[1]), generation(60)\n"
        "(data / 'fill').write_bytes(bytes(56 << 10))\n"
        "async def go():\n"
        "    runtime = BuiltinRuntime(data, boots_at_once=9)\n"
        "    try: await runtime.create(spec)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
        "    await runtime.remove(spec.generation_id)\n"
        "    print(await runtime.inventory())\n"
        "asyncio.run(go()); end_all(data)"
    )
    here = str(Path(__file__).parent.parent)
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    mount = 'mount -t tmpfs -o size=64k none "$1" && exec "$@"'
    command = ["unshare", *user, "--mount", "sh", "-c", mount.replace('"$@"', '"$0" -c "$2" "$1" "$3"'), sys.executable]
    done = subprocess.run([*command, str(data), script, here], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("RuntimeFaultError the phones' directory cannot be made: No space left on device"), done
    assert "free some space on that disk" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_deep_data_directory_is_no_obstacle() -> None:
    top = Path(tempfile.mkdtemp(prefix="ocph-", dir="/tmp"))
    deep = top / ("long" * 20) / ("name" * 20)
    deep.mkdir(parents=True)
    try:

        async def go() -> None:
            runtime, spec = runtime_of(deep), generation()
            await running(runtime, spec)
            assert await greets(spec.phones[0].ip)
            await runtime.remove(spec.generation_id)

        asyncio.run(go())
    finally:
        end_all(deep)
        shutil.rmtree(top)


def test_the_clean_end_leaves_no_process_and_all_data(data: Path) -> None:
    async def make() -> list[GenerationSpec]:
        specs = [generation() for _ in range(3)]
        for spec in specs:
            await running(runtime_of(data), spec)
        return specs

    specs = asyncio.run(make())
    pids = [zygote_pid(data), *(host_pid(data, spec) for spec in specs)]
    end_all(data)
    assert not any(is_running(pid) for pid in pids)
    assert processes_of(data) == []
    end_all(data)  # nothing to end: nothing happens

    async def again() -> None:
        runtime = runtime_of(data)
        found = await runtime.inventory()
        assert {one.generation_id for one in found} == {spec.generation_id for spec in specs}
        assert not any(one.alive for one in found)
        assert await runtime.start(specs[0].generation_id, ids(specs[0])) == {}
        await runtime.shutdown()

    asyncio.run(again())
    assert processes_of(data) == []


def test_data_that_resists_is_deleted_all_the_same(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await running(runtime, spec)
        closed = data / "builtin" / spec.generation_id / "phones" / ids(spec)[0] / "data" / "closed"
        (closed / "deep").mkdir(parents=True)
        (closed / "deep" / "file").write_text("x")
        (closed / "deep" / "outside").symlink_to("/etc")
        (closed / "deep").chmod(0)
        closed.chmod(0)
        await runtime.remove(spec.generation_id)
        assert list((data / "builtin" / ".trash").iterdir()) == []
        assert Path("/etc/passwd").exists()

    asyncio.run(go())


def test_half_made_and_half_deleted_generations_are_reported_and_swept(data: Path) -> None:
    async def go() -> None:
        half, torn = generation(), generation()
        (data / "builtin" / half.generation_id).mkdir(parents=True)
        (data / "builtin" / torn.generation_id).mkdir()
        (data / "builtin" / torn.generation_id / "host.json").write_text('{"generation_id": "cut sho')
        (data / "builtin" / ".trash" / "left.1234").mkdir(parents=True)
        runtime = runtime_of(data)
        found = {one.generation_id: one for one in await runtime.inventory()}
        assert set(found) == {half.generation_id, torn.generation_id}
        assert not any(one.alive or one.phones for one in found.values())
        assert list((data / "builtin" / ".trash").iterdir()) == []
        await running(runtime, torn)  # made again in its place
        await runtime.remove(half.generation_id)
        await runtime.remove(torn.generation_id)
        assert await runtime.inventory() == []

    asyncio.run(go())


def test_a_host_whose_home_is_deleted_ends_by_itself(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await running(runtime, spec)
        pid = host_pid(data, spec)
        shutil.rmtree(data / "builtin" / spec.generation_id)
        await until(lambda: not is_running(pid), "the host's end")
        assert await runtime.inventory() == []

    asyncio.run(go())


def test_nothing_goes_on_when_the_data_directory_is_deleted(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await running(runtime, spec)
        pids = zygote_pid(data), host_pid(data, spec)
        shutil.rmtree(data)
        await until(lambda: not any(map(is_running, pids)), "the end of zygote and host")

    asyncio.run(go())


def test_a_host_without_socket_is_found_by_its_lock(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await running(runtime, spec)
        pid = host_pid(data, spec)
        (data / "run" / f"host-{spec.generation_id}.sock").unlink()
        assert await runtime.start(spec.generation_id, ids(spec)) == {}
        assert not is_running(pid)
        assert await greets(spec.phones[0].ip)

    asyncio.run(go())


def test_a_host_that_hangs_can_be_removed(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await running(runtime, spec)
        pid = host_pid(data, spec)
        os.kill(pid, signal.SIGSTOP)
        await runtime.remove(spec.generation_id)
        assert not is_running(pid)
        assert await runtime.inventory() == []

    asyncio.run(go())


def test_a_host_that_hangs_is_replaced_when_it_is_needed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opencph.runtimes.builtin.runtime.ANSWER_SECONDS", 0.5)

    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await running(runtime, spec)
        pid = host_pid(data, spec)
        os.kill(pid, signal.SIGSTOP)
        (found,) = await runtime.inventory()
        assert not found.alive
        assert await runtime.start(spec.generation_id, ids(spec)) == {}
        assert not is_running(pid)
        assert await greets(spec.phones[0].ip)

    asyncio.run(go())


#: Dies slowly: connections are reset while the socket still takes others, as the kernel does it to a process that is killed.
_DYING = """
import socket, sys, time
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen(64)
print("ready", flush=True)
listening.accept()[0].close()
time.sleep(1)
"""


@contextmanager
def dying(path: Path) -> Iterator[None]:
    """A process that listens there and will be gone in a moment."""
    with subprocess.Popen([sys.executable, "-c", _DYING, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield


@pytest.mark.parametrize("action", ["start", "reset", "stop"])
def test_a_host_that_is_dying_but_still_takes_connections_is_waited_for(data: Path, action: str) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation()
        await running(runtime, spec)
        pid = host_pid(data, spec)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_running(pid), "the host's death")
        path = data / "run" / f"host-{spec.generation_id}.sock"
        path.unlink()
        with dying(path):
            assert await getattr(runtime, action)(spec.generation_id, ids(spec)) == {}
        assert await runtime.start(spec.generation_id, ids(spec)) == {}
        assert await greets(spec.phones[0].ip)

    asyncio.run(go())


def test_strangers_cannot_command_a_host(data: Path) -> None:
    asyncio.run(running(runtime_of(data), generation()))
    for path in (data / "run").glob("*.sock"):
        assert path.stat().st_mode & 0o777 == 0o600
    (home,) = [path for path in (data / "builtin").iterdir() if path.name != ".trash"]
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "host.json").stat().st_mode & 0o777 == 0o600


def test_a_host_knows_nothing_secret_of_our_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCPH_DATABASE", "postgresql://user:password@host/name")
    spec = generation()
    asyncio.run(running(runtime_of(data), spec))
    assert b"OPENCPH" not in Path(f"/proc/{host_pid(data, spec)}/environ").read_bytes()


def test_idle_phones_use_no_processor_time(data: Path) -> None:
    async def go() -> None:
        runtime, spec = runtime_of(data), generation(60)
        await running(runtime, spec)
        pid = host_pid(data, spec)

        def switches() -> int:
            status = Path(f"/proc/{pid}/status").read_text().splitlines()
            return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)

        before, deadline = -1, time.monotonic() + SECONDS
        while (now := switches()) != before:  # it may still finish what it was asked
            assert time.monotonic() < deadline, "it is never idle for a second"
            before = now
            await asyncio.sleep(1.0)

    asyncio.run(go())
