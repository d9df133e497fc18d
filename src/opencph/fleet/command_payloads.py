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
