"""Policies: which actions a role allows. The ready-made roles, and documents of an operator's own. Names of actions: `actions`.

A document is what the vendor calls an identity policy, without resources and conditions:
`{"Version": "5.0", "Statement": [{"Effect": "Allow", "Action": ["cph:phones:*"]}, {"Effect": "Deny", "Action": [...]}]}`.
`*` stands for any characters. What no statement allows is denied, and a Deny wins over every Allow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import msgspec

ADMIN, OPERATOR, READER = "admin", "operator", "reader"

DOCUMENT_MAX_BYTES = 65_536
PATTERNS_MAX = 500
PATTERN_MAX_CHARACTERS = 128
#: what one policy remembers of its decisions: there are only so many actions
DECISIONS_MAX = 4096

_PATTERN = re.compile(r"\*|[A-Za-z0-9*]+:[A-Za-z0-9*-]*(:[A-Za-z0-9*]+)?")


class PolicyError(Exception):
    """A policy document cannot be used. The message says what is wrong in it."""


class Policy:
    """What may be done. `allows(action)` is one look-up once an action has been asked for."""

    __slots__ = ("_allow", "_decided", "_deny")

    def __init__(self, allow: Iterable[str], deny: Iterable[str] = ()) -> None:
        self._allow = _matcher(allow)
        self._deny = _matcher(deny)
        self._decided: dict[str, bool] = {}

    def allows(self, action: str) -> bool:
        """Whether the policy lets its holder do it."""
        decided = self._decided.get(action)
        if decided is None:
            decided = self._allow(action) is not None and self._deny(action) is None
            if len(self._decided) < DECISIONS_MAX:
                self._decided[action] = decided
        return decided


class Union:
    """What any of several policies allows."""

    __slots__ = ("_policies",)

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._policies = tuple(policies)

    def allows(self, action: str) -> bool:
        """Whether one of them lets its holder do it."""
        return any(policy.allows(action) for policy in self._policies)


def _matcher(patterns: Iterable[str]) -> Callable[[str], object | None]:
    """Matches any of the patterns, whatever the case."""
    return re.compile("|".join(map(_expression, patterns)) or r"(?!)", re.IGNORECASE | re.DOTALL).fullmatch


def _expression(pattern: str) -> str:
    """Takes the first place where what stands between two stars fits, and never looks back: no pattern is slow."""
    first, *middle = [re.escape(piece) for piece in re.split(r"\*+", pattern)]
    if not middle:
        return first
    last = middle.pop()
    return first + "".join(f"(?>.*?{piece})" for piece in middle) + f".*{last}"


_READS = ("*:*:get*", "*:*:list*", "*::list*", "*::get*")

#: the ready-made roles, by the name a grant gives
ROLES: Mapping[str, Policy] = {
    ADMIN: Policy(["*"]),
    # Works with what there is. What is paid for, and what others' networks stand on, comes and goes by an administrator.
    OPERATOR: Policy(
        [
            *_READS,
            *("cph:phones:*", "cph:servers:*", "cph:encodeServers:*", "cph:images:*", "cph:scheduledEvents:*", "cph:resource:*"),
            *("kps:*:*", "obs:*:*"),
        ],
        [
            *("cph:servers:create", "cph:servers:change", "cph:servers:changeModel", "cph:servers:delete"),
            *("cph:phones:expandVolume", "cph:images:delete", "obs:bucket:delete*"),
        ],
    ),
    READER: Policy(_READS),
}
NOTHING = Policy([])


def parse(document: str) -> Policy:
    """The policy of a document. Raises PolicyError."""
    if len(document.encode()) > DOCUMENT_MAX_BYTES:
        raise PolicyError(f"the document has more than {DOCUMENT_MAX_BYTES} bytes")
    try:
        value = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PolicyError(f"the document is not JSON: {error}") from None
    statements = value.get("Statement") if isinstance(value, dict) else None
    if not isinstance(statements, list) or not statements:
        raise PolicyError(
            'the document needs "Statement": a list of {"Effect": "Allow" or "Deny", "Action": ["cph:phones:*", ...]}'
        )
    patterns: dict[str, list[str]] = {"Allow": [], "Deny": []}
    for number, statement in enumerate(statements):
        _read_statement(f"Statement[{number}]", statement, patterns)
    if sum(map(len, patterns.values())) > PATTERNS_MAX:
        raise PolicyError(f"the document names more than {PATTERNS_MAX} actions")
    return Policy(patterns["Allow"], patterns["Deny"])


def _read_statement(where: str, statement: object, patterns: dict[str, list[str]]) -> None:
    if not isinstance(statement, dict):
        raise PolicyError(f"{where} must be an object")
    effect, actions = statement.get("Effect"), statement.get("Action")
    if effect not in ("Allow", "Deny"):
        raise PolicyError(f'{where}.Effect must be "Allow" or "Deny"')
    if not isinstance(actions, list) or not actions:
        raise PolicyError(f"{where}.Action must be a list of actions such as cph:phones:restart, cph:servers:* or *")
    for ignored in statement.keys() - {"Effect", "Action", "Sid"}:
        raise PolicyError(f"{where}.{ignored} is not supported: a policy here holds for all resources of the project")
    for action in actions:
        if not isinstance(action, str) or len(action) > PATTERN_MAX_CHARACTERS or _PATTERN.fullmatch(action) is None:
            raise PolicyError(f"{where}.Action {action!r}: must be like cph:phones:restart, cph:*:get* or *")
        patterns[effect].append(action)


@lru_cache(maxsize=256)
def _parsed(document: str) -> Policy:
    try:
        return parse(document)
    except PolicyError:
        return NOTHING


def policy_of(role: str, document: str | None) -> Policy:
    """The policy of a grant: of a ready-made role, or of the document that its role names. A role of no meaning allows nothing."""
    if role in ROLES:
        return ROLES[role]
    return _parsed(document) if document is not None else NOTHING
