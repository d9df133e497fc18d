"""The numbers a process counts about itself: counters, gauges, histograms, in plain dicts and lists. Knows nothing of ours.

Which numbers there are is in `families`, how a scrape gets those of every process in `exchange`, their text in `exposition`.
Counting costs a process nothing while it is idle, and a counter that is hot is a list that its owner writes to without a lock.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

Kind = Literal["counter", "gauge", "histogram"]
Labels: TypeAlias = tuple[str, ...]
#: A number, or of a histogram: how many fell into each of its buckets, one more for what is above all, and the sum.
Value: TypeAlias = float | list[float]

#: Seconds: of requests, of boots, and of work on phones.
QUICK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BOOT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
SLOW_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

_families: dict[str, Family] = {}
_lock = threading.Lock()


class Family:
    """One metric: its name, its labels, and a value for each set of label values, which are few: never an id or an address.

    `by` says which processes count it: api, worker, gateway; nobody for what is read from the database for the whole installation.
    """

    kind: Kind

    def __init__(self, name: str, help_text: str, labels: Labels = (), *, by: tuple[str, ...]) -> None:
        if name in _families:
            raise ValueError(f"the metric {name} is there already")
        self.name = name
        self.help = help_text
        self.labels = labels
        self.by = by
        self.values: dict[Labels, Value] = {} if labels or isinstance(self, Gauge | Histogram) else {(): 0}
        self._read: Callable[[], Mapping[Labels, Value]] | None = None
        _families[name] = self

    def read_from(self, read: Callable[[], Mapping[Labels, Value]] | None) -> None:
        """Have the values asked for whenever somebody looks, instead of keeping them here."""
        self._read = read

    def samples(self) -> Mapping[Labels, Value]:
        """The values now."""
        return dict(self.values) if self._read is None else self._read()


class Counter(Family):
    """What only grows, until its process ends."""

    kind = "counter"

    def add(self, *labels: str, by: float = 1) -> None:
        """Count `by` more. Exact in every thread; takes a lock, so it is not for what happens per request or per packet."""
        with _lock:
            before = self.values.get(labels, 0)
            assert not isinstance(before, list)
            self.values[labels] = before + by


class Gauge(Family):
    """What goes up and down; always read from where it is known."""

    kind = "gauge"


class Histogram(Family):
    """How long things took, in seconds."""

    kind = "histogram"

    def __init__(
        self, name: str, help_text: str, labels: Labels = (), *, by: tuple[str, ...], bounds: tuple[float, ...] = SLOW_SECONDS
    ) -> None:
        super().__init__(name, help_text, labels, by=by)
        self.bounds = bounds

    def row(self, *labels: str) -> list[float]:
        """The value of a set of labels, to be written to by `observe`."""
        found = self.values.get(labels)
        if not isinstance(found, list):
            with _lock:
                found = self.values.setdefault(labels, [0.0] * (len(self.bounds) + 2))
                assert isinstance(found, list)
        return found

    def observe(self, seconds: float, *labels: str, times: int = 1) -> None:
        """Count something that took so long, `times` over. Exact in every thread."""
        row = self.row(*labels)
        with _lock:
            row[bisect_left(self.bounds, seconds)] += times
            row[-1] += seconds * times


def every_family() -> Iterable[Family]:
    """Every metric of this process, in the order of their declaration."""
    return list(_families.values())
