import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from segmenter.modes.passes import to_model_input


def test_to_model_input_enlarges_as_published(picture: NDArray[np.uint8]) -> None:
    found = to_model_input(picture, size_yx=(100, 100))

    plain = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    expected = F.interpolate(plain, (100, 100), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected[0] * 2 - 1, rtol=0, atol=1e-5)


def test_to_model_input_keeps_rows_columns_and_channels_apart() -> None:
    pixels = np.zeros((6, 10, 3), np.uint8)
    pixels[:3, :, 0] = 255
    pixels[:, 5:, 2] = 255

    found = to_model_input(pixels, size_yx=(32, 32))

    assert found.dtype == torch.float32
    assert found.shape == (3, 32, 32)
    assert (found[0, :10] > 0.9).all()
    assert (found[0, 22:] < -0.9).all()
    assert (found[2, :, 22:] > 0.9).all()
    assert (found[1] == -1).all()


def test_to_model_input_averages_over_all_pixels_when_it_shrinks() -> None:
    # One white row in four, where plain bilinear sampling never looks.
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[::4] = 255

    found = to_model_input(pixels, size_yx=(16, 16))

    inner = found[:, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, -0.5), rtol=0, atol=0.15)


@pytest.mark.parametrize("size_yx", [(1, 1), (1, 300), (300, 1)])
def test_to_model_input_takes_the_narrowest_images(size_yx: tuple[int, int]) -> None:
    found = to_model_input(np.full((*size_yx, 3), 255, np.uint8), size_yx=(8, 8))

    torch.testing.assert_close(found, torch.ones(3, 8, 8))


def test_to_model_input_takes_an_image_that_cannot_be_written_to(
    picture: NDArray[np.uint8],
) -> None:
    picture.setflags(write=False)

    assert to_model_input(picture, size_yx=(8, 8)).shape == (3, 8, 8)
