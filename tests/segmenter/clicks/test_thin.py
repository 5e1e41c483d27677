"""Things that are half background, on backgrounds that are not even."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segmenter import Click, refine_mask
from segmenter.clicks.evidence import settle
from segmenter.clicks.placing import place_clicks
from tests.segmenter.clicks.scenes import Bools, iou

SIZE_YX = (96, 128)
RED, GREEN = (230, 60, 50), (40, 170, 60)


def wheel(colour: tuple[int, int, int] = RED) -> tuple[NDArray[np.uint8], Bools]:
    """A rim of two pixels and spokes of one on a background that grows lighter."""
    rows, columns = np.mgrid[: SIZE_YX[0], : SIZE_YX[1]]
    grey = 60 + 40 * columns / SIZE_YX[1] + 30 * rows / SIZE_YX[0]
    pixels = np.repeat(grey[..., None], 3, 2).astype(np.uint8)
    drawn = np.zeros(SIZE_YX, np.uint8)
    cv2.circle(drawn, (64, 48), 34, 1, 2)
    for angle in np.arange(0, np.pi, np.pi / 5):
        reach = np.array([np.cos(angle), np.sin(angle)]) * 33
        ends = (np.array([64, 48]) + np.outer((-1, 1), reach)).round().astype(int)
        cv2.line(drawn, ends[0].tolist(), ends[1].tolist(), 1, 1)
    pixels[drawn > 0] = colour
    return pixels, drawn > 0


def disc() -> Bools:
    """The wheel as a model sees it."""
    rows, columns = np.mgrid[: SIZE_YX[0], : SIZE_YX[1]]
    return np.asarray((rows - 48) ** 2 + (columns - 64) ** 2 <= 36**2)


def refine(pixels: NDArray[np.uint8], *clicks: Click, start: Bools | None) -> Bools:
    return refine_mask(
        pixels,
        clicks=clicks,
        start=start,
        maps=None,
        label=None,
        threshold=0.46,
        presence_threshold=0.3,
    )


HOLE = Click(y=28.5, x=64.5, is_positive=False)


@pytest.mark.parametrize("colour", [RED, GREEN], ids=["red", "green"])
def test_a_click_into_a_hole_opens_those_beside_it_and_keeps_what_is_thin(
    colour: tuple[int, int, int],
) -> None:
    pixels, truth = wheel(colour)
    assert iou(disc(), truth) < 0.3

    mask = refine(pixels, HOLE, start=disc())

    near = np.hypot(*(np.mgrid[:96, :128] - np.array([28, 64])[:, None, None])) < 20
    assert iou(mask & near, truth & near) > 0.9


def test_a_second_hole_opens_the_rest() -> None:
    pixels, truth = wheel()

    mask = refine(pixels, HOLE, Click(y=68.5, x=64.5, is_positive=False), start=disc())

    assert iou(mask, truth) > 0.9


def test_a_click_on_a_spoke_adds_it_and_no_background() -> None:
    pixels, truth = wheel()
    missing = np.zeros(SIZE_YX, np.bool_)
    missing[46:51, 70:90] = truth[46:51, 70:90]

    mask = refine(pixels, Click(y=48.5, x=80.5), start=truth & ~missing)

    assert (mask & missing).sum() > 0.8 * missing.sum()
    assert (mask & ~truth).sum() < 0.2 * missing.sum()


def test_a_solid_thing_is_not_opened_where_it_has_the_background_s_colour() -> None:
    pixels, _ = wheel()
    truth = disc()
    pixels[truth] = RED
    pixels[44:52, 60:68] = pixels[0, 0]
    start = cv2.dilate(truth.astype(np.uint8), np.ones((9, 9))) > 0

    mask = refine(pixels, Click(y=48.5, x=25.5, is_positive=False), start=start)

    assert mask[44:52, 60:68].all()
    assert iou(mask, truth) > iou(start, truth)


def test_clicks_one_after_the_other_give_what_they_give_at_once() -> None:
    pixels, _ = wheel()
    other, _ = wheel(GREEN)
    clicks = [
        HOLE,
        Click(y=68.5, x=64.5, is_positive=False),
        Click(y=48.5, x=80.5),
        Click(y=48.5, x=20.5),
    ]
    for _ in range(3):
        # Whatever was kept of clicks on the first picture is gone.
        for shade in range(3):
            refine(other + np.uint8(shade), HOLE, start=disc())
        at_once = refine(pixels, *clicks, start=disc())

    for count in range(1, 5):
        one_by_one = refine(pixels, *clicks[:count], start=disc())
    taken_back = refine(pixels, *clicks[:2], start=disc())
    again = refine(pixels, *clicks, start=disc())

    np.testing.assert_array_equal(one_by_one, at_once)
    np.testing.assert_array_equal(again, at_once)
    assert (taken_back != at_once).any()


def test_no_click_is_made_to_say_the_opposite_so_that_others_fit() -> None:
    # The positive click has no kernel of its own, the negative one's reaches it: what
    # fits best is a negative click that adds.
    clicks = place_clicks(
        [Click(y=0.5, x=0.5, is_positive=False), Click(y=0.5, x=1.5)], (1, 2), (1, 2)
    )
    level = np.array([[-0.9, -1.0]], np.float32)
    kernels = np.array([[[0.2, 1.0]], [[0.0, 0.0]]], np.float32)

    np.testing.assert_array_equal(settle(level, clicks, kernels, 0.02), level)
