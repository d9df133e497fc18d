"""Small changes of phones that keep running: name, properties, traffic route. Accepting them here; what the worker does with them
is in `phone_update_jobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import bindparam, select, update

from opencph.fleet import phone_batches, speed_limits
from opencph.fleet.payloads import UPDATE_PHONE, UpdatePhoneJob
from opencph.fleet.phone_batches import Phone
from opencph.fleet.statuses import ServerStatus
from opencph.fleet.times import now_ms
from opencph.jobs import NewJob, queue
from opencph.store import tables
from opencph.store.database import Query, command, in_list, json_list, scalar
from opencph.wire.errors import CphError
from opencph.wire.phones import (
    ImportTrafficRequest,
    PhoneJobsResponse,
    UpdateCloudPhonePropertyRequest,
    UpdatePhoneNameRequest,
    UpdatePhoneNameResponse,
    UpdateProperty,
)
from opencph.wire.properties import PROPERTIES_MAX_BYTES, check_custom_properties, compact

if TYPE_CHECKING:
    from opencph.fleet import Fleet
    from opencph.iam import Caller


class _Named(NamedTuple):
    server_id: str
    generation_id: str
    server_status: int


_PHONE = Query(
    select(tables.phones.c.server_id, tables.phones.c.generation_id, tables.servers.c.status)
    .join(tables.servers, tables.servers.c.generation_id == tables.phones.c.generation_id)
    .where(tables.phones.c.phone_id == bindparam("of_phone"), tables.phones.c.project_id == bindparam("of_project")),
    _Named,
)
_NAMESAKES: Query[str] = Query(
    select(tables.phones.c.phone_id).where(
        tables.phones.c.generation_id == bindparam("of_generation"), tables.phones.c.name == bindparam("wanted_name")
    ),
    scalar,
)
_SET_NAME = command(
    update(tables.phones)
    .where(tables.phones.c.phone_id == bindparam("of_phone"))
    .values(name=bindparam("new_name"), update_ms=bindparam("now"))
)
_SET_PROPERTIES = command(
    update(tables.phones)
    .where(tables.phones.c.phone_id == bindparam("of_phone"))
    .values(property=bindparam("new_property"), custom_property=bindparam("new_custom_property"), update_ms=bindparam("now"))
)
_SET_TRAFFIC = command(
    update(tables.phones)
    .where(in_list(tables.phones.c.phone_id, "phone_ids"))
    .values(traffic_type=bindparam("new_traffic_type"), update_ms=bindparam("now"))
)


def update_phone_name(
    fleet: Fleet, caller: Caller, request_id: str, phone_id: str, body: UpdatePhoneNameRequest
) -> UpdatePhoneNameResponse:
    """Rename a phone (cph-api.md section 4, number 22). Raises CPS.0005, and CPS.0026 for another phone's name of the same server.

    The answer names no job; the phone itself learns its name through one, a moment later.
    """
    with fleet.database.write() as tx:
        tx.lock("placement")
        phone = tx.row(_PHONE, of_phone=phone_id, of_project=caller.project_id)
        if phone is None:
            raise CphError("CPS.0005", f"phone_id {phone_id} does not exist in this project")
        other = next(iter(tx.rows(_NAMESAKES, of_generation=phone.generation_id, wanted_name=body.phone_name)), phone_id)
        if other != phone_id:
            raise CphError("CPS.0026", f"phone {other} of the same server has the name {body.phone_name}; choose another one")
        tx.run(_SET_NAME, of_phone=phone_id, new_name=body.phone_name, now=now_ms())
        if phone.server_status == ServerStatus.NORMAL:
            queue.accept(tx, [_job(caller, request_id, phone_id, phone.server_id, phone.generation_id)])
    return UpdatePhoneNameResponse(request_id=request_id)


def update_cloud_phone_property(
    fleet: Fleet, caller: Caller, request_id: str, body: UpdateCloudPhonePropertyRequest
) -> PhoneJobsResponse:
    """Set properties (cph-api.md section 4, number 23): given keys over those that the phone has.

    Which act at once and which at the next boot is the phone's to know (10.7). What is wrong with one phone stands in its item.
    """
    changed: list[dict[str, str | int]] = []
    now = now_ms()

    def job_of(phone: Phone, wanted: UpdateProperty) -> NewJob:
        new_property, new_custom = _merged(phone, wanted)
        changed.append({"of_phone": phone.phone_id, "new_property": new_property, "new_custom_property": new_custom, "now": now})
        return _job(caller, request_id, phone.phone_id, phone.server_id, phone.generation_id)

    with fleet.database.write() as tx:
        tx.lock("placement")
        jobs = phone_batches.accept(tx, caller.project_id, [(phone.phone_id, phone) for phone in body.phones], job_of)
        tx.run_many(_SET_PROPERTIES, changed)
    return PhoneJobsResponse(request_id=request_id, jobs=jobs)


def import_traffic(fleet: Fleet, caller: Caller, request_id: str, body: ImportTrafficRequest) -> PhoneJobsResponse:
    """Lead the traffic of phones directly or through their server's encode server (cph-api.md section 4, number 27)."""

    def job_of(phone: Phone, _: None) -> NewJob:
        return _job(caller, request_id, phone.phone_id, phone.server_id, phone.generation_id)

    with fleet.database.write() as tx:
        tx.lock("placement")
        jobs = phone_batches.accept(tx, caller.project_id, [(phone_id, None) for phone_id in body.phone_ids], job_of)
        accepted = json_list(job.phone_id for job in jobs if job.job_id is not None)
        tx.run(_SET_TRAFFIC, phone_ids=accepted, new_traffic_type=body.traffic_type, now=now_ms())
    return PhoneJobsResponse(request_id=request_id, jobs=jobs)


def _job(caller: Caller, request_id: str, phone_id: str, server_id: str, generation_id: str) -> NewJob:
    return NewJob(
        project_id=caller.project_id,
        request_id=request_id,
        kind=UPDATE_PHONE,
        lane=server_id,
        server_id=server_id,
        phone_id=phone_id,
        payload=UpdatePhoneJob(generation_id=generation_id),
    )


def _merged(phone: Phone, wanted: UpdateProperty) -> tuple[str, str]:
    """(property, custom_property) as they become. Raises CphError CPS.0078, CPS.0163 or CPS.0164."""
    speed_limits.check(wanted.property, phone.phone_model_name, phone.bandwidth_mbit)
    check_custom_properties(wanted.custom_property)
    custom = msgspec.json.encode(wanted.custom_property).decode() if wanted.custom_property else ""
    size = len(wanted.property.encode()) + len(custom.encode())
    if size > PROPERTIES_MAX_BYTES:
        raise CphError("CPS.0078", f"property and custom_property have {size} bytes: at most {PROPERTIES_MAX_BYTES} together")
    new = compact(phone_batches.merged(phone.property, wanted.property)), phone_batches.merged(phone.custom_property, custom)
    size = sum(len(text.encode()) for text in new)
    if size > PROPERTIES_MAX_BYTES:
        raise CphError(
            "CPS.0078",
            f"property and custom_property would have {size} bytes with those that the phone has already: "
            f"at most {PROPERTIES_MAX_BYTES} together; a reset with factory_reset_enabled erases the old ones",
        )
    return new
