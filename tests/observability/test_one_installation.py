"""One installation in use: one scrape has the numbers of all its processes, and one request id leads through all its logs."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import select

from e2e.running import free_port
from observability.looking import log_lines, parsed, ready, scrape, total
from opencph.store.database import Query, open_database, tuple_row
from opencph.store.tables import jobs, processes
from opencph.testing import PHONES_PER_SERVER, RunningCph, opencph_up, purchase

#: what an adb host says first
HELLO = b"CNXN" + struct.pack("<5I", 0x01000001, 4096, 6, sum(b"host::"), 0x4E584E43 ^ 0xFFFFFFFF) + b"host::"


class Used(NamedTuple):
    """An installation in which one server was bought through one request."""

    cph: RunningCph
    headers: dict[str, str]
    project_id: str
    request_id: str
    server_id: str
    job_ids: list[str]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.cph.endpoint}/v1/{self.project_id}/cloud-phone/{path}", headers=self.headers, timeout=30)

    def post(self, path: str, body: object) -> httpx.Response:
        return httpx.post(
            f"{self.cph.endpoint}/v1/{self.project_id}/cloud-phone/{path}", json=body, headers=self.headers, timeout=30
        )

    def phones(self) -> list[dict[str, Any]]:
        return list(self.get(f"phones?server_id={self.server_id}&limit=100").json()["phones"])

    def access(self, name: str) -> dict[str, Any]:
        """Where a port of the newest phone is reached: `adb`, or the open port `web`."""
        told = self.get(f"phones/{self.phones()[0]['phone_id']}").json()["access_infos"]
        found: dict[str, Any] = next(one for one in told if one["type"] == name)
        return found

    def rows(self, statement: Any) -> list[tuple[Any, ...]]:
        database = open_database(f"sqlite:///{self.cph.data / 'opencph.db'}")
        try:
            return database.rows(Query(statement, tuple_row))
        finally:
            database.close()


def token_of(cph: RunningCph) -> str:
    known = cph.credentials
    user = {"name": known["user_name"], "password": known["password"], "domain": {"name": known["domain_name"]}}
    auth = {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"id": known["project_id"]}},
    }
    answer = httpx.post(f"{cph.endpoint}/v3/auth/tokens", json={"auth": auth}, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer.headers["X-Subject-Token"]


def wait(holds: Callable[[], object], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"not within 60 s: {what()}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def used() -> Iterator[Used]:
    with opencph_up(settings={"access_log": "on"}) as cph:
        headers = {"X-Auth-Token": token_of(cph)}
        project_id = cph.credentials["project_id"]
        bought = httpx.post(
            f"{cph.endpoint}/v2/{project_id}/cloud-phone/servers", json=purchase(cph.credentials), headers=headers, timeout=30
        )
        assert bought.status_code == 200, bought.text
        told = bought.json()
        one = Used(cph, headers, project_id, bought.headers["X-Request-Id"], told["server_ids"][0], [])
        wait(
            lambda: len(one.phones()) == PHONES_PER_SERVER and all(phone["status"] == 2 for phone in one.phones()),
            lambda: one.rows(select(jobs.c.kind, jobs.c.status, jobs.c.step, jobs.c.error_msg)),
        )
        one.job_ids.extend(str(job_id) for (job_id,) in one.rows(select(jobs.c.job_id).where(jobs.c.request_id == one.request_id)))
        wait(lambda: _told(one), lambda: (scrape(cph).get("opencph_jobs_ended_total"), log_lines(cph.data)[-5:]))
        yield one


def _told(one: Used) -> bool:
    """Whether the purchase is over for those who count and log it too: they hear of it after the database."""
    lines = [*log_lines(one.cph.data), *log_lines(one.cph.data, "handset.log")]
    found, events = scrape(one.cph), {line["event"] for line in lines if line.get("request_id") == one.request_id}
    return (
        total(found, "opencph_jobs_ended_total", kind="create_server") > 0
        and total(found, "opencph_mappings_open", process="gateway") >= PHONES_PER_SERVER * 2
        and events >= {"request", "job ended"}
        and any(f"{PHONES_PER_SERVER} phones done" in event for event in events)
    )


# --- metrics ----------------------------------------


def test_one_scrape_has_every_process_and_what_it_did(used: Used) -> None:
    found = scrape(used.cph)
    assert {labels["process"]: value for labels, value in found["opencph_up"]} == {"api": 1, "worker": 1, "gateway": 1}
    alive = {str(pid) for (pid,) in used.rows(select(processes.c.pid))}
    assert {labels["pid"] for labels, _ in found["opencph_process_resident_memory_bytes"]} == alive
    assert total(found, "opencph_process_resident_memory_bytes") > 30e6
    assert total(found, "opencph_process_open_fds", process="api") > 5
    assert total(found, "opencph_http_requests_total", operation="CreateNet2CloudPhoneServer", method="POST", status="2xx") == 1
    assert total(found, "opencph_http_request_duration_seconds_count", operation="CreateNet2CloudPhoneServer") == 1
    assert total(found, "opencph_http_requests_in_flight") == 1, "the scrape itself"
    assert total(found, "opencph_jobs_ended_total", kind="create_server", outcome="succeeded", process="worker") == 1
    assert total(found, "opencph_job_duration_seconds_count", kind="create_server") == 1
    assert 0 < total(found, "opencph_job_duration_seconds_sum", kind="create_server") < 120
    assert total(found, "opencph_phone_boots_total", outcome="running") == PHONES_PER_SERVER
    assert total(found, "opencph_phone_boot_duration_seconds_count") == PHONES_PER_SERVER
    assert total(found, "opencph_phone_boots_total", outcome="failed") == 0
    assert {labels["state"]: value for labels, value in found["opencph_phones"]} == {"running": PHONES_PER_SERVER}
    assert {labels["state"]: value for labels, value in found["opencph_servers"]} == {"normal": 1}
    assert total(found, "opencph_mappings_open", process="gateway") >= PHONES_PER_SERVER * 2
    assert total(found, "opencph_database_up") == 1 and total(found, "opencph_jobs_oldest_waiting_age_seconds") == 0


def test_bytes_and_connections_of_mappings_are_counted_by_direction(used: Used) -> None:
    before = scrape(used.cph)
    access = used.access("adb")
    with socket.create_connection((access["server_ip"], access["access_port"]), timeout=10) as adb:
        adb.sendall(HELLO)
        answered = adb.recv(4096)
        assert answered
        now = scrape(used.cph)
        assert total(now, "opencph_mapping_connections_open") == total(before, "opencph_mapping_connections_open") + 1
    for direction, least in (("in", 30), ("out", len(answered))):
        grown = total(now, "opencph_gateway_bytes_total", way="mapping", direction=direction) - total(
            before, "opencph_gateway_bytes_total", way="mapping", direction=direction
        )
        assert grown >= least, direction
    assert total(now, "opencph_mapping_connections_total") == total(before, "opencph_mapping_connections_total") + 1


def test_tunnels_their_bytes_and_refused_logins_are_counted_and_their_lines_have_the_connection(used: Used, tmp_path: Path) -> None:
    known = used.cph.credentials
    before = scrape(used.cph)
    access, public_ip = used.access("adb"), used.access("web")["public_ip"]
    options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path / 'known'}"]
    options += ["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
    port = free_port()
    to = ["-p", str(known["ssh_port"]), f"{known['project_id']}@{public_ip}"]
    forward = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{port}:{access['phone_ip']}:5555"]
    ssh = subprocess.Popen(
        ["ssh", *options, "-i", known["private_key_file"], *forward, *to],
        stdin=subprocess.DEVNULL,
        stderr=(tmp_path / "ssh").open("w"),
    )
    try:
        answered = b""

        def talks() -> bool:
            nonlocal answered
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as adb:
                adb.sendall(HELLO)
                answered = adb.recv(4096)
            return bool(answered)

        wait(talks, lambda: (tmp_path / "ssh").read_text())
        now = scrape(used.cph)
        assert total(now, "opencph_tunnels_open") == 1
        assert total(now, "opencph_tunnels_total") == total(before, "opencph_tunnels_total") + 1
        assert total(now, "opencph_gateway_bytes_total", way="tunnel", direction="out") >= len(answered)
        assert total(now, "opencph_gateway_bytes_total", way="tunnel", direction="in") >= 30
    finally:
        ssh.terminate()
        ssh.wait(10)
    wrong = str(tmp_path / "wrong")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", wrong], check=True)
    refused = subprocess.run(["ssh", *options, "-i", wrong, *to, "true"], capture_output=True, timeout=60, check=False)
    assert refused.returncode == 255, refused
    wait(
        lambda: (
            total(scrape(used.cph), "opencph_tunnel_logins_refused_total", why="key") >= 1
            and total(scrape(used.cph), "opencph_tunnels_open") == 0
        ),
        lambda: scrape(used.cph).get("opencph_tunnel_logins_refused_total"),
    )
    lines = [line for line in log_lines(used.cph.data) if line["logger"] == "opencph.gateway.ssh"]
    assert lines and all(line.get("connection_id") for line in lines), [line for line in lines if "connection_id" not in line]
    opened, closed = ([line for line in lines if line["event"] == event][-1] for event in ("tunnel opened", "tunnel closed"))
    assert opened["connection_id"] == closed["connection_id"] and opened["user"] == closed["user"] == known["project_id"]


def test_commands_are_counted_by_what_became_of_them(used: Used) -> None:
    phone_id = used.phones()[0]["phone_id"]
    for content in ("true", "exit 3"):
        asked = used.post("phones/commands", {"command": "shell", "content": content, "phone_ids": [phone_id]})
        assert asked.status_code == 200, asked.text

    def counted() -> tuple[float, float]:
        found = scrape(used.cph)
        one, other = (total(found, "opencph_phone_commands_total", command="shell", outcome=how) for how in ("done", "failed"))
        return one, other

    def ended() -> float:  # counted after the commands themselves
        return total(scrape(used.cph), "opencph_jobs_ended_total", kind="phone_command")

    wait(lambda: counted() == (1, 1) and ended() == 2, lambda: (counted(), ended()))
    found = scrape(used.cph)
    assert total(found, "opencph_jobs_ended_total", kind="phone_command", outcome="succeeded") == 1
    assert total(found, "opencph_jobs_ended_total", kind="phone_command", outcome="failed") == 1


def test_metrics_are_for_the_scrape_token_and_for_administrators_alone(used: Used) -> None:
    url = f"{used.cph.endpoint}/metrics"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": "Bearer wrong-but-quite-long-token"}).status_code == 401
    assert httpx.get(url, headers={"X-Auth-Token": "wrong"}).status_code == 401
    assert parsed(httpx.get(url, headers=used.headers, timeout=30).text)["opencph_up"]
    scraper = {"Authorization": f"Bearer {(used.cph.data / 'metrics-token').read_text()}"}
    for path in (f"/v1/{used.project_id}/cloud-phone/phones", "/v3/auth/projects", "/v3/users", "/v3/projects"):
        assert httpx.get(f"{used.cph.endpoint}{path}", headers=scraper).status_code == 401, f"the scrape token opens {path}"


# --- logs ----------------------------------------


def test_one_request_id_leads_through_api_worker_host_and_the_jobs_row(used: Used) -> None:
    (job_id,) = used.job_ids
    lines = [line for line in log_lines(used.cph.data) if line.get("request_id") == used.request_id]
    by_process: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_process.setdefault(line["process"], []).append(line)
    access = next(line for line in by_process["api"] if line["event"] == "request")
    assert (access["operation"], access["project_id"], access["status"]) == ("CreateNet2CloudPhoneServer", used.project_id, 200)
    assert {line["event"] for line in by_process["worker"]} >= {"job begun", "job ended"}
    for line in by_process["worker"]:
        assert (line["job_id"], line["kind"], line["server_id"]) == (job_id, "create_server", used.server_id), line
    hosts = [line for line in log_lines(used.cph.data, "handset.log") if line.get("request_id") == used.request_id]
    assert any("60 phones done" in line["event"] for line in hosts), hosts
    assert {(line["job_id"], line["server_id"]) for line in hosts} == {(job_id, used.server_id)}


def test_every_line_of_a_request_or_a_job_says_which(used: Used) -> None:
    used.get("phones/" + "0" * 32)
    for line in log_lines(used.cph.data):
        if line["logger"].startswith("opencph.api.access"):
            assert len(line["request_id"]) == 32 and line["operation"], line
        if line["event"].startswith(("job ", "step ")):
            assert all(line.get(name) for name in ("job_id", "kind", "request_id")), line


def test_requests_that_are_served_at_once_keep_their_lines_apart(used: Used) -> None:
    def ask(number: int) -> tuple[str, str]:
        path = ("jobs?limit=1", "phones?limit=1", "servers?limit=1")[number % 3]
        return used.get(path).headers["X-Request-Id"], path.partition("?")[0]

    with ThreadPoolExecutor(8) as threads:
        asked = dict(threads.map(ask, range(60)))

    def told() -> dict[str, str]:  # a line is written when its answer is on its way
        lines = [line for line in log_lines(used.cph.data) if line["event"] == "request"]
        return {line["request_id"]: line["operation"] for line in lines if line["request_id"] in asked}

    wait(lambda: told().keys() == asked.keys(), lambda: asked.keys() - told().keys())
    wanted = {"jobs": "ListJobs", "phones": "ListCloudPhones", "servers": "ListCloudPhoneServers"}
    assert told() == {one: wanted[path] for one, path in asked.items()}


def test_no_log_has_a_secret(used: Used) -> None:
    logs = "".join(path.read_text() for path in (used.cph.data / "logs").iterdir())
    known = used.cph.credentials
    for secret in (
        known["password"],
        known["secret_key"],
        used.headers["X-Auth-Token"],
        (used.cph.data / "metrics-token").read_text(),
    ):
        assert secret not in logs


# --- what people see ----------------------------------------


def test_probes_say_that_all_is_there(used: Used) -> None:
    assert httpx.get(f"{used.cph.endpoint}/healthz").json() == {"status": "ok"}
    assert ready(used.cph) == (200, {"status": "ok"})


def test_the_status_as_json_has_the_same_numbers(used: Used) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "opencph", "status", "--json", "--data", str(used.cph.data)],
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert told["phones"] == {"running": PHONES_PER_SERVER}
    assert {one["kind"] for one in told["processes"]} == {"api", "worker", "gateway"}
