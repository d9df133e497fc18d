"""`opencph hosts`: what an operator says on the command line is what the owners of servers read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcph import v1 as sdk

from opencph.testing import RunningCph, opencph_up, purchase


@pytest.fixture(scope="module")
def cph() -> Iterator[RunningCph]:
    with opencph_up() as running:
        yield running


def hosts(cph: RunningCph, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opencph", "hosts", *words, "--data", str(cph.data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_draining_for_a_new_disk_announces_a_localdisk_recovery_and_without_it_maintenance(cph: RunningCph) -> None:
    known = cph.credentials
    keys = BasicCredentials(known["access_key"], known["secret_key"], known["project_id"])
    client = sdk.CphClient.new_builder().with_credentials(keys).with_endpoint(cph.endpoint).build()
    bought = client.create_net2_cloud_phone_server(sdk.CreateNet2CloudPhoneServerRequest(body=purchase(known, "drained")))
    listed = hosts(cph, "ls", "--json")
    assert listed.returncode == 0, listed.stderr
    carrier = ""

    def announced(*words: str) -> list[tuple[str, str, str]]:
        nonlocal carrier
        for name in [carrier] if carrier else [str(one["host_id"]) for one in json.loads(listed.stdout)]:
            done = hosts(cph, "drain", name, *words)
            assert done.returncode == 0, done.stderr
            if done.stdout.strip():
                carrier = name
                break
        found = client.list_scheduled_events(sdk.ListScheduledEventsRequest()).scheduled_events
        return [(one.server_id, one.type, one.description) for one in found if one.state == "inquiring"]

    (server_id,) = bought.server_ids
    assert announced("--replace-disk") == [(server_id, "localdisk-recovery", "A disk of the host is replaced.")]
    assert hosts(cph, "activate", carrier).returncode == 0
    assert announced("--reason", "New roof.") == [(server_id, "system-maintenance", "New roof.")]


def test_a_host_that_is_not_there_is_named(cph: RunningCph) -> None:
    done = hosts(cph, "drain", "host-nowhere", "--replace-disk")
    assert done.returncode == 1 and "host-nowhere" in done.stderr
