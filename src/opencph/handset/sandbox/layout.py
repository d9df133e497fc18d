"""What a phone's processes find when they wake up: bubblewrap's arguments, the file system line by line, the environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opencph.handset.sandbox.image import BIN, PYTHON, Interpreter, system_image
from opencph.handset.sandbox.spawner import Bind

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

SHELL_UID = 2000

_MKSHRC = b"""if [ "$USER" = root ]; then PS1='${HOSTNAME}:${PWD} # '; else PS1='${HOSTNAME}:${PWD} $ '; fi
"""
#: the C library's own UTF-8 locale, where a machine has it as files: without it `ls` shows "?" for names that are not ASCII
_LOCALES = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")
INIT = [f"{BIN}/sh", "-c", "echo; exec cat"]


def environment(root: bool, term: str) -> dict[str, str]:
    return {
        "ANDROID_DATA": "/data",
        "ANDROID_ROOT": "/system",
        "ENV": "/system/etc/mkshrc",
        "EXTERNAL_STORAGE": "/sdcard",
        "HOME": "/",
        "HOSTNAME": "handset",
        "LC_ALL": "C.UTF-8",
        "LOGNAME": "root" if root else "shell",
        "PATH": f"{BIN}:/system/xbin",
        "SHELL": f"{BIN}/sh",
        "TERM": term,
        "TMPDIR": "/data/local/tmp",
        "USER": "root" if root else "shell",
    }


def arguments(root: bool) -> list[str]:
    uid = "0" if root else str(SHELL_UID)
    return [
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--uid", uid, "--gid", uid, "--hostname", "handset"),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
    ]


def binds(phone: Phone) -> list[Bind]:
    """The file system of a phone, in the order in which bubblewrap makes it."""
    image = system_image()
    directory = phone.config.directory.resolve()
    directories = {"/system", BIN, "/system/etc", "/system/lib"}
    for library in image.libraries:
        directories.update(str(parent) for parent in Path(library).parents if str(parent) != "/")
    locales = [locale for locale in _LOCALES if Path(locale).is_dir()]
    for locale in locales:
        directories.update(str(parent) for parent in Path(locale).parents if str(parent) != "/")
    lines = [Bind("dir", name, mode=0o755) for name in sorted(directories)]
    lines += [Bind("ro-bind", f"{BIN}/{name}", str(path)) for name, path in image.programs.items()]
    lines += [Bind("symlink", f"{BIN}/{name}", target) for name, target in image.links.items()]
    lines += [Bind("ro-bind", library, library) for library in image.libraries]
    lines += [Bind("ro-bind", locale, locale) for locale in locales]
    if image.needs_linker_cache and Path("/etc/ld.so.cache").exists():
        lines.append(Bind("ro-bind", "/system/etc/ld.so.cache", "/etc/ld.so.cache"))
    lines += _client(image.python)
    lines += [
        Bind("data", "/system/build.prop", data=_build_prop(phone)),
        Bind("data", "/system/etc/mkshrc", data=_MKSHRC),
        Bind("data", "/system/etc/passwd", data=b"root:x:0:0::/:/system/bin/sh\nshell:x:2000:2000::/:/system/bin/sh\n"),
        Bind("data", "/system/etc/group", data=b"root:x:0:\nshell:x:2000:\n"),
        Bind("data", "/system/etc/hosts", data=b"127.0.0.1 localhost handset\n::1 localhost\n"),
        Bind("symlink", "/etc", "/system/etc"),
        Bind("symlink", "/bin", BIN),
        Bind("bind", "/data", str(directory / "data")),
        Bind("bind", "/cache", str(directory / "cache")),
        Bind("dir", "/mnt", mode=0o755),
        *(Bind("bind", f"/mnt/sfs_turbo/{name}", path) for name, path in phone.config.real_shares().items()),
        Bind("dir", "/storage", mode=0o755),
        Bind("dir", "/storage/emulated", mode=0o755),
        Bind("dir", "/storage/self", mode=0o755),
        Bind("symlink", "/storage/emulated/0", "/data/media/0"),
        Bind("symlink", "/storage/self/primary", "/storage/emulated/0"),
        Bind("symlink", "/sdcard", "/storage/emulated/0"),
        Bind("symlink", "/mnt/sdcard", "/sdcard"),
        Bind("proc", "/proc"),
        Bind("dev", "/dev"),
        Bind("remount-ro", "/dev"),
        Bind("remount-ro", "/"),
    ]
    return lines


def _client(python: Interpreter) -> list[Bind]:
    """The commands of ours: one small program under many names, on the interpreter that runs us."""
    from opencph.handset.commands import COMMANDS

    version = python.standard_library.name
    program = (Path(__file__).parent / "client.py").read_bytes()
    first_line = f"#!{PYTHON}/bin/{version} -IS\n".encode()
    lines = [
        Bind("ro-bind", f"{PYTHON}/bin/{version}", str(python.program)),
        Bind("ro-bind", f"{PYTHON}/lib/{version}", str(python.standard_library)),
        Bind("data", f"{BIN}/handset", data=first_line + program, mode=0o755),
    ]
    if (python.standard_library / "site-packages").is_dir():
        lines.append(Bind("tmpfs", f"{PYTHON}/lib/{version}/site-packages"))
        lines.append(Bind("remount-ro", f"{PYTHON}/lib/{version}/site-packages"))
    return lines + [Bind("symlink", f"{BIN}/{name}", f"{BIN}/handset") for name in COMMANDS]


def _build_prop(phone: Phone) -> bytes:
    from opencph.handset.system_tree import build_prop

    return build_prop(phone)
