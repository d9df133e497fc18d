"""ADB commands, data in and out, larger disks: the bodies and answers (cph-api.md operations 24 to 26 and 37 to 41). Checks live in
`command_checks`."""

from __future__ import annotations

import msgspec

from opencph.wire.object_names import ObjectName
from opencph.wire.phones import PhoneJob, PhoneJobsResponse

PUSH, INSTALL, INSTALL_MULTIPLE, UNINSTALL, SHELL = "push", "install", "install-multiple", "uninstall", "shell"
COMMANDS = (PUSH, INSTALL, INSTALL_MULTIPLE, UNINSTALL, SHELL)


class CommandRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST phones/commands and phones/sync-commands: PushFile, InstallApk, UninstallApk, RunShellCommand, RunSyncCommand."""

    command: str
    content: str
    phone_ids: tuple[str, ...] = ()  # when both are given only these count
    server_ids: tuple[str, ...] = ()


class CommandJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one phone, or of a server that has none to be found (Terraform reads `server_id` there)."""

    phone_id: str | None = None
    server_id: str | None = None
    job_id: str | None = None
    error_code: str | None = None
    error_msg: str | None = None


class CommandResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One entry per phone."""

    request_id: str
    jobs: list[CommandJob]


class SyncCommandJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of one phone: status 2 success, -1 failed; of a phone that could not be asked only the error."""

    phone_id: str | None = None
    server_id: str | None = None
    job_id: str | None = None
    status: int | None = None
    error_code: str | None = None  # "" when nothing went wrong
    error_msg: str | None = None
    execute_msg: str | None = None


class RunSyncCommandResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One entry per phone, with what it printed."""

    request_id: str
    jobs: list[SyncCommandJob]


class StorageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A phone whose data is exported, and where to."""

    phone_id: str
    include_files: tuple[str, ...]
    exclude_files: tuple[str, ...]
    object: ObjectName


class BatchExportCloudPhoneDataRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST phones/batch-storage."""

    storage_infos: tuple[StorageInfo, ...]


class RestoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A phone whose data is restored, and where from."""

    phone_id: str
    object: ObjectName


class BatchImportCloudPhoneDataRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST phones/batch-restore."""

    restore_infos: tuple[RestoreInfo, ...]


class ExpandedPhone(msgspec.Struct, frozen=True, kw_only=True):
    """A phone and the new size of its data disk, in GiB."""

    phone_id: str
    new_size: int


class ExpandPhoneDataVolumeSizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST phones/expand-volume."""

    phones: tuple[ExpandedPhone, ...]


BatchExportCloudPhoneDataResponse = PhoneJobsResponse
BatchImportCloudPhoneDataResponse = PhoneJobsResponse
ExpandPhoneDataVolumeSizeResponse = PhoneJobsResponse

__all__ = [
    "COMMANDS",
    "INSTALL",
    "INSTALL_MULTIPLE",
    "PUSH",
    "SHELL",
    "UNINSTALL",
    "BatchExportCloudPhoneDataRequest",
    "BatchExportCloudPhoneDataResponse",
    "BatchImportCloudPhoneDataRequest",
    "BatchImportCloudPhoneDataResponse",
    "CommandJob",
    "CommandRequest",
    "CommandResponse",
    "ExpandPhoneDataVolumeSizeRequest",
    "ExpandPhoneDataVolumeSizeResponse",
    "ExpandedPhone",
    "PhoneJob",
    "RestoreInfo",
    "RunSyncCommandResponse",
    "StorageInfo",
    "SyncCommandJob",
]
