"""Finds the route of a method and a path. What routes there are is in `routes`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from opencph.api.call import Call, Handler
from opencph.iam.actions import OWN, action_of

PROJECT = "{project_id}"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation."""

    operation: str
    method: str
    path: str
    handler: Handler
    writes: bool = False  # changes something: runs in a thread and goes on record
    blocks: bool = False  # changes nothing, but takes long enough to run in a thread
    slow: Callable[[Call], bool] | None = None  # says of a call that it takes long enough to run in a thread
    of_one_thing: bool = False  # says only what the database has of one thing: may be answered from memory while that stands still
    awaits: bool = False  # its handler runs on the event loop and is awaited (`call.awaited`)
    scraped: bool = False  # the scrape token of DATA/metrics-token is good for it
    auth: bool = True
    identity: bool = False  # errors in the identity service's shape
    also: tuple[str, ...] = ()  # operations of the same method and path: the body decides
    calls_per_minute: str = ""  # the setting that says how often one user may call it; "": as often as they like
    project: bool = field(init=False)
    action: str = field(init=False)  # what policies call it
    free: bool = field(init=False)  # needs no permission

    def __post_init__(self) -> None:
        object.__setattr__(self, "action", action_of(self.operation, self.method, self.path))
        object.__setattr__(self, "free", not self.auth or self.operation in OWN)
        object.__setattr__(self, "project", PROJECT in self.path)
        if self.project and self.path.split("/")[2] != PROJECT:
            raise ValueError(f"{self.path}: the project must be the second segment")

    @property
    def operations(self) -> tuple[str, ...]:
        """All that this route answers."""
        return (self.operation, *self.also)


class _Node:
    __slots__ = ("children", "route", "wild")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.wild: _Node | None = None
        self.route: Route | None = None


class Router:
    """A tree of path segments per method. A literal segment wins over a parameter."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._roots: dict[str, _Node] = {}
        for route in routes:
            node = self._roots.setdefault(route.method, _Node())
            for segment in route.path.split("/")[1:]:
                if segment.startswith("{"):
                    node.wild = node.wild or _Node()
                    node = node.wild
                else:
                    node = node.children.setdefault(segment.encode(), _Node())
            if node.route is not None:
                raise ValueError(f"{route.method} {route.path} is the route of both {node.route.operation} and {route.operation}")
            node.route = route

    def find(self, method: str, raw_path: bytes) -> tuple[Route, list[str]] | None:
        """The route and the values of its parameters. Segments are percent-decoded once, after the path is split."""
        root = self._roots.get(method)
        if root is None:
            return None
        parts = raw_path.split(b"/")
        if b"%" in raw_path:
            parts = [unquote_to_bytes(part) for part in parts]
            if any(0 in part for part in parts):
                return None  # no name of ours has a NUL, and databases cannot even be asked for one
        if parts[0]:
            return None
        node, values = root, []
        for part in parts[1:]:  # nearly always right: the literal segment where there is one
            child = node.children.get(part)
            if child is None:
                child = node.wild
                if child is None or not part:
                    break
                values.append(part.decode("utf-8", "replace"))
            node = child
        else:
            if node.route is not None:
                return node.route, values
        return _search(root, parts, 1)


def _search(node: _Node, parts: list[bytes], at: int) -> tuple[Route, list[str]] | None:
    """As `find`, trying the parameter where the literal segment leads nowhere."""
    if at == len(parts):
        return None if node.route is None else (node.route, [])
    part = parts[at]
    child = node.children.get(part)
    found = None if child is None else _search(child, parts, at + 1)
    if found is None and node.wild is not None and part:
        found = _search(node.wild, parts, at + 1)
        if found is not None:
            found[1].insert(0, part.decode("utf-8", "replace"))
    return found
