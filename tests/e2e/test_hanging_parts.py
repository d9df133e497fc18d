"""`opencph up` with parts that hang, frozen or in an event loop that does not turn: they are replaced, and nobody else is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest
from huaweicloudsdkcph.v1 import CphClient, CreateNet2CloudPhoneServerRequest, ListCloudPhonesRequest, RestartCloudPhoneRequest

from api.vendor_clients import client_of
from e2e.running import PARTS, Eventually, StartUp, answers, part, server_status
from opencph.testing import RunningCph, purchase

#: The least there may be, so that tests are short.
HUNG = "3"


def bought(cph: RunningCph, name: str) -> str:
    request = CreateNet2CloudPhoneServerRequest(body=purchase(cph.credentials, name))
    return str(client_of(cph, CphClient).create_net2_cloud_phone_server(request).server_ids[0])


def normal(cph: RunningCph, server_id: str) -> bool:
    return server_status(client_of(cph, CphClient), server_id) == 5


def restart_one_phone(cph: RunningCph, server_id: str) -> None:
    client = client_of(cph, CphClient)
    (phone,) = client.list_cloud_phones(ListCloudPhonesRequest(server_id=server_id, limit=1)).phones
    client.restart_cloud_phone(RestartCloudPhoneRequest(body={"phones": [{"phone_id": phone.phone_id}]}))


def boots(cph: RunningCph) -> dict[str, str]:
    return {str(path): path.read_text() for path in (cph.data / "builtin").glob("*/phones/*/boots")}


def pids(cph: RunningCph) -> dict[str, int]:
    found = {name: part(cph, name) for name in PARTS}
    return {name: process.pid for name, process in found.items() if process is not None}


def said(cph: RunningCph, text: str) -> bool:
    return any(text in line for line in cph.output)


def replaced(cph: RunningCph, name: str, pid: int) -> Callable[[], bool]:
    """Whether another process is that part, and serves."""
    return lambda: pids(cph).get(name, pid) != pid and said(cph, f'"event": "the {name} is ready", "level": "warning"')


def words(cph: RunningCph) -> str:
    return "\n".join(cph.output[-15:])


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_frozen_is_replaced_and_no_phone_notices(start: StartUp, eventually: Eventually, name: str) -> None:
    cph = start(hung_seconds=HUNG)
    server_id = bought(cph, "before")
    eventually(lambda: normal(cph, server_id), f"the server is normal: {words(cph)}")
    before, booted = pids(cph), boots(cph)
    os.kill(before[name], signal.SIGSTOP)
    eventually(replaced(cph, name, before[name]), f"another {name}: {words(cph)}")
    (told,) = [line for line in cph.output if " hangs, its event loop has not turned for 3 s; killed: " in line]
    assert f'"part_pid": {before[name]}' in told and f"the {name} hangs" in told
    assert not psutil.pid_exists(before[name])
    assert {other: pid for other, pid in pids(cph).items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }
    assert boots(cph) == booted
    eventually(lambda: answers(cph), "the endpoint answers where it did")
    another = bought(cph, "after")
    eventually(lambda: normal(cph, another), f"work goes on: {words(cph)}")
    assert {path: boots(cph)[path] for path in booted} == booted
    assert cph.stop() == 0
