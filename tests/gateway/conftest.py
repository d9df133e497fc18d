"""What gateway tests share: a network of rows in a database, and a gateway process that follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gateway.gateway_world import Gateway, Network, TcpPhones
from opencph.store.database import Database


@pytest.fixture
def network(database: Database) -> Network:
    """A project with a key pair, a subnet and addresses of this test's own; no servers yet."""
    return Network(database)


@pytest.fixture
def gateway(network: Network, tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts gateway processes that serve the network, with other values of some constants; all are ended with the test."""
    started: list[Gateway] = []

    def start(constants: Mapping[str, float] | None = None) -> Gateway:
        one = Gateway(network, tmp_path, constants or {})
        started.append(one)
        return one

    yield start
    for one in started:
        one.end()


@pytest.fixture
def phones() -> Iterator[TcpPhones]:
    """Real TCP servers at phone addresses, which say who they are and then echo."""
    made = TcpPhones()
    yield made
    made.close()
