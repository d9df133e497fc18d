"""What wrong keys cost, by the counter alone."""

from __future__ import annotations

from opencph.gateway.ssh_guard import DELAY_SECONDS_MAX, FREE_FAILURES, Guard


def test_wrong_keys_are_answered_slower_and_slower_and_the_right_one_at_once() -> None:
    guard = Guard()
    mallory, ana = ("10.0.0.1", "127.1.1.1"), ("10.0.0.2", "127.1.1.1")
    delays = [guard.failed(mallory) for _ in range(30)]
    assert delays[: FREE_FAILURES - 1] == [0.0] * (FREE_FAILURES - 1)
    assert delays == sorted(delays)
    assert delays[-1] == DELAY_SECONDS_MAX
    assert guard.failed(ana) == 0.0
    guard.succeeded(mallory)
    assert guard.failed(mallory) == 0.0
