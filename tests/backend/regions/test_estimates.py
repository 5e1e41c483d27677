"""What masks are scored with."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.regions.components import Part
from backend.regions.estimates import Estimates
from backend.regions.painting import Canvas, paint
from segmenter import ScoreMaps, Segmentation, estimate_ious
from tests.backend.regions.test_painting import (
    BLUE,
    RED,
    SIZE_YX,
    box,
    control,
    maps_of,
)

LEFT = box(2, 2, 18, 12)
RIGHT = box(2, 16, 18, 28)
CANVAS = Canvas(task_id=7, pixels=np.zeros((*SIZE_YX, 3), np.uint8))


def surely(maps: ScoreMaps, *presence: float) -> ScoreMaps:
    return replace(maps, presence=np.array(presence, np.float32))


def whole(mask: NDArray[np.bool_]) -> Part:
    return Part(box_yxyx=(0, 0, *mask.shape), pixels=mask, area_px=int(mask.sum()))


def test_masks_that_do_not_overlap_are_judged_together() -> None:
    maps = surely(maps_of(red=LEFT, blue=RIGHT), 0.9, 0.5)
    estimates = Estimates(maps, "exclusive")
    label_map = np.full(SIZE_YX, -1, np.int16)
    for index, one in enumerate((LEFT, RIGHT)):
        estimates.add(index, whole(one > 0), one.astype(np.float32))
        label_map[one > 0] = index

    expected = estimate_ious(
        maps,
        Segmentation(
            labels=maps.labels,
            label_map=label_map,
            scores=np.ones(2, np.float32),
            presence=maps.presence,
            best=np.ones(2, np.float32),
        ),
    )

    np.testing.assert_allclose(estimates.ious_01(), expected)


def test_masks_that_overlap_are_judged_each_alone() -> None:
    maps = surely(maps_of(red=LEFT, blue=LEFT), 0.9, 0.9)
    both = Estimates(maps, "independent")
    for index in range(2):
        both.add(index, whole(LEFT > 0), LEFT.astype(np.float32))

    red, blue = both.ious_01()

    assert red == blue > 0


@pytest.mark.parametrize("overlap", ["exclusive", "independent"])
def test_a_label_without_a_mask_is_expected_to_be_nothing(overlap: str) -> None:
    maps = maps_of(red=LEFT, blue=RIGHT)
    estimates = Estimates(maps, overlap)  # type: ignore[arg-type]
    estimates.add(1, whole(RIGHT > 0), RIGHT.astype(np.float32))

    red, blue = estimates.ious_01()

    assert red == 0
    assert 0 < blue <= 1


def test_a_region_that_is_less_surely_in_the_picture_scores_less() -> None:
    maps = surely(maps_of(red=LEFT, blue=RIGHT), 0.95, 0.55)

    red, blue = paint(control(RED, BLUE), maps, CANVAS)

    assert 0 < blue["score"] < red["score"] <= 1


def test_large_pictures_are_judged_by_some_of_their_pixels() -> None:
    size_yx = (3000, 4001)
    maps = replace(maps_of(red=LEFT, blue=RIGHT), size_yx=size_yx)
    estimates = Estimates(maps, "exclusive")
    half = whole(np.pad(np.ones((3000, 2000), np.bool_), ((0, 0), (0, 2001))))
    speck = Part(
        box_yxyx=(2998, 3998, 2999, 3999), pixels=np.ones((1, 1), np.bool_), area_px=1
    )
    ones = np.ones(size_yx, np.float32)

    tracemalloc.start()
    estimates.add(0, half, ones)
    estimates.add(1, speck, ones[:1, :1])
    red, blue = estimates.ious_01()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 0 < red <= 1
    assert 0 < blue <= 1
    # The scores inside of the mask, and little more.
    assert peak_bytes < 6 * half.pixels.size


def test_a_mask_counts_the_same_cut_out_and_whole() -> None:
    size_yx = (3000, 4001)
    maps = replace(maps_of(red=LEFT, blue=RIGHT), size_yx=size_yx)
    rng = np.random.default_rng(0)
    scores = rng.random(size_yx, np.float32)
    top, left, bottom, right = 1001, 334, 1803, 3333
    pixels = rng.random((bottom - top, right - left)) < 0.5
    part = Part(
        box_yxyx=(top, left, bottom, right), pixels=pixels, area_px=int(pixels.sum())
    )
    cut_out, uncut = Estimates(maps, "exclusive"), Estimates(maps, "exclusive")

    cut_out.add(0, part, scores[top:bottom, left:right])
    uncut.add(0, whole(part.on_canvas(size_yx)), scores)

    np.testing.assert_array_equal(cut_out._label_map, uncut._label_map)
    np.testing.assert_array_equal(cut_out.ious_01(), uncut.ious_01())
