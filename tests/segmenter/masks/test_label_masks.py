"""One mask per label: exclusive or not, and labels of several prompts."""

import numpy as np
import pytest

from segmenter import ScoreMaps, iter_masks, merge_prompts
from segmenter.masks.cutting import cut_masks

# Every row spans [0, 1], as the segmenter's maps do, so nothing is stretched.
FIRST = [[0.0, 0.25, 0.75, 1.0]]
SECOND = [[1.0, 0.5, 0.625, 0.0]]
FLAT = [[0.5, 0.5, 0.5, 0.5]]


def score_maps(*maps: object, presence: list[float] | None = None) -> ScoreMaps:
    values = np.asarray(maps, np.float16)
    return ScoreMaps(
        labels=tuple("abcdef"[: len(values)]),
        maps=values,
        presence=np.array(presence or [1.0] * len(values), np.float32),
        size_yx=(values.shape[1], values.shape[2]),
    )


def test_iter_masks_cuts_exclusive_masks_as_cut_masks_does() -> None:
    maps = score_maps(FIRST, SECOND)

    masks = list(iter_masks(maps, threshold=0.55))

    cut = cut_masks(maps, threshold=0.55)
    assert [found.index for found in masks] == [0, 1]
    for found in masks:
        np.testing.assert_array_equal(found.mask, cut.mask(found.index))
        np.testing.assert_array_equal(found.free, cut.label_map < 0)
        assert found.scores[found.mask].mean() == cut.scores[found.index]


def test_iter_masks_lets_independent_masks_overlap() -> None:
    masks = list(
        iter_masks(score_maps(FIRST, SECOND), threshold=0.55, overlap="independent")
    )

    assert [found.mask.tolist() for found in masks] == [
        [[False, False, True, True]],
        [[True, False, True, False]],
    ]
    assert [found.scores.tolist() for found in masks] == [FIRST, SECOND]
    assert [found.free.tolist() for found in masks] == [
        [[True, True, False, False]],
        [[False, True, False, True]],
    ]


@pytest.mark.parametrize("overlap", ["exclusive", "independent"])
def test_iter_masks_leaves_out_what_has_no_pixel(overlap: str) -> None:
    maps = score_maps(FLAT, FIRST, SECOND, presence=[1, 0.5, 0.49])

    (found,) = iter_masks(maps, threshold=0.55, overlap=overlap)  # type: ignore[arg-type]

    assert found.index == 1


def test_iter_masks_uses_the_thresholds_of_labels() -> None:
    masks = iter_masks(
        score_maps(FIRST, SECOND),
        threshold=0.55,
        label_thresholds=[0.2, None],
        overlap="independent",
    )

    assert [int(found.mask.sum()) for found in masks] == [3, 2]


@pytest.mark.parametrize("overlap", ["exclusive", "independent"])
def test_iter_masks_refuses_thresholds_that_do_not_match(overlap: str) -> None:
    with pytest.raises(ValueError, match="1 thresholds were given for 2 labels"):
        list(
            iter_masks(
                score_maps(FIRST, SECOND),
                threshold=0.5,
                label_thresholds=[0.5],
                overlap=overlap,  # type: ignore[arg-type]
            )
        )


def test_merge_prompts_takes_the_highest_score_of_a_labels_prompts() -> None:
    merged = merge_prompts(
        score_maps(FIRST, SECOND), [("both", ["a", "b"]), ("second", ["b"])]
    )

    assert merged.labels == ("both", "second")
    assert merged.maps.tolist() == [[[1.0, 0.5, 0.75, 1.0]], SECOND]
    assert merged.maps.dtype == np.float16
    assert merged.size_yx == (1, 4)


def test_merge_prompts_ignores_a_prompt_that_is_not_there_beside_one_that_is() -> None:
    maps = score_maps(FIRST, SECOND, FLAT, presence=[0.4, 1, 0.2])

    merged = merge_prompts(maps, [("x", ["a", "b"]), ("y", ["a", "c"])])

    np.testing.assert_allclose(merged.presence, [1, 0.4])
    assert merged.maps[0].tolist() == SECOND
    assert merged.maps[1].tolist() == FIRST


def test_merge_prompts_refuses_a_prompt_that_nobody_asked_for() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        merge_prompts(score_maps(FIRST), [("x", ["dog"])])


def test_peaks_are_the_highest_scores_but_of_constant_maps() -> None:
    peaks = score_maps(FIRST, FLAT, [[0.0, 0.25, 0.25, 0.5]]).peaks

    assert peaks.tolist() == [1.0, 0.0, 0.5]
    assert peaks.dtype == np.float32
    assert score_maps(np.zeros((0, 4))).peaks.shape == (1,)
