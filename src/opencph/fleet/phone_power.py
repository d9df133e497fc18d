"""Accepting restart, reset and stop of many phones in one call. What the worker then does is in `phone_jobs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, update

from opencph.fleet import Fleet, speed_limits
from opencph.fleet.images import check_usable
from opencph.fleet.payloads import RESET_PHONE, RESTART_PHONE, STOP_PHONE, ResetPhoneJob, RestartPhoneJob, StopPhoneJob
from opencph.fleet.phone_batches import Phone, merged, new_job, read, ready
from opencph.fleet.statuses import PhoneStatus
from opencph.fleet.times import now_ms
from opencph.iam import Caller
from opencph.jobs import queue
from opencph.store import tables
from opencph.store.database import command, in_list, json_list
from opencph.wire.errors import CphError
from opencph.wire.phones import (
    PhoneJob,
    PhoneJobsResponse,
    ResetCloudPhoneRequest,
    RestartCloudPhoneRequest,
    StopCloudPhoneRequest,
)
from opencph.wire.properties import compact


class _Wanted(NamedTuple):
    phone_id: str
    property: str  # "" when none is given
    clear_history: bool


class _Kind(NamedTuple):
    name: str
    payload: type[RestartPhoneJob] | type[ResetPhoneJob] | type[StopPhoneJob]
    working_status: int


_RESTART = _Kind(RESTART_PHONE, RestartPhoneJob, PhoneStatus.RESTARTING)
_RESET = _Kind(RESET_PHONE, ResetPhoneJob, PhoneStatus.RESETTING)
_STOP = _Kind(STOP_PHONE, StopPhoneJob, PhoneStatus.STOPPING)

_SET_STATUS = command(
    update(tables.phones)
    .where(in_list(tables.phones.c.phone_id, "phone_ids"))
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_SET_STATUS_AND_IMAGE = command(
    update(tables.phones)
    .where(in_list(tables.phones.c.phone_id, "phone_ids"))
    .values(status=bindparam("new_status"), image_id=bindparam("new_image_id"), update_ms=bindparam("now"))
)
_SET_PROPERTY = command(
    update(tables.phones)
    .where(tables.phones.c.phone_id == bindparam("of_phone"))
    .values(property=bindparam("new_property"), custom_property=bindparam("new_custom_property"))
)


def restart_cloud_phone(fleet: Fleet, caller: Caller, request_id: str, body: RestartCloudPhoneRequest) -> PhoneJobsResponse:
    """Restart phones, or start stopped ones; data is kept (cph-api.md section 4, operation 19; 10.7).

    Raises CphError for `image_id` (CPS.0166 unknown, CPS.0030 withdrawn, CPS.0142 does not fit). What is wrong with one phone
    stands in its item.
    """
    wanted = [_Wanted(phone.phone_id, phone.property, clear_history=False) for phone in body.phones]
    return _accept(fleet, caller, request_id, _RESTART, wanted, body.image_id)


def reset_cloud_phone(fleet: Fleet, caller: Caller, request_id: str, body: ResetCloudPhoneRequest) -> PhoneJobsResponse:
    """Reset phones to factory settings; data is lost, and a stopped phone is on afterwards (operation 20; 10.7).

    Properties set before stay unless the phone says `factory_reset_enabled`. Raises CphError as `restart_cloud_phone`.
    """
    wanted = [_Wanted(phone.phone_id, phone.property, phone.factory_reset_enabled) for phone in body.phones]
    return _accept(fleet, caller, request_id, _RESET, wanted, body.image_id)


def stop_cloud_phone(fleet: Fleet, caller: Caller, request_id: str, body: StopCloudPhoneRequest) -> PhoneJobsResponse:
    """Power phones off; data is kept (operation 21). A stopped phone may be stopped again."""
    wanted = [_Wanted(phone_id, "", clear_history=False) for phone_id in body.phone_ids]
    return _accept(fleet, caller, request_id, _STOP, wanted, None)


def _accept(
    fleet: Fleet, caller: Caller, request_id: str, kind: _Kind, wanted: Sequence[_Wanted], image_id: str | None
) -> PhoneJobsResponse:
    """One transaction of few statements for any number of phones: either every accepted phone has its job and status, or none."""
    with fleet.database.write() as tx:
        tx.lock("placement")  # a change of the server is accepted before this call or after it
        phones = read(tx, caller.project_id, [one.phone_id for one in wanted])
        if image_id is not None:
            # It is the whole call's: it must exist, and fit the flavor of every phone that is there.
            check_usable(tx, fleet, caller.project_id, image_id, {phone.phone_model_name for phone in phones.values()})
        taken: set[str] = set()
        properties: list[dict[str, str]] = []
        items: list[PhoneJob | Phone] = []  # a refusal, or the phone that gets a job
        for one in wanted:
            try:
                phone = ready(phones.get(one.phone_id), one.phone_id, taken)
                changed = _merged(phone, one)
            except CphError as error:
                items.append(PhoneJob(phone_id=one.phone_id, error_code=error.code, error_msg=error.message))
                continue
            taken.add(phone.phone_id)
            items.append(phone)
            if changed is not None:
                properties.append({"of_phone": phone.phone_id, "new_property": changed[0], "new_custom_property": changed[1]})
        job_ids = iter(
            queue.accept(
                tx,
                [
                    new_job(caller, request_id, kind.name, item, kind.payload(generation_id=item.generation_id))
                    for item in items
                    if isinstance(item, Phone)
                ],
            )
        )
        if taken:
            ids, now = json_list(sorted(taken)), now_ms()
            if image_id is None:
                tx.run(_SET_STATUS, phone_ids=ids, new_status=kind.working_status, now=now)
            else:
                tx.run(_SET_STATUS_AND_IMAGE, phone_ids=ids, new_status=kind.working_status, new_image_id=image_id, now=now)
        if properties:
            tx.run_many(_SET_PROPERTY, properties)
    answers = [item if isinstance(item, PhoneJob) else PhoneJob(phone_id=item.phone_id, job_id=next(job_ids)) for item in items]
    return PhoneJobsResponse(request_id=request_id, jobs=answers)


def _merged(phone: Phone, wanted: _Wanted) -> tuple[str, str] | None:
    """(property, custom_property) as they become: given keys over those the phone has. None when nothing changes.

    Raises CphError CPS.0078, CPS.0163 or CPS.0164 when the given text cannot be used.
    """
    if not wanted.property and not wanted.clear_history:
        return None
    old = "" if wanted.clear_history else phone.property
    custom = "" if wanted.clear_history else phone.custom_property
    if not wanted.property:
        return old, custom
    speed_limits.check(wanted.property, phone.phone_model_name, phone.bandwidth_mbit)
    return compact(merged(old, wanted.property)), custom
