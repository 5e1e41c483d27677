"""Fixtures for tests of the backend."""

from collections.abc import Iterator

import pytest

from tests.clock import Clock
from tests.fetching import (  # noqa: F401
    access,
    fetcher,
    foreign,
    label_studio,
    open_fetcher,
)
from tests.redis_server import RedisServer, running_redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One real Redis for all tests that leave it running."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of a real, empty Redis."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()
