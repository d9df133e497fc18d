"""Requests per second of GET one phone with many phones stored, and times of lists: one api process against a bare handler."""

from __future__ import annotations

import argparse
import http.client
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import text

from bench.table import Row, median, seconds
from opencph.fleet import open_fleet
from opencph.fleet.ids import new_id
from opencph.fleet.server_create import create_net2_cloud_phone_server
from opencph.iam import ADMIN, Caller
from opencph.preparation import prepare_database, prepare_directories, write_credentials
from opencph.settings import Settings
from opencph.store.database import command
from opencph.testing import PHONES_PER_SERVER, RunningCph, purchase, start_up
from opencph.wire.servers import CreateNet2CloudPhoneServerRequest

SERVERS_PER_CALL = 10
ROUNDS = 5
WRK_SECONDS, WRK_CONNECTIONS = 1, 32
WRK_ROUNDS = 15  # short and many: each compares with the reference measured in the same seconds
SAMPLES = 1_000  # different phones asked for
LIST_CALLS = 200
TOKEN_RATIO_MIN, SIGNED_RATIO_MIN, CHANGING_RATIO_MIN, LIST_RATIO_MAX = 0.5, 0.35, 0.35, 1.5
COMMITS_PER_SECOND = 20  # each makes the api forget the answers that it remembers
LIMITS = dict.fromkeys(
    ("quota_servers", "quota_phones", "quota_eips", "host_phones", "host_servers", "requests_per_second"), 1_000_000
)

#: what the worker would have done
_RUN_EVERYTHING = [
    command(text(sql))
    for sql in (
        "UPDATE phones SET status = 2",
        "UPDATE servers SET status = 5",
        "UPDATE generations SET state = 'serving'",
        "UPDATE jobs SET status = 2, end_ms = create_ms",
    )
]


def _fill(data: Path, network: str, phones: int) -> dict[str, Any]:
    """A database with so many phones that look as if they ran. Returns the credentials."""
    settings = Settings.load({"data": data, "network": network, **LIMITS}, environ={})
    prepare_directories(settings)
    prepare_database(settings)
    write_credentials(settings, "http://127.0.0.1:0")
    credentials: dict[str, Any] = json.loads((data / "credentials.json").read_text())
    caller = Caller(
        user_id="bench",
        user_name="bench",
        domain_id=credentials["domain_id"],
        domain_name=credentials["domain_name"],
        project_id=credentials["project_id"],
        role=ADMIN,
    )
    fleet = open_fleet(settings)
    servers = -(-phones // PHONES_PER_SERVER)
    for first in range(0, servers, SERVERS_PER_CALL):
        body = purchase(credentials, f"stored-{first}", min(SERVERS_PER_CALL, servers - first))
        create_net2_cloud_phone_server(fleet, caller, new_id(), msgspec.convert(body, CreateNet2CloudPhoneServerRequest))
    with fleet.database.write() as tx:
        for statement in _RUN_EVERYTHING:
            tx.run(statement)
    fleet.database.close()
    return credentials


@contextmanager
def _stored(phones: int) -> Iterator[tuple[RunningCph, dict[str, Any]]]:
    """One api process, alone, over a database of so many phones."""
    directory = Path(tempfile.mkdtemp(prefix="cph-", dir="/tmp"))
    network = "127.128.0.0/10"  # nothing listens there: an api process has no phones
    try:
        credentials = _fill(directory, network, phones)
        running = start_up(directory, network, settings={name: str(value) for name, value in LIMITS.items()}, command="api")
        try:
            running.wait_until_ready()
            yield running, {**credentials, "endpoint": running.endpoint}
        finally:
            running.stop()
    finally:
        shutil.rmtree(directory)


def _token(credentials: Mapping[str, Any]) -> str:
    user = {"name": credentials["user_name"], "password": credentials["password"], "domain": {"name": credentials["domain_name"]}}
    scope = {"project": {"id": credentials["project_id"]}}
    auth = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    request = urllib.request.Request(
        credentials["endpoint"] + "/v3/auth/tokens?nocatalog=true",
        data=json.dumps(auth).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["X-Subject-Token"])


def _signed(credentials: Mapping[str, Any], path: str) -> dict[str, str]:
    """The headers that the vendor's SDK sends."""
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkcore.sdk_request import SdkRequest
    from huaweicloudsdkcore.signer.signer import Signer

    keys = BasicCredentials(credentials["access_key"], credentials["secret_key"], credentials["project_id"])
    host = urlsplit(credentials["endpoint"]).netloc
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "huaweicloud-usdk-python/3.0",
        "X-Project-Id": credentials["project_id"],
    }
    request = SdkRequest(
        method="GET", schema="http", host=host, resource_path=path, uri=path, query_params=[], header_params=headers, body=""
    )
    return {name: str(value) for name, value in Signer(keys).sign(request).header_params.items()}


def _wrk(endpoint: str, requests: Sequence[tuple[str, Mapping[str, str]]], directory: Path) -> float:
    """Requests per second of wrk with one thread over many connections. Raises when any answer is not 200."""
    script = directory / "requests.lua"
    lines = ["requests = {}", "function init(args)"]
    for path, headers in requests:
        pairs = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items() if name != "Host")
        lines.append(f"  table.insert(requests, wrk.format('GET', {json.dumps(path)}, {{{pairs}}}))")
    lines += ["end", "at = 0", "function request()", "  at = at % #requests + 1", "  return requests[at]", "end"]
    script.write_text("\n".join(lines))
    command = ["wrk", "-t1", f"-c{WRK_CONNECTIONS}", f"-d{WRK_SECONDS}s", "-s", str(script), endpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in done or "Socket errors" in done:
        raise RuntimeError(f"wrk: {done}")
    rate = re.search(r"Requests/sec:\s*([0-9.]+)", done)
    if rate is None:
        raise RuntimeError(f"wrk: {done}")
    return float(rate[1])


@contextmanager
def _bare(body_bytes: int) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-m", "bench.bare", str(body_bytes)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        deadline = time.monotonic() + 10
        while True:
            try:
                urllib.request.urlopen(endpoint).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield endpoint
    finally:
        process.terminate()
        process.wait()


def get_phone(options: argparse.Namespace) -> list[Row]:
    """GET one phone, with a token and with signatures, against a constant body of the same size."""
    if shutil.which("wrk") is None:
        raise RuntimeError("no wrk program: sudo apt-get install wrk")
    with _stored(options.stored) as (cph, credentials), tempfile.TemporaryDirectory() as temporary:
        directory, project = Path(temporary), credentials["project_id"]
        token = {"X-Auth-Token": _token(credentials), "Content-Type": "application/json"}
        phone_ids: list[str] = []
        step = max(100, options.stored // (SAMPLES // 100))
        for offset in range(0, options.stored, step):
            page = _get(cph.endpoint, f"/v1/{project}/cloud-phone/phones?offset={offset}&limit=100", token)
            phone_ids += [phone["phone_id"] for phone in page["phones"]]
        paths = [f"/v1/{project}/cloud-phone/phones/{phone_id}" for phone_id in phone_ids[:SAMPLES]]
        size = len(json.dumps(_get(cph.endpoint, paths[0], token), separators=(",", ":")))
        with_token = [(path, token) for path in paths]
        with _bare(size) as bare_endpoint:
            names = ("token", "signed", "changing")
            rates: dict[str, list[float]] = {name: [] for each in names for name in (f"bare {each}", each)}
            for number in range(WRK_ROUNDS + 1):
                signed = [(path, _signed(credentials, path)) for path in paths]
                for name, endpoint, requests in (
                    ("bare token", bare_endpoint, with_token),
                    ("token", cph.endpoint, with_token),
                    ("bare signed", bare_endpoint, signed),
                    ("signed", cph.endpoint, signed),
                    ("bare changing", bare_endpoint, with_token),
                    ("changing", cph.endpoint, with_token),
                ):
                    with _commits(cph.data / "opencph.db") if "changing" in name else nullcontext():
                        rate = _wrk(endpoint, requests, directory)
                    if number:  # the first warms up
                        rates[name].append(rate)
    rows = []
    for name, what, least in (
        ("token", "token", TOKEN_RATIO_MIN),
        ("signed", "AK/SK signatures", SIGNED_RATIO_MIN),
        ("changing", f"token, while something commits {COMMITS_PER_SECOND} times a second", CHANGING_RATIO_MIN),
    ):
        ours, base = median(rates[name]), median(rates[f"bare {name}"])
        ratio = median([mine / bare for mine, bare in zip(rates[name], rates[f"bare {name}"], strict=True)])
        rows.append(
            Row(
                f"GET one phone, {what}, {options.stored:,} phones stored, one api process",
                f"{ours:,.0f}/s",
                f"{base:,.0f}/s, constant body, same server",
                f"{ratio:.2f}",
                f">= {least}",
                ratio >= least,
            )
        )
    return rows


@contextmanager
def _commits(database: Path) -> Iterator[None]:
    """Meanwhile another process changes the database again and again."""
    code = (
        "import sqlite3, sys, time\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)\n"
        "while True:\n"
        "    connection.execute('UPDATE users SET name = name')\n"
        "    time.sleep(1 / float(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(database), str(COMMITS_PER_SECOND)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _get(endpoint: str, path: str, headers: Mapping[str, str]) -> Any:
    with urllib.request.urlopen(urllib.request.Request(endpoint + path, headers=dict(headers))) as answer:
        return json.load(answer)


def list_phones(options: argparse.Namespace) -> list[Row]:
    """A page of 100 phones, of many and of few: the first page, and the last full one."""
    few = 1_000
    with _stored(options.stored) as (big, big_credentials), _stored(few) as (small, small_credentials):
        rows = []
        for what, big_offset, small_offset in (("first page", 0, 0), ("deep page", options.stored - 100, few - 100)):
            times: dict[str, list[float]] = {"big": [], "small": []}
            for name, cph, credentials, offset in (
                ("small", small, small_credentials, small_offset),
                ("big", big, big_credentials, big_offset),
            ) * ROUNDS:
                times[name].append(_latency(cph.endpoint, credentials, offset))
            large, little = median(times["big"]), median(times["small"])
            rows.append(
                Row(
                    f"GET 100 phones of {options.stored:,}, {what}",
                    seconds(large),
                    f"{seconds(little)}, of {few:,}",
                    f"{large / little:.2f}",
                    f"<= {LIST_RATIO_MAX}",
                    large / little <= LIST_RATIO_MAX,
                )
            )
    return rows


def _latency(endpoint: str, credentials: Mapping[str, Any], offset: int) -> float:
    """The median time of one list call on a kept connection, in seconds."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
    headers = {"X-Auth-Token": _token(credentials), "Content-Type": "application/json"}
    path = f"/v1/{credentials['project_id']}/cloud-phone/phones?offset={offset}&limit=100"
    times = []
    for _ in range(LIST_CALLS):
        begun = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        times.append(time.perf_counter() - begun)
        if answer.status != 200 or len(json.loads(body)["phones"]) != 100:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
    connection.close()
    return median(times)
