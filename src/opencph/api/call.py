"""What a handler gets and what it gives. No HTTP parsing, no encoding."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast
from urllib.parse import unquote_plus

import msgspec

from opencph.fleet import Fleet
from opencph.iam import Caller
from opencph.iam.auth import Authenticator
from opencph.wire.errors import CphError

#: Query parameters that may come several times, in whatever order: of scheduled events, EIPs and ports.
LISTS = frozenset(
    {
        *("state", "type", "id", "port_id", "public_ip_address", "private_ip_address", "ip_version"),
        "allow_share_bandwidth_type_any",
        *("security_groups", "fixed_ips"),
    }
)


@dataclass(slots=True)
class Call:
    """One request, authenticated, with its project checked."""

    fleet: Fleet
    authenticator: Authenticator
    caller: Caller
    request_id: str
    params: tuple[str, ...]  # of the path, decoded, the project left out
    raw_query: bytes
    body: bytes
    headers: Mapping[bytes, bytes]
    client: str = ""  # address

    @property
    def query(self) -> dict[str, str]:
        """The query parameters, decoded. Raises CphError APIGW.0201 (400) when one has two values: signatures sort them, so
        whoever carries the request could choose which comes last. Those of LISTS may: of these the greatest counts here."""
        found: dict[str, str] = {}
        for pair in self.raw_query.split(b"&"):
            if pair:
                key, _, value = pair.partition(b"=")
                name, text = _decoded(key), _decoded(value)
                if name in found and found[name] != text:
                    if name not in LISTS:
                        raise CphError("APIGW.0201", f"the query parameter {name[:64]!r} has two values; give one")
                    text = max(text, found[name])
                found[name] = text
        return found

    def filters(self, *fields: str) -> dict[str, list[str]]:
        """The values of those parameters that a list is to be narrowed by: the ones given, empty ones left out."""
        return {field: values for field in fields if (values := self.values(field))}

    def values(self, field: str) -> list[str]:
        """Every value of a query parameter that may come several times, empty ones left out."""
        pairs = (pair.partition(b"=") for pair in self.raw_query.split(b"&") if pair)
        return [_decoded(value) for key, _, value in pairs if value and _decoded(key) == field]


def _decoded(text: bytes) -> str:
    return unquote_plus(text.decode("latin-1"), encoding="utf-8", errors="replace")


@dataclass(slots=True)
class Answer:
    """An answer that is more than 200 and a body."""

    status: int
    body: msgspec.Struct | None = None  # None: no content
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content: bytes = b""  # instead of a body: what is no JSON, of this type
    content_type: bytes = b"text/plain"


NO_CONTENT = Answer(204)

Result: TypeAlias = msgspec.Struct | bytes | Answer
Handler: TypeAlias = Callable[[Call], Result]


def awaited(handler: Callable[[Call], Awaitable[Result]]) -> Handler:
    """A handler that waits for others on the event loop, for a route that is marked `awaits`."""
    return cast(Handler, handler)
