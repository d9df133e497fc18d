"""dumpsys package: what is known of an installed package, as Android 11 lays it out."""

from __future__ import annotations

import time

from opencph.handset import apps, package_states, packages, permissions
from opencph.handset.clock import local
from opencph.handset.commands import Context
from opencph.handset.commands.options import shown
from opencph.handset.package_states import SYSTEM, SystemPackage
from opencph.handset.packages import Package
from opencph.handset.state import PackageState


async def package(context: Context, words: list[str]) -> list[str]:
    """One package, or all."""
    words = [word for word in words if not word.startswith("-")]
    found = await packages.installed(context.phone)
    if not words:
        blocks = [_system(context, one) for one in SYSTEM.values()] + [_package(context, one) for one in found.values()]
        return ["Packages:", *(line for block in blocks for line in block)]
    name = words[0]
    if name in SYSTEM:
        return ["Packages:", *_system(context, SYSTEM[name])]
    one = found.get(name)
    if one is None:
        return [f"Unable to find package: {shown(name)}"]
    made = []
    if one.main_activity:
        made += ["Activity Resolver Table:", "  Non-Data Actions:", "      android.intent.action.MAIN:"]
        made += [
            f"        {one.uid:x} {apps.short(name, one.main_activity)} filter {one.uid:x}",
            '          Action: "android.intent.action.MAIN"',
        ]
        made += ['          Category: "android.intent.category.LAUNCHER"', ""]
    return [*made, "Packages:", *_package(context, one)]


def _user(state: PackageState) -> str:
    return (
        f"    User 0: ceDataInode=0 installed=true hidden={_no(state.hidden)} suspended={_no(state.suspended)} stopped=false "
        f"notLaunched=false enabled={state.enabled} instant=false virtual=false"
    )


def _no(value: bool) -> str:
    return str(value).lower()


def _date(context: Context, seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", local(context.phone, seconds))


def _system(context: Context, one: SystemPackage) -> list[str]:
    level = packages.sdk_level(context.phone)
    flags = "SYSTEM HAS_CODE PERSISTENT" if one.package == "android" else "SYSTEM HAS_CODE"
    return [
        f"  Package [{one.package}] ({one.uid:x}):",
        f"    userId={one.uid}",
        f"    pkg=Package{{{one.uid:x} {one.package}}}",
        f"    codePath={one.path.rpartition('/')[0]}",
        f"    versionCode={level} minSdk={level} targetSdk={level}",
        f"    versionName={context.phone.running_properties.get('ro.build.version.release')}",
        "    signatures=PackageSignatures{0 version:0, signatures:[], past signatures:[]}",
        f"    flags=[ {flags} ]",
        f"    pkgFlags=[ {flags} ]",
        _user(package_states.of(context.phone, one.package)),
    ]


def _package(context: Context, one: Package) -> list[str]:
    phone = context.phone
    state = package_states.of(phone, one.package)
    flags = " ".join(
        name
        for name, there in (
            ("DEBUGGABLE", one.debuggable),
            ("HAS_CODE", True),
            ("TEST_ONLY", one.test_only),
            ("ALLOW_CLEAR_USER_DATA", True),
            ("ALLOW_BACKUP", True),
        )
        if there
    )
    signature = ", ".join(signer[:8] for signer in one.signers)
    past = ", ".join(f"{signer[:8]} flags: {flag:x}" for signer, flag in one.lineage[:-1])
    abis = [*one.abis[:2], "null", "null"]
    install = [name for name in one.permissions if name not in permissions.DANGEROUS and package_states.granted(phone, one, name)]
    runtime = [name for name in one.permissions if name in permissions.DANGEROUS]
    return [
        f"  Package [{one.package}] ({one.uid:x}):",
        f"    userId={one.uid}",
        f"    pkg=Package{{{one.uid:x} {one.package}}}",
        f"    codePath={packages.APPS}/{one.directory}",
        f"    resourcePath={packages.APPS}/{one.directory}",
        f"    legacyNativeLibraryDir={packages.APPS}/{one.directory}/lib",
        f"    primaryCpuAbi={abis[0]}\n    secondaryCpuAbi={abis[1]}",
        f"    versionCode={one.version_code} minSdk={one.min_sdk} targetSdk={one.target_sdk}",
        f"    versionName={one.version_name or 'null'}",
        f"    splits=[{', '.join(('base', *one.splits))}]",
        f"    apkSigningVersion={one.scheme}",
        f"    applicationInfo=ApplicationInfo{{{one.uid:x} {one.package}}}",
        f"    flags=[ {flags} ]",
        f"    dataDir=/data/user/0/{one.package}",
        "    supportsScreens=[small, medium, large, xlarge, resizeable, anyDensity]",
        f"    timeStamp={_date(context, one.updated_at)}",
        f"    firstInstallTime={_date(context, one.installed_at)}",
        f"    lastUpdateTime={_date(context, one.updated_at)}",
        f"    installerPackageName={one.installer or 'null'}",
        f"    signatures=PackageSignatures{{{one.uid:x} version:{one.scheme}, signatures:[{signature}], past signatures:[{past}]}}",
        "    installPermissionsFixed=true",
        f"    pkgFlags=[ {flags} ]",
        "    requested permissions:",
        *(f"      {permission}" for permission in one.permissions),
        "    install permissions:",
        *(f"      {permission}: granted=true" for permission in install),
        _user(state),
        "      runtime permissions:",
        *(
            f"        {permission}: granted={_no(package_states.granted(phone, one, permission))}, "
            f"flags=[ {_set(state, permission)}]"
            for permission in runtime
        ),
    ]


def _set(state: PackageState, permission: str) -> str:
    return "USER_SET " if permission in state.granted or permission in state.revoked else ""
