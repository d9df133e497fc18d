"""The system image of a sandbox: which programs and libraries of this machine a phone sees, read-only. Made once per process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from opencph.handset.commands import COMMANDS

BIN = "/system/bin"
PYTHON = "/system/lib/handset"
_SEARCH = "/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin"
_DEFAULT_LIBRARY_DIRECTORIES = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")
# what Android's toybox has and Debian's builds of it leave out; taken from busybox, else from the machine
_WANTED_TEXT = """
    awk basename cat chmod chown cp cut date dd diff dirname du echo env expr false find free grep gunzip gzip
    head hostname kill ln ls md5sum mkdir mkfifo mktemp mv nc nohup od paste pgrep pidof pkill printenv printf
    ps pwd readlink realpath rm rmdir sed seq sha1sum sha256sum sleep sort split stat stty sync tail tar tee
    test timeout top touch tr true tty uniq vi wc which xargs xxd yes zcat
"""
WANTED = _WANTED_TEXT.split()
# programs that would only mislead inside a phone
_UNWANTED_TEXT = """
    ash bash blkdiscard blkid blockdev bridge busybox deallocvt devmem dpkg dpkg-deb fdisk freeramdisk
    fsfreeze getty halt hwclock init insmod ipcrm killall5 linuxrc login lsmod mkpasswd modinfo modprobe mount
    oneit openvt pivot_root poweroff reboot rmmod run-init sh start-stop-daemon su sulogin swapoff swapon
    switch_root syslogd toybox umount unshare nsenter vconfig httpd
"""
_UNWANTED = frozenset(_UNWANTED_TEXT.split())


class Interpreter(NamedTuple):
    """A Python: its program, its standard library, and those modules of it that are shared objects and needed."""

    program: Path
    standard_library: Path
    modules: tuple[Path, ...]


class SystemImage(NamedTuple):
    """Programs by name, as files of this machine or as links between names, and the libraries they need."""

    programs: dict[str, Path]
    links: dict[str, str]
    libraries: tuple[str, ...]
    python: Interpreter  # what the client in the sandbox runs on
    needs_linker_cache: bool


def find(program: str) -> Path | None:
    """A program of this machine, its links followed."""
    found = shutil.which(program, path=_SEARCH)
    return Path(found).resolve() if found else None


def _interpreter() -> Interpreter:
    """The machine's own Python, whose libraries are where the linker looks; else the one that runs us."""
    candidates = [program for program in (find("python3"),) if program is not None]
    for program in (*candidates, Path(os.path.realpath(sys.executable))):
        library = program.parent.parent / "lib" / program.name
        if (library / "os.py").exists():
            break
    else:
        library = Path(os.__file__).resolve().parent
    dynamic = library / "lib-dynload"
    modules = tuple(path for path in dynamic.iterdir() if path.name.startswith(("_socket.", "select."))) if dynamic.is_dir() else ()
    return Interpreter(program, library, modules)


def _applets(path: Path, *arguments: str) -> list[str]:
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603 - found above
    return done.stdout.split()


def _libraries(binary: Path) -> list[str]:
    """What the dynamic linker would load, the linker itself included. A static binary has none."""
    environment = {"LD_TRACE_LOADED_OBJECTS": "1", "PATH": _SEARCH}
    if not _is_dynamic(binary):
        return []
    done = subprocess.run([binary], capture_output=True, text=True, check=False, env=environment, timeout=10)  # noqa: S603 - found above
    words = [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]
    return list(dict.fromkeys(words))


def _is_dynamic(binary: Path) -> bool:
    with binary.open("rb") as file:
        head = file.read(4096)
    return head.startswith(b"\x7fELF") and (b"/ld-" in head or b"/ld." in head)


@cache
def system_image() -> SystemImage:
    """Look at this machine: toybox and mksh as Android has them, else busybox, else what Debian always has."""
    programs: dict[str, Path] = {}
    links: dict[str, str] = {}
    toybox, busybox = find("toybox"), find("busybox")
    for name, path, listing in (("toybox", toybox, ()), ("busybox", busybox, ("--list",))):
        if path is None:
            continue
        programs[name] = path
        for applet in _applets(path, *listing):
            if applet not in _UNWANTED and (name == "toybox" or applet in WANTED):
                links.setdefault(applet, f"{BIN}/{name}")
    for name in WANTED:
        if name not in links and (path := find(name)) is not None:
            programs[name] = path
    for shell in ("mksh", "dash", "bash"):
        if (path := find(shell)) is not None:
            programs["sh"] = path
            break
    else:
        if busybox is not None:
            links["sh"] = f"{BIN}/busybox"
    links = {name: target for name, target in links.items() if name not in COMMANDS and name not in programs}
    programs = {name: path for name, path in programs.items() if name not in COMMANDS}
    libraries: dict[str, None] = {}
    binaries = list(dict.fromkeys(programs.values()))
    interpreter = _interpreter()
    binaries += [interpreter.program, *interpreter.modules]
    for binary in binaries:
        libraries.update(
            dict.fromkeys(_libraries(binary) if binary.suffix != ".so" else _shared_libraries(interpreter.program, binary))
        )
    strange = any(not library.startswith(_DEFAULT_LIBRARY_DIRECTORIES) for library in libraries)
    return SystemImage(programs, links, tuple(libraries), interpreter, strange)


def _shared_libraries(interpreter: Path, module: Path) -> list[str]:
    """What an extension module needs beyond its interpreter: asked of the linker, which both have in common."""
    linker = next((library for library in _libraries(interpreter) if "/ld-" in library or "/ld." in library), None)
    if linker is None:
        return []
    done = subprocess.run([linker, "--list", str(module)], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603 - found above
    return [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]
