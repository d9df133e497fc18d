"""What was decided about packages on a phone: enabled or not, hidden, suspended, what was granted. Kept until a reset.

That a package is there at all is `packages.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from opencph.handset import permissions
from opencph.handset.state import PackageState

if TYPE_CHECKING:
    from opencph.handset.packages import Package
    from opencph.handset.phone import Phone

DEFAULT, ENABLED, DISABLED, DISABLED_USER, DISABLED_UNTIL_USED = range(5)
STATE_NAMES = ("default", "enabled", "disabled", "disabled-user", "disabled-until-used")  # as `pm enable` prints them


class SystemPackage(NamedTuple):
    """A page of the handset that answers under a package's name. It has no APK: nothing can be pulled at its path."""

    package: str
    path: str
    uid: int
    activity: str = ""
    page: str = ""
    label: str = ""


LAUNCHER = SystemPackage(
    "com.opencph.handset.launcher",
    "/system/priv-app/Launcher/Launcher.apk",
    10002,
    "com.opencph.handset.launcher.Home",
    "home",
    "Home",
)
SETTINGS = SystemPackage(
    "com.android.settings", "/system/priv-app/Settings/Settings.apk", 1000, "com.android.settings.Settings", "settings", "Settings"
)
FILES = SystemPackage(
    "com.android.documentsui",
    "/system/priv-app/DocumentsUI/DocumentsUI.apk",
    10001,
    "com.android.documentsui.files.FilesActivity",
    "files",
    "Files",
)
PLATFORM = SystemPackage("android", "/system/framework/framework-res.apk", 1000)
SYSTEM = {one.package: one for one in (PLATFORM, FILES, SETTINGS, LAUNCHER)}
PROTECTED = frozenset((PLATFORM.package, LAUNCHER.package))  # without these there is no phone to come back from


def of(phone: Phone, package: str) -> PackageState:
    """What was decided about a package; what nobody decided is as it was installed."""
    return phone.running_state.packages.get(package) or PackageState()


@contextmanager
def changing(phone: Phone, packages: Iterable[str]) -> Iterator[list[PackageState]]:
    """The same of these packages, to be changed in the block, which awaits nothing: kept at its end, and the screen follows.

    Raises HandsetError when it cannot be kept; then nothing has changed.
    """
    with phone.changing_state() as state:
        yield [state.packages.setdefault(package, PackageState()) for package in packages]
    screen = phone.running_screen
    screen.apps_stamp = -1  # look again
    screen.version += 1


def forget(phone: Phone, package: str) -> None:
    """The package is gone. Raises HandsetError when that cannot be kept."""
    if package in phone.running_state.packages:
        with phone.changing_state() as state:
            del state.packages[package]


def arrived(phone: Phone, package: str) -> None:
    """It is installed: its data is no longer all there is of it. Raises HandsetError."""
    if of(phone, package).kept_uid:
        with changing(phone, [package]) as [state]:
            state.kept_uid = 0


def usable(phone: Phone, package: str) -> bool:
    """Whether it is neither disabled nor hidden."""
    state = of(phone, package)
    return not state.hidden and state.enabled in (DEFAULT, ENABLED)


def granted(phone: Phone, package: Package, permission: str) -> bool:
    """Whether the package has a permission that it asks for."""
    state = of(phone, package.package)
    if permission in state.granted:
        return True
    return permission not in state.revoked and permissions.granted_at_install(permission, package.target_sdk)


def grant(phone: Phone, package: Package, names: Iterable[str]) -> None:
    """Grant what it asks for. Raises HandsetError when it cannot be kept."""
    with changing(phone, [package.package]) as [state]:
        for name in names:
            if name not in state.granted:
                state.granted.append(name)
            if name in state.revoked:
                state.revoked.remove(name)


def revoke(phone: Phone, package: Package, permission: str) -> None:
    """Take a permission back. Raises HandsetError when it cannot be kept."""
    with changing(phone, [package.package]) as [state]:
        if permission in state.granted:
            state.granted.remove(permission)
        if permission not in state.revoked:
            state.revoked.append(permission)
