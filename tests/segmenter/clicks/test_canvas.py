from itertools import product

import cv2
import numpy as np
import pytest

from segmenter.clicks.canvas import Canvas, make_canvas
from tests.segmenter.clicks.scenes import known


def test_a_small_picture_is_its_own_working_picture_and_a_large_one_is_shrunk() -> None:
    assert make_canvas(known().pixels).size_yx == (60, 96)
    assert make_canvas(known((1200, 1920)).pixels).size_yx == (320, 512)


def test_the_same_picture_finds_what_was_kept_of_it() -> None:
    pixels = known().pixels

    assert make_canvas(pixels) is make_canvas(pixels.copy())
    assert make_canvas(pixels) is not make_canvas(pixels[::-1])


def test_pixels_of_one_colour_share_their_mean_through_a_gap() -> None:
    scene = known((60, 60))
    scene.pixels[:, 14:17][scene.red[:, 14:17]] = (250, 250, 250)
    left = scene.red.copy()
    left[:, 14:] = False
    values = left.astype(np.float32)

    means = Canvas(scene.pixels).mean_of_alike(values)

    right = scene.red & ~left
    right[:, 14:17] = False
    assert means[right].mean() > 0.2
    assert means[scene.blue].max() < 0.05


def test_the_mean_of_a_constant_is_that_constant() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)

    means = Canvas(noise).mean_of_alike(np.full((40, 30), 0.7, np.float32))

    np.testing.assert_allclose(means, 0.7, atol=1e-5)


@pytest.mark.parametrize("size_yx", [(24, 40), (40, 24), (33, 33)])
def test_means_are_those_of_the_whole_grid_blurred_along_each_axis(
    size_yx: tuple[int, int],
) -> None:
    rng = np.random.default_rng(1)
    pixels = cv2.GaussianBlur(
        rng.integers(0, 256, (*size_yx, 3), dtype=np.uint8), (0, 0), 2
    )
    values = rng.random(size_yx).astype(np.float32)
    canvas = Canvas(pixels)

    side = max(size_yx) / 4
    axes = [canvas.rows / side, canvas.columns / side, canvas.lab[..., 0] / 5]
    axes += [canvas.lab[..., hue] / 8 + 10 for hue in (1, 2)]
    places = np.stack([axis.astype(int) for axis in axes], axis=-1)
    sums, counts = np.zeros((2, 4, 4, 20, 20, 20))
    for place, value in zip(places.reshape(-1, 5), values.ravel(), strict=True):
        for offset in product((-1, 0, 1), repeat=5):
            at = place + offset
            if (at >= 0).all() and (at < sums.shape).all():
                weight = 0.5 ** (5 + np.abs(offset).sum())
                sums[tuple(at)] += weight * value
                counts[tuple(at)] += weight
    expected = (sums / np.maximum(counts, 1e-9))[tuple(np.moveaxis(places, -1, 0))]

    np.testing.assert_allclose(canvas.mean_of_alike(values), expected, atol=1e-4)
