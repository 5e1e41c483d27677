"""What hangs together, by runs: as pixel by pixel."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from backend.regions.components import _RAGGED_01, clean
from backend.regions.runs import Runs

Mask = NDArray[np.bool_]


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """From even to noise, of any shape."""
    size_yx = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random(size_yx) < draw(st.sampled_from([0.0, 0.1, 0.5, 0.6, 0.9, 1.0]))


@st.composite
def smooth_masks(draw: st.DrawFn) -> Mask:
    """Blocks, with specks and pinholes: few runs a pixel, as masks of pictures have."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = rng.random((draw(st.integers(2, 6)), draw(st.integers(1, 3)))) < 0.6
    mask = np.kron(blocks, np.ones((draw(st.integers(3, 9)), 150), bool)).astype(bool)
    for _ in range(draw(st.integers(0, 6))):
        y, x = rng.integers(0, mask.shape)
        mask[y : y + rng.integers(1, 3), x : x + rng.integers(1, 9)] ^= True
    return mask


def numbered(mask: Mask, connectivity: int) -> tuple[int, NDArray[np.int32]]:
    count, labels = cv2.connectedComponents(
        mask.astype(np.uint8), connectivity=connectivity
    )
    return count, np.asarray(labels, np.int32)


@settings(max_examples=300, deadline=None)
@given(mask=masks(), with_corners=st.booleans())
def test_pieces_are_those_of_pixels(mask: Mask, with_corners: bool) -> None:
    off, on = Runs.both(mask)

    for runs, wanted in ((off, ~mask), (on, mask)):
        count, labels = numbered(wanted, 8 if with_corners else 4)
        numbers = runs.pieces(with_corners=with_corners)
        found = np.zeros(mask.size, np.int64)
        every = np.ones(numbers.size, np.bool_)
        found[runs.pixels(every)] = 1 + numbers.repeat(runs.lengths)
        # The same pixels, and one number of ours for one of theirs.
        np.testing.assert_array_equal(found > 0, wanted.reshape(-1))
        pairs = set(zip(found.tolist(), labels.reshape(-1).tolist(), strict=True))
        pairs.discard((0, 0))
        assert len(pairs) == count - 1
        assert len({ours for ours, _ in pairs}) == len({one for _, one in pairs})


def test_a_spiral_is_one_piece() -> None:
    side = 61
    spiral = np.zeros((side, side), bool)
    y, x, step_yx = 0, 0, (0, 1)
    spiral[0, 0] = True
    while True:
        for _ in range(2):
            ahead = y + 2 * step_yx[0], x + 2 * step_yx[1]
            inside = 0 <= ahead[0] < side and 0 <= ahead[1] < side
            if inside and not spiral[ahead]:
                break
            step_yx = step_yx[1], -step_yx[0]
        else:
            break
        for _ in range(2):
            y, x = y + step_yx[0], x + step_yx[1]
            spiral[y, x] = True

    _, on = Runs.both(spiral)

    assert on.starts.size > 500
    assert set(on.pieces(with_corners=False).tolist()) == {0}


def cleaned_plainly(mask: Mask, min_area_px: float, fillable: Mask | None) -> Mask:
    """As `clean` says, one component after the other."""
    result = mask.copy()
    count, labels = numbered(mask, 4)
    for number in range(1, count):
        if (labels == number).sum() < min_area_px:
            result[labels == number] = False
    # Edges are those of what there was before specks went.
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    may_fill = np.ones_like(mask) if fillable is None else fillable | mask
    if not rows.size:
        return result
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside, may_fill = result[box], may_fill[box]
    count, labels = numbered(~inside, 8)
    edge = {*labels[0], *labels[-1], *labels[:, 0], *labels[:, -1]}
    for number in set(range(1, count)) - edge:
        hole = labels == number
        if hole.sum() < min_area_px and may_fill[hole].all():
            inside[hole] = True
    return result


@settings(max_examples=300, deadline=None)
@given(
    mask=smooth_masks() | masks(),
    min_area_px=st.sampled_from([0, 1, 3, 3.5, 9, 500, 1e9]),
    taken_01=st.sampled_from([None, 0.0, 0.01, 0.3]),
    seed=st.integers(0, 1000),
)
def test_clean_is_that_of_plain_components(
    mask: Mask, min_area_px: float, taken_01: float | None, seed: int
) -> None:
    fillable = None
    if taken_01 is not None:
        fillable = np.random.default_rng(seed).random(mask.shape) >= taken_01

    found = clean(mask, min_area_px=min_area_px, fillable=fillable)

    expected = cleaned_plainly(mask, min_area_px, fillable)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scale", [1, 40])
def test_smooth_masks_have_few_runs_and_noise_many(scale: int) -> None:
    noise = np.random.default_rng(0).random((24, 24)) < 0.5

    off, on = Runs.both(np.kron(noise, np.ones((scale, scale), bool)).astype(bool))

    few = on.starts.size < _RAGGED_01 * noise.size * scale**2
    assert few == (scale > 1)
    assert off.lengths.sum() + on.lengths.sum() == noise.size * scale**2
