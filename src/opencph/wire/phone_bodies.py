"""Bodies of CPH about phones, as they are sent, as `<Operation>Body`: batches, commands, data in and out, shared apps and files.
What `/openapi.json` tells of them; those about servers are in `server_bodies`, where the conventions are told. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from opencph.wire import command_checks, connections, object_names, phone_checks, share_checks
from opencph.wire.server_bodies import ImageId, ItemId, Name

_BUCKET = object_names.BUCKET.pattern
_KEY = "[A-Za-z0-9_./:-]*"
_FLAGS = f"(({command_checks.FLAG.pattern}) +)*"
_APK = rf"obs://{_BUCKET}/{_KEY}\.apk"

PropertyOfPhone = Annotated[str, Meta(description="The text of a JSON object. A wrong one fails in the answer's `jobs`.")]
PhoneIds = Annotated[list[ItemId], Meta(min_length=1, max_length=phone_checks.PHONES_PER_CALL)]
#: of calls that take phones or servers
SomePhones = Annotated[list[ItemId], Meta(max_length=phone_checks.PHONES_PER_CALL)]
SomeServers = Annotated[list[ItemId], Meta(max_length=command_checks.SERVERS_PER_CALL)]
Servers = Annotated[list[ItemId], Meta(min_length=1, max_length=share_checks.SERVERS)]
PushServers = Annotated[list[ItemId], Meta(min_length=1, max_length=share_checks.PUSH_SERVERS)]
BucketName = Annotated[str, Meta(pattern=f"^{_BUCKET}$")]
ObjectPath = Annotated[
    str, Meta(max_length=command_checks.OBJECT_PATH_CHARACTERS, pattern=f"^{command_checks.OBJECT_PATH.pattern}$")
]
ArchivePath = Annotated[
    str, Meta(max_length=command_checks.OBJECT_PATH_CHARACTERS, pattern=rf"^{command_checks.OBJECT_PATH.pattern}\.tar$")
]
PackageName = Annotated[str, Meta(max_length=share_checks.PACKAGE_BYTES, pattern=f"^{command_checks.PACKAGE.pattern}$")]
DataPath = Annotated[str, Meta(max_length=command_checks.PATH_BYTES, pattern=f"^{command_checks.DATA_PATH.pattern}$")]
SharedPath = Annotated[str, Meta(max_length=share_checks.PATH_BYTES, pattern=f"^{share_checks.SHARED_PATH.pattern}$")]
ShellLine = Annotated[str, Meta(max_length=command_checks.SHELL_BYTES, pattern=f"^{command_checks.SHELL_LINE.pattern}$")]


class BatchShowPhoneConnectInfosBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-connection."""

    phone_ids: Annotated[list[ItemId], Meta(min_length=1, max_length=connections.PHONES_PER_CALL)]
    client_type: Literal["ANDROID", "WINDOWS", "H5_MOBILE", "H5_PC", "IOS"]


class PhoneToRestart(msgspec.Struct, frozen=True, kw_only=True):
    """A phone to restart, and its new properties."""

    phone_id: ItemId
    property: PropertyOfPhone | None = None


class RestartCloudPhoneBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-restart."""

    image_id: ImageId | None = None
    phones: Annotated[list[PhoneToRestart], Meta(min_length=1, max_length=phone_checks.PHONES_PER_CALL)]


class PhoneToReset(PhoneToRestart, frozen=True, kw_only=True):
    """A phone to reset, and its new properties. With `factory_reset_enabled` the older ones are erased too."""

    factory_reset_enabled: bool | None = None


class ResetCloudPhoneBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-reset."""

    image_id: ImageId | None = None
    phones: Annotated[list[PhoneToReset], Meta(min_length=1, max_length=phone_checks.PHONES_PER_CALL)]


class StopCloudPhoneBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-stop."""

    phone_ids: PhoneIds


class UpdatePhoneNameBody(msgspec.Struct, frozen=True, kw_only=True):
    """PUT /v1/{project_id}/cloud-phone/phones/{phone_id}."""

    phone_name: Name


class PhoneProperties(msgspec.Struct, frozen=True, kw_only=True):
    """New properties of one phone; `property` may be empty."""

    phone_id: ItemId
    property: PropertyOfPhone
    custom_property: dict[str, str] | None = None


class UpdateCloudPhonePropertyBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-update-property."""

    phones: Annotated[list[PhoneProperties], Meta(min_length=1, max_length=phone_checks.PHONES_PER_CALL)]


class ImportTrafficBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones-traffic."""

    traffic_type: Literal["direct", "routing"]
    phone_ids: Annotated[list[ItemId], Meta(min_length=1, max_length=phone_checks.PHONES_PER_TRAFFIC_CALL)]


class PhoneToExpand(msgspec.Struct, frozen=True, kw_only=True):
    """A phone, and the new size of its data disk in GiB."""

    phone_id: ItemId
    new_size: Annotated[int, Meta(ge=1, le=command_checks.VOLUME_GIB_MAX)]


class ExpandPhoneDataVolumeSizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/expand-volume."""

    phones: Annotated[list[PhoneToExpand], Meta(min_length=1, max_length=phone_checks.PHONES_PER_CALL)]


# --- commands ----------------------------------------


class Whom(msgspec.Struct, frozen=True, kw_only=True):
    """Phones, or all phones of servers: one of the two must be there; when both are, only the phones count."""

    phone_ids: SomePhones | None = None
    server_ids: SomeServers | None = None


class PushFileBody(Whom, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/commands: a tar archive, to `phone_ids` or to all phones of `server_ids`."""

    command: Literal["push"]
    content: Annotated[str, Meta(max_length=command_checks.CONTENT_BYTES, pattern=rf"^obs://{_BUCKET}/{_KEY}\.tar$")]


class InstallApkBody(Whom, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/commands: an APK (`install`, 1024 bytes) or the splits of one."""

    command: Literal["install", "install-multiple"]
    content: Annotated[str, Meta(max_length=command_checks.APKS_CONTENT_BYTES, pattern=f"^{_FLAGS}{_APK}( +{_APK})*$")]


class UninstallApkBody(Whom, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/commands: a package's name; `-k` before it keeps its data."""

    command: Literal["uninstall"]
    content: Annotated[str, Meta(max_length=command_checks.CONTENT_BYTES, pattern=f"^(-k +)*{command_checks.PACKAGE.pattern}$")]


class RunShellCommandBody(Whom, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/commands: a line for the shell."""

    command: Literal["shell"]
    content: ShellLine


class RunSyncCommandBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/sync-commands: a line for the shell; one of the two lists must be there."""

    command: Literal["shell"]
    content: ShellLine
    phone_ids: Annotated[list[ItemId], Meta(max_length=command_checks.SYNC_PHONES)] | None = None
    server_ids: SomeServers | None = None


# --- data in and out ----------------------------------------


class PhoneToExport(msgspec.Struct, frozen=True, kw_only=True):
    """A phone, which of its data, and the object that it goes to. With /data/misc go /data/system and /data/system_de."""

    phone_id: ItemId
    include_files: Annotated[list[DataPath], Meta(min_length=1, max_length=command_checks.PATHS_MAX)]
    exclude_files: Annotated[list[DataPath], Meta(max_length=command_checks.PATHS_MAX)] | None = None
    bucket_name: BucketName
    object_path: ObjectPath


class BatchExportCloudPhoneDataBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-storage."""

    storage_infos: Annotated[list[PhoneToExport], Meta(min_length=1, max_length=phone_checks.PHONES_PER_CALL)]


class PhoneToRestore(msgspec.Struct, frozen=True, kw_only=True):
    """A phone, and the object that its data comes from."""

    phone_id: ItemId
    bucket_name: BucketName
    object_path: ObjectPath


class BatchImportCloudPhoneDataBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/batch-restore."""

    restore_infos: Annotated[list[PhoneToRestore], Meta(min_length=1, max_length=phone_checks.PHONES_PER_CALL)]


# --- shared apps and files ----------------------------------------


class PushShareAppsBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/share-apps."""

    package_name: PackageName
    pre_install_app: Literal[0, 1] | None = None
    bucket_name: BucketName
    object_path: ArchivePath
    server_ids: PushServers


class DeleteShareAppsBody(msgspec.Struct, frozen=True, kw_only=True):
    """DELETE /v1/{project_id}/cloud-phone/phones/share-apps."""

    package_name: PackageName
    server_ids: Servers


class PushShareFilesBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/share-files, to put the files of an archive there."""

    bucket_name: BucketName
    object_path: ArchivePath
    server_ids: PushServers


class DeleteShareFilesBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/{project_id}/cloud-phone/phones/share-files, to take files away. No path has `..`."""

    server_ids: Servers
    file_paths: Annotated[list[SharedPath], Meta(min_length=1, max_length=share_checks.PATHS_MAX)]
