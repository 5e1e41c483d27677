import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmenter.evaluate import IGNORED, IouCounts, to_class_map
from segmenter.values import Segmentation


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
