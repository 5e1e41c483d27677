"""What masks are scored with."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

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


def test_masks_that_do_not_overlap_are_judged_together() -> None:
    maps = surely(maps_of(red=LEFT, blue=RIGHT), 0.9, 0.5)
    estimates = Estimates(maps, "exclusive")
    label_map = np.full(SIZE_YX, -1, np.int16)
    for index, one in enumerate((LEFT, RIGHT)):
        estimates.add(index, one > 0, one.astype(np.float32))
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
        both.add(index, LEFT > 0, LEFT.astype(np.float32))

    red, blue = both.ious_01()

    assert red == blue > 0


@pytest.mark.parametrize("overlap", ["exclusive", "independent"])
def test_a_label_without_a_mask_is_expected_to_be_nothing(overlap: str) -> None:
    maps = maps_of(red=LEFT, blue=RIGHT)
    estimates = Estimates(maps, overlap)  # type: ignore[arg-type]
    estimates.add(1, RIGHT > 0, RIGHT.astype(np.float32))

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
    half = np.zeros(size_yx, np.bool_)
    half[:, :2000] = True
    speck = np.zeros(size_yx, np.bool_)
    speck[2998, 3998] = True
    ones = np.ones(size_yx, np.float32)

    tracemalloc.start()
    estimates.add(0, half, ones)
    estimates.add(1, speck, ones)
    red, blue = estimates.ious_01()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 0 < red <= 1
    assert 0 < blue <= 1
    # The scores inside of the mask, and little more.
    assert peak_bytes < 6 * half.size
