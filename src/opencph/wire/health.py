"""What probes read: an own service's answers, of no vendor's page."""

from __future__ import annotations

import msgspec


class ShowHealthResponse(msgspec.Struct, frozen=True):
    """The process lives."""

    status: str = "ok"


class ShowReadinessResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the installation can serve. `missing` names parts: database, migration, worker, gateway."""

    status: str  # ok | unavailable
    reason: str = ""  # what is missing, as one sentence
    missing: tuple[str, ...] = ()
