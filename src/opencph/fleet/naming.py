"""Names of servers and phones: which suffixes a purchase gives them (docs/compatibility.md, "Names")."""

from __future__ import annotations

#: A phone's name has at most 65 bytes (seed page); this is what its suffix takes.
PHONE_NAME_BYTES = 65
PHONE_SUFFIX_BYTES = len("-00001")


def server_names(name: str, count: int) -> list[str]:
    """What the servers of one purchase are called: the name itself for one, `name-0001`, `name-0002`, ... for several."""
    if count == 1:
        return [name]
    return [f"{name}-{number:04d}" for number in range(1, count + 1)]


def phone_name_stem(server_name: str) -> str:
    """The server's name, cut at a whole character so that the phone's name stays within 65 bytes."""
    room = PHONE_NAME_BYTES - PHONE_SUFFIX_BYTES
    return server_name.encode()[:room].decode(errors="ignore")


def phone_name(stem: str, number: int) -> str:
    """The name of phone `number` (1, 2, ...): `server-00001`."""
    return f"{stem}-{number:05d}"
