from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from segmenter.masks.overlay import label_colour, paint_overlay
from segmenter.types import Segmentation


def segmentation(label_map: NDArray[np.int16], n_labels: int) -> Segmentation:
    nothing = np.zeros(n_labels, np.float32)
    return Segmentation(
        labels=("label",) * n_labels,
        label_map=label_map,
        scores=nothing,
        presence=nothing,
        best=nothing,
    )


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)


def test_background_pixels_keep_their_colour(pixels: NDArray[np.uint8]) -> None:
    label_map = np.full((9, 14), -1, np.int16)
    label_map[2:7, 3:12] = 0

    painted = paint_overlay(pixels, segmentation(label_map, 1))

    np.testing.assert_array_equal(painted[label_map < 0], pixels[label_map < 0])
    assert painted.dtype == np.uint8


def test_masks_are_outlined_in_their_colour_and_tinted_inside(
    pixels: NDArray[np.uint8],
) -> None:
    label_map = np.full((9, 14), -1, np.int16)
    label_map[2:7, 3:12] = 1

    painted = paint_overlay(pixels, segmentation(label_map, 2))

    outline = (label_map == 1).copy()
    outline[3:6, 4:11] = False
    assert (painted[outline] == label_colour(1)).all()
    inside = painted[3:6, 4:11].astype(float)
    mixed = 0.45 * pixels[3:6, 4:11] + 0.55 * np.array(label_colour(1))
    np.testing.assert_allclose(inside, mixed, atol=0.51)


def test_a_mask_to_the_image_s_edge_is_outlined_there(
    pixels: NDArray[np.uint8],
) -> None:
    painted = paint_overlay(pixels, segmentation(np.zeros((9, 14), np.int16), 1))

    for edge in (painted[0], painted[-1], painted[:, 0], painted[:, -1]):
        assert (edge == label_colour(0)).all()


def test_the_picture_itself_is_left_alone(pixels: NDArray[np.uint8]) -> None:
    before = pixels.copy()

    paint_overlay(pixels, segmentation(np.zeros((9, 14), np.int16), 1))

    np.testing.assert_array_equal(pixels, before)


def test_no_labels_leave_the_picture(pixels: NDArray[np.uint8]) -> None:
    painted = paint_overlay(pixels, segmentation(np.full((9, 14), -1, np.int16), 0))

    np.testing.assert_array_equal(painted, pixels)


def test_neighbouring_labels_have_colours_far_apart() -> None:
    colours = [np.array(label_colour(index)) for index in range(30)]

    assert len({tuple(colour) for colour in colours}) == 30
    for first, second in pairwise(colours):
        assert np.abs(first - second).max() > 80
