"""Who is calling and what they may do: users, projects, tokens, access keys, first start. Knows nothing of servers or phones."""

from __future__ import annotations

import msgspec

ADMIN, OPERATOR, READER = "admin", "operator", "reader"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling, and in which project. `project_id` is "" for identity calls that are not made for a project."""

    user_id: str
    user_name: str
    domain_id: str
    domain_name: str
    project_id: str
    role: str  # admin | operator | reader

    @property
    def may_write(self) -> bool:
        """Whether the role lets the caller change anything."""
        return self.role != READER
