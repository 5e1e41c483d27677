"""Images that are their own address."""

import base64
import hashlib

import numpy as np
import pytest

from backend.errors import ImageError, ImageRefused, ImageTooLarge, ImageUnreadable
from backend.images.fetcher import ImageFetcher
from tests.fetching import NOWHERE, PNG


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
        "DATA:image/png;Base64," + base64.b64encode(PNG).decode().rstrip("="),
        "data:image/png;name=a.png;base64,%20" + base64.encodebytes(PNG).decode(),
        "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG),
    ],
    ids=["base64", "capitals-no-padding", "lines", "percent"],
)
def test_fetch_reads_data_uris(fetcher: ImageFetcher, uri: str) -> None:
    image = fetcher.fetch(uri, access=NOWHERE)

    assert image.pixels.shape == (4, 6, 3)
    np.testing.assert_array_equal(image.pixels[0, 0], [255, 0, 0])
    assert image.digest == hashlib.sha256(PNG).hexdigest()


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        pytest.param("data:text/html,<b>", ImageRefused, "of an image", id="html"),
        pytest.param("data:,x", ImageRefused, "of an image", id="no-type"),
        pytest.param("data:image/png", ImageRefused, "of an image", id="no-comma"),
        pytest.param(
            "data:image/png;base64,*", ImageUnreadable, "valid base64", id="stars"
        ),
        pytest.param(
            "data:image/png;base64,A", ImageUnreadable, "valid base64", id="cut"
        ),
        pytest.param(
            "data:image/svg+xml,<svg/>", ImageUnreadable, "known format", id="svg"
        ),
        pytest.param(
            "data:image/png;base64," + "A" * 400_000,
            ImageTooLarge,
            "300,000 bytes; the limit is 100,000",
            id="large",
        ),
    ],
)
def test_fetch_refuses_data_uris_without_repeating_them(
    fetcher: ImageFetcher, uri: str, error: type[ImageError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        fetcher.fetch(uri, access=NOWHERE)
    assert len(str(caught.value)) < 400
