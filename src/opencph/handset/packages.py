"""The packages of a phone: what lies below /data/app *is* installed, so that a directory that was restored or pushed counts too.

Beside each package's APKs is a small file with what was read of them. Nothing is executed: a handset is not Android.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import stat
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from opencph.handset import package_states
from opencph.handset.apk_names import Signed
from opencph.handset.files import Place
from opencph.handset.properties import android_version
from opencph.handset.transfers import Upload
from opencph.handset.trees import remove_tree

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

APPS = "/data/app"
ABOUT = ".about.json"
READ_SECONDS = 30.0
READINGS_MAX = 32  # with an icon of some 50 KB each
READERS_AT_ONCE = 2  # of a host: each may take as much memory as `apk` allows itself
PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")  # PackageParser.validateName, but no empty parts
CODE = re.compile(r"INSTALL_[A-Z_]{1,64}")
ICON, ICON_BYTES = ".icon.rgba", 96 * 96 * 4  # pixels, so that nothing has to be parsed to draw them
FIRST_UID = 10100  # of installed apps, as Android counts them
FEATURES = (
    "android.hardware.faketouch",
    "android.hardware.screen.landscape",
    "android.hardware.screen.portrait",
    "android.hardware.touchscreen",
)  # what a handset has: a screen that is touched, both ways up
USER_DATA = ("/data/data", "/data/user_de/0")


class InstallError(Exception):
    """The package is not installed. `code` is Android's (INSTALL_FAILED_...), the message says why."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class _UnreadError(InstallError):
    """The reader was ended by a limit of time or memory: another time it may come to the end."""


class _Refusal(NamedTuple):
    """How the reader refused an APK."""

    code: str
    message: str


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What an APK says of itself."""

    package: str
    version_code: int
    version_name: str
    label: str = ""
    labels: dict[str, str] = {}  # by language tag; msgspec copies it
    min_sdk: int = 0
    target_sdk: int = 0
    permissions: tuple[str, ...] = ()
    activities: tuple[str, ...] = ()
    main_activity: str = ""
    features: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    instrumentation: tuple[tuple[str, str], ...] = ()  # (runner, package that it tests)
    abis: tuple[str, ...] = ()
    debuggable: bool = False
    test_only: bool = False
    scheme: int = 0  # of the signature: 1, 2, 3; 0 for what was installed before signatures were looked at
    signers: tuple[str, ...] = ()  # SHA-256 of the certificates
    lineage: tuple[tuple[str, int], ...] = ()

    @property
    def signed(self) -> Signed:
        """Who signed it."""
        return Signed(self.scheme, self.signers, self.lineage)


class Package(About, frozen=True, kw_only=True):
    """An installed package."""

    splits: tuple[str, ...] = ()
    directory: str = ""  # below /data/app
    uid: int = FIRST_UID
    installed_at: int = 0  # seconds since the epoch
    updated_at: int = 0
    installer: str = ""

    @property
    def path(self) -> str:
        """Its base APK in the phone."""
        return f"{APPS}/{self.directory}/base.apk"

    @property
    def paths(self) -> list[str]:
        """All its APKs."""
        return [self.path, *(f"{APPS}/{self.directory}/split_{name}.apk" for name in self.splits)]


class Read(About, frozen=True, kw_only=True):
    """What `handset.apk` prints."""

    split: str
    icon: str  # base 64 of ICON_BYTES of RGBA, or empty


def sdk_level(phone: Phone) -> int:
    """The SDK level that the phone answers as."""
    level = android_version(phone.booted.image_version)[1]
    return int(level) if level.isdecimal() else 30


async def installed(phone: Phone) -> dict[str, Package]:
    """Every package by name. An APK that nobody has read yet is read now; what is no package is left out."""
    found: dict[str, Package] = {}
    with suppress(OSError):
        for raw, info in list(phone.files.list(APPS)):
            name = os.fsdecode(raw)
            if name not in (".", "..") and stat.S_ISDIR(info.mode) and not name.endswith(".tmp"):
                package = await _package_in(phone, name)
                if package is not None:
                    found[package.package] = package
    return dict(sorted(found.items()))


def _known(phone: Phone, directory: str) -> Package | None:
    """What was written down of the package in a directory."""
    with suppress(OSError, msgspec.MsgspecError), os.fdopen(phone.files.open_read(f"{APPS}/{directory}/{ABOUT}"), "rb") as file:
        known = msgspec.json.decode(file.read(1 << 20), type=Package)
        if PACKAGE.fullmatch(known.package):
            return msgspec.structs.replace(known, directory=directory)
    return None


async def _package_in(phone: Phone, directory: str) -> Package | None:
    if phone.files.stat(f"{APPS}/{directory}/base.apk").error:
        return None
    known = _known(phone, directory)
    if known is not None:
        return known
    try:
        return await remember(phone, directory, await _read_all(phone, f"{APPS}/{directory}"))
    except (InstallError, OSError):
        return None


_READERS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
_READINGS: OrderedDict[tuple[str, int], Read | _Refusal] = OrderedDict()  # by SHA-256 and SDK level; those used last at the end


async def read_apk(phone: Phone, path: str) -> Read:
    """The metadata of an APK in the phone; the phones of a host that have the same file read it once. Raises InstallError."""
    try:
        fd = phone.files.open_read(path)
    except OSError as error:
        raise InstallError("INSTALL_FAILED_INVALID_URI", f"{path}: {error.strerror}") from error
    with os.fdopen(fd, "rb", buffering=0) as file:
        async with _READERS.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(READERS_AT_ONCE)):
            digest = await asyncio.to_thread(hashlib.file_digest, file, "sha256")
            of = (digest.hexdigest(), sdk_level(phone))
            if of not in _READINGS:
                file.seek(0)
                try:
                    _READINGS[of] = await _read_apk(phone, os.dup(fd))
                except _UnreadError:
                    raise
                except InstallError as error:
                    _READINGS[of] = _Refusal(error.code, error.message)
            _READINGS.move_to_end(of)
            while len(_READINGS) > READINGS_MAX:
                _READINGS.popitem(last=False)
            found = _READINGS[of]
    if isinstance(found, _Refusal):
        raise InstallError(*found)
    return found


async def _read_apk(phone: Phone, fd: int) -> Read:
    """What the reader says of an open file, which is closed then."""
    try:
        reader = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "opencph.handset.apk", str(sdk_level(phone))),
            stdin=fd,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    finally:
        os.close(fd)
    try:
        async with asyncio.timeout(READ_SECONDS):
            output, _ = await reader.communicate()
    except TimeoutError:
        raise _UnreadError("INSTALL_PARSE_FAILED_NOT_APK", f"it cannot be read in {READ_SECONDS:.0f} s") from None
    finally:
        if reader.returncode is None:
            reader.kill()
            await reader.wait()
    text = output.decode("utf-8", "replace").strip()
    if reader.returncode:
        code, _, why = text.rpartition("\n")[2].partition(": ")
        if CODE.fullmatch(code) is None:  # it was ended by one of its limits
            raise _UnreadError("INSTALL_PARSE_FAILED_NOT_APK", "it cannot be read")
        raise InstallError(code, why)
    try:
        found = msgspec.json.decode(text.rpartition("\n")[2], type=Read)
    except (msgspec.MsgspecError, json.JSONDecodeError) as error:
        raise InstallError("INSTALL_PARSE_FAILED_BAD_MANIFEST", "its manifest says nothing that can be used") from error
    if PACKAGE.fullmatch(found.package) is None or len(found.package) > 128:
        raise InstallError("INSTALL_PARSE_FAILED_BAD_PACKAGE_NAME", f"its package name is {found.package[:128]!r}")
    return found


async def _read_all(phone: Phone, directory: str) -> list[Read]:
    """The base APK and its splits in a directory of the phone."""
    names = sorted(os.fsdecode(raw) for raw, _ in phone.files.list(directory))
    apks = [name for name in names if name == "base.apk" or (name.startswith("split_") and name.endswith(".apk"))]
    return [await read_apk(phone, f"{directory}/{name}") for name in apks]


async def remember(
    phone: Phone, directory: str, apks: Sequence[Read], *, before: Package | None = None, installer: str = ""
) -> Package:
    """Write down beside the APKs what was read of them."""
    base = next((one for one in apks if not one.split), None)
    if base is None:
        raise InstallError("INSTALL_FAILED_MISSING_SPLIT", "Full install must include a base package")
    values = {name: value for name, value in msgspec.structs.asdict(base).items() if name not in ("split", "icon")}
    now = int(time.time())
    package = Package(
        **{**values, "abis": tuple(sorted({abi for one in apks for abi in one.abis}))},
        splits=tuple(sorted(one.split for one in apks if one.split)),
        directory=directory,
        uid=before.uid if before is not None else await _free_uid(phone, base.package),
        installed_at=before.installed_at if before is not None and before.installed_at else now,
        updated_at=now,
        installer=installer or (before.installer if before is not None else ""),
    )
    if base.icon:
        with suppress(ValueError):
            write_file(phone, f"{APPS}/{directory}/{ICON}", base64.b64decode(base.icon))
    write_about(phone, package)
    return package


def write_about(phone: Phone, package: Package) -> None:
    """Write down beside its APKs what is known of a package, but for its directory, whose name need not be text. Raises OSError."""
    about = msgspec.json.encode(msgspec.structs.replace(package, directory=""))
    write_file(phone, f"{APPS}/{package.directory}/{ABOUT}", about)


async def _free_uid(phone: Phone, name: str) -> int:
    """The lowest one that no other package has. The directory being looked at has nothing written beside it yet."""
    if kept := package_states.of(phone, name).kept_uid:
        return kept
    taken = {state.kept_uid for state in phone.running_state.packages.values()}
    with suppress(OSError):
        for raw, _ in list(phone.files.list(APPS)):
            known = _known(phone, os.fsdecode(raw))
            if known is not None and known.package != name:
                taken.add(known.uid)
    uid = FIRST_UID
    while uid in taken:
        uid += 1
    return uid


def icon(phone: Phone, package: Package) -> bytes:
    """ICON_BYTES of RGBA; empty when it has none."""
    with suppress(OSError), os.fdopen(phone.files.open_read(f"{APPS}/{package.directory}/{ICON}"), "rb") as file:
        data = file.read(ICON_BYTES + 1)
        return data if len(data) == ICON_BYTES else b""
    return b""


def write_file(phone: Phone, path: str, data: bytes, mtime: int = 0) -> None:
    """A whole file on the phone's disk, changed at `mtime` (seconds since the epoch). Raises OSError."""
    upload = Upload(phone.files, phone.disk, path, stat.S_IFREG | 0o644)
    try:
        upload.write([memoryview(data)])
        upload.finish(mtime)
    except OSError:
        upload.abandon()
        raise


async def uninstall(phone: Phone, name: str, *, keep_data: bool = False) -> bool:
    """Remove a package, or the data that an earlier call kept; False when there is neither. Raises OSError."""
    package = (await installed(phone)).get(name)
    if package is None and (keep_data or not package_states.of(phone, name).kept_uid):
        return False
    if package is not None:
        remove_directory(phone, f"{APPS}/{package.directory}")
    if package is not None and keep_data:
        with package_states.changing(phone, [name]) as [state]:
            state.kept_uid = package.uid
    else:
        for directory in (*(f"{data}/{name}" for data in USER_DATA), f"/data/media/0/Android/data/{name}"):
            remove_directory(phone, directory)
        package_states.forget(phone, name)
    return True


async def clear(phone: Phone, name: str) -> bool:
    """Delete a package's data; False when it is not installed."""
    if name not in await installed(phone):
        return False
    for data in USER_DATA:
        remove_directory(phone, f"{data}/{name}")
        phone.files.make_parents(f"{data}/{name}/x", lambda: phone.disk.take(4096))
    decided = package_states.of(phone, name)
    if decided.granted or decided.revoked:  # what the user granted is data, too
        with package_states.changing(phone, [name]) as [state]:
            state.granted, state.revoked = [], []
    return True


def remove_directory(phone: Phone, path: str) -> None:
    """Delete a directory of the phone, and nothing that a link leads to. A missing one is deleted already. Raises OSError."""
    parent, _, name = path.rpartition("/")
    with suppress(FileNotFoundError, NotADirectoryError), phone.files.resolve(parent) as place:
        if place.fd >= 0 and not place.name:
            phone.files.writable(Place(place.fd, name, None))
            remove_tree(Path(f"/proc/self/fd/{place.fd}/{name}"))
    phone.disk.forget()
