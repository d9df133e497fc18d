"""Phones as the calls that work on many of them see them: reading them, and whether one may be worked on. Which work is for the
modules of the calls: `phone_power`, `phone_updates`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import bindparam, select

from opencph.fleet.statuses import PhoneStatus, ServerStatus
from opencph.iam import Caller
from opencph.jobs import NewJob, queue
from opencph.store import tables
from opencph.store.database import Query, Transaction, in_list, json_list
from opencph.wire.checks import HEX_ID_RULE
from opencph.wire.errors import CphError, shown
from opencph.wire.phones import PhoneJob

#: What may be worked on: running and stopped phones (CPS.0165), and those whose last job failed or whose host died, for there is
#: no other way to bring them back.
SETTLED = frozenset(
    {
        PhoneStatus.RUNNING,
        PhoneStatus.STOPPED,
        PhoneStatus.RESET_FAILED,
        PhoneStatus.RESTART_FAILED,
        PhoneStatus.ABNORMAL,
        PhoneStatus.STOP_FAILED,
    }
)

_PHONE_ID = re.compile(r"[0-9a-f]{32}")
Wanted = TypeVar("Wanted")


class Phone(NamedTuple):
    """A phone of the generation that serves, and the state of its server."""

    phone_id: str
    server_id: str
    generation_id: str
    phone_model_name: str
    status: int
    server_status: int
    property: str
    custom_property: str
    bandwidth_mbit: int | None  # of the server's public addresses


_PHONES: Query[Phone] = Query(
    select(
        tables.phones.c.phone_id,
        tables.phones.c.server_id,
        tables.phones.c.generation_id,
        tables.generations.c.phone_model_name,
        tables.phones.c.status,
        tables.servers.c.status,
        tables.phones.c.property,
        tables.phones.c.custom_property,
        tables.bandwidths.c.size_mbit,
    )
    .join(tables.servers, tables.servers.c.generation_id == tables.phones.c.generation_id)  # those that serve, and no others
    .join(tables.generations, tables.generations.c.generation_id == tables.phones.c.generation_id)
    .outerjoin(tables.bandwidths, tables.bandwidths.c.bandwidth_id == tables.generations.c.bandwidth_id)
    .where(tables.phones.c.project_id == bindparam("of_project"), in_list(tables.phones.c.phone_id, "phone_ids")),
    Phone,
)


def read(tx: Transaction, project_id: str, phone_ids: Sequence[str]) -> dict[str, Phone]:
    """The project's phones among `phone_ids` that are to be seen, by id; ids that are none are left out."""
    return {phone.phone_id: phone for phone in tx.rows(_PHONES, of_project=project_id, phone_ids=json_list(well_formed(phone_ids)))}


def well_formed(phone_ids: Iterable[str]) -> list[str]:
    """Those that a database may be asked for."""
    return [phone_id for phone_id in phone_ids if _PHONE_ID.fullmatch(phone_id)]


def existing(phone: Phone | None, phone_id: str) -> Phone:
    """The phone, when it is there. Raises CphError CPS.0004, CPS.0005."""
    if phone is None:
        if not _PHONE_ID.fullmatch(phone_id):
            raise CphError("CPS.0004", f"phone_id {shown(phone_id)} {HEX_ID_RULE}")
        raise CphError("CPS.0005", f"there is no phone {phone_id} in this project")
    return phone


def ready(phone: Phone | None, phone_id: str, taken: set[str]) -> Phone:
    """The phone, when it may be worked on. Raises CphError with the item's own code (cph-api.md 7.3)."""
    phone = existing(phone, phone_id)
    if phone_id in taken:
        raise CphError("CPS.0165", f"phone {phone_id} is named twice; its first item is being worked on")
    if phone.server_status == ServerStatus.FROZEN or phone.status == PhoneStatus.FROZEN:
        raise CphError("CPS.0053", f"phone {phone_id}")
    if phone.server_status not in (ServerStatus.NORMAL, ServerStatus.ABNORMAL):
        raise CphError("CPS.0099", f"server {phone.server_id} has status {phone.server_status}; wait until it is 5")
    if phone.status not in SETTLED:
        raise CphError("CPS.0165", f"phone {phone_id} has status {phone.status}; wait until its job has ended")
    return phone


def new_job(caller: Caller, request_id: str, kind: str, phone: Phone, payload: msgspec.Struct) -> NewJob:
    """A job for a phone, in the lane of its server."""
    return NewJob(
        project_id=caller.project_id,
        request_id=request_id,
        kind=kind,
        lane=phone.server_id,
        server_id=phone.server_id,
        phone_id=phone.phone_id,
        payload=payload,
    )


def accept(
    tx: Transaction,
    project_id: str,
    wanted: Sequence[tuple[str, Wanted]],
    job_of: Callable[[Phone, Wanted], NewJob],
) -> list[PhoneJob]:
    """A job for each phone that may be worked on, its refusal for each other one, in the order of `wanted`.

    `job_of` may raise CphError: that is the phone's refusal too. Call it under `tx.lock("placement")`.
    """
    phones = read(tx, project_id, [phone_id for phone_id, _ in wanted])
    taken: set[str] = set()
    items: list[PhoneJob | NewJob] = []
    for phone_id, what in wanted:
        try:
            job = job_of(ready(phones.get(phone_id), phone_id, taken), what)
        except CphError as error:
            items.append(PhoneJob(phone_id=phone_id, error_code=error.code, error_msg=error.message))
            continue
        taken.add(phone_id)
        items.append(job)
    job_ids = iter(queue.accept(tx, [item for item in items if isinstance(item, NewJob)]))
    return [item if isinstance(item, PhoneJob) else PhoneJob(phone_id=item.phone_id or "", job_id=next(job_ids)) for item in items]


def merged(old: str, given: str) -> str:
    """A stored JSON object text ("" is none) with the keys of `given` over its own, without white space."""
    if not given:
        return old
    before: dict[str, object] = json.loads(old) if old else {}
    over: dict[str, object] = json.loads(given)
    return json.dumps({**before, **over}, ensure_ascii=False, separators=(",", ":"))
