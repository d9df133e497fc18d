"""What one process remembers to be quick. A hint may be wrong or missing: the database decides, a hint says where to look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencph.fleet.cards import Card


@dataclass(frozen=True, slots=True)
class PhoneOrder:
    """The visible phones of a project, newest first, as runs of one generation each; true while `revision` is."""

    revision: int
    generation_ids: tuple[str, ...]
    phone_counts: tuple[int, ...]
    #: Phones before each run.
    before: tuple[int, ...]
    total: int


@dataclass(slots=True)
class Hints:
    """Places to look first. Bounded, and shared by the threads of the process (each operation on it is one dict access)."""

    #: subnet_id or "eips" -> place in the network after the address handed out last
    next_address: dict[str, int] = field(default_factory=dict)
    #: project_id -> order of its phones
    phone_order: dict[str, PhoneOrder] = field(default_factory=dict)
    #: generation_id -> what its phones share
    cards: dict[str, Card] = field(default_factory=dict)
    #: custom image -> the public image it is made from
    image_bases: dict[str, str] = field(default_factory=dict)

    def remember(self, project_id: str, order: PhoneOrder, limit: int) -> None:
        """Keep an order; beyond `limit` projects all others are forgotten."""
        if len(self.phone_order) >= limit and project_id not in self.phone_order:
            self.phone_order.clear()
        self.phone_order[project_id] = order
