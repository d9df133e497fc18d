"""What the tests of this folder share: an installation as a user starts it, its metrics, its log."""

from __future__ import annotations

from e2e.conftest import directory, eventually, start

__all__ = ["directory", "eventually", "start"]
