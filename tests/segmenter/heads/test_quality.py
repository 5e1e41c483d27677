"""Which masks come first where people look for bad ones."""

from dataclasses import replace

import numpy as np

from segmenter import ScoreMaps, cut_masks, estimate_ious


def scene(*, presence: float = 0.95, second: float = 0.0) -> ScoreMaps:
    """A clear square of the first label; the second scores there as well."""
    maps = np.zeros((3, 16, 24), np.float16)
    maps[0, 4:12, 4:12] = 1
    maps[1, 4:12, 4:12] = second
    maps[1, 14, 20] = 1
    return ScoreMaps(
        labels=("cat", "dog", "bus"),
        maps=maps,
        presence=np.array([presence, 0.9, 0.9], np.float32),
        size_yx=(32, 48),
    )


def estimated(maps: ScoreMaps) -> np.ndarray:
    return estimate_ious(maps, cut_masks(maps, threshold=0.46, presence_threshold=0.3))


def test_a_label_without_a_mask_has_no_quality() -> None:
    found = estimated(scene())

    assert found.dtype == np.float32
    assert found[2] == 0
    assert ((found >= 0) & (found <= 1)).all()
    assert found[0] > 0.5


def test_doubtful_presence_and_a_rival_lower_the_estimate() -> None:
    sure = estimated(scene())[0]

    assert estimated(scene(presence=0.35))[0] < sure
    assert estimated(scene(second=0.9))[0] < sure


def test_no_labels_and_maps_that_are_no_numbers_have_an_answer() -> None:
    maps = scene()
    none = replace(
        maps, labels=(), maps=maps.maps[:0], presence=np.zeros(0, np.float32)
    )
    broken = maps.maps.copy()
    broken[0, 5, 5] = np.nan

    assert estimated(none).shape == (0,)
    cut = cut_masks(maps, threshold=0.46, presence_threshold=0.3)
    assert np.isfinite(estimate_ious(replace(maps, maps=broken), cut)).all()
