"""A whole scenario at log level debug, and then the search: no password, key, token or ticket in any log, row or error; files that
hold one are their owner's alone."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcph import v1 as sdk
from huaweicloudsdkkps import v3 as kps

from api.vendor_clients import client_of
from opencph.store import tables
from opencph.store.database import Query, open_database, tuple_row
from opencph.testing import RunningCph, opencph_up, purchase

#: columns that are there to keep a secret (a key that signs, a key that a user signs with)
KEEPING = {("signing_keys", "secret"), ("access_keys", "secret_key")}
WAIT_SECONDS = 90.0


class Scenario:
    """What was done, and every secret that was made, sent or told meanwhile."""

    def __init__(self, cph: RunningCph) -> None:
        self.cph = cph
        self.known = known = cph.credentials
        self.secrets = {"password": known["password"], "secret key": known["secret_key"]}
        self.refusals: list[str] = []
        self.client, self.keypairs = client_of(cph, sdk.CphClient), client_of(cph, kps.KpsClient)
        pem = Path(known["private_key_file"]).read_text().splitlines()
        self.secrets["private key"] = pem[len(pem) // 2]

    def log_in(self, password: str) -> httpx.Response:
        user = {"name": self.known["user_name"], "password": password, "domain": {"name": self.known["domain_name"]}}
        scope = {"project": {"id": self.known["project_id"]}}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
        return httpx.post(f"{self.cph.endpoint}/v3/auth/tokens", json={"auth": auth}, timeout=30)

    def play(self) -> None:
        self.secrets["token"] = token = self.log_in(self.known["password"]).headers["X-Subject-Token"]
        self.secrets["wrong password"] = "a-wrong-password-nobody-has"
        self.refusals.append(self.log_in(self.secrets["wrong password"]).text)
        bought = self.client.create_net2_cloud_phone_server(
            sdk.CreateNet2CloudPhoneServerRequest(body=purchase(self.known, "secrets"))
        )
        (server_id,) = bought.server_ids
        deadline = time.monotonic() + WAIT_SECONDS
        while self.client.show_cloud_phone_server_detail(sdk.ShowCloudPhoneServerDetailRequest(server_id=server_id)).status != 5:
            assert time.monotonic() < deadline, self.cph.output
            time.sleep(0.2)
        phone_id = self.client.list_cloud_phones(sdk.ListCloudPhonesRequest(server_id=server_id, limit=1)).phones[0].phone_id
        made = self.keypairs.create_keypair(
            kps.CreateKeypairRequest(body=kps.CreateKeypairRequestBody(keypair=kps.CreateKeypairAction(name="other")))
        )
        lines = made.keypair.private_key.splitlines()
        self.secrets["private key of another pair"] = lines[len(lines) // 2]
        headers = {"X-Auth-Token": token}
        v1 = f"{self.cph.endpoint}/v1/{self.known['project_id']}/cloud-phone"
        ticket = httpx.post(
            f"{v1}/phones/batch-connection", json={"phone_ids": [phone_id], "client_type": "ANDROID"}, headers=headers, timeout=30
        )
        assert ticket.status_code == 200, ticket.text
        (self.secrets["ticket"],) = set(tickets_in(ticket.json()))
        httpx.post(
            f"{v1}/phones/sync-commands", json={"phone_ids": [phone_id], "command": "shell", "content": "id"}, headers=headers
        )
        # refusals of every kind, each of which could repeat what it was sent
        for sent in ({"X-Auth-Token": token[:-2] + "xx"}, {"X-Auth-Token": "x", "Authorization": f"Bearer {token}"}):
            self.refusals.append(httpx.get(f"{v1}/phones", headers=sent).text)
        show = {"X-Auth-Token": token, "X-Subject-Token": token[:-2] + "xx"}
        self.refusals.append(httpx.get(f"{self.cph.endpoint}/v3/auth/tokens", headers=show).text)
        self.refusals.append(httpx.post(f"{v1}/phones/batch-stop", content=b"{", headers=headers).text)
        with pytest.raises(ClientRequestException) as refused:
            self.client.show_cloud_phone_detail(sdk.ShowCloudPhoneDetailRequest(phone_id="0" * 32))
        self.refusals.append(str(refused.value))
        self.objects(self.known["secret_key"])
        with pytest.raises(ClientError) as wrong:
            self.objects("another-secret-key-of-nobody")
        self.refusals.append(str(wrong.value.response))
        self.secrets["wrong secret key"] = "another-secret-key-of-nobody"
        added = subprocess.run(
            [sys.executable, "-m", "opencph", "users", "add", "somebody", "--data", str(self.cph.data)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        self.secrets |= {f"of a new user {n}": word for n, word in enumerate(added.stdout.split()) if looks_secret(word)}
        metrics = self.cph.data / "metrics-token"
        if metrics.exists():
            self.secrets["metrics token"] = metrics.read_text().strip()

    def objects(self, secret_key: str) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=self.cph.endpoint,
            aws_access_key_id=self.known["access_key"],
            aws_secret_access_key=secret_key,
            region_name=self.known["region"],
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
        )
        client.create_bucket(Bucket="files")
        client.put_object(Bucket="files", Key="key", Body=io.BytesIO(b"contents"))


def looks_secret(word: str) -> bool:
    return (len(word) >= 12 and word.isascii() and word.isalnum() is False) or (len(word) >= 16 and any(map(str.isupper, word)))


def tickets_in(value: Any) -> Iterator[str]:
    """Texts of the form of a ticket."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from tickets_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from tickets_in(inner)
    elif isinstance(value, str) and value.count(".") == 1 and len(value) > 100:
        yield value


@pytest.fixture(scope="module")
def scenario() -> Iterator[Scenario]:
    with opencph_up(settings={"log_level": "debug", "access_log": "on"}) as cph:
        played = Scenario(cph)
        played.play()
        yield played


def test_there_were_secrets_to_keep(scenario: Scenario) -> None:
    assert {"password", "secret key", "token", "ticket", "private key", "private key of another pair"} <= scenario.secrets.keys()
    assert all(len(secret) >= 12 for secret in scenario.secrets.values()), scenario.secrets.keys()
    assert len(scenario.refusals) >= 7


def test_no_log_has_one(scenario: Scenario) -> None:
    logs = {
        str(path): path.read_text(errors="replace")
        for path in scenario.cph.data.rglob("*")
        if path.is_file() and "log" in path.name
    }
    logs["output"] = "\n".join(scenario.cph.output)
    assert any("request" in text for text in logs.values()), "nothing was logged, so nothing was looked at"
    assert [(name, place) for place, text in logs.items() for name, secret in scenario.secrets.items() if secret in text] == []


def test_no_row_has_one_but_where_it_is_kept(scenario: Scenario) -> None:
    """Jobs, the audit record, everything. Passwords and tokens are kept nowhere."""
    database = open_database(f"sqlite:///{scenario.cph.data / 'opencph.db'}")
    found = []
    rows = 0
    try:
        with database.read() as tx:
            for table in tables.metadata.tables.values():
                for row in tx.rows(Query(table.select(), tuple_row)):
                    rows += 1
                    for column, value in zip(table.c, row, strict=True):
                        if isinstance(value, str) and (table.name, column.name) not in KEEPING:
                            found += [
                                (name, table.name, column.name) for name, secret in scenario.secrets.items() if secret in value
                            ]
    finally:
        database.close()
    assert rows > 50
    assert found == []


def test_no_refusal_repeats_one(scenario: Scenario) -> None:
    assert [(name, text) for text in scenario.refusals for name, secret in scenario.secrets.items() if secret in text] == []


def test_no_process_shows_one_to_others(scenario: Scenario) -> None:
    """Command lines are everybody's to read."""
    shown = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            shown.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    assert [name for name, secret in scenario.secrets.items() if any(secret in text for text in shown)] == []


def test_what_holds_one_is_its_owners_alone(scenario: Scenario) -> None:
    data = scenario.cph.data
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for name in ("credentials.json", "opencph.db", "metrics-token"):
        if (data / name).exists():
            assert stat.S_IMODE((data / name).stat().st_mode) & 0o077 == 0, name
    for key in data.glob("*.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    for path in (data / "run").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    of_phones = re.compile(r"/builtin/[^/]+/phones/|/share-filesystems/|/shared/")  # what those see has modes of their own
    open_ones = [path for path in data.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert [path for path in open_ones if not of_phones.search(str(path))] == []
    holding = [
        path
        for path in data.rglob("*")
        if path.is_file() and path.stat().st_size < 1 << 20 and os.access(path, os.R_OK)
        if any(secret.encode() in path.read_bytes() for secret in scenario.secrets.values())
    ]
    assert holding
    assert [path for path in holding if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert json.loads((data / "credentials.json").read_text())["password"] == scenario.secrets["password"]
