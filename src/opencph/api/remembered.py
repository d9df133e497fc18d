"""Answers that are given again while the database stands still: programs that wait ask the same thing over and over.

Only for routes of one thing, whose answer says nothing but what the database holds. Who asks is checked before, every time.
"""

from __future__ import annotations

from collections.abc import Hashable

REMEMBERED_MAX = 4_096


class RememberedAnswers:
    """Encoded answers of one version of the database, by path. For one thread."""

    def __init__(self) -> None:
        self._version: Hashable = None
        self._answers: dict[bytes, tuple[bytes, bytes]] = {}

    def begin(self, version: Hashable) -> None:
        """What is asked from here on is of this version of the database (`Database.begin_snapshot()`; None: unknown)."""
        if version is None or version != self._version:
            self._answers.clear()
            self._version = version

    def find(self, raw_path: bytes, request_id: str) -> bytes | None:
        """The answer to this path with the id of this request in it."""
        found = self._answers.get(raw_path)
        return None if found is None else found[0] + request_id.encode() + found[1]

    def keep(self, raw_path: bytes, request_id: str, answer: bytes) -> None:
        """Remember an answer that carries its request's id."""
        before, its_id, after = answer.partition(request_id.encode())
        if self._version is None or not its_id:
            return
        if len(self._answers) >= REMEMBERED_MAX:
            self._answers.clear()
        self._answers[raw_path] = before, after
