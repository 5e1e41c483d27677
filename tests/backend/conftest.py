"""Fixtures for tests of the backend."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from backend.images import ImageFetcher
from backend.inference import Predictor
from tests.clock import Clock
from tests.fakes import ColourSegmenter, MemoryCache, make_predictor
from tests.fetching import (  # noqa: F401
    access,
    fetcher,
    foreign,
    label_studio,
    open_fetcher,
    root,
)
from tests.label_studio_stand_in import LabelStudioStandIn, running_stand_in
from tests.redis_server import RedisServer, running_redis
from tests.serving import client_of, never_called
from tests.web_server import WebServer, running_web_server


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


@pytest.fixture
def segmenter() -> ColourSegmenter:
    """Finds red, green and blue."""
    return ColourSegmenter()


@pytest.fixture
def cache() -> MemoryCache:
    """A cache to look into."""
    return MemoryCache()


@pytest.fixture
def predictor(segmenter: ColourSegmenter, cache: MemoryCache) -> Predictor:
    """Answers predict requests with `segmenter` and `cache`."""
    return make_predictor(segmenter, cache=cache)


@pytest.fixture
def studio() -> Iterator[LabelStudioStandIn]:
    """A Label Studio without projects."""
    with running_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A web server without pages."""
    with running_web_server() as server:
        yield server


@pytest.fixture
def server_fetcher(server: WebServer) -> ImageFetcher:
    """A fetcher that may read from `server`."""
    return ImageFetcher(
        timeout_s=5, max_bytes=200_000, image_hosts=[f"127.0.0.1:{server.port}"]
    )


@pytest.fixture
def client(segmenter: ColourSegmenter) -> FlaskClient:
    """A backend with `segmenter`."""
    return client_of(make_predictor(segmenter))


@pytest.fixture
def unloaded() -> FlaskClient:
    """A backend whose segmenter must not be asked for."""
    return client_of(make_predictor(ColourSegmenter(), segmenter=never_called))
