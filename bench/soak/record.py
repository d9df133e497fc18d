"""What became of every call, job and read of a soak: counted, timed, and judged. Thread-safe."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from huaweicloudsdkcore.exceptions.exceptions import SdkException, ServiceResponseException

T = TypeVar("T")

#: Refusals that are right, by what is done. Anything else that is refused is a failure of the soak.
CORRECT: dict[str, set[str]] = {
    "change a server that changes": {"CPS.0099"},
    "change a server that is none": {"CPS.0015"},
    "show a phone that is none": {"CPS.0005"},
}
UNEXPECTED_SHOWN = 50


class Record:
    """Everything that is known of a soak."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        self.unexpected: list[str] = []
        self.jobs: set[str] = set()  # accepted
        self.read_seconds: defaultdict[str, list[float]] = defaultdict(list)

    def count(self, what: str) -> None:
        """Something was done as it should be."""
        with self._lock:
            self.done[what] += 1

    def fail(self, what: str) -> None:
        """Something was not as it must be."""
        with self._lock:
            self.unexpected.append(what)

    def accepted(self, *job_ids: str) -> None:
        """Jobs that must come to an end."""
        with self._lock:
            self.jobs.update(job_ids)

    def call(self, what: str, function: Callable[..., T], *arguments: Any) -> T | None:
        """Call; None when it was refused. A refusal that is not one of CORRECT is a failure."""
        try:
            answer = function(*arguments)
        except ServiceResponseException as error:
            code = str(error.error_code)
            with self._lock:
                self.refused[what, code] += 1
                if code not in CORRECT.get(what, ()):
                    self.unexpected.append(f"{what}: {error.status_code} {code} {error.error_msg}")
            return None
        except (SdkException, OSError) as error:
            self.fail(f"{what}: {type(error).__name__} {error}")
            return None
        self.count(what)
        return answer

    def must_refuse(self, what: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Call what must be refused."""
        if self.call(what, function, *arguments) is not None:
            self.fail(f"{what}: was not refused")

    def read(self, what: str, function: Callable[..., T], *arguments: Any) -> T | None:
        """A read, timed."""
        begun = time.perf_counter()
        answer = self.call(what, function, *arguments)
        with self._lock:
            self.read_seconds[what].append(time.perf_counter() - begun)
        return answer

    def broken(self, who: str) -> None:
        """An actor fell over: its own error, or an answer that is not as promised."""
        self.fail(f"{who}: {traceback.format_exc()}")

    def lines(self) -> list[str]:
        """The account, for people."""
        said = [f"  {count:7} {what}" for what, count in sorted(self.done.items())]
        said += [f"  {count:7} {what}: refused, rightly, with {code}" for (what, code), count in sorted(self.refused.items())]
        for what, times in sorted(self.read_seconds.items()):
            ordered = sorted(times)
            said.append(
                f"  {what}: {len(ordered)} reads, median {ordered[len(ordered) // 2] * 1e3:.1f} ms, "
                f"p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.1f} ms, longest {ordered[-1] * 1e3:.1f} ms"
            )
        said += [f"  UNEXPECTED, {count} times: {one}" for one, count in Counter(self.unexpected).most_common(UNEXPECTED_SHOWN)]
        return said
