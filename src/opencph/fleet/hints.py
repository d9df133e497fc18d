"""What one process remembers to be quick. A hint may be wrong or missing: the database decides, a hint says where to look."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PhoneOrder:
    """The visible phones of a project, newest first, as runs of consecutive `phones.seq`; true while `revision` is."""

    revision: int
    #: Highest `phones.seq` of each run.
    newest_seq: tuple[int, ...]
    #: Phones before the run, counted from the newest.
    before: tuple[int, ...]
    total: int


@dataclass(slots=True)
class Hints:
    """Places to look first. Bounded, and shared by the threads of the process (each operation on it is one dict access)."""

    #: subnet_id or "eips" -> number of the address after the one handed out last
    next_address: dict[str, int] = field(default_factory=dict)
    #: project_id -> order of its phones
    phone_order: OrderedDict[str, PhoneOrder] = field(default_factory=OrderedDict)
