import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmenter.evaluation.boundaries import BoundaryCounts, boundary
from segmenter.evaluation.counts import IGNORED

Classes = NDArray[np.uint8]


def counted(truth: Classes, predicted: Classes, n_classes: int = 2) -> BoundaryCounts:
    counts = BoundaryCounts(n_classes)
    counts.add(truth, predicted)
    return counts


def upper(n_rows: int, size_yx: tuple[int, int] = (20, 30)) -> Classes:
    """Class 1 in the first rows, background below; one straight edge."""
    classes = np.zeros(size_yx, np.uint8)
    classes[:n_rows] = 1
    return classes


def test_the_picture_s_border_is_no_edge() -> None:
    mask = np.array(
        [
            [1, 1, 1, 1, 0],
            [1, 1, 1, 1, 0],
            [1, 1, 1, 1, 0],
        ],
        np.bool_,
    )

    found = boundary(mask)

    assert found.tolist() == [[False, False, False, True, False]] * 3


def test_a_hole_of_one_pixel_has_the_four_pixels_around_it_for_a_boundary() -> None:
    mask = np.ones((5, 7), np.bool_)
    mask[2, 3] = False

    found = boundary(mask)

    assert np.argwhere(found).tolist() == [[1, 3], [2, 2], [2, 4], [3, 3]]


def test_the_truth_itself_has_a_score_of_one() -> None:
    truth = np.zeros((20, 30), np.uint8)
    truth[3:9, 4:20], truth[12:18, 10:25] = 1, 2

    counts = counted(truth, truth, 3)

    np.testing.assert_array_equal(counts.per_class(), [np.nan, 1, 1])
    assert counts.mean() == 1


@pytest.mark.parametrize(
    ("size_yx", "shift_px", "f_score"),
    [
        pytest.param((20, 30), 1, 1, id="one-pixel-is-always-near"),
        pytest.param((20, 30), 2, 0, id="two-are-far-in-a-small-picture"),
        # Diagonal 550, of which 0.75 % are 4.1.
        pytest.param((330, 440), 4, 1, id="four-are-near-in-a-large-one"),
        pytest.param((330, 440), 5, 0, id="five-are-not"),
        pytest.param((440, 330), 4, 1, id="upright-as-well"),
    ],
)
def test_an_edge_is_hit_within_a_share_of_the_diagonal(
    size_yx: tuple[int, int], shift_px: int, f_score: float
) -> None:
    counts = counted(upper(10, size_yx), upper(10 + shift_px, size_yx))

    assert counts.mean() == f_score


def test_precision_and_recall_are_counted_apart() -> None:
    truth, predicted = upper(10), upper(10)
    predicted[14:16] = 1  # a stripe: two edges more, both false

    f_score = counted(truth, predicted).per_class()[1]

    assert f_score == pytest.approx(2 * (1 / 3) / (1 + 1 / 3))


def test_a_class_that_is_missed_or_invented_scores_zero() -> None:
    nothing = upper(0)

    assert counted(upper(10), nothing).per_class()[1] == 0
    assert counted(nothing, upper(10)).per_class()[1] == 0


def test_a_class_without_a_boundary_is_left_out_of_the_mean() -> None:
    counts = counted(upper(20), upper(20))

    assert np.isnan(counts.per_class()).all()
    assert counts.mean() == 0


def test_a_predicted_edge_among_ignored_pixels_is_no_miss() -> None:
    truth, predicted = upper(5), upper(5)
    truth[10:18] = IGNORED
    predicted[12:15] = 1

    assert counted(truth, predicted).mean() == 1


def test_an_edge_within_voc_s_ignored_outline_is_a_hit() -> None:
    truth = upper(10)
    truth[10:13] = IGNORED

    assert counted(truth, upper(11)).mean() == 1


def test_pixels_add_up_over_images_before_the_division() -> None:
    whole = counted(upper(10), upper(10))
    whole.add(upper(10, (20, 60)), upper(0, (20, 60)))
    added = BoundaryCounts(2)

    added.add_rows(counted(upper(10), upper(10)).rows())
    added.add_rows(counted(upper(10, (20, 60)), upper(0, (20, 60))).rows())

    assert whole.rows() == added.rows() == [[1, 30, 30, 30, 90]]
    assert added.mean() == pytest.approx(2 * (1 / 3) / (1 + 1 / 3))


def within(edges: list[list[int]], others: list[list[int]], distance: float) -> int:
    return sum(any(math.dist(a, b) <= distance for b in others) for a in edges)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tolerance_px=st.sampled_from([1, 2]))
def test_counts_agree_with_distances_pair_by_pair(seed: int, tolerance_px: int) -> None:
    # Two pixels are 0.75 % of the diagonal of a picture so long.
    size_yx = (5, 9) if tolerance_px == 1 else (3, 267)
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, size_yx).astype(np.uint8)
    predicted = rng.integers(0, 3, size_yx).astype(np.uint8)
    truth[:, 5:], predicted[:, 7:] = 0, 0

    found = counted(truth, predicted, 3).rows()

    expected = []
    for number in (1, 2):
        true = np.argwhere(boundary(truth == number)).tolist()
        drawn = np.argwhere(boundary(predicted == number)).tolist()
        near = max(1, 0.0075 * math.hypot(*size_yx))
        assert near >= tolerance_px
        hits, hit = within(drawn, true, near), within(true, drawn, near)
        if true or drawn:
            expected.append([number, hits, len(drawn), hit, len(true)])
    assert found == expected
