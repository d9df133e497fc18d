"""A PostgreSQL of the benchmarks' own: that of the tests. Nothing is measured here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_postgresql() -> Iterator[Callable[[], str]]:
    """A server that is gone at the end; what comes out makes one more empty database in it and returns its URL."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from postgresql_cluster import PostgresqlCluster

    cluster = PostgresqlCluster()
    try:
        yield lambda: cluster.create_database(template="template1")
    finally:
        cluster.remove()
