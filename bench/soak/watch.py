"""What the processes of an installation hold over time, and whether it grows. Samples only; it knows nothing of what they do.

Memory is what a process has of its own (RssAnon): pages of files that it shares with others come and go with the disk's cache. A
number grows when the straight line through its samples, after the first third of the time, rises by more than the tolerance.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.starting import held

SAMPLE_SECONDS = 2.0
WARM_UP = 1 / 3  # of the time: caches fill, pools grow
#: what a line may rise from the end of the warm-up to the end of the soak
MEMORY_BYTES_MORE, MEMORY_SHARE_MORE = 6 << 20, 0.05
DESCRIPTORS_MORE = 8


class Sample(NamedTuple):
    at: float
    memory: int
    descriptors: int


class Watch(threading.Thread):
    """Samples the parts of an `up` and the process that makes phones' hosts, by name and pid."""

    def __init__(self, up_pid: int, data: Path) -> None:
        super().__init__(daemon=True)
        self._up = psutil.Process(up_pid)
        self._data = str(data)
        self._over = threading.Event()
        self.samples: defaultdict[str, list[Sample]] = defaultdict(list)

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            at = time.monotonic()
            for name, process in self._processes():
                try:
                    self.samples[name].append(Sample(at, held(process.pid, "RssAnon"), process.num_fds()))
                except (OSError, psutil.Error):
                    continue

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _processes(self) -> list[tuple[str, psutil.Process]]:
        found = [(f"up {self._up.pid}", self._up)]
        found += [(f"{child.name()} {child.pid}", child) for child in self._up.children()]
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if "opencph.handset.zygote" in words and any(self._data in word for word in words):
                    found.append((f"{process.name()} {process.pid}", process))
            except psutil.Error:
                continue
        return found

    def judge(self) -> tuple[list[str], list[str]]:
        """A line per process that lived through the soak, and what grew."""
        lines, grew = [], []
        self.samples = defaultdict(list, {name: samples for name, samples in self.samples.items() if samples})
        end = max((samples[-1].at for samples in self.samples.values()), default=0.0)
        begin = min((samples[0].at for samples in self.samples.values()), default=0.0)
        for name, samples in sorted(self.samples.items()):
            warm = [one for one in samples if one.at >= begin + (end - begin) * WARM_UP]
            if len(warm) < 5 or samples[0].at > begin + (end - begin) * WARM_UP or samples[-1].at < end - 3 * SAMPLE_SECONDS:
                continue  # came or went: a host of a server that was changed
            memory = rise([(one.at, one.memory) for one in warm])
            descriptors = rise([(one.at, one.descriptors) for one in warm])
            last = samples[-1]
            lines.append(
                f"  {name}: {last.memory / 1e6:.1f} MB ({memory / 1e6:+.1f} MB along the line), "
                f"{last.descriptors} descriptors ({descriptors:+.1f})"
            )
            if memory > MEMORY_BYTES_MORE + MEMORY_SHARE_MORE * warm[0].memory:
                grew.append(f"memory of {name}: {memory / 1e6:+.1f} MB since the warm-up")
            if descriptors > DESCRIPTORS_MORE:
                grew.append(f"descriptors of {name}: {descriptors:+.1f} since the warm-up")
        return lines, grew


def rise(points: list[tuple[float, float]]) -> float:
    """How much the straight line through the points (least squares) rises from the first to the last."""
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0
    return slope * (points[-1][0] - points[0][0])
