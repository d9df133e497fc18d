"""Who is calling and what they may do: users, projects, tokens, access keys, policies, audit, first start. Knows nothing of servers
or phones."""

from __future__ import annotations

import msgspec

from opencph.iam.policies import ADMIN, NOTHING, OPERATOR, READER, ROLES, Policy, Union

__all__ = ["ADMIN", "OPERATOR", "READER", "Caller"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling, and in which project. `project_id` is "" for calls that are not made for a project."""

    user_id: str
    user_name: str
    domain_id: str
    domain_name: str
    project_id: str
    role: str  # admin | operator | reader, or the name of a policy
    policy: Policy | Union | None = None  # None: that of the ready-made role

    def may(self, action: str) -> bool:
        """Whether the caller's role allows an action, such as `cph:phones:restart`."""
        policy = self.policy
        return (ROLES.get(self.role, NOTHING) if policy is None else policy).allows(action)
