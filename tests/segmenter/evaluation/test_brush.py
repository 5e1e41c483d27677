from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from segmenter.evaluation.brush import (
    MOST_STROKES,
    iou_of,
    mend,
    skeleton,
    squared_distances,
)
from segmenter.pocket import render_scene

Bools = NDArray[np.bool_]

SIZE_YX = (24, 40)


def blank() -> Bools:
    return np.zeros(SIZE_YX, np.bool_)


def box(top: int, left: int, n_rows: int, n_columns: int) -> Bools:
    mask = blank()
    mask[top : top + n_rows, left : left + n_columns] = True
    return mask


def disc(row: int, column: int, radius: int) -> Bools:
    rows, columns = np.ogrid[: SIZE_YX[0], : SIZE_YX[1]]
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


# From one pixel high to nine.
WEDGE = np.asarray(
    abs(np.arange(SIZE_YX[0]) - 11)[:, None] <= np.arange(SIZE_YX[1]) // 9
)


def n_parts(mask: Bools) -> int:
    count, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return int(count) - 1


def test_a_perfect_mask_needs_no_stroke() -> None:
    done = mend(disc(10, 20, 7), disc(10, 20, 7))

    assert (done.n_strokes, done.length_px, done.is_good) == (0, 0, True)


def test_nothing_where_nothing_is_needs_no_stroke() -> None:
    done = mend(blank(), blank())

    assert (done.n_strokes, done.length_px, done.is_good) == (0, 0, True)


def test_a_mask_of_what_is_not_there_is_deleted_with_one_stroke() -> None:
    scattered = disc(5, 6, 3) | box(15, 2, 2, 30) | disc(9, 30, 2)

    done = mend(scattered, blank())

    assert (done.n_strokes, done.length_px, done.is_good) == (1, 0, True)
    assert not done.mask.any()


def test_a_disc_is_one_dab_of_a_disc() -> None:
    done = mend(blank(), disc(10, 20, 7))

    assert (done.n_strokes, done.length_px) == (1, 1)
    assert iou_of(done.mask, disc(10, 20, 7)) >= 0.95


@pytest.mark.parametrize(
    ("line", "length_px"),
    [
        pytest.param(box(7, 3, 1, 30), 30, id="row"),
        pytest.param(box(2, 11, 20, 1), 20, id="column"),
        pytest.param(np.eye(*SIZE_YX, k=4, dtype=np.bool_), 24, id="diagonal"),
    ],
)
def test_a_thin_line_is_one_stroke_of_its_length(line: Bools, length_px: int) -> None:
    done = mend(blank(), line)

    assert (done.n_strokes, done.length_px) == (1, length_px)
    np.testing.assert_array_equal(done.mask, line)


def test_a_border_that_is_too_wide_all_around_is_one_stroke() -> None:
    done = mend(box(3, 4, 14, 22), box(4, 5, 12, 20))

    assert done.n_strokes == 1
    # The border's 68 pixels; the skeleton cuts its four corners, which stay.
    assert done.length_px == 64
    assert (done.mask ^ box(4, 5, 12, 20)).sum() == 4


def test_the_largest_error_is_mended_first_be_it_missing_or_too_much() -> None:
    # Small ones come before them, as the pixels are read.
    kept, small = box(0, 0, 8, 12), box(0, 20, 2, 3)
    missing, surplus = disc(16, 10, 5), disc(16, 30, 7)

    erased = mend(kept | small | surplus, kept | missing, most_strokes=1).mask
    painted = mend(kept | missing, kept | small | surplus, most_strokes=1).mask

    assert not (erased & missing).any()
    assert (erased & surplus).sum() < 0.1 * surplus.sum()
    assert (painted & missing).sum() == missing.sum()
    assert (painted & surplus).sum() > 0.9 * surplus.sum()


@pytest.mark.parametrize(
    ("truth", "least_iou"),
    [
        pytest.param(box(8, 4, 5, 30), 0.9, id="bar"),
        pytest.param(box(2, 8, 18, 5), 0.85, id="upright-bar"),
        pytest.param(WEDGE, 0.6, id="wedge"),
        pytest.param(disc(11, 20, 9) | box(11, 20, 1, 19), 0.9, id="disc-with-a-spike"),
    ],
)
def test_one_stroke_has_the_line_and_the_radius_that_suit_the_shape(
    truth: Bools, least_iou: float
) -> None:
    done = mend(blank(), truth, most_strokes=1)

    assert iou_of(done.mask, truth) >= least_iou


def test_the_annotator_gives_up_at_the_limit() -> None:
    noise = np.random.default_rng(0).random(SIZE_YX) < 0.5

    done = mend(blank(), noise, most_strokes=3)
    never = mend(disc(9, 9, 3), blank(), most_strokes=0)

    assert (done.n_strokes, done.is_good) == (3, False)
    assert (never.n_strokes, never.is_good) == (0, False)


def test_what_does_not_count_needs_no_stroke_and_may_be_painted() -> None:
    truth, counted = box(4, 4, 12, 24), ~box(0, 20, 24, 20)

    spared = mend(truth & counted | disc(10, 34, 4), truth, counted=counted)
    nothing = mend(disc(10, 34, 4), blank(), counted=counted)

    assert spared.n_strokes == nothing.n_strokes == 0


def test_corners_take_strokes_of_their_own_unless_what_is_around_does_not_count() -> (
    None
):
    bar = box(8, 4, 5, 30)

    assert mend(blank(), bar, good_iou=1).n_strokes > 1
    assert mend(blank(), bar, good_iou=1, counted=bar).n_strokes == 1


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"The mask is \(24, 40\) pixels, the truth"):
        mend(blank(), blank().T)


def test_the_masks_that_are_given_stay_as_they_are() -> None:
    mask, truth = disc(8, 12, 5), disc(12, 20, 6)
    before = mask.copy(), truth.copy()

    mend(mask, truth)

    np.testing.assert_array_equal((mask, truth), before)


def random_masks(n_masks: int) -> Any:
    """Masks of one size, bool (n, Y, X), of blobs and of single pixels."""
    shapes = st.tuples(st.just(n_masks), st.integers(1, 9), st.integers(1, 14))
    fine = hnp.arrays(np.bool_, shapes)
    coarse = fine.map(lambda masks: np.kron(masks, np.ones((1, 3, 2))) > 0)
    return st.one_of(fine, coarse)


@settings(max_examples=60, deadline=None)
@given(masks=random_masks(3), good_iou=st.sampled_from([0.8, 0.95, 1.0]))
def test_every_stroke_leaves_fewer_wrong_pixels_until_the_iou_is_reached(
    masks: Bools, good_iou: float
) -> None:
    mask, truth, counted = masks
    wrong = int(((mask ^ truth) & counted).sum())

    done = mend(mask, truth, counted=counted, good_iou=good_iou, most_strokes=10**6)

    assert done.is_good
    assert iou_of(done.mask & counted, truth & counted) >= good_iou
    assert done.n_strokes <= wrong - ((done.mask ^ truth) & counted).sum()
    for n_strokes in range(done.n_strokes):
        less = mend(
            mask, truth, counted=counted, good_iou=good_iou, most_strokes=n_strokes
        )
        assert not less.is_good
        assert less.n_strokes == n_strokes
        left = int(((less.mask ^ truth) & counted).sum())
        assert left < wrong or n_strokes == 0
        wrong = left


@settings(max_examples=100, deadline=None)
@given(masks=random_masks(1))
def test_a_skeleton_keeps_every_part_and_no_more_than_lines(masks: Bools) -> None:
    (mask,) = masks

    line = skeleton(mask)

    assert not (line & ~mask).any()
    assert n_parts(line) == n_parts(mask)
    assert not cv2.erode(np.pad(line, 1).astype(np.uint8), np.ones((3, 3))).any()


def test_distances_have_no_last_bit_that_depends_on_where_they_lie_in_memory() -> None:
    # With OpenCV's own, one object took 14 strokes in one call and 8 in the next.
    targets = np.random.default_rng(0).random((30, 47)) < 0.02
    rows, columns = np.indices(targets.shape)
    each = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in np.argwhere(targets)]

    found = squared_distances(targets)

    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.min(each, axis=0))


def test_objects_from_blank_reach_the_iou_within_the_limit() -> None:
    # Of the training split, and wider than high.
    scenes = [render_scene(seed, size_yx=(96, 160)) for seed in range(4)]

    for truth in np.concatenate([scene.visible for scene in scenes]):
        done = mend(np.zeros_like(truth), truth)

        assert done.is_good
        assert iou_of(done.mask, truth) >= 0.95
        assert 1 <= done.n_strokes < MOST_STROKES
        assert done.n_strokes <= done.length_px < truth.sum()
