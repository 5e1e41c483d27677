import numpy as np
import pytest

from segmenter.types import Segmentation


def segmentation(label_map: list[list[int]], n_labels: int) -> Segmentation:
    nothing = np.zeros(n_labels, np.float32)
    return Segmentation(
        labels=tuple(f"label {i}" for i in range(n_labels)),
        label_map=np.array(label_map, np.int16),
        scores=nothing,
        presence=nothing,
        best=nothing,
    )


def test_mask_is_where_the_label_map_holds_the_index() -> None:
    found = segmentation([[0, -1, 1], [1, 1, 0]], n_labels=2)

    assert found.mask(0).tolist() == [[True, False, False], [False, False, True]]
    assert found.mask(1).tolist() == [[False, False, True], [True, True, False]]
    assert found.mask(0).dtype == np.bool_


def test_shares_count_every_label_and_leave_the_background_out() -> None:
    found = segmentation([[0, -1, 2], [2, 2, -1]], n_labels=4)

    np.testing.assert_allclose(found.shares, [1 / 6, 0, 3 / 6, 0])


def test_shares_of_an_image_without_labels_are_none() -> None:
    assert segmentation([[-1, -1]], n_labels=0).shares.shape == (0,)


def test_a_segmentation_cannot_be_rebound() -> None:
    with pytest.raises(AttributeError):
        segmentation([[0]], n_labels=1).labels = ()  # type: ignore[misc]
