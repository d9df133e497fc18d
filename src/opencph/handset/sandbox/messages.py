"""What a host and its spawner tell each other, as msgpack on a socket pair. No behaviour."""

from __future__ import annotations

import msgspec

MESSAGE_BYTES = 192 * 1024
FDS_MAX = 8


class Bind(msgspec.Struct, array_like=True):
    """One line of a sandbox's file system, in order. `source` is a path of this machine for `bind` and `ro-bind`."""

    kind: str  # bind, ro-bind, data, symlink, dir, other: arguments of bwrap as they are
    target: str
    source: str = ""
    data: bytes = b""
    mode: int = 0o644


class Create(msgspec.Struct, tag=True):
    """Make a sandbox."""

    box: int
    bwrap: str
    arguments: list[str]
    binds: list[Bind]
    init: list[str]
    owner: int | None
    groups: list[str] = []  # files by which a process joins the control groups of the sandbox
    clocks: str = ""  # lines of timens_offsets(5): how far this machine's clocks are ahead of the phone's
    outgoing: bool = False  # a way out to the internet


class Spawn(msgspec.Struct, tag=True):
    """Start a process in a sandbox. Its stdin, stdout and stderr come with the message, unless it gets a terminal."""

    box: int
    id: int
    argv: list[bytes]  # as they came: not everything that a phone is told is UTF-8
    environment: dict[str, str]
    terminal: bool
    limits: dict[int, int]
    writable: list[str]  # directories below which files may change
    window: tuple[int, int, int, int] | None = None  # of the terminal: rows, columns, and both in pixels


class Sockets(msgspec.Struct, tag=True):
    """Make a socket in the sandbox's network: "unix" or "tcp", or "listen" (abstract, by name) or "listen-tcp" (port in `name`)."""

    box: int
    id: int
    kind: str
    name: bytes = b""


class Destroy(msgspec.Struct, tag=True):
    """Kill everything in a sandbox."""

    box: int


Request = Create | Spawn | Sockets | Destroy


class Event(msgspec.Struct):
    """What happened: created, failed, started, exited, sockets (with a file descriptor), gone."""

    what: str
    box: int
    id: int = 0
    number: int = 0  # a pid of this machine, or an exit code
    text: str = ""  # why not; of "created": why there is no way out
