"""Trying a transaction again that met another one half-way. No rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from opencph.store.database import StoreConflictError

Answer = TypeVar("Answer")


def once_more_on_conflict(transaction: Callable[[], Answer]) -> Answer:
    """Run a transaction, and once more when a key says that the world changed between its checks and its writing (a VPC deleted, a
    name taken, an EIP released): the second run's checks then refuse in words, or pass."""
    try:
        return transaction()
    except StoreConflictError:
        return transaction()
