"""The numbers of many processes as the text that Prometheus reads. prometheus-client writes it; nothing is counted with it.

Its own counters cost a lock or a memory-mapped file per event, and a registry in every process; of it only the writing is used, and
only by the process that is scraped, at its first scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from opencph.metrics import Family, Histogram, Labels, Value, every_family
from opencph.metrics.exchange import Snapshot

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: What tells the processes apart. `instance` would be Prometheus' own.
PROCESS_LABELS = ("process", "pid")


def text_of(snapshots: Iterable[Snapshot], whole: Mapping[str, Mapping[Labels, Value]]) -> bytes:
    """The text of what processes counted, and of what is known of the `whole` installation (by name of the metric)."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Collector:
        def collect(self) -> Iterator[Metric]:
            yield from _metrics(list(snapshots), whole)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry)


def _metrics(snapshots: list[Snapshot], whole: Mapping[str, Mapping[Labels, Value]]) -> Iterator[Metric]:
    counted: dict[str, list[tuple[Labels, Value]]] = {}
    for one in snapshots:
        for name, labels, value in one.values:
            counted.setdefault(name, []).append(((*labels, one.process, str(one.pid)), value))
    for known in every_family():
        # Of another version's process what is not known here is left out; what has no value yet is declared all the same.
        if known.by:
            yield _metric(known, (*known.labels, *PROCESS_LABELS), counted.get(known.name, ()))
        else:
            yield _metric(known, known.labels, whole.get(known.name, {}).items())


def _metric(known: Family, labels: Labels, samples: Iterable[tuple[Labels, Value]]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if isinstance(known, Histogram):
        histogram = HistogramMetricFamily(known.name, known.help, labels=labels)
        for label_values, value in samples:
            if isinstance(value, list) and len(value) == len(known.bounds) + 2:
                histogram.add_metric(label_values, _buckets(known.bounds, value), value[-1])
        return histogram
    family = (CounterMetricFamily if known.kind == "counter" else GaugeMetricFamily)(known.name, known.help, labels=labels)
    for label_values, value in samples:
        if not isinstance(value, list) and len(label_values) == len(labels):
            family.add_metric(label_values, value)
    return family


def _buckets(bounds: tuple[float, ...], row: list[float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for bound, count in zip((*map(repr, bounds), "+Inf"), row, strict=False):
        total += count
        buckets.append((bound, total))
    return buckets
