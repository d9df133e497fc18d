"""Another flavor for a server: ChangeCloudPhoneServerModel. Accepting the order, and the kind of job that does it: the phones go
off, the rows change, the phones boot as the new flavor with their data. When they do not boot, the old flavor comes back."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, case, func, select, update

from opencph.fleet import Fleet, generations, orders
from opencph.fleet.boots import bring_up
from opencph.fleet.catalogue import PhoneModel
from opencph.fleet.filters import among
from opencph.fleet.ids import new_order_id, product_id
from opencph.fleet.images import base_of
from opencph.fleet.job_errors import RUNTIME_FAILED, TIMED_OUT, job_failed
from opencph.fleet.payloads import CHANGE_SERVER_MODEL, ChangeServerModelJob
from opencph.fleet.statuses import PhoneStatus, ServerStatus
from opencph.fleet.times import now_ms
from opencph.iam import Caller
from opencph.jobs import Batch, Job, JobFailedError, JobKind, NewJob, Step, queue
from opencph.runtimes import GenerationSpec, PhoneSpec, Runtime, RuntimeFaultError
from opencph.store import revisions, tables
from opencph.store.database import Query, Transaction, command, scalar
from opencph.wire.errors import CphError
from opencph.wire.server_actions import ChangeCloudPhoneServerModelRequest, ChangeCloudPhoneServerModelResponse

_s, _g, _p = tables.servers.c, tables.generations.c, tables.phones.c


class _Current(NamedTuple):
    status: int
    generation_id: str
    server_model_name: str
    phone_model_name: str
    phone_count: int


_CURRENT = Query(
    select(_s.status, _s.generation_id, _g.server_model_name, _g.phone_model_name, _g.phone_count)
    .join(tables.generations, _g.generation_id == _s.generation_id, isouter=True)
    .where(_s.server_id == bindparam("of_server"), _s.project_id == bindparam("of_project")),
    _Current,
)
_IMAGES: Query[str] = Query(select(_p.image_id).where(_p.generation_id == bindparam("of_generation")).distinct(), scalar)
_SET_STATUS = command(
    update(tables.servers)
    .where(_s.server_id == bindparam("of_server"), _s.status == bindparam("old_status"))
    .values(status=bindparam("new_status"), update_ms=bindparam("now"))
)
_SET_PRODUCT = command(
    update(tables.servers).where(_s.server_id == bindparam("of_server")).values(product_id=bindparam("new_product_id"))
)
_SET_MODELS = command(
    update(tables.generations)
    .where(_g.generation_id == bindparam("of_generation"))
    .values(server_model_name=bindparam("new_server_model"), phone_model_name=bindparam("new_phone_model"))
)
_GROW_DISKS = command(  # without a data volume of its own a phone has the flavor's disk; a disk never shrinks
    update(tables.phones)
    .where(
        _p.generation_id == bindparam("of_generation"),
        select(_g.data_volume_gib).where(_g.generation_id == bindparam("of_generation")).scalar_subquery().is_(None),
    )
    .values(data_volume_gib=case((_p.data_volume_gib < bindparam("new_gib"), bindparam("new_gib")), else_=_p.data_volume_gib))
)
_RUNNING: Query[str] = Query(
    select(_p.phone_id)
    .where(_p.generation_id == bindparam("of_generation"), among(_p.status, (PhoneStatus.RUNNING, PhoneStatus.ABNORMAL)))
    .order_by(_p.number),
    scalar,
)
_TOUCH_PHONES = command(
    update(tables.phones).where(_p.generation_id == bindparam("of_generation")).values(update_ms=bindparam("now"))
)
_UNSETTLED: Query[int] = Query(
    select(func.count())
    .select_from(tables.phones)
    .where(
        _p.generation_id == bindparam("of_generation"),
        among(_p.status, (PhoneStatus.RESTARTING, PhoneStatus.RESETTING, PhoneStatus.STOPPING)),
    ),
    scalar,
)


def change_cloud_phone_server_model(
    fleet: Fleet, caller: Caller, request_id: str, body: ChangeCloudPhoneServerModelRequest
) -> ChangeCloudPhoneServerModelResponse:
    """Order another flavor for a server (cph-api.md section 4, number 7): as many phones, the same generation of hardware.

    The server reads 3 until the job `change_server_model` has ended. Raises CPS.0015, CPS.0099, CPS.0089, CPS.0028, CPS.0142.
    """
    with fleet.database.write() as tx:
        tx.lock("placement")
        current = _check(tx, fleet, caller.project_id, body)
        changed = tx.run(
            _SET_STATUS,
            of_server=body.server_id,
            old_status=ServerStatus.NORMAL,
            new_status=ServerStatus.CHANGING,
            now=now_ms(),
        )
        assert changed  # checked under the same lock
        job = NewJob(
            project_id=caller.project_id,
            request_id=request_id,
            kind=CHANGE_SERVER_MODEL,
            lane=body.server_id,
            server_id=body.server_id,
            payload=ChangeServerModelJob(
                generation_id=current.generation_id,
                server_model_name=body.server_model_name,
                phone_model_name=body.phone_model_name,
                old_server_model_name=current.server_model_name,
                old_phone_model_name=current.phone_model_name,
            ),
        )
        queue.accept(tx, [job])
        order_id, product = new_order_id(), product_id(body.server_model_name, body.phone_model_name)
        orders.open_order(
            tx,
            order_id=order_id,
            project_id=caller.project_id,
            kind=orders.CHANGE,
            product_id=product,
            server_ids=[body.server_id],
        )
    return ChangeCloudPhoneServerModelResponse(request_id=request_id, order_id=order_id, product_id=product)


def _check(tx: Transaction, fleet: Fleet, project_id: str, body: ChangeCloudPhoneServerModelRequest) -> _Current:
    current = tx.row(_CURRENT, of_server=body.server_id, of_project=project_id)
    if current is None:
        raise CphError("CPS.0015", f"server_id {body.server_id} does not exist in this project")
    if current.status != ServerStatus.NORMAL:
        raise CphError("CPS.0099", f"server_id {body.server_id} has status {current.status}; wait until it is 5")
    if tx.row(_UNSETTLED, of_generation=current.generation_id):
        raise CphError("CPS.0099", f"server_id {body.server_id}: some of its phones are being restarted, reset or stopped")
    if not current.phone_model_name:
        raise CphError("CPS.0099", f"server_id {body.server_id} is a bare server; its flavor stays")
    fleet.catalogue.server_model(body.server_model_name)
    new = fleet.catalogue.phone_model(body.phone_model_name, server_model_name=body.server_model_name)
    if (body.server_model_name, body.phone_model_name) == (current.server_model_name, current.phone_model_name):
        raise CphError("CPS.0089", f"the server has {body.server_model_name!r} with {body.phone_model_name!r} already")
    if _family(body.server_model_name) != _family(current.server_model_name):
        raise CphError(
            "CPS.0089",
            f"server_model_name {body.server_model_name!r} is of another generation than {current.server_model_name!r}; "
            f"only flavors physical.{_family(current.server_model_name)}.* can follow it",
        )
    _check_phones(fleet, current, body.phone_model_name, new)
    for image_id in tx.rows(_IMAGES, of_generation=current.generation_id):
        image = fleet.catalogue.images.get(base_of(tx, fleet, image_id) or "")
        if image is not None and new.image_label not in image.image_labels:
            raise CphError(
                "CPS.0142",
                f"phones of the server run image_id {image_id!r} for {' and '.join(image.image_labels)}; phone flavor "
                f"{body.phone_model_name!r} needs {new.image_label}; restart or reset them with another image first",
            )
    return current


def _check_phones(fleet: Fleet, current: _Current, name: str, new: PhoneModel) -> None:
    if new.phone_capacity != current.phone_count:
        raise CphError(
            "CPS.0028",
            f"phone_model_name {name!r} has {new.phone_capacity} phones per server and this server {current.phone_count}; "
            "the number of phones must stay",
        )
    old = fleet.catalogue.phone_models.get(current.phone_model_name)
    if old is not None and old.phone_model_version != new.phone_model_version:
        raise CphError("CPS.0028", f"phone_model_name {name!r} is of flavor version {new.phone_model_version + 1}.0, not as now")


def _family(server_model_name: str) -> str:
    """`rx1` of `physical.rx1.xlarge.cg`: the generation of hardware."""
    parts = server_model_name.split(".")
    return parts[1] if len(parts) > 1 else server_model_name


def kinds(fleet: Fleet, runtime: Runtime) -> dict[str, JobKind]:
    """The kind `change_server_model`, driving `runtime`."""

    def read(generation_id: str) -> tuple[GenerationSpec, list[PhoneSpec]]:
        with fleet.database.read() as tx:
            spec, running = generations.spec(tx, fleet, generation_id), set(tx.rows(_RUNNING, of_generation=generation_id))
            return spec, [phone for phone in spec.phones if phone.phone_id in running]

    async def off(batch: Batch) -> None:
        try:
            await runtime.power_off(_payload(batch.job).generation_id)
        except RuntimeFaultError as fault:
            raise job_failed(RUNTIME_FAILED, f"the phones do not go off: {fault}") from fault

    async def boot(batch: Batch) -> None:
        generation_id = _payload(batch.job).generation_id
        try:
            spec, phones = await asyncio.to_thread(read, generation_id)
            await runtime.create(spec)
            causes, silent = await bring_up(runtime, generation_id, phones)
        except RuntimeFaultError as fault:
            raise job_failed(RUNTIME_FAILED, f"the phones do not boot: {fault}") from fault
        failed = {**silent, **causes}
        if failed:
            phone_id, cause = next(iter(failed.items()))
            code = RUNTIME_FAILED if causes else TIMED_OUT
            raise job_failed(code, f"{len(failed)} of {len(phones)} phones do not run as the new flavor; {phone_id}: {cause}")

    async def back_on(batch: Batch) -> None:
        """The old flavor boots again; the reconciler goes on with phones that do not."""
        generation_id = _payload(batch.job).generation_id
        spec, phones = await asyncio.to_thread(read, generation_id)
        await runtime.power_off(generation_id)
        await runtime.create(spec)
        await runtime.start(generation_id, [phone.phone_id for phone in phones])

    def move(tx: Transaction, batch: Batch) -> None:
        payload = _payload(batch.job)
        set_models(tx, payload.generation_id, payload.server_model_name, payload.phone_model_name)

    def move_back(tx: Transaction, batch: Batch) -> None:
        payload = _payload(batch.job)
        set_models(tx, payload.generation_id, payload.old_server_model_name, payload.old_phone_model_name)

    def set_models(tx: Transaction, generation_id: str, server_model: str, phone_model: str) -> None:
        tx.run(_SET_MODELS, of_generation=generation_id, new_server_model=server_model, new_phone_model=phone_model)
        model = fleet.catalogue.phone_models.get(phone_model)
        tx.run(_GROW_DISKS, of_generation=generation_id, new_gib=model.disk if model else 0)
        revisions.bump(tx, generations.SERVERS)

    def finish(tx: Transaction, batch: Batch) -> None:
        payload = _payload(batch.job)
        now = now_ms()
        new_product_id = product_id(payload.server_model_name, payload.phone_model_name)
        tx.run(_SET_PRODUCT, of_server=batch.job.lane, new_product_id=new_product_id)
        tx.run(_TOUCH_PHONES, of_generation=payload.generation_id, now=now)
        end(tx, batch.job.lane, now, delivered=True)
        revisions.bump(tx, generations.SERVERS)

    def failed(tx: Transaction, job: Job, error: JobFailedError) -> None:
        end(tx, job.lane, now_ms(), delivered=False)

    def end(tx: Transaction, server_id: str, now: int, *, delivered: bool) -> None:
        orders.settle(tx, [server_id], orders.CHANGE, delivered=delivered)
        normal = ServerStatus.NORMAL
        tx.run(_SET_STATUS, of_server=server_id, old_status=ServerStatus.CHANGING, new_status=normal, now=now)

    steps = (
        Step("off", effect=off, undo_effect=back_on),
        Step("move", commit=move, undo_commit=move_back),
        Step("boot", effect=boot),
        Step("finish", commit=finish),
    )
    return {CHANGE_SERVER_MODEL: JobKind(name=CHANGE_SERVER_MODEL, steps=steps, on_failure=failed)}


def _payload(job: Job) -> ChangeServerModelJob:
    return msgspec.json.decode(job.payload, type=ChangeServerModelJob)
