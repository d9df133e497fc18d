"""How many connections to the ADB port of one phone a client may have, whichever way it comes. Counts; does no I/O.

A phone's adbd takes few connections. One client that has them all would keep everybody else out, so each has a share. What else
listens in a phone has its own measure, and no share here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from opencph.gateway.relay import Address
from opencph.runtimes import ADB_PORT

#: Half of what a phone's adbd takes in all.
ADB_PER_CLIENT = 32


class PhoneShares:
    """The connections to ADB ports, by client address and phone."""

    def __init__(self) -> None:
        self._held: Counter[tuple[str, str]] = Counter()

    def refusal(self, client: str, target: Address) -> str:
        """Why `client` gets no further connection to `target` now; empty: it does."""
        if target[1] != ADB_PORT or self._held[client, target[0]] < ADB_PER_CLIENT:
            return ""
        return f"the client has {ADB_PER_CLIENT} connections to the ADB of this phone, which is its share"

    def take(self, client: str, target: Address) -> Callable[[], None]:
        """Count one more; call what is returned when it is over, once or more often."""
        if target[1] != ADB_PORT:
            return _nothing
        held, key, over = self._held, (client, target[0]), False
        held[key] += 1

        def give_back() -> None:
            nonlocal over
            if not over:
                over = True
                held[key] -= 1
                if not held[key]:
                    del held[key]

        return give_back


def _nothing() -> None:
    pass
