"""`opencph hosts` and `opencph images`: what an operator does to hosts and how custom images are made. Needs the database, and for
capturing a phone this machine; no other process need run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from opencph.fleet import Fleet, maintenance, open_fleet, phone_home
from opencph.fleet.image_making import ImageMakingError, capture_image, import_image
from opencph.fleet.maintenance import UnknownHostError
from opencph.fleet.phone_home import AwayError
from opencph.settings import Settings, SettingsError
from opencph.store.database import StoreError


def _run(settings: Settings, do: Callable[[Fleet], object], as_json: bool) -> int:
    """Open the fleet, do it, print what it says; returns the exit code."""
    try:
        settings.check_started()
        fleet = open_fleet(settings)
        try:
            said = do(fleet)
        finally:
            fleet.close()
    except (SettingsError, StoreError, UnknownHostError, ImageMakingError, AwayError) as error:
        print(f"opencph: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(said))
    elif isinstance(said, list):
        for line in said:
            print("\t".join(map(str, line.values())) if isinstance(line, dict) else line)
    else:
        print(said)
    return 0


def list_hosts(settings: Settings, *, as_json: bool) -> int:
    """Every host with what it carries."""
    return _run(settings, maintenance.hosts, as_json)


def drain_host(settings: Settings, host_id: str, *, hours: float, reason: str, replace_disk: bool, as_json: bool) -> int:
    """Publish an event for each server of the host, and let nothing new come to it."""

    def do(fleet: Fleet) -> list[str]:
        kind = maintenance.LOCALDISK_RECOVERY if replace_disk else maintenance.SYSTEM_MAINTENANCE
        text = reason or ("A disk of the host is replaced." if replace_disk else "Maintenance of the host.")
        return maintenance.drain(fleet, host_id, in_seconds=round(hours * 3600), description=text, event_type=kind)

    return _run(settings, do, as_json)


def activate_host(settings: Settings, host_id: str, *, as_json: bool) -> int:
    """Let servers come to the host again; what has not begun is canceled."""
    return _run(settings, lambda fleet: f"{maintenance.activate(fleet, host_id)} events canceled", as_json)


def adopt_phones(settings: Settings, *, as_json: bool) -> int:
    """Let the phones of the database live in `settings.data` from now on; what is not there of them is made anew, empty."""

    def do(fleet: Fleet) -> str:
        phone_home.adopt(fleet.database, settings)
        return f"the phones of this database live in {settings.data} now"

    return _run(settings, do, as_json)


def make_image(settings: Settings, file: Path, *, name: str, base: str, project: str, as_json: bool) -> int:
    """Import an archive as a custom image; prints its id."""
    where = project or settings.region
    return _run(settings, lambda fleet: import_image(fleet, file, name=name, base_image_id=base, project=where), as_json)


def capture(settings: Settings, phone_id: str, *, name: str, as_json: bool) -> int:
    """Make a custom image of what a running phone holds; prints its id."""
    return _run(settings, lambda fleet: capture_image(fleet, phone_id, name=name), as_json)
