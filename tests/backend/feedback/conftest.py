"""Both stores, real."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.feedback import FeedbackStore, open_feedback_store
from tests.redis_server import RedisServer


@pytest.fixture(params=["redis", "sqlite"])
def store(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path
) -> Iterator[FeedbackStore]:
    """An empty store, once in Redis and once in a file."""
    url = None
    if request.param == "redis":
        with redis_server.client() as client:
            client.flushall()
        url = redis_server.url
    with contextlib.closing(open_feedback_store(url, tmp_path)) as opened:
        yield opened
