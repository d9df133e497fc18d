"""An installation whose workers are real processes and its phones real handsets, and what must be true of it at all times."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from jobs_fleet.small_world import World, eventually
from opencph.adb.client import connect
from opencph.fleet.adb_check import silent_phones
from opencph.runtimes import ADB_PORT, GenerationInventory
from opencph.runtimes.builtin import BuiltinRuntime

PROGRAM = Path(__file__).with_name("worker_process.py")
DEATH_SECONDS = 30.0


class Installation:
    """A world, the workers of it that run, and a look of our own at its phones."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self.world = World(directory, database_url)
        self.world.prepare()
        self.runtime = BuiltinRuntime(directory, boots_at_once=200)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.log = (directory / "worker.log").open("ab")

    def close(self) -> None:
        self.stop_workers()
        asyncio.run(self.runtime.shutdown())
        self.world.fleet.close()
        self.log.close()

    # --- workers ---

    def start_worker(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        """A worker; with a failpoint it dies there, and does not wait to be ready."""
        settings = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in ((name, getattr(self.world.settings, name)) for name in self.world.settings.__struct_fields__)
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCPH_")}
        if failpoint:
            environment["OPENCPH_FAILPOINT"] = failpoint
        worker = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(settings)], stdout=subprocess.PIPE, stderr=self.log, env=environment
        )
        self.workers.append(worker)
        if not failpoint:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n", self.words()
        return worker

    def die_at(self, failpoint: str) -> None:
        """Run a worker until it is killed at the failpoint."""
        worker = self.start_worker(failpoint)
        try:
            code = worker.wait(DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no worker came to {failpoint}: {self.world.jobs()} {self.words()}") from None
        assert code == -signal.SIGKILL, f"the worker ended with {code} instead of being killed: {self.words()}"
        self._forget(worker)

    def kill_workers(self) -> None:
        for worker in list(self.workers):
            worker.kill()
            worker.wait()
            self._forget(worker)

    def stop_workers(self) -> None:
        for worker in list(self.workers):
            worker.terminate()
        for worker in list(self.workers):
            try:
                worker.wait(15)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            self._forget(worker)

    def _forget(self, worker: subprocess.Popen[bytes]) -> None:
        assert worker.stdout is not None
        worker.stdout.close()
        self.workers.remove(worker)

    def words(self) -> str:
        """The end of what the workers said."""
        self.log.flush()
        return (self.directory / "worker.log").read_text()[-3000:]

    # --- phones ---

    def inventory(self) -> dict[str, GenerationInventory]:
        return {one.generation_id: one for one in asyncio.run(self.runtime.inventory())}

    def processes(self) -> list[psutil.Process]:
        """The zygote and the hosts of this installation, as the system lists them."""
        needle = str(self.directory / "run")
        found = []
        for process in psutil.process_iter():
            try:
                if needle in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill_host(self, generation_id: str) -> None:
        """`kill -9` of the process that carries a generation's phones."""
        from opencph.handset.control import HOST_LOCK
        from opencph.handset.host import lock_holder

        holder = lock_holder(self.directory / "builtin" / generation_id / HOST_LOCK)
        assert holder is not None, f"generation {generation_id} has no host"
        os.kill(holder, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(holder)] if psutil.pid_exists(holder) else [], timeout=5)

    def push(self, ip: str, data: bytes, path: str) -> None:
        """Put a file on a phone, through ADB."""

        async def main() -> None:
            async with await connect(ip) as phone:
                await phone.push(data, path)

        asyncio.run(main())

    def pull(self, ip: str, path: str) -> bytes:
        """Get a file from a phone, through ADB."""

        async def main() -> bytes:
            async with await connect(ip) as phone:
                return await phone.pull(path)

        return asyncio.run(main())

    # --- what must be true ---

    def phones_answer(self, server_id: str) -> None:
        """The server points at a generation that serves, and all its phones answer ADB."""
        server, phones = self.world.server(server_id), self.world.phones(server_id)
        assert self.world.generation_states().get(server.generation_id) == "serving"
        assert len(phones) == 3
        silent = asyncio.run(silent_phones({phone.phone_id: phone.ip for phone in phones}, timeout=5))
        assert silent == {}, f"{silent} {self.words()}"

    def serves(self, server_id: str) -> None:
        """The server is normal, and so are all its phones."""
        assert self.world.server(server_id).status == 5
        assert [phone.status for phone in self.world.phones(server_id)] == [2] * 3
        self.phones_answer(server_id)

    def eventually_serves(self, server_id: str, seconds: float = 30.0) -> None:
        """The same, in bounded time."""

        def runs() -> bool:
            phones = self.world.phones(server_id)
            silent = self._silent([phone.ip for phone in phones])
            return self.world.server(server_id).status == 5 and not silent and all(phone.status == 2 for phone in phones)

        asyncio.run(eventually(runs, lambda: f"the server serves: {self.world.phones(server_id)} {self.words()}", seconds))
        self.serves(server_id)

    @staticmethod
    def _silent(ips: list[str]) -> bool:
        for ip in ips:
            with socket.socket() as probe:
                if probe.connect_ex((ip, ADB_PORT)) != 0:
                    return True
        return False

    def ended(self, seconds: float = 60.0) -> None:
        """Every job comes to its end."""
        asyncio.run(
            eventually(
                lambda: all(job.status != 1 for job in self.world.jobs()),
                lambda: f"all jobs end: {[job for job in self.world.jobs() if job.status == 1]} {self.words()}",
                seconds,
            )
        )

    def nothing_leaks(self) -> None:
        """What the runtime has is what the database has: generations, directories, processes."""
        generations = set(self.world.generation_states())
        assert set(self.world.generation_states().values()) <= {"serving"}
        assert set(self.inventory()) == generations
        builtin = self.directory / "builtin"
        left = {path.name for path in builtin.iterdir() if path.is_dir()} - {".trash"} if builtin.exists() else set()
        assert left == generations
        trash = builtin / ".trash"
        assert not trash.exists() or list(trash.iterdir()) == []
        sockets = {path.name for path in (self.directory / "run").glob("host-*.sock")}
        assert sockets == {f"host-{generation_id}.sock" for generation_id in generations}
        asyncio.run(eventually(lambda: len(self.processes()) == len(generations) + 1, f"{len(generations)} hosts and a zygote"))
