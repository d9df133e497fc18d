"""The rules of the platform: what a server, a phone, a flavor is and what may happen to it. No HTTP, no SQL text.

A rule is a function `rule(fleet, caller, request_id, ...)` named after the operation; it opens its own transaction and returns a
wire struct or raises `CphError`. `Fleet` carries what every rule needs; a process makes one with `open_fleet(settings)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from opencph.fleet.catalogue import Catalogue, load_catalogue
from opencph.fleet.hints import Hints
from opencph.settings import Settings
from opencph.store.database import STATEMENT_SECONDS, Database, open_database

__all__ = ["Catalogue", "Fleet", "open_fleet"]


@dataclass(slots=True)
class Fleet:
    """What every rule needs, one object per process."""

    database: Database
    catalogue: Catalogue
    settings: Settings
    #: What this process remembers to be quick; never needed to be right.
    hints: Hints = field(default_factory=Hints)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()


def open_fleet(settings: Settings, *, statement_seconds: int = STATEMENT_SECONDS) -> Fleet:
    """Open the database, as `open_database` does, and read the catalogue.

    Raises `StoreUnavailableError` when the database cannot be opened and `SettingsError` when the catalogue file cannot be used.
    """
    catalogue = load_catalogue(settings.catalogue)
    database = open_database(settings.database_url, statement_seconds=statement_seconds)
    return Fleet(database=database, catalogue=catalogue, settings=settings)
