"""dumpsys package: what is known of an installed package, as Android 11 lays it out."""

from __future__ import annotations

import time
from collections.abc import Mapping

from opencph.handset import apps, package_states, packages, permissions
from opencph.handset.clock import local
from opencph.handset.commands import Context
from opencph.handset.commands.options import shown
from opencph.handset.installing import LIBRARIES
from opencph.handset.package_states import SYSTEM, SystemPackage
from opencph.handset.packages import Package
from opencph.handset.state import PackageState

HELP = """Package manager dump options:
  [-h] [-f] [CMD]
  CMD may be one of:
    check-permission PERMISSION PACKAGE [USER]: 0 where it is granted, else -1
    f[eatures]: what the phone has
    l[ibraries]: shared libraries
    p[ackages]: every package
    perm[issions]: permissions of the platform
    permission NAME: who asks for a permission
    r[esolvers]: activities that answer to MAIN
    k[eysets], m[essages], pref[erred], prov[iders], s[hared-users], v[erifiers], version, installs: there are none, or one line
    PACKAGE: one package"""
SHORT = {
    "f": "features",
    "l": "libraries",
    "lib": "libraries",
    "p": "packages",
    "perm": "permissions",
    "r": "resolvers",
    "k": "keysets",
    "m": "messages",
    "pref": "preferred",
    "prov": "providers",
    "s": "shared-users",
    "v": "verifiers",
}
EMPTY = {
    "keysets": "Key Set Manager:",
    "messages": "Package warning messages:",
    "preferred": "Preferred Activities User 0:",
    "providers": "Registered ContentProviders:",
    "shared-users": "Shared users:",
    "verifiers": "Verifiers:",
    "installs": "Active install sessions:",
}


async def package(context: Context, words: list[str]) -> list[str]:
    """A section, one package, or all packages."""
    if "-h" in words:
        return [HELP]
    words = [word for word in words if not word.startswith("-")]
    found = await packages.installed(context.phone)
    if not words:
        return [*_resolvers(list(found.values())), *_features(), *_libraries(), *_every(context, found)]
    name = words[0]
    match SHORT.get(name, name):
        case "packages":
            return _every(context, found)
        case "features":
            return _features()
        case "libraries":
            return _libraries()
        case "permissions":
            return ["Permissions:", *(line for one in sorted(_known()) for line in _permission(one))]
        case "permission" if len(words) > 1:
            asking = [one.package for one in found.values() if words[1] in one.permissions]
            return ["Permissions:", *(_permission(words[1]) if words[1] in _known() else []), *(f"    {one}" for one in asking)]
        case "resolvers":
            return _resolvers(list(found.values()))
        case "check-permission" if len(words) > 2:
            asking_one = found.get(words[2])
            return ["0" if asking_one and package_states.granted(context.phone, asking_one, words[1]) else "-1"]
        case "version":
            level = packages.sdk_level(context.phone)
            return ["Database versions:", "  Internal:", f"    sdkVersion={level} databaseVersion=3"]
        case section if section in EMPTY:
            return [EMPTY[section]]
    if name in SYSTEM:
        return ["Packages:", *_system(context, SYSTEM[name])]
    one = found.get(name)
    return [f"Unable to find package: {shown(name)}"] if one is None else [*_resolvers([one]), "Packages:", *_package(context, one)]


def _every(context: Context, found: Mapping[str, Package]) -> list[str]:
    """The handset's own packages, and all that are installed."""
    made = ["Packages:", *(line for one in SYSTEM.values() for line in _system(context, one))]
    return [*made, *(line for one in found.values() for line in _package(context, one))]


def _resolvers(found: list[Package]) -> list[str]:
    """The activities that a launcher shows."""
    there = [one for one in found if one.main_activity]
    if not there:
        return []
    made = ["Activity Resolver Table:", "  Non-Data Actions:", "      android.intent.action.MAIN:"]
    for one in there:
        made += [
            f"        {one.uid:x} {apps.short(one.package, one.main_activity)} filter {one.uid:x}",
            '          Action: "android.intent.action.MAIN"',
            '          Category: "android.intent.category.LAUNCHER"',
        ]
    return [*made, ""]


def _features() -> list[str]:
    return ["Features:", *(f"  {name}" for name in packages.FEATURES), ""]


def _libraries() -> list[str]:
    return ["Libraries:", *(f"  {name} -> (jar) /system/framework/{name}.jar" for name in LIBRARIES), ""]


def _known() -> frozenset[str]:
    return permissions.DANGEROUS | permissions.DEVELOPMENT | permissions.NORMAL


def _permission(name: str) -> list[str]:
    level = (
        "dangerous"
        if name in permissions.DANGEROUS
        else "normal"
        if name in permissions.NORMAL
        else "signature|privileged|development"
    )
    return [
        f"  Permission [{name}]:",
        "    sourcePackage=android",
        "    uid=1000 gids=null type=0 prot=" + level,
    ]


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
