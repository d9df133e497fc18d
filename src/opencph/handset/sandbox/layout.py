"""What a phone's processes find when they wake up: bubblewrap's arguments, the file system line by line, the environment."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opencph.handset.clock import ZONES, zone_name
from opencph.handset.files import KEYS
from opencph.handset.sandbox import facts, outgoing
from opencph.handset.sandbox.image import BIN, PYTHON, Interpreter, system_image
from opencph.handset.sandbox.messages import Bind

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

SHELL_UID = 2000

_MKSHRC = b"""if [ "$USER" = root ]; then PS1='${HOSTNAME}:${PWD} # '; else PS1='${HOSTNAME}:${PWD} $ '; fi
"""
#: the C library's own UTF-8 locale, where a machine has it as files: without it `ls` shows "?" for names that are not ASCII
_LOCALES = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")
#: toybox asks the kernel, which tells the machine's memory; this one reads the phone's /proc/meminfo, and prints what toybox prints
_FREE = b"""#!/system/bin/sh
unit=1024 shift=1
case $1 in
""|-b) shift=0;;
-k) ;;
-m) unit=1048576;;
-g) unit=1073741824;;
-t) unit=1099511627776;;
*) echo "usage: free [-bkmgt]" >&2; exit 1;;
esac
[ $shift = 0 ] && unit=1
exec awk -v unit=$unit '
{ kb[$1] = $2 }
function in_units(name) { return sprintf("%.0f", int(kb[name ":"] * 1024 / unit)) }
END {
  used = kb["MemTotal:"] - kb["MemFree:"]; kb["Used:"] = used; kb["Own:"] = used - kb["Cached:"]; kb["Rest:"] = kb["MemAvailable:"]
  kb["SwapUsed:"] = kb["SwapTotal:"] - kb["SwapFree:"]
  printf "\\t\\ttotal        used        free      shared     buffers\\n"
  printf "Mem:%17s%12s%12s", in_units("MemTotal"), in_units("Used"), in_units("MemFree")
  printf "%12s%12s\\n", in_units("Shmem"), in_units("Buffers")
  printf "-/+ buffers/cache:%15s%12s\\n", in_units("Own"), in_units("Rest")
  printf "Swap:%16s%12s%12s\\n", in_units("SwapTotal"), in_units("SwapUsed"), in_units("SwapFree")
}' /proc/meminfo
"""
INIT = [f"{BIN}/sh", "-c", "echo; exec cat"]


def environment(phone: Phone, root: bool, term: str) -> dict[str, str]:
    """Of a program that starts now."""
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
        "TZ": zone_name(phone),
        "USER": "root" if root else "shell",
    }


def arguments(root: bool) -> list[str]:
    uid = "0" if root else str(SHELL_UID)
    return [
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--uid", uid, "--gid", uid, "--hostname", "handset"),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
    ]


def clocks(phone: Phone) -> str:
    """For a time namespace: the clocks that count from the machine's boot count from the phone's. Lines of timens_offsets."""
    up = int(phone.uptime * 1e9)
    lines = ""
    for name, clock in (("monotonic", time.CLOCK_MONOTONIC), ("boottime", time.CLOCK_BOOTTIME)):
        seconds, nanoseconds = divmod(up - time.clock_gettime_ns(clock), 1_000_000_000)
        lines += f"{name} {seconds} {nanoseconds}\n"
    return lines


def writable(phone: Phone) -> list[str]:
    """Where a phone's programs may change files."""
    return ["/data", "/cache", *(f"/mnt/sfs_turbo/{name}" for name in phone.config.real_shares())]


def refused(phone: Phone) -> str:
    """Why a phone that is to have a way out has none, for its users; empty where it has one, or is to have none."""
    return outgoing.missing() if phone.config.network == "internet" else ""


def etc(phone: Phone) -> dict[str, bytes]:
    """The files in /system/etc, which is /etc."""
    why = refused(phone)
    return {
        "mkshrc": _MKSHRC + _told(why),
        **(_names() if phone.config.network == "internet" and not why else {}),
        "passwd": b"root:x:0:0::/:/system/bin/sh\nshell:x:2000:2000::/:/system/bin/sh\n",
        "group": b"root:x:0:\nshell:x:2000:\n",
        "hosts": b"127.0.0.1 localhost handset\n::1 localhost\n",
    }


def binds(phone: Phone) -> list[Bind]:
    """The file system of a phone, in the order in which bubblewrap makes it."""
    image = system_image()
    directory = phone.config.directory.resolve()
    directories = {"/system", BIN, "/system/etc", "/system/lib"}
    tables = [table for table in (*_LOCALES, ZONES) if Path(table).is_dir()]
    for shown in (*image.libraries, *tables):
        directories.update(str(parent) for parent in Path(shown).parents if str(parent) != "/")
    lines = [Bind("dir", name, mode=0o755) for name in sorted(directories)]
    lines += [Bind("ro-bind", f"{BIN}/{name}", str(path)) for name, path in image.programs.items() if name != "free"]
    lines += [Bind("symlink", f"{BIN}/{name}", target) for name, target in image.links.items() if name != "free"]
    lines += [Bind("ro-bind", library, library) for library in image.libraries]
    lines += [Bind("ro-bind", table, table) for table in tables]
    if image.needs_linker_cache and Path("/etc/ld.so.cache").exists():
        lines.append(Bind("ro-bind", "/system/etc/ld.so.cache", "/etc/ld.so.cache"))
    lines += _client(image.python)
    lines += [
        Bind("data", "/system/build.prop", data=_build_prop(phone)),
        *(Bind("data", f"/system/etc/{name}", data=data) for name, data in etc(phone).items()),
        Bind("data", f"{BIN}/free", data=_FREE, mode=0o755),
        Bind("symlink", "/etc", "/system/etc"),
        Bind("symlink", "/bin", BIN),
        Bind("bind", "/data", str(directory / "data")),
        *([] if phone.adb_root else _kept(directory)),
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
        *facts.binds(phone),
        Bind("dev", "/dev"),
        Bind("remount-ro", "/dev"),
        Bind("remount-ro", "/"),
    ]
    return lines


def _kept(directory: Path) -> list[Bind]:
    """What the shell sees and does not change: the directory of adbd's keys, and where it is, for nobody renames a mount."""
    above = str(Path(KEYS).parent)
    return [Bind("bind", f"/{above}", str(directory / above)), Bind("ro-bind", f"/{KEYS}", str(directory / KEYS))]


def _told(why: str) -> bytes:
    """What an interactive shell says first."""
    said = f"no outgoing network on this phone: {why}"
    return f"echo {shlex.quote(said)} >&2\n".encode() if why else b""


def _names() -> dict[str, bytes]:
    """Where the C library asks for the addresses of names."""
    return {"resolv.conf": f"nameserver {outgoing.RESOLVER}\n".encode(), "nsswitch.conf": b"hosts: files dns\n"}


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
