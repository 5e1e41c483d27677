"""For tests that fetch: two real servers and fetchers between them.

`tests/backend/conftest.py` makes the fixtures known.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from backend.images import ImageFetcher
from backend.types import LabelStudioAccess
from tests.web_server import WebServer, running_web_server

NOWHERE: Final = LabelStudioAccess(url=None)


def png(width: int = 6, height: int = 4, **options: Any) -> bytes:
    """A red PNG, by default of 4 rows and 6 columns."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (255, 0, 0)).save(file, "PNG", **options)
    return file.getvalue()


PNG: Final = png()
SECRET: Final = b"not for anybody"


@pytest.fixture
def label_studio() -> Iterator[WebServer]:
    """A server that takes the part of Label Studio."""
    with running_web_server() as server:
        yield server


@pytest.fixture
def foreign() -> Iterator[WebServer]:
    """A server that is not Label Studio."""
    with running_web_server() as server:
        yield server


@pytest.fixture
def access(label_studio: WebServer) -> LabelStudioAccess:
    """`label_studio` as the environment would name it, with a token."""
    return LabelStudioAccess(
        url=label_studio.url, token="legacy", from_environment=True
    )


@pytest.fixture
def fetcher(foreign: WebServer) -> ImageFetcher:
    """A fetcher for which `foreign` is an allowed host, and no other is."""
    return ImageFetcher(
        timeout_s=5, max_bytes=100_000, image_hosts=[f"127.0.0.1:{foreign.port}"]
    )


@pytest.fixture
def open_fetcher() -> ImageFetcher:
    """A fetcher without IMAGE_HOSTS, as by default."""
    return ImageFetcher(timeout_s=5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A shared folder, and a secret beside it."""
    root = tmp_path / "files"
    (root / "set 1" / "inner").mkdir(parents=True)
    (root / "set 1" / "a b.png").write_bytes(PNG)
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "files-2").mkdir()
    (tmp_path / "files-2" / "a.png").write_bytes(SECRET)
    return root
