"""Edges of masks follow the image's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmenter import ScoreMaps, cut_masks, iter_masks
from segmenter.masks.boundaries import Guide, _inverted
from segmenter.masks.competition import upsample


def half_and_half(size_yx: tuple[int, int], edge: int) -> NDArray[np.uint8]:
    """Dark left of a column, bright from it on."""
    pixels = np.full((*size_yx, 3), 40, np.uint8)
    pixels[:, edge:] = (200, 180, 90)
    return pixels


def score_maps(*maps: NDArray[np.float32], size_yx: tuple[int, int]) -> ScoreMaps:
    return ScoreMaps(
        labels=tuple(f"label {i}" for i in range(len(maps))),
        maps=np.stack(maps).astype(np.float16),
        presence=np.ones(len(maps), np.float32),
        size_yx=size_yx,
    )


def ramp(rows: int, columns: int) -> NDArray[np.float32]:
    """From 0 on the left to 1 on the right, 0.5 in the middle."""
    return np.tile(np.linspace(0, 1, columns, dtype=np.float32), (rows, 1))


@pytest.mark.parametrize("edge", [40, 46, 56, 60])
def test_a_mask_s_edge_moves_to_the_image_s(edge: int) -> None:
    # Eight cells on 96 columns: the map alone crosses the threshold at column 48.
    maps = score_maps(ramp(5, 8), size_yx=(60, 96))
    pixels = half_and_half((60, 96), edge)

    plain = cut_masks(maps, threshold=0.5).mask(0)
    guided = cut_masks(maps, threshold=0.5, pixels=pixels).mask(0)

    truth = np.zeros((60, 96), bool)
    truth[:, edge:] = True
    assert (guided != truth).sum() < (plain != truth).sum() / 2


@pytest.mark.parametrize("size_yx", [(60, 96), (96, 60), (700, 1100), (17, 33)])
def test_an_image_without_an_edge_leaves_the_map_as_it_was(
    size_yx: tuple[int, int],
) -> None:
    score_map = ramp(6, 7).astype(np.float16)

    found = Guide(np.full((*size_yx, 3), 90, np.uint8)).follow(score_map)

    expected = upsample(score_map, size_yx)
    assert found.shape == size_yx
    assert found.dtype == np.float32
    # Smoothed over a neighbourhood, which bends a ramp at its ends alone.
    inner = slice(size_yx[1] // 3, -size_yx[1] // 3)
    np.testing.assert_allclose(found[:, inner], expected[:, inner], atol=0.06)


def test_faint_texture_is_not_painted_into_the_map() -> None:
    rng = np.random.default_rng(0)
    pixels = (128 + rng.integers(-3, 4, (120, 120, 3))).astype(np.uint8)

    found = Guide(pixels).follow(ramp(8, 8).astype(np.float16))

    smooth = Guide(np.full((120, 120, 3), 128, np.uint8)).follow(
        ramp(8, 8).astype(np.float16)
    )
    assert np.abs(found - smooth).max() < 0.1


def test_both_ways_of_cutting_take_the_image() -> None:
    size_yx, pixels = (60, 96), half_and_half((60, 96), 56)
    maps = score_maps(ramp(5, 8), 1 - ramp(5, 8), size_yx=size_yx)

    whole = cut_masks(maps, threshold=0.3, pixels=pixels)
    for overlap in ("exclusive", "independent"):
        found = list(iter_masks(maps, threshold=0.3, pixels=pixels, overlap=overlap))
        assert [one.index for one in found] == [0, 1]
        if overlap == "exclusive":
            for one in found:
                np.testing.assert_array_equal(one.mask, whole.mask(one.index))
        plain = list(iter_masks(maps, threshold=0.3, overlap=overlap))
        assert (found[0].mask != plain[0].mask).any()


def test_another_image_than_the_one_scored_is_refused() -> None:
    maps = score_maps(ramp(5, 8), size_yx=(60, 96))

    with pytest.raises(ValueError, match=r"\(96, 60, 3\).*\(60, 96\)"):
        cut_masks(maps, threshold=0.5, pixels=half_and_half((96, 60), 20))


@settings(max_examples=40, deadline=None)
@given(
    size_yx=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    grid_yx=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 1000),
)
def test_any_image_and_map_give_numbers(
    size_yx: tuple[int, int], grid_yx: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (*size_yx, 3), dtype=np.uint8)
    maps = score_maps(rng.random(grid_yx, np.float32), size_yx=size_yx)

    found = cut_masks(maps, threshold=0.5, pixels=pixels)

    assert found.label_map.shape == size_yx
    assert np.isfinite(found.scores).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_matrices_are_inverted_as_numpy_inverts_them() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(5, 7, 3, 3)).astype(np.float32)
    matrices = half @ half.transpose(0, 1, 3, 2) + 0.1 * np.eye(3, dtype=np.float32)

    found = _inverted(matrices.transpose(2, 3, 0, 1))

    np.testing.assert_allclose(
        found.transpose(2, 3, 0, 1), np.linalg.inv(matrices), rtol=1e-2, atol=1e-3
    )


def test_what_the_image_says_is_worked_out_once_for_all_maps() -> None:
    pixels = half_and_half((64, 64), 30)
    guide = Guide(pixels)
    first = guide.follow(ramp(4, 4).astype(np.float16))
    inverse = guide._inverse

    again = guide.follow(ramp(4, 4).astype(np.float16))

    assert guide._inverse is inverse
    np.testing.assert_array_equal(first, again)
