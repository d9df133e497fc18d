"""appctrl: installs apps from what the phone's server shares (/data/share_apps). Putting it there is the platform's business."""

from __future__ import annotations

import os
import stat
import tarfile
from contextlib import suppress

from opencph.handset import packages
from opencph.handset.commands import Context
from opencph.handset.transfers import Upload

SHARED = "/data/share_apps"
PIECE_BYTES = 1 << 20


async def appctrl(context: Context) -> int:
    """install, start, uninstall PACKAGE; clear; applyConfig PACKAGE (deploys files)."""
    match context.args:
        case ["install" | "applyConfig", name, *_]:
            return _done(context, _install(context, name))
        case ["start", name, *_]:
            if name not in await packages.installed(context.phone) and not _install(context, name):
                return _done(context, False)
            context.phone.note("ActivityManager", f"START {name} from appctrl")
            return _done(context, True)
        case ["uninstall", name, *_]:
            return _done(context, bool(_versions(context, name)) and await packages.uninstall(context.phone, name))
        case ["clear"]:
            for name in _shared(context):
                if not _pre_installed(context, name):
                    await packages.uninstall(context.phone, name)
            return _done(context, True)
        case _:
            return context.error("usage: appctrl install|start|uninstall|applyConfig PACKAGE, or appctrl clear")


def _done(context: Context, done: bool) -> int:
    context.out("Success" if done else "Failure: the server of this phone does not share this package")
    return 0 if done else 1


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


def _install(context: Context, name: str) -> bool:
    """Unpack the newest archive at /. The archive lies in the phone, so what it says goes through the phone's own walls."""
    versions = _versions(context, name)
    if not versions:
        return False
    phone = context.phone
    fd = phone.files.open_read(f"{SHARED}/{name}/{versions[-1]}")
    with os.fdopen(fd, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if ".." in parts or not (member.isreg() or member.issym()):
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
    return True
