"""`opencph backup` and `opencph restore`: what they say. Needs the data directory and the database, and no running process."""

from __future__ import annotations

import json
import signal
import sys
from ipaddress import IPv4Network
from pathlib import Path

from opencph.backup import BackupError
from opencph.backup.making import back_up
from opencph.backup.restoring import check, restore
from opencph.backup.trees import Left
from opencph.network_claim import claims
from opencph.settings import Settings, SettingsError
from opencph.store.database import StoreError


def _told_to_end(*_: object) -> None:
    raise BackupError("it was told to end; nothing was made")


def run_backup(settings: Settings, target: Path, *, as_json: bool) -> int:
    """Make a backup; prints what it is. Returns the exit code."""
    signal.signal(signal.SIGTERM, _told_to_end)
    try:
        settings.check_started()
        made = back_up(settings, target)
    except (BackupError, SettingsError, StoreError) as error:
        print(f"opencph: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    notes = [f"not in it: {_shown(one.name)}: {one.why}" for one in made.left]
    notes += [f"the phones of generation {one} are not on this machine: their data is not in it" for one in made.absent]
    said = {"file": str(made.file), "bytes": made.size, "content_bytes": made.contents, "rows": made.rows, "notes": notes}
    servers, phones = made.rows.get("servers", 0), made.rows.get("phones", 0)
    line = f"{made.file}  {made.size / 1e6:,.1f} MB of {made.contents / 1e6:,.1f} MB: {servers} servers, {phones} phones"
    _say(said, line, notes, as_json)
    return 0


def run_restore(settings: Settings, source: Path, *, only_check: bool, as_json: bool) -> int:
    """Restore a backup, or only read it through; prints what it is. Returns the exit code."""
    signal.signal(signal.SIGTERM, _told_to_end)
    lost: list[str] = []
    left: list[Left] = []
    try:
        if only_check:
            header, manifest = check(source)
        else:
            header, manifest, lost, left = restore(settings, source)
    except BackupError as error:
        print(f"opencph: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    notes = [f"the data of image {one} is not in the backup: the image reads failed" for one in lost]
    notes += [f"not restored, for this disk cannot hold it: {_shown(one.name)}: {one.why}" for one in left]
    if manifest.absent:
        notes.append(
            f"the phones of {len(manifest.absent)} servers were not on the machine of the backup: "
            "they come back empty, after `opencph hosts adopt`"
        )
    if header.objects:
        notes.append(f"objects are not in the backup: they are in {header.objects}, which the setting `objects` must name")
    elif settings.objects and not only_check:
        notes.append(f"objects are in {settings.data / 'objects'} now; the setting `objects` names {settings.objects}")
    if not only_check:
        notes += _addresses(settings, header.network)
    servers, phones = manifest.rows.get("servers", 0), manifest.rows.get("phones", 0)
    size = sum(part.bytes for part in manifest.parts.values())
    said = {
        "version": manifest.version,
        "revision": manifest.revision,
        "create_ms": header.create_ms,
        "content_bytes": size,
        "rows": manifest.rows,
        "notes": notes,
    }
    what = "whole" if only_check else f"restored to {settings.data}"
    _say(said, f"{what}: {servers} servers, {phones} phones, {size / 1e6:,.1f} MB", notes, as_json)
    return 0


def _shown(name: str) -> str:
    """A name that phones have chosen, on one line."""
    return repr(name)[1:-1]


def _addresses(settings: Settings, network: str) -> list[str]:
    """Phones and servers keep their addresses: what there is to say of them on this machine."""
    notes = []
    if settings.network != network:
        notes.append(f"servers and phones keep their addresses: start it with OPENCPH_NETWORK={network}")
    taken = next((one for one in claims() if one.network.overlaps(IPv4Network(network))), None)
    if taken is not None:
        notes.append(
            f"another OpenCPH (process {taken.pid}) on this machine uses the addresses {taken.network}, which are this one's too: "
            "stop that one before you start this one"
        )
    return notes


def _say(said: dict[str, object], line: str, notes: list[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(said))
        return
    print(line)
    for note in notes:
        print(f"opencph: {note}", file=sys.stderr)
