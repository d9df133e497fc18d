"""Looking at a running installation as monitoring does: metrics, probes, log lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from opencph.testing import RunningCph

Samples = dict[str, list[tuple[dict[str, str], float]]]


def parsed(text: str) -> Samples:
    """What a scraper makes of the text: by name, the labels and values. Fails where it is not Prometheus' format."""
    found: Samples = {}
    for metric in text_string_to_metric_families(text):
        for sample in metric.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def scrape(cph: RunningCph) -> Samples:
    """GET /metrics with the scrape token, as Prometheus does it."""
    token = (cph.data / "metrics-token").read_text()
    answer = httpx.get(f"{cph.endpoint}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parsed(answer.text)


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of all values with these labels."""
    return sum(value for found, value in samples.get(name, []) if labels.items() <= found.items())


def ready(cph: RunningCph) -> tuple[int, dict[str, Any]]:
    """GET /readyz."""
    answer = httpx.get(f"{cph.endpoint}/readyz", timeout=10)
    return answer.status_code, answer.json()


def log_lines(data: Path, file: str = "opencph.log") -> list[dict[str, Any]]:
    """Every line of a log, decoded: a line that is not JSON fails."""
    path = data / "logs" / file
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
