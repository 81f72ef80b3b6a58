"""A store for the tests of the limit that processes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from scripted_stores import Network, network_in_place
from stores import MISSING, StoreServer, server_program


@pytest.fixture(scope="session")
def program() -> str:
    """The path of a server."""
    found = server_program()
    if found is None:
        pytest.skip(MISSING)
    return found


@pytest.fixture(scope="session")
def _session_store(program: str) -> Iterator[StoreServer]:
    with StoreServer(program) as server:
        yield server


@pytest.fixture
def store(_session_store: StoreServer) -> StoreServer:
    """An empty store, which the test leaves running."""
    with redis.Redis.from_url(_session_store.url) as client:
        client.flushall()
        client.script_flush()
    return _session_store


@pytest.fixture
def own_store(program: str) -> Iterator[StoreServer]:
    """A store that the test may kill."""
    with StoreServer(program) as server:
        yield server


@pytest.fixture
def network(store: StoreServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Have limiters reach the store in virtual time."""
    with network_in_place(store, monkeypatch) as network:
        yield network
