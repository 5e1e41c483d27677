"""Masks to draw, and the rule by which browsers fill a ring."""

import numpy as np
from hypothesis import strategies as st


def picture(*rows: str) -> np.ndarray:
    """A mask as it looks: `#` is on."""
    return np.array([[character == "#" for character in row] for row in rows])


def wavy(rows: int, columns: int) -> np.ndarray:
    """A smooth object with one hole, as score maps make them."""
    y, x = np.mgrid[:rows, :columns]
    y, x = y / rows - 0.5, x / columns - 0.5
    angle = np.arctan2(y, x)
    edge = 0.35 + 0.05 * np.sin(7 * angle) + 0.02 * np.sin(23 * angle)
    hole = 0.1 + 0.02 * np.sin(5 * angle)
    return (np.hypot(y, x) < edge) & (np.hypot(y - 0.05, x + 0.04) >= hole)


@st.composite
def masks(draw: st.DrawFn, *, longest_px: int = 14) -> np.ndarray:
    """Any mask: boxes that toggle each other, then single pixels that toggle."""
    side = st.integers(1, longest_px)
    mask = np.zeros((draw(side), draw(side)), bool)
    bounds = [st.integers(0, length) for length in mask.shape]
    for y0, y1, x0, x1 in draw(
        st.lists(st.tuples(bounds[0], bounds[0], bounds[1], bounds[1]), max_size=6)
    ):
        mask[y0:y1, x0:x1] ^= True
    for y, x in draw(st.lists(st.tuples(*bounds), max_size=20)):
        mask[y : y + 1, x : x + 1] ^= True
    return mask


@st.composite
def noise(draw: st.DrawFn, *, longest_px: int = 14) -> np.ndarray:
    """Independent pixels: parts full of holes that touch at their corners."""
    side = st.integers(1, longest_px)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.random((draw(side), draw(side))) < draw(st.floats(0.3, 0.9))


def winding_numbers(
    ring: list[tuple[float, float]], size_yx: tuple[int, int]
) -> np.ndarray:
    """How often a ring runs around the centre of each pixel.

    int (Y, X), positive for clockwise on the screen. A browser fills what is not
    0 here, other programs what is odd.
    """
    y, x = np.mgrid[: size_yx[0], : size_yx[1]] + 0.5
    turns = np.zeros(size_yx, int)
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        turns += (y0 <= y) & (y < y1) & (side > 0)
        turns -= (y1 <= y) & (y < y0) & (side < 0)
    return turns
