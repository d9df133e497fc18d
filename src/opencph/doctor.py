"""`opencph doctor`: what this machine can run, what is missing, and the command that mends it. Changes nothing."""

from __future__ import annotations

import ipaddress
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from opencph.network_claim import rival, suggestion
from opencph.preparation import check_port_is_free
from opencph.settings import Settings
from opencph.sockets import ListenError
from opencph.store.networks import IPV6_BLOCK

DISK_FREE_BYTES_MIN = 1 << 30
OPEN_FILES_MIN = 65_536
PYTHON_MIN = (3, 11)
COMMAND_SECONDS = 5.0

State = Literal["ok", "note", "missing"]
MARKS: dict[State, str] = {"ok": "[green]✓[/]", "note": "[yellow]–[/]", "missing": "[red]✗[/]"}


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. `missing` means that built-in phones cannot run; `note` that something optional is absent."""

    name: str
    state: State
    found: str
    fix: str = ""


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)  # noqa: S603 (ours)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    return ((done.stdout or done.stderr).strip().splitlines() or [f"ended with status {done.returncode}"])[0]


def _tool(name: str, package: str, use: str, *version: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(name, "note", f"not installed: {use}", f"sudo apt-get install {package}")
    return Finding(name, "ok", _first_line(path, *version) if version else path)


def _python(_: Settings) -> Finding:
    version = sys.version.split()[0]
    if sys.version_info < PYTHON_MIN:
        return Finding("python", "missing", version, "install Python 3.11 or newer")
    return Finding("python", "ok", version)


def _sandbox(_: Settings) -> Finding:
    from opencph.handset import sandbox

    problems = sandbox.missing()
    if problems:
        found, _colon, fix = problems[0].partition(", so phones have no shell: ")
        return Finding("phone shell", "missing", found, "; ".join([fix, *problems[1:]]).replace("`", ""))
    return Finding("phone shell", "ok", f"bubblewrap and user namespaces work ({shutil.which('bwrap')})")


def _isolation(_: Settings) -> Finding:
    from opencph.handset.sandbox.isolation import layers

    found = layers()
    text = "; ".join(f"{layer.name}: {layer.found}" for layer in found)
    fixes = "; ".join(layer.fix for layer in found if layer.fix)
    return Finding("phone isolation", "note" if fixes else "ok", text, fixes)


def _outgoing(settings: Settings) -> Finding:
    if settings.phone_network == "off":
        return Finding("phone network", "ok", "off: programs in phones reach nothing outside (phone_network)")
    from opencph.handset.sandbox import outgoing

    if lacks := outgoing.missing():
        found, _colon, fix = lacks.partition(": ")
        return Finding("phone network", "note", f"{found}, so programs in phones reach nothing outside", fix.replace("`", ""))
    return Finding("phone network", "ok", f"internet, through {shutil.which(outgoing.PROGRAM)}")


def _userland(_: Settings) -> Finding:
    have = [name for name in ("toybox", "mksh", "busybox") if shutil.which(name)]
    if {"toybox", "mksh"} <= set(have):
        return Finding("phone commands", "ok", "toybox and mksh, the ones Android has")
    found = f"{', '.join(have) or 'none of toybox, mksh, busybox'}; this machine's own commands fill in"
    return Finding("phone commands", "note", found, "sudo apt-get install toybox mksh")


def _letters(_: Settings) -> Finding:
    from opencph.handset.fonts import chinese_font, letters_font

    wanted = (
        (letters_font(), "accents, Greek and Cyrillic", "fonts-dejavu-core"),
        (chinese_font(), "Chinese", "fonts-droid-fallback"),
    )
    lacks = [(what, package) for path, what, package in wanted if not path]
    if lacks:
        found = f"no font for {'; none for '.join(what for what, _ in lacks)}: a box stands for each letter on phones' screens"
        return Finding("phone letters", "note", found, f"sudo apt-get install {' '.join(package for _, package in lacks)}")
    return Finding("phone letters", "ok", ", ".join(f"{what}: {Path(path).name}" for path, what, _ in wanted))


def _adb(_: Settings) -> Finding:
    return _tool("adb", "adb", "you need it to connect to phones from here", "--version")


def _ssh(_: Settings) -> Finding:
    return _tool("ssh", "openssh-client", "you need it for tunnels to phones", "-V")


def _postgresql(settings: Settings) -> Finding:
    if settings.database_url.startswith("postgres"):
        from opencph.store.database import StoreError, open_database

        try:
            open_database(settings.database_url).close()
        except (StoreError, ImportError) as error:
            return Finding("PostgreSQL", "missing", str(error), "start the server, or check --database")
        return Finding("PostgreSQL", "ok", settings.database_shown)
    found = shutil.which("postgres") or next(
        map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)), None
    )
    if found is None:
        return Finding(
            "PostgreSQL", "note", "not installed; SQLite is used", "sudo apt-get install postgresql (for several machines)"
        )
    return Finding("PostgreSQL", "ok", f"{_first_line(found, '--version')}; SQLite is used unless --database says otherwise")


def _docker(_: Settings) -> Finding:
    for place in (Path("/var/run/docker.sock"), Path(f"/run/user/{os.getuid()}/podman/podman.sock")):
        if place.is_socket():
            return Finding("Docker", "ok", f"{place} (the docker runtime is to come)")
    return Finding("Docker", "note", "no Docker or Podman socket; built-in phones need none")


def _kubectl(_: Settings) -> Finding:
    path = shutil.which("kubectl")
    return Finding("kubectl", "ok", path) if path else Finding("kubectl", "note", "not installed; built-in phones need none")


def _open_files(_: Settings) -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = "unlimited" if hard == resource.RLIM_INFINITY else f"{hard:,} per process"
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_MIN:
        return Finding(
            "open files",
            "note",
            f"{count}: enough for a few thousand phones",
            f"ulimit -Hn {OPEN_FILES_MIN} (or nofile in limits.conf)",
        )
    return Finding("open files", "ok", count)


def _addresses(settings: Settings) -> Finding:
    network = ipaddress.IPv4Network(settings.network)
    for address in (network[4], network[-2]):
        try:
            with socket.socket() as listener:
                listener.bind((str(address), 0))
        except OSError as error:
            fix = f"sudo ip route add local {network} dev lo"
            return Finding("addresses", "missing", f"cannot listen on {address}: {error.strerror}", fix)
    other = rival(settings)
    if other is not None:
        found = f"another OpenCPH (process {other.pid}) on this machine uses {other.network}"
        return Finding("addresses", "missing", found, f"stop it, or set {suggestion(settings)}")
    return Finding("addresses", "ok", f"{network} can be listened on")


def _ipv6(_: Settings) -> Finding:
    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("fd00:0:0:1::1", 0))
    except OSError as error:
        fix = f"sudo ip -6 route add local {IPV6_BLOCK} dev lo"
        return Finding("IPv6 of phones", "note", f"{IPV6_BLOCK} does not lead here ({error.strerror}); phones answer on IPv4", fix)
    return Finding("IPv6 of phones", "ok", f"{IPV6_BLOCK} leads to this machine")


def _port(settings: Settings) -> Finding:
    try:
        check_port_is_free(settings)
    except ListenError as error:
        return Finding("endpoint", "note", str(error))
    return Finding("endpoint", "ok", f"{settings.listen} is free")


def _tls(settings: Settings) -> Finding:
    from opencph.api.tls import EXPIRES_SOON_DAYS, TlsError, tls_of

    try:
        tls = tls_of(settings)
    except TlsError as error:
        return Finding("TLS", "missing", str(error), "see tls_cert and tls_key in docs/settings.md")
    if tls is None:
        return Finding("TLS", "note", "the endpoint speaks HTTP: whoever is on the way reads it; fine on one machine only")
    until = f"{tls.certificate} is good until {tls.expires:%Y-%m-%d}"
    if tls.days_left < 0:
        return Finding("TLS", "missing", f"{tls.certificate} has expired on {tls.expires:%Y-%m-%d}", "renew it, then restart")
    if tls.days_left < EXPIRES_SOON_DAYS:
        return Finding("TLS", "note", until, "renew it, then restart")
    return Finding("TLS", "ok", until)


def _disk(settings: Settings) -> Finding:
    place = next(path for path in (settings.data, *settings.data.parents) if path.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding("data directory", "missing", f"{place} is not writable", "give another directory with --data DIR")
    free = shutil.disk_usage(place).free
    found = f"{free / 2**30:,.1f} GiB free for {settings.data}"
    if free < DISK_FREE_BYTES_MIN:
        return Finding(
            "data directory",
            "missing",
            found,
            f"free some space, or give another directory; {DISK_FREE_BYTES_MIN >> 30} GiB is the least",
        )
    return Finding("data directory", "ok", found)


CHECKS: tuple[Callable[[Settings], Finding], ...] = (
    _python, _sandbox, _isolation, _outgoing, _userland, _letters, _addresses, _ipv6, _disk, _port, _tls, _open_files, _adb, _ssh,
    _postgresql, _docker, _kubectl,
)  # fmt: skip


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding, one by one."""
    for check in CHECKS:
        yield check(settings)


def doctor(settings: Settings, *, as_json: bool = False) -> int:
    """Print the findings. Returns 0 if built-in phones can run here, else 1."""
    findings = list(examine(settings))
    good = all(finding.state != "missing" for finding in findings)
    if as_json:
        print(json.dumps({"can_run_builtin": good, "findings": msgspec.to_builtins(findings)}, indent=2))
        return 0 if good else 1
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"{MARKS[finding.state]} {finding.name:16} {escape(finding.found)}")
        if finding.fix:
            console.print(f"  {'':16} [bold]→ {escape(finding.fix)}[/]")
    console.print()
    if good:
        console.print("Built-in phones can run on this machine: [bold]opencph up[/]")
    else:
        console.print("[red]Built-in phones cannot run yet[/]: mend what is marked ✗ above, and run `opencph doctor` again")
    return 0 if good else 1
