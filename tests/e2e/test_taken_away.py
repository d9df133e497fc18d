"""`opencph up` while somebody takes away what it keeps beside its data: sockets and locks, the log, descriptors."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from huaweicloudsdkcph.v1 import (
    CphClient,
    CreateNet2CloudPhoneServerRequest,
    ListCloudPhonesRequest,
    ListJobsRequest,
    RunShellCommandRequest,
)

from api.vendor_clients import client_of
from e2e.running import PARTS, Eventually, StartUp, answers, part, processes_with, refused, said, server_status, words
from observability.looking import ready, scrape, total
from opencph.handset.control import ZYGOTE_SOCKET
from opencph.log import FILE_NAME
from opencph.preparation import LOCK_FILE, OnlyOne, StartError, running_up
from opencph.settings import Settings
from opencph.testing import PHONES_PER_SERVER, RunningCph, purchase


def opencph(cph: RunningCph, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opencph", *arguments, "--data", str(cph.data)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def bought(cph: RunningCph, eventually: Eventually, name: str) -> str:
    client = client_of(cph, CphClient)
    request = CreateNet2CloudPhoneServerRequest(body=purchase(cph.credentials, name))
    server_id = str(client.create_net2_cloud_phone_server(request).server_ids[0])
    eventually(lambda: server_status(client, server_id) == 5, f"server {name} normal: {words(cph)}")
    return server_id


def phone_of(cph: RunningCph, server_id: str) -> str:
    phones = client_of(cph, CphClient).list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=100)).phones
    return str(phones[0].phone_id)


def phones_run(cph: RunningCph, server_id: str) -> bool:
    phones = client_of(cph, CphClient).list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=100)).phones
    return len(phones) == PHONES_PER_SERVER and {phone.status for phone in phones} == {2}


def command_succeeds(cph: RunningCph, eventually: Eventually, phone_id: str) -> None:
    """At once, or when the phone is back if it was away: then a command is refused, or fails."""
    client = client_of(cph, CphClient)
    body = {"command": "shell", "content": "echo here", "phone_ids": [phone_id]}

    def succeeds() -> bool:
        answer = client.run_shell_command(RunShellCommandRequest(body=body))
        if any(job.error_code for job in answer.jobs):
            return False
        ended: list[int] = []

        def is_over() -> bool:
            ended[:] = [job.status for job in client.list_jobs(ListJobsRequest(request_id=answer.request_id)).jobs]
            return ended != [1]

        eventually(is_over, f"the command is over: {words(cph)}")
        return ended == [2]

    eventually(succeeds, f"a command is done: {words(cph)}")


def kill(cph: RunningCph, name: str) -> int:
    process = part(cph, name)
    assert process is not None
    process.kill()
    return int(process.pid)


def is_another(cph: RunningCph, name: str, killed: int) -> bool:
    now = part(cph, name)
    return now is not None and now.pid != killed


def test_without_its_run_directory_an_up_goes_on_and_everything_in_it_is_made_anew(start: StartUp, eventually: Eventually) -> None:
    cph = start()
    server_id = bought(cph, eventually, "before")
    shutil.rmtree(cph.data / "run")
    command_succeeds(cph, eventually, phone_of(cph, server_id))
    eventually(lambda: phones_run(cph, server_id), f"the phones are back: {words(cph)}")
    eventually(lambda: [total(scrape(cph), "opencph_up", process=name) for name in PARTS] == [1, 1, 1], "all answer a scrape")
    assert stat.S_IMODE((cph.data / "run").stat().st_mode) == 0o700
    shutil.rmtree(cph.data / "run")
    done = opencph(cph, "restart")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("replaced: ")
    eventually(lambda: phones_run(cph, server_id), f"the phones are back again: {words(cph)}")
    assert cph.stop() == 0
    assert not processes_with(cph.data)


@pytest.mark.parametrize("restarted", [False, True])
def test_without_its_run_directory_a_second_up_is_refused_all_the_same(start: StartUp, *, restarted: bool) -> None:
    first = start()
    if restarted:
        assert opencph(first, "restart").returncode == 0
    shutil.rmtree(first.data / "run")
    assert refused(start(wait=False)) == (
        f"opencph cannot start: another `opencph up` (process {first.process.pid}) uses {first.data}; "
        "stop it, or give another directory with --data DIR"
    )
    assert answers(first)


def test_an_up_of_a_version_that_locks_only_the_file_is_seen_and_may_leave_that_lock(directory: Path) -> None:
    settings = Settings(data=directory / "data")
    settings.run_directory.mkdir(parents=True)
    with (settings.run_directory / LOCK_FILE).open("w") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        old.write(str(os.getpid()))
        old.flush()
        assert running_up(settings) == os.getpid()
        with pytest.raises(StartError, match=rf"another `opencph up` \(process {os.getpid()}\)"):
            OnlyOne(settings)
        lock = OnlyOne(settings, (-1, os.dup(old.fileno())))
        assert lock.directory >= 0
    shutil.rmtree(settings.run_directory)
    settings.run_directory.mkdir()
    lock.keep()
    assert running_up(settings) == os.getpid()
    os.close(lock.file)
    (settings.run_directory / LOCK_FILE).unlink()
    (settings.run_directory / LOCK_FILE).write_text(str(os.getpid()))
    with pytest.raises(StartError, match="another `opencph up`"):
        OnlyOne(settings)
    os.close(lock.directory)
    assert running_up(settings) is None


def test_without_its_log_directory_everything_goes_on_and_the_log_too(start: StartUp, eventually: Eventually) -> None:
    cph = start()
    first = bought(cph, eventually, "before")
    logs = cph.data / "logs"
    shutil.rmtree(logs)
    bought(cph, eventually, "after")
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700 and stat.S_IMODE((logs / FILE_NAME).stat().st_mode) == 0o600
    for name in PARTS:
        shutil.rmtree(logs)
        killed = kill(cph, name)
        eventually(partial(is_another, cph, name, killed), f"another {name}: {words(cph)}")
    eventually(lambda: answers(cph) and ready(cph)[0] == 200, f"it is ready: {words(cph)}")
    shutil.rmtree(logs, ignore_errors=True)
    for process in [one for one in processes_with(cph.data) if "zygote" in " ".join(one.cmdline())]:
        process.kill()  # and with it what carries the phones: all of it is started anew, and wants a log of its own
    command_succeeds(cph, eventually, phone_of(cph, first))
    eventually(lambda: phones_run(cph, first), f"the phones are back: {words(cph)}")
    assert cph.stop() == 0


def test_with_a_log_that_can_only_fail_jobs_parts_and_phones_go_on_and_it_is_told(start: StartUp, eventually: Eventually) -> None:
    cph = start()
    server_id = bought(cph, eventually, "before")
    logs = cph.data / "logs"
    shutil.rmtree(logs)
    logs.write_text("somebody's file")
    for process in processes_with(cph.data):
        if process.pid != cph.process.pid:  # every part, and what carries the phones
            process.kill()
    eventually(lambda: answers(cph) and ready(cph)[0] == 200, f"it is ready: {words(cph)}")
    command_succeeds(cph, eventually, phone_of(cph, server_id))
    eventually(lambda: phones_run(cph, server_id), f"the phones are back: {words(cph)}")
    bought(cph, eventually, "meanwhile")
    told = f"{logs / FILE_NAME} cannot be written: Not a directory; lines go to stderr alone"
    eventually(lambda: said(cph, told), f"it is said: {words(cph)}")
    eventually(lambda: "lines of the log are lost" in opencph(cph, "status").stdout, "`opencph status` says so")
    assert total(scrape(cph), "opencph_log_lines_lost_total", process="worker") > 0
    logs.unlink()
    bought(cph, eventually, "later")
    assert "lines are missing before this: Not a directory" in (logs / FILE_NAME).read_text()
    assert cph.stop() == 0


def test_an_up_starts_without_a_log(start: StartUp, eventually: Eventually, directory: Path) -> None:
    (directory / "data").mkdir()
    (directory / "data" / "logs").write_text("somebody's file")
    cph = start()
    bought(cph, eventually, "unlogged")
    told = "cannot be written: Not a directory; lines go to stderr alone"
    eventually(lambda: said(cph, told), f"it is said: {words(cph)}")


def test_a_job_goes_on_while_the_log_was_put_aside_and_no_new_one_can_be_made(
    start: StartUp, eventually: Eventually, directory: Path
) -> None:
    logs = directory / "data" / "logs"
    logs.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=4", "none", str(logs)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted")
    try:
        cph = start()
        server_id = bought(cph, eventually, "before")
        (logs / FILE_NAME).rename(logs / f"{FILE_NAME}.1")
        with pytest.raises(OSError, match="No space left"):
            for number in range(9):
                (logs / f"in-the-way-{number}").touch()
        for _command in range(2):
            command_succeeds(cph, eventually, phone_of(cph, server_id))
        kill(cph, "worker")
        command_succeeds(cph, eventually, phone_of(cph, server_id))
        assert cph.stop() == 0
    finally:
        subprocess.run(["umount", "--lazy", logs], check=True)


def test_a_part_for_which_no_descriptor_is_left_is_started_when_there_is_one(start: StartUp, eventually: Eventually) -> None:
    cph = start()
    supervisor = psutil.Process(cph.process.pid)
    _soft, hard = supervisor.rlimit(resource.RLIMIT_NOFILE)
    supervisor.rlimit(resource.RLIMIT_NOFILE, (3, hard))
    kill(cph, "gateway")
    eventually(lambda: said(cph, "the gateway cannot be started: Too many open files"), f"it is said: {words(cph)}")
    assert answers(cph) and cph.process.poll() is None
    supervisor.rlimit(resource.RLIMIT_NOFILE, (hard, hard))
    eventually(lambda: part(cph, "gateway") is not None and ready(cph)[0] == 200, f"another gateway: {words(cph)}")
    assert cph.stop() == 0


_FORKS = """
import os, sys
from opencph.children import fork
sys.stdout = open("/dev/full", "w")
sys.stdout.write("a line that stays in the buffer")
child = fork("part", lambda ready: None, [])
status = os.waitpid(child.pid, 0)[1]
os.write(2, f"ended with {status}".encode())
os._exit(0)
"""


def test_a_part_is_forked_though_what_was_said_before_cannot_be_written() -> None:
    done = subprocess.run([sys.executable, "-c", _FORKS], capture_output=True, text=True, check=False)
    assert done.stderr == "ended with 0"


def test_what_makes_phones_ends_by_itself_when_its_directory_goes_while_it_starts(directory: Path) -> None:
    run = directory / "run"
    run.mkdir()
    command = [sys.executable, "-P", "-m", "opencph.handset.zygote", str(run)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 20
    while not (run / ZYGOTE_SOCKET).exists():
        assert time.monotonic() < deadline, "it began"
        time.sleep(0.001)
    shutil.rmtree(run)
    started.communicate(timeout=20)  # until the last process that can write there has ended
