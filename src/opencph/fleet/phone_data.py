"""Accepting exports, restores and larger disks of phones (operations 24 to 26). What the worker does is in `phone_data_jobs`."""

from __future__ import annotations

from opencph.fleet import Fleet, phone_batches
from opencph.fleet.command_payloads import (
    EXPAND_PHONE,
    EXPORT_PHONE,
    IMPORT_PHONE,
    ExpandPhoneJob,
    ExportPhoneJob,
    ImportPhoneJob,
)
from opencph.fleet.commands import running
from opencph.fleet.phone_batches import Phone
from opencph.iam import Caller
from opencph.jobs import NewJob
from opencph.store import tables
from opencph.store.database import Query, in_list, json_list
from opencph.wire.commands import (
    BatchExportCloudPhoneDataRequest,
    BatchImportCloudPhoneDataRequest,
    ExpandedPhone,
    ExpandPhoneDataVolumeSizeRequest,
    RestoreInfo,
    StorageInfo,
)
from opencph.wire.errors import CphError
from opencph.wire.phones import PhoneJobsResponse


def _size(phone_id: str, size: int) -> tuple[str, int]:
    return phone_id, size


_SIZES = Query(
    tables.phones.select()
    .with_only_columns(tables.phones.c.phone_id, tables.phones.c.data_volume_gib)
    .where(in_list(tables.phones.c.phone_id, "phone_ids")),
    _size,
)


def batch_export_cloud_phone_data(
    fleet: Fleet, caller: Caller, request_id: str, body: BatchExportCloudPhoneDataRequest
) -> PhoneJobsResponse:
    """A job for each phone that runs: its paths become an archive in the object store."""

    def job_of(phone: Phone, info: StorageInfo) -> NewJob:
        running(phone)
        payload = ExportPhoneJob(
            generation_id=phone.generation_id,
            include_files=info.include_files,
            exclude_files=info.exclude_files,
            bucket=info.object.bucket,
            key=info.object.key,
        )
        return phone_batches.new_job(caller, request_id, EXPORT_PHONE, phone, payload)

    with fleet.database.write() as tx:
        tx.lock("placement")
        wanted = [(info.phone_id, info) for info in body.storage_infos]
        return PhoneJobsResponse(request_id=request_id, jobs=phone_batches.accept(tx, caller.project_id, wanted, job_of))


def batch_import_cloud_phone_data(
    fleet: Fleet, caller: Caller, request_id: str, body: BatchImportCloudPhoneDataRequest
) -> PhoneJobsResponse:
    """A job for each phone that runs: an archive is unpacked into it. A restart afterwards is the caller's, as documented."""

    def job_of(phone: Phone, info: RestoreInfo) -> NewJob:
        running(phone)
        payload = ImportPhoneJob(generation_id=phone.generation_id, bucket=info.object.bucket, key=info.object.key)
        return phone_batches.new_job(caller, request_id, IMPORT_PHONE, phone, payload)

    with fleet.database.write() as tx:
        tx.lock("placement")
        wanted = [(info.phone_id, info) for info in body.restore_infos]
        return PhoneJobsResponse(request_id=request_id, jobs=phone_batches.accept(tx, caller.project_id, wanted, job_of))


def expand_phone_data_volume_size(
    fleet: Fleet, caller: Caller, request_id: str, body: ExpandPhoneDataVolumeSizeRequest
) -> PhoneJobsResponse:
    """A job for each phone: its disk grows, at once and without a restart. A size below the present one is the item's refusal."""
    with fleet.database.write() as tx:
        tx.lock("placement")
        sizes = dict(tx.rows(_SIZES, phone_ids=json_list(phone_batches.well_formed(one.phone_id for one in body.phones))))

        def job_of(phone: Phone, one: ExpandedPhone) -> NewJob:
            if one.new_size < sizes[phone.phone_id]:
                now = sizes[phone.phone_id]
                raise CphError(
                    "CPS.0077", f"new_size {one.new_size} of phone {phone.phone_id}: its disk has {now} GiB and can only grow"
                )
            payload = ExpandPhoneJob(generation_id=phone.generation_id, new_size=one.new_size)
            return phone_batches.new_job(caller, request_id, EXPAND_PHONE, phone, payload)

        wanted = [(one.phone_id, one) for one in body.phones]
        return PhoneJobsResponse(request_id=request_id, jobs=phone_batches.accept(tx, caller.project_id, wanted, job_of))
