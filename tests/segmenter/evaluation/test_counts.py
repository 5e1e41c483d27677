import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmenter.evaluation.counts import (
    IGNORED,
    THRESHOLDS,
    IouCounts,
    SweepCounts,
    to_class_map,
)
from segmenter.masks.cutting import cut_masks, find_winners
from segmenter.types import ScoreMaps, Segmentation


def counted(n_classes: int, truth: object, predicted: object) -> IouCounts:
    counts = IouCounts(n_classes)
    counts.add(np.array(truth, np.uint8), np.array(predicted, np.uint8))
    return counts


def test_per_class_is_intersection_over_union() -> None:
    counts = counted(3, [[0, 1, 1, 2]], [[0, 1, 2, 2]])

    np.testing.assert_allclose(counts.per_class(), [1, 1 / 2, 1 / 2])
    assert counts.mean() == pytest.approx(2 / 3)


def test_pixels_add_up_over_images_before_the_division() -> None:
    counts = counted(2, [[1, 1, 1]], [[1, 1, 1]])

    counts.add(np.array([[1, 0]]), np.array([[0, 0]]))

    np.testing.assert_allclose(counts.per_class(), [1 / 2, 3 / 4])


def test_a_class_that_never_occurs_is_left_out_of_the_mean() -> None:
    counts = counted(4, [[0, 1]], [[0, 1]])

    assert np.isnan(counts.per_class()[2:]).all()
    assert counts.mean() == 1


def test_ignored_pixels_do_not_count() -> None:
    counts = counted(2, [[0, 1, IGNORED]], [[0, 1, 1]])

    np.testing.assert_allclose(counts.per_class(), [1, 1])


@pytest.mark.parametrize("truth", [[[IGNORED]], np.zeros((0, 0))])
def test_the_mean_over_nothing_is_zero(truth: object) -> None:
    assert counted(2, truth, np.zeros_like(truth)).mean() == 0


def test_maps_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(2, 1\)"):
        counted(2, [[0, 1]], [[0], [1]])


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        pytest.param([[0, 3]], [[0, 0]], id="in-the-truth"),
        pytest.param([[0, 0]], [[0, 3]], id="in-the-prediction"),
    ],
)
def test_a_class_beyond_the_list_is_refused(truth: object, predicted: object) -> None:
    with pytest.raises(ValueError, match="3"):
        counted(3, truth, predicted)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_classes=st.integers(1, 5))
def test_per_class_agrees_with_a_count_class_by_class(
    seed: int, n_classes: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, (6, 9))
    truth[rng.random(truth.shape) < 0.1] = IGNORED
    predicted = rng.integers(0, n_classes, (6, 9))

    found = counted(n_classes, truth, predicted).per_class()

    for number in range(n_classes):
        inside = truth != IGNORED
        union = ((truth == number) | (predicted == number)) & inside
        both = ((truth == number) & (predicted == number)) & inside
        expected = both.sum() / union.sum() if union.any() else np.nan
        np.testing.assert_allclose(found[number], expected)


def test_rows_of_two_images_add_up_to_the_counts_of_both() -> None:
    first, second = [[0, 1, 2]], [[2, 2, IGNORED]]
    whole = counted(3, first, [[0, 2, 2]])
    whole.add(np.array(second), np.array([[2, 0, 1]]))
    added = IouCounts(3)

    added.add_rows(counted(3, first, [[0, 2, 2]]).rows())
    added.add_rows(counted(3, second, [[2, 0, 1]]).rows())

    np.testing.assert_array_equal(added.per_class(), whole.per_class())
    assert (
        added.rows()
        == whole.rows()
        == [
            [0, 0, 1],
            [1, 2, 1],
            [2, 0, 1],
            [2, 2, 2],
        ]
    )


def test_truth_pixels_are_those_of_the_truth_that_are_not_ignored() -> None:
    counts = counted(3, [[0, 1, 1, IGNORED]], [[2, 2, 0, 0]])

    assert counts.truth_pixels().tolist() == [1, 2, 0]


def swept(
    n_classes: int,
    truth: NDArray[np.integer],
    winners: NDArray[np.integer],
    scores: NDArray[np.float32],
) -> NDArray[np.float64]:
    """The mIoU at every threshold, from one count."""
    sweep, iou = SweepCounts(n_classes), IouCounts(n_classes)
    sweep.add(truth, winners, scores)
    iou.add(truth, winners)
    return sweep.means(iou.truth_pixels())


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_classes=st.integers(1, 5))
def test_a_sweep_is_a_count_at_each_threshold(seed: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, (6, 9))
    truth[rng.random(truth.shape) < 0.1] = IGNORED
    winners = rng.integers(0, n_classes, (6, 9))
    # Half of the scores lie on a threshold exactly, where the comparison is decided.
    scores = rng.random((6, 9)).astype(np.float32)
    on_edge = rng.random((6, 9)) < 0.5
    scores[on_edge] = rng.choice(np.array(THRESHOLDS, np.float32), on_edge.sum())
    scores[winners == 0] = 0

    found = swept(n_classes, truth, winners, scores)

    expected = [
        counted(n_classes, truth, np.where(scores > np.float32(t), winners, 0)).mean()
        for t in THRESHOLDS
    ]
    np.testing.assert_allclose(found, expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_labels=st.integers(0, 4))
def test_a_sweep_is_a_cut_at_each_threshold(seed: int, n_labels: int) -> None:
    rng = np.random.default_rng(seed)
    maps = ScoreMaps(
        labels=tuple(f"label {i}" for i in range(n_labels)),
        maps=rng.random((n_labels, 3, 5)).astype(np.float16),
        presence=rng.choice([0.25, 0.75], n_labels).astype(np.float32),
        size_yx=(12, 35),
    )
    truth = rng.integers(0, n_labels + 1, maps.size_yx)
    label_map, scores = find_winners(maps)

    found = swept(n_labels + 1, truth, label_map + 1, scores)

    cuts = [cut_masks(maps, threshold=threshold) for threshold in THRESHOLDS]
    expected = [
        counted(n_labels + 1, truth, to_class_map(cut, maps.labels)).mean()
        for cut in cuts
    ]
    np.testing.assert_allclose(found, expected)


def test_rows_of_a_sweep_add_up() -> None:
    rng = np.random.default_rng(0)
    images = [
        (
            rng.integers(0, 3, (4, 7)),
            rng.integers(0, 3, (4, 7)),
            rng.random((4, 7)).astype(np.float32),
        )
        for _ in range(2)
    ]
    whole, added = SweepCounts(3), SweepCounts(3)

    for image in images:
        whole.add(*image)
        single = SweepCounts(3)
        single.add(*image)
        added.add_rows(single.rows())

    assert added.rows() == whole.rows()


def test_a_sweep_of_nothing_is_zero() -> None:
    assert SweepCounts(3).means(IouCounts(3).truth_pixels()).tolist() == [0] * 49


def test_a_sweep_refuses_maps_of_different_sizes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(2, 1\)"):
        SweepCounts(2).add(
            np.array([[0, 1]]), np.array([[0], [1]]), np.zeros((1, 2), np.float32)
        )


def segmentation(labels: tuple[str, ...], label_map: object) -> Segmentation:
    nothing: NDArray[np.float32] = np.zeros(len(labels), np.float32)
    return Segmentation(
        labels=labels,
        label_map=np.array(label_map, np.int16),
        scores=nothing,
        presence=nothing,
        best=nothing,
    )


def test_to_class_map_renumbers_and_makes_background_zero() -> None:
    found = to_class_map(
        segmentation(("dog", "cat"), [[-1, 0, 1]]), ("cat", "cow", "dog")
    )

    assert found.tolist() == [[0, 3, 1]]
    assert found.dtype == np.uint8


def test_to_class_map_refuses_a_label_outside_the_list() -> None:
    with pytest.raises(ValueError, match="list"):
        to_class_map(segmentation(("dog",), [[0]]), ["cat"])
