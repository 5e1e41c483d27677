from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from backend.errors import BadMask
from backend.regions.tags.bitmask import encode_bitmask
from tests.masks import masks, noise, wavy

PREFIX = "data:image/png;base64,"


def png_bytes(url: str) -> bytes:
    assert url.startswith(PREFIX)
    return b64decode(url.removeprefix(PREFIX), validate=True)


def rgba(url: str) -> np.ndarray:
    with Image.open(BytesIO(png_bytes(url))) as picture:
        assert picture.format == "PNG"
        return np.array(picture.convert("RGBA"))


@settings(deadline=None)
@given(masks() | noise(longest_px=40))
def test_encode_bitmask_makes_black_pixels_on_a_transparent_background(
    mask: np.ndarray,
) -> None:
    pixels = rgba(encode_bitmask(mask))

    np.testing.assert_array_equal(pixels[..., 3], np.where(mask, 255, 0))
    assert not pixels[..., :3].any()


def test_encode_bitmask_takes_a_mask_that_is_a_view_of_another() -> None:
    mask = wavy(30, 50)

    pixels = rgba(encode_bitmask(mask.T[::2]))

    np.testing.assert_array_equal(pixels[..., 3] == 255, mask.T[::2])


def test_encode_bitmask_needs_half_the_bytes_of_the_editor() -> None:
    mask = wavy(480, 640)
    as_the_editor = np.zeros((*mask.shape, 4), np.uint8)
    as_the_editor[..., 3] = mask * 255
    png = BytesIO()
    Image.fromarray(as_the_editor).save(png, "PNG")

    assert len(png_bytes(encode_bitmask(mask))) < len(png.getvalue()) * 0.6


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,), (2, 3, 4)])
def test_encode_bitmask_refuses_what_is_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadMask, match="The mask has shape"):
        encode_bitmask(np.zeros(shape, bool))
