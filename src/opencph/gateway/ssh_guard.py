"""How often somebody may try to log in: wrong answers cost time, and logins that take forever do not keep others out. No I/O."""

from __future__ import annotations

import time

#: Keys that a client may offer on one connection. An agent with many keys: `-o IdentitiesOnly=yes`.
KEYS_PER_CONNECTION = 10
#: So many wrong keys of one client for one server are answered at once (an agent offers all it has); each later one takes twice
#: as long.
FREE_FAILURES = 6
DELAY_SECONDS_FIRST, DELAY_SECONDS_MAX = 0.25, 8.0
#: Half of the failures are forgotten in this time.
HALF_LIFE_SECONDS = 60.0
CLIENTS_MAX = 10_000

Pair = tuple[str, str]  # a client's address and the address it wants in by


class Guard:
    """Counts failures per client and address, so that nobody pays for another's."""

    def __init__(self) -> None:
        self._failures: dict[Pair, tuple[float, float]] = {}  # score, when

    def failed(self, pair: Pair) -> float:
        """One more wrong key. Returns how long to wait with the answer, in seconds."""
        now = time.monotonic()
        score = self._score(pair, now) + 1
        self._failures.pop(pair, None)
        self._failures[pair] = score, now
        while len(self._failures) > CLIENTS_MAX:
            del self._failures[next(iter(self._failures))]
        over = score - FREE_FAILURES
        return 0.0 if over <= 0 else min(DELAY_SECONDS_FIRST * 2.0 ** min(over - 1, 30), DELAY_SECONDS_MAX)

    def succeeded(self, pair: Pair) -> None:
        """It has the key: forget what went before."""
        self._failures.pop(pair, None)

    def _score(self, pair: Pair, now: float) -> float:
        score, when = self._failures.get(pair, (0.0, now))
        return score * float(2.0 ** ((when - now) / HALF_LIFE_SECONDS))
