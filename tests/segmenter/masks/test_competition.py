"""Labels compete in tiles as they would in whole pictures."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmenter.masks.boundaries import Guide
from segmenter.masks.competition import Competition, stretch
from segmenter.masks.cutting import cut_masks, find_winners, iter_masks
from segmenter.types import ScoreMaps
from tests.segmenter.masks.test_tiles import scenes

# Scores that lie closer than this may be told apart either way.
CLOSE_01 = 1e-4


@st.composite
def cases(draw: st.DrawFn) -> tuple[ScoreMaps, NDArray[np.uint8]]:
    """Maps of a large picture: of anything, blobs, alike, constant or absent."""
    pixels = draw(scenes()).pixels
    n_labels = draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid_yx = draw(st.tuples(st.integers(1, 20), st.integers(2, 20)))
    maps = rng.random((n_labels, *grid_yx))
    # Blobs on a ground that is all but even, as of real objects.
    maps **= draw(st.sampled_from([1, 20]))
    alike = draw(st.lists(st.integers(0, n_labels - 1), max_size=3))
    maps[alike] = maps[0]
    if draw(st.booleans()):
        maps[-1] = 0.5
    presence = rng.choice([0.4, 0.6], n_labels, p=[0.2, 0.8])
    return (
        ScoreMaps(
            labels=tuple(f"label {number}" for number in range(n_labels)),
            maps=maps.astype(np.float16),
            presence=presence.astype(np.float32),
            size_yx=(pixels.shape[0], pixels.shape[1]),
        ),
        pixels,
    )


def every_score(maps: ScoreMaps, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What each label scores at each pixel, the plain way: float32 (L, Y, X)."""
    guide = Guide(pixels)
    scores = np.stack(
        [
            stretch(guide.follow(one), float(one.min()), float(one.max()))
            for one in maps.maps
        ]
    )
    scores[maps.presence < 0.5] = 0
    return scores


def are_sure(
    maps: ScoreMaps, scores: NDArray[np.float32], limits: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Pixels of which rounding cannot change who has them: bool (Y, X).

    Maps that are one and the same tie exactly, and the first has to win.
    """
    best, winner = scores.max(axis=0), scores.argmax(axis=0)
    first_alike = np.array(
        [next(j for j, b in enumerate(maps.maps) if (a == b).all()) for a in maps.maps]
    )
    is_other = first_alike[:, None, None] != first_alike[winner]
    near = (scores > best - CLOSE_01) & is_other
    return np.asarray(
        ~near.any(axis=0)
        & (np.abs(best - limits[winner]) > CLOSE_01)
        & (best > CLOSE_01)
    )


LIMITS = st.lists(st.sampled_from([None, 0.2, 0.4, 0.8]), min_size=20, max_size=20)


@settings(max_examples=40, deadline=None)
@given(case=cases(), limits=LIMITS, common=st.sampled_from([0.1, 0.5, 0.9]))
def test_large_pictures_are_cut_as_a_plain_argmax_cuts_them(
    case: tuple[ScoreMaps, NDArray[np.uint8]],
    limits: list[float | None],
    common: float,
) -> None:
    maps, pixels = case
    limits = limits[: len(maps.labels)]

    cut = cut_masks(maps, threshold=common, label_thresholds=limits, pixels=pixels)

    scores = every_score(maps, pixels)
    own = np.array([common if one is None else one for one in limits], np.float32)
    winner, best = scores.argmax(axis=0), scores.max(axis=0)
    expected = np.where(best > own[winner], winner, -1)
    sure = are_sure(maps, scores, own)
    np.testing.assert_array_equal(cut.label_map[sure], expected[sure])
    for index in range(len(limits)):
        inside = expected == index
        if inside.any() and (cut.label_map == expected).all():
            mean = best[inside].mean(dtype=np.float64)
            np.testing.assert_allclose(cut.scores[index], mean, atol=CLOSE_01)
    present = maps.presence >= 0.5
    np.testing.assert_allclose(cut.best, scores.max(axis=(1, 2)) * present, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(case=cases())
def test_winners_of_large_pictures_are_the_plain_ones(
    case: tuple[ScoreMaps, NDArray[np.uint8]],
) -> None:
    maps, pixels = case

    label_map, best = find_winners(maps, pixels=pixels)

    scores = every_score(maps, pixels)
    sure = are_sure(maps, scores, np.zeros(len(scores), np.float32))
    np.testing.assert_array_equal(label_map[sure], scores.argmax(axis=0)[sure])
    np.testing.assert_allclose(best, scores.max(axis=0), atol=CLOSE_01)


@settings(max_examples=20, deadline=None)
@given(case=cases(), threshold=st.sampled_from([0.1, 0.5, 0.9]))
def test_independent_masks_of_large_pictures_are_the_plain_ones(
    case: tuple[ScoreMaps, NDArray[np.uint8]], threshold: float
) -> None:
    maps, pixels = case

    found = {
        one.index: one
        for one in iter_masks(
            maps, threshold=threshold, pixels=pixels, overlap="independent"
        )
    }

    scores = every_score(maps, pixels)
    for index, own in enumerate(scores):
        sure = np.abs(own - threshold) > CLOSE_01
        one = found.get(index)
        mask = np.zeros(own.shape, bool) if one is None else one.mask
        np.testing.assert_array_equal(mask[sure], (own > threshold)[sure])
        if one is not None:
            np.testing.assert_allclose(one.scores[mask], own[mask], atol=CLOSE_01)
            np.testing.assert_array_equal(one.free, ~mask)


@settings(max_examples=20, deadline=None)
@given(case=cases())
def test_masks_of_large_pictures_lie_in_their_boxes(
    case: tuple[ScoreMaps, NDArray[np.uint8]],
) -> None:
    maps, pixels = case
    cut = cut_masks(maps, threshold=0.3, pixels=pixels)

    for one in iter_masks(maps, threshold=0.3, pixels=pixels):
        np.testing.assert_array_equal(one.mask, cut.mask(one.index))
        top, left, bottom, right = one.box_yxyx
        assert one.mask[top:bottom, left:right].sum() == one.mask.sum()
        assert 0 <= top < bottom <= one.mask.shape[0]
        assert 0 <= left < right <= one.mask.shape[1]


def blobs(n_labels: int, size_yx: tuple[int, int]) -> ScoreMaps:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32] / 32
    maps = [
        np.exp(-60 * ((rows - y) ** 2 + (columns - x) ** 2))
        for y, x in rng.random((n_labels, 2))
    ]
    return ScoreMaps(
        labels=tuple(f"label {number}" for number in range(n_labels)),
        maps=np.array(maps, np.float16),
        presence=np.ones(n_labels, np.float32),
        size_yx=size_yx,
    )


def test_ties_go_to_the_first_label_in_every_tile() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1700, 1600, 3), np.uint8)
    maps = blobs(1, (1700, 1600))
    alike = replace(
        maps,
        labels=tuple(f"label {number}" for number in range(18)),
        maps=np.repeat(maps.maps, 18, axis=0),
        presence=np.ones(18, np.float32),
    )

    cut = cut_masks(alike, threshold=0.3, pixels=pixels)

    assert set(np.unique(cut.label_map)) == {-1, 0}


@pytest.mark.parametrize("n_labels", [3, 40])
def test_large_pictures_need_memory_for_the_result_alone(n_labels: int) -> None:
    size_yx = (2400, 3200)
    pixels = np.random.default_rng(0).integers(90, 110, (*size_yx, 3), np.uint8)
    maps = blobs(n_labels, size_yx)

    tracemalloc.start()
    try:
        n_masks = sum(1 for _ in iter_masks(maps, threshold=0.4, pixels=pixels))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert n_masks > 2
    # Owners, scores, mask and what is free are 8 bytes a pixel. The rest is of the
    # small picture, for at most 16 labels at once.
    assert peak_bytes < 8 * size_yx[0] * size_yx[1] + 160e6


def test_tiles_without_a_winner_are_not_enlarged() -> None:
    size_yx = (2400, 3200)
    pixels = np.full((*size_yx, 3), 100, np.uint8)

    found = Competition(blobs(1, size_yx), pixels).winners([0], 0.5)

    touched = (found.scores > 0).mean()
    above = (found.scores > 0.5).mean()
    assert 0 < above < touched < 2 * above + 0.05
