"""appctrl: installs apps from what the phone's server shares (/data/share_apps). Putting it there is the platform's business."""

from __future__ import annotations

import os
import stat
import tarfile
from contextlib import suppress

from opencph.handset import packages
from opencph.handset.commands import Context
from opencph.handset.commands.options import Given
from opencph.handset.commands.table import entry
from opencph.handset.transfers import Upload

SHARED = "/data/share_apps"
PIECE_BYTES = 1 << 20
NOT_SHARED = "the server of this phone does not share this package"
#: Packages that hold files and no app.
CONFIGURATIONS = frozenset({"com.cph.config", "com.cph.config.level1", "com.cph.config.level2"})


@entry("appctrl", None, does="install|start|uninstall|applyConfig PACKAGE, clear: apps and files that the phone's server shares")
async def appctrl(context: Context, given: Given) -> int:
    """install, start, uninstall PACKAGE; clear; applyConfig PACKAGE (deploys files)."""
    match given.words:
        case ["install", name, *_]:
            return _done(context, await _install(context, name))
        case ["applyConfig", name, *_]:
            return _done(context, _apply(context, name))
        case ["start", name, *_]:
            problem = "" if name in await packages.installed(context.phone) else await _install(context, name)
            if not problem and name not in await packages.installed(context.phone):
                problem = f"{name} holds files and no app that could be started"
            if not problem:
                context.phone.note("ActivityManager", f"START {name} from appctrl")
            return _done(context, problem)
        case ["uninstall", name, *_]:
            if not _versions(context, name):
                return _done(context, NOT_SHARED)
            return _done(context, "" if await packages.uninstall(context.phone, name) else f"{name} is not installed")
        case ["clear"]:
            for name in _shared(context):
                if not _pre_installed(context, name):
                    await packages.uninstall(context.phone, name)
            return _done(context, "")
        case _:
            return context.error("usage: appctrl install|start|uninstall|applyConfig PACKAGE, or appctrl clear")


def _done(context: Context, problem: str) -> int:
    context.out(f"Failure: {problem}" if problem else "Success")
    return 1 if problem else 0


def _names(context: Context, directory: str) -> list[tuple[int, str]]:
    with suppress(OSError):
        return [(info.mtime, os.fsdecode(raw)) for raw, info in context.phone.files.list(directory)]
    return []


def _shared(context: Context) -> list[str]:
    return [name for _, name in _names(context, SHARED) if not name.startswith(".")]


def _versions(context: Context, name: str) -> list[str]:
    """The archives of a shared app, the newest last."""
    if packages.PACKAGE.fullmatch(name) is None:
        return []
    return [archive for _, archive in sorted(_names(context, f"{SHARED}/{name}")) if archive.endswith(".tar")]


def _pre_installed(context: Context, name: str) -> bool:
    return not context.phone.files.stat(f"{SHARED}/{name}/.pre_installed").error


async def _install(context: Context, name: str) -> str:
    """Unpack the newest version; why that is not possible. A package of files (com.cph.config...) is deployed instead.

    Its app comes first: when it is not the one that is asked for, what was unpacked of it is taken away again.
    """
    if name in CONFIGURATIONS:
        return _apply(context, name)
    versions = _versions(context, name)
    if not versions:
        return NOT_SHARED
    archive = f"{SHARED}/{name}/{versions[-1]}"
    before = set(_app_directories(context))
    try:
        _unpack(context, archive, apps=True)
        if name in await packages.installed(context.phone):
            _unpack(context, archive, apps=False)
            return ""
        problem = f"version {versions[-1].removesuffix('.tar')} of {name} holds no such app"
    except (tarfile.TarError, OSError) as error:
        problem = f"{name} cannot be unpacked: {error}"
    for directory in set(_app_directories(context)) - before:
        packages.remove_directory(context.phone, f"{packages.APPS}/{directory}")
    return problem


def _apply(context: Context, name: str) -> str:
    """Deploy all files of the newest version; why that is not possible."""
    versions = _versions(context, name)
    if not versions:
        return NOT_SHARED
    try:
        for apps in (True, False):
            _unpack(context, f"{SHARED}/{name}/{versions[-1]}", apps=apps)
    except (tarfile.TarError, OSError) as error:
        return f"{name} cannot be unpacked: {error}"
    return ""


def _app_directories(context: Context) -> list[str]:
    return [name for _, name in _names(context, packages.APPS) if name not in (".", "..")]


def _unpack(context: Context, path: str, *, apps: bool) -> None:
    """What an archive has below /data/app, or all the rest. It lies in the phone, so it goes through the phone's own walls."""
    phone = context.phone
    fd = phone.files.open_read(path)
    with os.fdopen(fd, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if ".." in parts or not (member.isreg() or member.issym()) or (parts[:2] == ["data", "app"]) is not apps:
                continue
            kind = stat.S_IFREG if member.isreg() else stat.S_IFLNK
            upload = Upload(phone.files, phone.disk, "/" + "/".join(parts), kind | (member.mode & 0o777))
            try:
                contents = archive.extractfile(member) if member.isreg() else None
                if contents is None:
                    upload.write([memoryview(os.fsencode(member.linkname))])
                else:
                    while piece := contents.read(PIECE_BYTES):
                        upload.write([memoryview(piece)])
                upload.finish(int(member.mtime))
            except BaseException:
                upload.abandon()
                raise
