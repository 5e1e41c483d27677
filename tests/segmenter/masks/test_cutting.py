import time
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from segmenter.masks.competition import upsample
from segmenter.masks.cutting import cut_masks, find_winners
from segmenter.types import ScoreMaps


def score_maps(
    maps: object,
    *,
    size_yx: tuple[int, int] | None = None,
    presence: Sequence[float] | None = None,
) -> ScoreMaps:
    """Score maps at image size where no other is given."""
    values = np.asarray(maps, np.float16)
    return ScoreMaps(
        labels=tuple(f"label {i}" for i in range(len(values))),
        maps=values,
        presence=np.ones(len(values), np.float32)
        if presence is None
        else np.array(presence, np.float32),
        size_yx=size_yx or (values.shape[1], values.shape[2]),
    )


# Every row spans [0, 1], as the segmenter's maps do, so nothing is stretched.
FIRST = [[0.0, 0.25, 0.75, 1.0]]
SECOND = [[1.0, 0.5, 0.625, 0.0]]


def test_every_pixel_goes_to_its_best_label_above_the_threshold() -> None:
    found = cut_masks(score_maps([FIRST, SECOND]), threshold=0.55)

    assert found.label_map.tolist() == [[1, -1, 0, 0]]
    assert found.label_map.dtype == np.int16
    assert found.labels == ("label 0", "label 1")


def test_a_score_equal_to_the_threshold_is_background() -> None:
    found = cut_masks(score_maps([FIRST]), threshold=0.75)

    assert found.label_map.tolist() == [[-1, -1, -1, 0]]


def test_a_tie_goes_to_the_first_label() -> None:
    found = cut_masks(score_maps([FIRST, FIRST]), threshold=0.5)

    assert found.label_map.tolist() == [[-1, -1, 0, 0]]


def test_a_label_s_own_threshold_replaces_the_common_one() -> None:
    found = cut_masks(
        score_maps([FIRST, SECOND]), threshold=0.55, label_thresholds=[None, 0.4]
    )

    assert found.label_map.tolist() == [[1, 1, 0, 0]]


def test_a_pixel_below_its_best_label_s_threshold_does_not_fall_to_the_second() -> None:
    found = cut_masks(
        score_maps([FIRST, SECOND]), threshold=0.3, label_thresholds=[0.9, None]
    )

    assert found.label_map.tolist() == [[1, 1, -1, 0]]


def test_thresholds_of_another_number_than_the_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 thresholds were given for 2 labels"):
        cut_masks(score_maps([FIRST, SECOND]), threshold=0.5, label_thresholds=[0.4])


def test_an_absent_label_takes_no_pixel_and_has_no_score() -> None:
    maps = score_maps([FIRST, SECOND], presence=[0.49, 0.5])

    found = cut_masks(maps, threshold=0.4)

    assert found.label_map.tolist() == [[1, 1, 1, -1]]
    assert found.scores[0] == found.best[0] == 0
    np.testing.assert_array_equal(found.presence, maps.presence)


def test_a_lower_presence_threshold_lets_a_label_back_in() -> None:
    maps = score_maps([FIRST, SECOND], presence=[0.49, 0.5])

    found = cut_masks(maps, threshold=0.4, presence_threshold=0.4)

    assert found.label_map.tolist() == [[1, 1, 0, 0]]


def test_scores_are_means_inside_the_mask_and_best_is_the_peak() -> None:
    found = cut_masks(score_maps([FIRST, SECOND]), threshold=0.55)

    np.testing.assert_allclose(found.scores, [(0.75 + 1) / 2, 1.0])
    np.testing.assert_allclose(found.best, [1.0, 1.0])


def test_a_label_that_loses_everywhere_scores_nothing_and_keeps_its_peak() -> None:
    # Two rows: at image size no map is stretched further than it came.
    winner = [[1.0, 0.0], [0.8, 0.8]]
    loser = [[0.9, 0.0], [0.0, 0.0]]

    found = cut_masks(score_maps([winner, loser]), threshold=0.5)

    assert found.scores[1] == 0
    assert found.shares[1] == 0
    assert found.best[1] == pytest.approx(0.9, abs=1e-3)


def test_an_absent_label_whose_map_was_not_stretched_stays_below_the_threshold() -> (
    None
):
    there = [[0.9, 0.0], [0.0, 0.0]]
    absent = [[0.0, 0.0], [0.0, 0.2]]
    maps = score_maps([there, absent], size_yx=(8, 8))

    for pixels in (
        None,
        np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8),
    ):
        found = cut_masks(maps, threshold=0.3, pixels=pixels)

        assert found.shares[0] > 0
        assert found.shares[1] == 0


def test_no_labels_give_background_alone() -> None:
    found = cut_masks(score_maps(np.zeros((0, 4, 4)), size_yx=(3, 5)), threshold=0.5)

    assert found.label_map.tolist() == [[-1] * 5] * 3
    assert found.scores.shape == found.best.shape == (0,)


def test_a_constant_map_is_no_evidence() -> None:
    found = cut_masks(
        score_maps(np.full((1, 4, 4), 0.9), size_yx=(6, 9)), threshold=0.1
    )

    assert (found.label_map == -1).all()
    assert found.best[0] == 0


@pytest.mark.parametrize(
    ("level", "label"),
    [pytest.param(0.9, 0, id="above"), pytest.param(0.1, -1, id="below")],
)
def test_an_image_of_one_pixel_takes_the_map_s_mean(level: float, label: int) -> None:
    found = cut_masks(
        score_maps(np.full((1, 4, 4), level), size_yx=(1, 1)), threshold=0.5
    )

    assert found.label_map.tolist() == [[label]]


def test_an_image_of_one_row_keeps_left_and_right_apart() -> None:
    small = np.zeros((1, 4, 4))
    small[0, :, 3] = 1

    found = cut_masks(score_maps(small, size_yx=(1, 8)), threshold=0.5)

    assert found.label_map.tolist() == [[-1] * 6 + [0] * 2]


@pytest.mark.parametrize("size_yx", [(8, 12), (31, 17), (9, 100)])
def test_upsample_is_torch_s_bilinear_over_the_range_of_the_cells(
    size_yx: tuple[int, int],
) -> None:
    small = np.random.default_rng(0).random((8, 8)).astype(np.float16)

    found = upsample(small, size_yx)

    large = F.interpolate(
        torch.from_numpy(small.astype(np.float32))[None, None],
        size_yx,
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    low, high = float(small.min()), float(small.max())
    expected = (large - large.min()) / (large.max() - large.min()) * (high - low) + low
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_upsample_keeps_rows_and_columns_apart() -> None:
    small = np.zeros((4, 4), np.float16)
    small[0, 3] = 1

    found = upsample(small, (20, 60))

    assert found.shape == (20, 60)
    assert np.unravel_index(found.argmax(), found.shape)[0] < 5
    assert np.unravel_index(found.argmax(), found.shape)[1] >= 45


@st.composite
def maps_and_limits(draw: st.DrawFn) -> tuple[ScoreMaps, list[float | None]]:
    n_labels = draw(st.integers(1, 5))
    size = draw(st.tuples(st.integers(2, 7), st.integers(2, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few distinct values, so that ties are frequent.
    values = rng.integers(0, 5, (n_labels, *size)) / 4
    values[:, 0, 0], values[:, 0, 1] = 0, 1
    presence = draw(st.lists(st.sampled_from([0.25, 0.5]), min_size=n_labels))
    limit = st.sampled_from([None, 0.2, 0.25, 0.6, 0.9])
    limits = draw(st.lists(limit, min_size=n_labels, max_size=n_labels))
    return score_maps(values, presence=presence[:n_labels]), limits


@settings(max_examples=200, deadline=None)
@given(case=maps_and_limits())
def test_cut_is_argmax_with_a_constant_background(
    case: tuple[ScoreMaps, list[float | None]],
) -> None:
    maps, limits = case

    found = cut_masks(maps, threshold=0.5, label_thresholds=limits)

    own = np.array([0.5 if limit is None else limit for limit in limits], np.float32)
    present = maps.presence >= 0.5
    scores = np.where(present[:, None, None], maps.maps.astype(np.float32), 0)
    winner: NDArray[np.intp] = scores.argmax(axis=0)
    expected = np.where(scores.max(axis=0) > own[winner], winner, -1)
    np.testing.assert_array_equal(found.label_map, expected)


def test_winners_are_the_best_present_labels_whatever_their_score() -> None:
    maps = score_maps([FIRST, SECOND, [[1, 1, 0, 1]]], presence=[1, 0.5, 0.4])

    label_map, scores = find_winners(maps)

    assert label_map.tolist() == [[1, 1, 0, 0]]
    assert label_map.dtype == np.int16
    assert scores.tolist() == [[1, 0.5, 0.75, 1]]


def test_there_is_no_winner_where_no_label_scores() -> None:
    label_map, scores = find_winners(score_maps([[[0, 1]]]))

    assert label_map.tolist() == [[-1, 0]]
    assert scores.tolist() == [[0, 1]]


@settings(deadline=None)
@given(case=maps_and_limits(), threshold=st.sampled_from([0.1, 0.25, 0.5, 0.75]))
def test_winners_above_a_threshold_are_the_cut_along_edges_too(
    case: tuple[ScoreMaps, list[float | None]], threshold: float
) -> None:
    maps, _ = case
    pixels = np.random.default_rng(0).integers(0, 256, (*maps.size_yx, 3), np.uint8)

    label_map, scores = find_winners(maps, pixels=pixels)

    cut = cut_masks(maps, threshold=threshold, pixels=pixels)
    above = np.where(scores > np.float32(threshold), label_map, -1)
    np.testing.assert_array_equal(above, cut.label_map)


def test_300_labels_need_no_more_memory_than_a_few_and_little_time() -> None:
    rng = np.random.default_rng(0)
    size_yx = (256, 384)
    many = score_maps(rng.random((300, 32, 32)), size_yx=size_yx)
    few = score_maps(many.maps[:3], size_yx=size_yx)

    def peak_bytes(maps: ScoreMaps) -> int:
        tracemalloc.start()
        try:
            cut_masks(maps, threshold=0.5)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(many) < 1.2 * peak_bytes(few)
    started = time.monotonic()
    found = cut_masks(many, threshold=0.5)
    assert time.monotonic() - started < 5
    assert found.scores.shape == (300,)
    assert found.label_map.max() > 200
