"""What the jobs that reach into phones need to know: commands, exports, restores, larger disks, shared storage."""

from __future__ import annotations

import msgspec

PHONE_COMMAND = "phone_command"
EXPORT_PHONE = "export_phone"
IMPORT_PHONE = "import_phone"
EXPAND_PHONE = "expand_phone"


class PhoneCommandJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `phone_command`: one ADB command in one phone (`Job.phone_id`)."""

    generation_id: str
    command: str
    content: str


class ExportPhoneJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `export_phone`: an archive of these paths of one phone (`Job.phone_id`) becomes an object."""

    generation_id: str
    include_files: tuple[str, ...]
    exclude_files: tuple[str, ...]
    bucket: str
    key: str


class ImportPhoneJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `import_phone`: an archive is unpacked into one phone (`Job.phone_id`)."""

    generation_id: str
    bucket: str
    key: str


class ExpandPhoneJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `expand_phone`: the data disk of one phone (`Job.phone_id`) gets its new size, in GiB."""

    generation_id: str
    new_size: int


PUSH_SHARE_APP = "push_share_app"
DELETE_SHARE_APP = "delete_share_app"
PUSH_SHARE_FILES = "push_share_files"
DELETE_SHARE_FILES = "delete_share_files"
LIST_SHARE_FILES = "list_share_files"


class PushShareAppJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `push_share_app`: an app in the shared storage of a server (`Job.server_id`). `archive` is the id of its copy."""

    package_name: str
    version: str
    pre_install: int
    bucket: str
    key: str
    archive: str


class DeleteShareAppJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `delete_share_app`: all versions of it."""

    package_name: str


class PushShareFilesJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `push_share_files`: files in the shared storage of a server. `archive` is the id of their copy."""

    bucket: str
    key: str
    archive: str


class DeleteShareFilesJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `delete_share_files`: files, or all below directories."""

    file_paths: tuple[str, ...]


class ListShareFilesJob(msgspec.Struct, frozen=True, kw_only=True):
    """Kind `list_share_files`: a directory of the shared storage into execute_msg."""

    path: str
    offset: int
    limit: int
