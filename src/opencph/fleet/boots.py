"""Bringing phones up for a job: booted, and asked whether they answer. What becomes of those that do not is the job's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from opencph.fleet.adb_check import silent_phones
from opencph.runtimes import PhoneSpec, Runtime


class Boot(NamedTuple):
    """Why phones are not up, by phone_id: those that the runtime could not boot, and those that do not answer ADB."""

    failed: dict[str, str]
    silent: dict[str, str]


async def bring_up(runtime: Runtime, generation_id: str, phones: Sequence[PhoneSpec]) -> Boot:
    """Boot phones, and ask them. What runs is left alone. Raises RuntimeFaultError.

    When some do not answer all is done once more: what carried them may have died after they were booted.
    """
    boot = Boot({}, {})
    for _ in range(2):
        failed = dict(await runtime.start(generation_id, [phone.phone_id for phone in phones]))
        asked = {phone.phone_id: phone.ip for phone in phones if phone.phone_id not in failed}
        boot = Boot(failed, await silent_phones(asked))
        if not boot.silent:
            break
    return boot
