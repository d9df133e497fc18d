"""Checks of the bodies of ADB commands, exports, restores and larger disks (cph-api.md operations 24 to 26 and 37 to 41). Pure."""

from __future__ import annotations

import re

from opencph.wire.checks import Fields, json_object
from opencph.wire.commands import (
    COMMANDS,
    INSTALL,
    INSTALL_MULTIPLE,
    PUSH,
    SHELL,
    UNINSTALL,
    BatchExportCloudPhoneDataRequest,
    BatchImportCloudPhoneDataRequest,
    CommandRequest,
    ExpandedPhone,
    ExpandPhoneDataVolumeSizeRequest,
    RestoreInfo,
    StorageInfo,
)
from opencph.wire.errors import CphError, shown
from opencph.wire.object_names import BUCKET_RULE, ObjectName, bucket_problem, parse
from opencph.wire.phone_checks import PHONES_PER_CALL

CONTENT_BYTES = 1024
APKS_CONTENT_BYTES, APKS_MAX = 8100, 50
SHELL_BYTES = 2048
SYNC_PHONES = 15
SERVERS_PER_CALL = 100  # ours
PATH_BYTES, PATHS_MAX = 4096, 1000  # the number is ours
OBJECT_PATH_CHARACTERS = 1024
VOLUME_GIB_MAX = 32768

_NAME = re.compile(r"[A-Za-z0-9_./:-]+")
_NAMES = re.compile(r"[A-Za-z0-9_./: -]+")
SHELL_LINE = re.compile(r"[A-Za-z0-9_./:\-?=&| ]+")
FLAG = re.compile(r"-[a-z]|--[a-z][a-z-]{1,30}")
PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)+")
DATA_PATH = re.compile(r"/(data|cache)(/[A-Za-z0-9./\-_+#*~=]*)?")
OBJECT_PATH = re.compile(r"[A-Za-z0-9./\-_+#=]+")
_NAME_RULE = "only letters, digits, '_', '.', '/', ':', '-' and spaces between words are allowed"
MISC, WITH_MISC = "/data/misc", ("/data/system", "/data/system_de")


def run_shell_command(body: bytes) -> CommandRequest:
    """Decode and check the body of PushFile, InstallApk, UninstallApk and RunShellCommand: `command` says which."""
    fields = Fields(json_object(body))
    command = fields.word("command", "CPS.0117", COMMANDS)
    check = {PUSH: _push, INSTALL: _install, INSTALL_MULTIPLE: _install, UNINSTALL: _uninstall, SHELL: _shell}[command]
    content = check(fields, command)
    phone_ids, server_ids = _whom(fields, PHONES_PER_CALL)
    return CommandRequest(command=command, content=content, phone_ids=phone_ids, server_ids=server_ids)


def run_sync_command(body: bytes) -> CommandRequest:
    """Decode and check the body of RunSyncCommand."""
    fields = Fields(json_object(body))
    command = fields.word("command", "CPS.0117", (SHELL,))
    content = _shell(fields, command)
    phone_ids, server_ids = _whom(fields, SYNC_PHONES)
    return CommandRequest(command=command, content=content, phone_ids=phone_ids, server_ids=server_ids)


def batch_export_cloud_phone_data(body: bytes) -> BatchExportCloudPhoneDataRequest:
    """Decode and check the body of BatchExportCloudPhoneData."""
    items = Fields(json_object(body)).nested_list("storage_infos", "CPS.0167", empty="CPS.0167")
    if len(items) > PHONES_PER_CALL:
        raise CphError("CPS.0170", f"storage_infos has {len(items)} phones: at most {PHONES_PER_CALL} per call")
    return BatchExportCloudPhoneDataRequest(storage_infos=tuple(_storage_info(item) for item in items))


def batch_import_cloud_phone_data(body: bytes) -> BatchImportCloudPhoneDataRequest:
    """Decode and check the body of BatchImportCloudPhoneData."""
    items = Fields(json_object(body)).nested_list("restore_infos", "CPS.0171", empty="CPS.0171")
    if len(items) > PHONES_PER_CALL:
        raise CphError("CPS.0190", f"restore_infos has {len(items)} phones: at most {PHONES_PER_CALL} per call")
    return BatchImportCloudPhoneDataRequest(
        restore_infos=tuple(RestoreInfo(phone_id=item.item_id("phone_id", "CPS.0004"), object=object_name(item)) for item in items)
    )


def expand_phone_data_volume_size(body: bytes) -> ExpandPhoneDataVolumeSizeRequest:
    """Decode and check the body of ExpandPhoneDataVolumeSize."""
    items = Fields(json_object(body)).nested_list("phones", "CPS.0077", empty="CPS.0077")
    if len(items) > PHONES_PER_CALL:
        raise CphError("CPS.0190", f"phones has {len(items)} phones: at most {PHONES_PER_CALL} per call")
    return ExpandPhoneDataVolumeSizeRequest(
        phones=tuple(
            ExpandedPhone(
                phone_id=item.item_id("phone_id", "CPS.0004"), new_size=item.integer("new_size", "CPS.0077", 1, VOLUME_GIB_MAX)
            )
            for item in items
        )
    )


def object_name(fields: Fields) -> ObjectName:
    """`bucket_name` and `object_path`, as exports, restores and shared apps and files have them."""
    bucket = fields.text("bucket_name", "CPS.0134")
    if bucket_problem(bucket):
        raise CphError("CPS.0134", f"{fields.name('bucket_name')} {shown(bucket)}: {BUCKET_RULE}")
    key = fields.text(
        "object_path",
        "CPS.0135",
        max_characters=OBJECT_PATH_CHARACTERS,
        pattern=OBJECT_PATH,
        rule="only letters, digits and ./-_+#= are allowed",
    ).lstrip("/")
    if not key:
        raise CphError("CPS.0135", f"{fields.name('object_path')} must name an object")
    return ObjectName(bucket, key)


# --- commands ----------------------------------------


def _whom(fields: Fields, phones_max: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    phone_ids = fields.item_ids("phone_ids", "CPS.0080") if fields.given("phone_ids") else ()
    if phone_ids:
        if len(phone_ids) > phones_max:
            raise CphError("CPS.0190", f"phone_ids has {len(phone_ids)} phones: at most {phones_max} per call")
        return phone_ids, ()
    server_ids = fields.item_ids("server_ids", "CPS.0094") if fields.given("server_ids") else ()
    if not server_ids:
        raise CphError("CPS.0009", "phone_ids or server_ids is mandatory")
    if len(server_ids) > SERVERS_PER_CALL:
        raise CphError("CPS.0096", f"server_ids has {len(server_ids)} servers: at most {SERVERS_PER_CALL} per call")
    return (), server_ids


def _push(fields: Fields, command: str) -> str:
    content = fields.text("content", "CPS.0118", max_bytes=CONTENT_BYTES, pattern=_NAME, rule=_NAME_RULE)
    if parse(content) is None or not content.endswith(".tar"):
        raise CphError("CPS.0118", f"content {shown(content)} must be a tar archive, obs://bucket/path/file.tar")
    return content


def _install(fields: Fields, command: str) -> str:
    """The APKs, behind the flags that adb has there (cph-api.md 10.9)."""
    limit = CONTENT_BYTES if command == INSTALL else APKS_CONTENT_BYTES
    content = fields.text("content", "CPS.0118", max_bytes=limit, pattern=_NAMES, rule=_NAME_RULE)
    flags, apks = install_words(content)
    for flag in flags:
        if FLAG.fullmatch(flag) is None:
            raise CphError("CPS.0118", f"content: {shown(flag)} is no flag of adb {command}")
    for apk in apks:
        if parse(apk) is None:
            raise CphError("CPS.0118", f"content: {shown(apk)} must be of the form obs://bucket/path/file.apk")
        if not apk.endswith(".apk"):
            raise CphError("CPS.0119", f"content: {shown(apk)}")
    most = 1 if command == INSTALL else APKS_MAX
    if not 1 <= len(apks) <= most:
        raise CphError("CPS.0118", f"content names {len(apks)} APKs: {command} takes {'one' if most == 1 else f'1 to {most}'}")
    return content


def install_words(content: str) -> tuple[list[str], list[str]]:
    """Flags and APKs of the content of install and install-multiple."""
    words = content.split()
    return [word for word in words if word.startswith("-")], [word for word in words if not word.startswith("-")]


def _uninstall(fields: Fields, command: str) -> str:
    content = fields.text("content", "CPS.0118", max_bytes=CONTENT_BYTES, pattern=_NAMES, rule=_NAME_RULE)
    words = content.split()
    if not words or PACKAGE.fullmatch(words[-1]) is None or any(word != "-k" for word in words[:-1]):
        raise CphError("CPS.0118", f"content {shown(content)} must be the name of one package, such as com.myapp.test")
    return content


def _shell(fields: Fields, command: str) -> str:
    content = fields.text(
        "content",
        "CPS.0118",
        max_bytes=SHELL_BYTES,
        pattern=SHELL_LINE,
        rule="only letters, digits, spaces and _./:-?=&| are allowed",
    )
    if not content.strip():
        raise CphError("CPS.0118", "content must be a command")
    return content


# --- data in and out ----------------------------------------


def _storage_info(item: Fields) -> StorageInfo:
    phone_id = item.item_id("phone_id", "CPS.0004")
    include = _paths(item, "include_files", "CPS.0168", mandatory=True)
    exclude = _paths(item, "exclude_files", "CPS.0169", mandatory=False)
    if any(path.startswith(MISC) and path != MISC and path[len(MISC)] in "/*" for path in include):
        raise CphError("CPS.0168", f"{item.name('include_files')}: {MISC} is exported as a whole or not at all")
    if MISC in include and not set(WITH_MISC) <= set(include):
        raise CphError("CPS.0168", f"{item.name('include_files')}: with {MISC} {' and '.join(WITH_MISC)} must be given too")
    return StorageInfo(phone_id=phone_id, include_files=include, exclude_files=exclude, object=object_name(item))


def _paths(item: Fields, field: str, code: str, *, mandatory: bool) -> tuple[str, ...]:
    if not mandatory and not item.given(field):
        return ()
    paths = item.texts(field, code, empty=code if mandatory else None)
    if len(paths) > PATHS_MAX:
        raise CphError(code, f"{item.name(field)} has {len(paths)} paths: at most {PATHS_MAX}")
    for path in paths:
        if len(path.encode()) > PATH_BYTES:
            raise CphError(code, f"{item.name(field)} {shown(path)}: at most {PATH_BYTES} bytes")
        if DATA_PATH.fullmatch(path) is None or ".." in path.split("/"):
            rule = "must be an absolute path below /data or /cache, of letters, digits and ./-_+#*~= and without '..'"
            raise CphError(code, f"{item.name(field)} {shown(path)}: {rule}")
        if "*" in path[:-1]:
            raise CphError(code, f"{item.name(field)} {shown(path)}: '*' may only be the last character")
    return tuple(path.rstrip("/") if len(path) > 1 else path for path in paths)
