"""A part of a mask in, the one ring of points that encloses it out; and back.

Pure functions. Points are (x, y) on the corners of pixels: the pixel in column c
and row r covers x from c to c + 1 and y from r to r + 1.

    trace     the exact outline: one shell and any number of holes, each a ring
              that meets no corner twice; where two of them meet, they meet in
              corners only, so that they are a valid polygon
    simplify  leave corners out, within the tolerance, keeping the polygon valid
    cut open  make one ring of shell and holes (`polygon_holes.py`)
    fill      the way back: the pixels whose centre a ring winds around
"""

import math
from typing import TypeAlias

import numpy as np
import shapely  # type: ignore[import-untyped]
from numpy.typing import NDArray

from backend.errors import BadMask
from backend.regions.components import Part
from backend.regions.polygon_holes import bridge_holes, signed_area

Ring: TypeAlias = NDArray[np.int64]

# Nearer than this, no corner of a pixel is beside a line between two others.
_MOVES_NOTHING_PX = 1e-6
# GEOS takes time with the square of the holes: a second for these, minutes for ten
# times as many. So many are noise, of which no corner is worth the wait.
_MOST_RINGS = 10_000
# Where edges and rows cross, of which so many are looked at together.
_CROSSINGS_AT_ONCE = 2**21
# Percent of the image's size; beyond them numbers lose what pixels need.
_FARTHEST_PERCENT = 1e6


def outline(part: Part, *, tolerance_px: float) -> list[tuple[float, float]]:
    """Draw one closed ring around a part, its holes left out.

    The ring is the part's outline with corners left out, and for each hole a
    bridge: a way to the hole and the same way back, which encloses nothing. No
    point of the part's true outline, its holes' included, is farther than the
    tolerance from the ring, and no point of the ring but those on bridges is
    farther than the tolerance from the true outline. So a pixel whose centre is
    farther than that from the outline is inside the ring exactly if it is in the
    part. With a tolerance of 0 all pixels are.

    Inside means a winding number other than 0, the rule by which a browser fills
    a path; an even-odd fill gives the same, since no bridge encloses anything.

    Args:
        part: what to enclose.
        tolerance_px: how far the ring may pass from the outline, in pixels. A
            part smaller than that becomes a triangle or more, never nothing. A
            part with 10 000 holes keeps all its corners.

    Returns:
        At least 3 points (x, y), in the mask that the part was cut from, the
        first not repeated at the end. All have whole numbers for coordinates
        but the ends of bridges, of which y is a whole number.

    Raises:
        ValueError: if the tolerance is negative or not a number.
    """
    if not (tolerance_px >= 0 and math.isfinite(tolerance_px)):
        raise ValueError(f"tolerance_px is {tolerance_px}; it must be 0 or more")
    y0, x0 = part.box_yxyx[:2]
    ring = bridge_holes(_simplified(_traced(part.pixels), tolerance_px))
    return [(x + x0, y + y0) for x, y in ring]


def to_pixels(
    points_percent: NDArray[np.float64], size_yx: tuple[int, int]
) -> NDArray[np.float64]:
    """Corners as Label Studio stores them, in pixels.

    Args:
        points_percent: float64 (n, 2), (x, y) in percent of columns and rows.
        size_yx: (rows, columns) of the image.

    Raises:
        BadMask: if there are fewer than three, or a number is none.
    """
    if points_percent.ndim != 2 or points_percent.shape[1] != 2:
        raise BadMask("The region's corners are no list of [x, y]. Draw it anew.")
    if len(points_percent) < 3:
        raise BadMask(
            f"The region has {len(points_percent)} corners and so no inside; close "
            f"the polygon, or remove it."
        )
    if not (np.abs(points_percent) <= _FARTHEST_PERCENT).all():  # nor NaN
        raise BadMask("The region has corners far from the image. Draw it anew.")
    rows, columns = size_yx
    corners: NDArray[np.float64] = points_percent * np.array([columns, rows]) / 100
    return corners


def fill(ring: NDArray[np.float64], size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Paint the inside of a ring.

    A pixel is inside if the ring winds around its centre, whichever way and however
    often: the rule by which a browser fills a path. What lies beside the image is
    left out. Of a ring that `outline` drew with a tolerance of 0, it is the part.

    Args:
        ring: float64 (n, 2), points (x, y) in pixels, the first not repeated.
        size_yx: (rows, columns) of the image.

    Returns:
        bool (Y, X).
    """
    inside: NDArray[np.bool_] = winding_numbers(ring, size_yx) != 0
    return inside


def winding_numbers(
    ring: NDArray[np.float64], size_yx: tuple[int, int]
) -> NDArray[np.int32]:
    """How often a ring, as for `fill`, runs around the centre of each pixel.

    Returns:
        int32 (Y, X), positive for clockwise on the screen.
    """
    rows, columns = size_yx
    # How the winding number changes from the pixel on the left.
    turns = np.zeros((rows, columns + 1), np.int32)
    edges = np.hstack([ring, np.roll(ring, -1, axis=0)])
    step = max(1, _CROSSINGS_AT_ONCE // rows)
    for start in range(0, len(edges), step):
        _add_turns(turns, edges[start : start + step])
    np.cumsum(turns, axis=1, out=turns)
    return turns[:, :columns]


def _add_turns(turns: NDArray[np.int32], edges: NDArray[np.float64]) -> None:
    """Mark where each edge, (x0, y0, x1, y1), crosses the middle of a row."""
    rows, columns = turns.shape[0], turns.shape[1] - 1
    x0, y0, x1, y1 = edges.T
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, rows).astype(np.int64)
    end = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, rows).astype(np.int64)
    counts = end - first
    edge = np.repeat(np.arange(len(edges)), counts)
    nth = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    ys = first[edge] + nth

    along = (ys + 0.5 - y0[edge]) / (y1[edge] - y0[edge])
    xs = np.ceil(x0[edge] + (x1[edge] - x0[edge]) * along - 0.5)
    columns_at = np.clip(xs, 0, columns).astype(np.int64)
    np.add.at(turns, (ys, columns_at), np.where(y0 < y1, 1, -1)[edge])


def _traced(pixels: NDArray[np.bool_]) -> list[Ring]:
    """The shell and then the holes of a connected part, each int64 (n, 2)."""
    xs, ys, after = _corners(pixels)
    corner_ids = ys * (pixels.shape[1] + 1) + xs
    loops = _loops(corner_ids.tolist(), after.tolist())
    rings = [np.stack([xs[loop], ys[loop]], axis=1) for loop in loops]
    # What encloses all others is the largest.
    return sorted(rings, key=lambda ring: -abs(signed_area(ring)))


def _corners(
    pixels: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Where the outline turns, and which turn comes after which.

    Turns in one row of the grid of corners are joined in pairs by the horizontal
    edges, turns in one column by the vertical ones. A corner at which two pixels
    meet diagonally is two turns; whichever way those are joined, the edges do
    not cross there.

    Returns:
        x, y and successor, each int64 (n,). Turn i and i ^ 1 are the ends of a
        horizontal edge, and the successor of i is the other end of the vertical
        edge that begins at i ^ 1.
    """
    padded = np.pad(pixels, 1)
    upper, lower = padded[:-1], padded[1:]
    left, right = upper[:, :-1] ^ lower[:, :-1], upper[:, 1:] ^ lower[:, 1:]
    crossing = left & right & (upper[:, :-1] ^ upper[:, 1:])
    ys, xs = np.nonzero((left ^ right) | crossing)
    twice = 1 + crossing[ys, xs]
    ys, xs = np.repeat(ys, twice), np.repeat(xs, twice)

    by_column = np.lexsort((ys, xs))
    below = np.empty_like(by_column)
    below[by_column[0::2]] = by_column[1::2]
    below[by_column[1::2]] = by_column[0::2]
    return xs, ys, below[np.arange(len(xs)) ^ 1]


def _loops(corner_ids: list[int], after: list[int]) -> list[list[int]]:
    """Follow the turns around, and part every loop where it meets itself."""
    loops: list[list[int]] = []
    seen = bytearray(len(after))
    for start in range(len(after)):
        turn = start
        path: list[int] = []
        at: dict[int, int] = {}
        while not seen[turn]:
            for end in (turn, turn ^ 1):
                seen[end] = 1
                met = at.get(corner_ids[end])
                if met is not None:
                    loops.append(path[met:])
                    for parted in path[met:]:
                        del at[corner_ids[parted]]
                    del path[met:]
                at[corner_ids[end]] = len(path)
                path.append(end)
            turn = after[turn]
        if path:
            loops.append(path)
    return loops


def _simplified(rings: list[Ring], tolerance_px: float) -> list[Ring]:
    """Leave out corners where that moves no ring by more than the tolerance.

    Each ring goes to GEOS as a line that ends where it starts: of a polygon it
    would leave out that corner too, after the others, and move by up to twice
    the tolerance what it has moved already.

    GEOS 3.11 (shapely 2.0) puts a hole outside the shell once in a hundred noisy
    masks, at a large tolerance; a smaller one helps. Later versions look out.
    """
    if len(rings) > _MOST_RINGS:
        return rings
    lines = shapely.MultiLineString([[*ring, ring[0]] for ring in rings])
    while tolerance_px > _MOVES_NOTHING_PX:
        simple = shapely.simplify(lines, tolerance_px, preserve_topology=True)
        fewer = [
            np.asarray(line.coords[:-1], np.int64) for line in shapely.get_parts(simple)
        ]
        if shapely.Polygon(fewer[0], fewer[1:]).is_valid:
            return fewer
        tolerance_px /= 2
    return rings
