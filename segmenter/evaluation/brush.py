"""What it costs to mend a mask by hand: a simulated brush. Pure; bool masks only.

The annotator sees the truth and is greedy. The largest connected error is next; a disc
is drawn along its skeleton, adding or erasing, as far and with the radius that leaves
the fewest wrong pixels. This is repeated until the mask is good enough. Nothing is
left to chance: the same masks give the same strokes. Axis letters: Y, X image pixels.

A mask where the truth has none is not erased but deleted, which is one stroke.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

GOOD_IOU: Final = 0.95
"""At which the annotator is content."""

MOST_STROKES: Final = 100
"""After which the annotator gives up. Of 124 objects of pocket training scenes, none
needed more than 67 from blank."""

# A skeleton's branches run into every corner of a shape, where no person would push a
# large brush. Lines that are tried: as far as so much of the largest disc fits, from a
# dab at the deepest pixel to the whole skeleton.
_DEPTHS_01: Final = (1.0, 0.75, 0.5, 0.25, 0.0)

_Bools = NDArray[np.bool_]
_Window = tuple[slice, slice]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mended:
    """A mask after the brush.

    Attributes:
        mask: bool (Y, X).
        n_strokes: that it took, 0 to the limit.
        length_px: of their lines, in pixels of the skeletons: at least 1 a stroke, 0
            where the mask was deleted. A branch that is walked back counts once.
        is_good: whether the limit sufficed.
    """

    mask: _Bools
    n_strokes: int
    length_px: int
    is_good: bool


def mend(
    mask: _Bools,
    truth: _Bools,
    *,
    counted: _Bools | None = None,
    good_iou: float = GOOD_IOU,
    most_strokes: int = MOST_STROKES,
) -> Mended:
    """Paint and erase until a mask is good.

    Args:
        mask: bool (Y, X), what is there; all False is a blank picture.
        truth: bool (Y, X).
        counted: bool (Y, X), pixels that matter; None for all. Painting any other is
            neither right nor wrong.
        good_iou: in (0, 1], when to stop.
        most_strokes: when to give up.

    Raises:
        ValueError: if the sizes differ.
    """
    counted = np.ones_like(truth) if counted is None else counted
    if not mask.shape == truth.shape == counted.shape:
        raise ValueError(
            f"The mask is {mask.shape} pixels, the truth {truth.shape} and what counts "
            f"{counted.shape}; they must be of one size."
        )
    mask, truth = mask & counted, truth & counted
    if mask.any() and not truth.any() and most_strokes > 0:
        return Mended(mask=truth, n_strokes=1, length_px=0, is_good=True)
    n_strokes = length_px = 0
    while not (is_good := iou_of(mask, truth) >= good_iou) and n_strokes < most_strokes:
        mask, line_px = _stroke(mask, truth, counted)
        n_strokes, length_px = n_strokes + 1, length_px + line_px
    return Mended(mask=mask, n_strokes=n_strokes, length_px=length_px, is_good=is_good)


def iou_of(mask: _Bools, truth: _Bools) -> float:
    """Pixels of both among pixels of either, 1 where both are empty."""
    union = np.count_nonzero(mask | truth)
    return float(np.count_nonzero(mask & truth) / union) if union else 1.0


def _stroke(mask: _Bools, truth: _Bools, counted: _Bools) -> tuple[_Bools, int]:
    """The mask after the next stroke, and the length of its line in pixels.

    The smallest disc lies within the error, so that wrong pixels grow fewer always.
    """
    n_missing, missing = _largest_part(truth & ~mask)
    n_surplus, surplus = _largest_part(mask & ~truth)
    adds = n_missing >= n_surplus
    part = missing if adds else surplus
    depths = _depths(part)
    most_px = int(np.ceil(np.sqrt(depths.max())))
    window = _window(part, margin_px=most_px)
    changed = counted[window] & (mask[window] != adds)
    # +1 for a pixel that becomes right, -1 for one that becomes wrong.
    gains = np.where(changed, np.where(truth[window] == adds, 1, -1), 0)
    best_gain, line_px, painted = 0, 0, changed
    for line in _lines(part[window], depths[window]):
        steps = np.ceil(np.sqrt(squared_distances(line))).astype(np.int64)
        by_radius = np.bincount(steps.ravel(), gains.ravel())[: most_px + 1].cumsum()
        if by_radius.max() > best_gain:
            best_gain, line_px = by_radius.max(), int(np.count_nonzero(line))
            painted = changed & (steps <= by_radius.argmax())
    after = mask.copy()
    after[window][painted] = adds
    return after, line_px


def _largest_part(wrong: _Bools) -> tuple[int, _Bools]:
    """The largest connected part, the first of equals, and its pixels' number."""
    _, parts, table, _ = cv2.connectedComponentsWithStats(
        wrong.astype(np.uint8), connectivity=8
    )
    sizes = table[1:, cv2.CC_STAT_AREA]
    if not sizes.size:
        return 0, wrong
    number = 1 + int(sizes.argmax())
    return int(table[number, cv2.CC_STAT_AREA]), np.asarray(parts == number)


def _window(part: _Bools, *, margin_px: int) -> _Window:
    """The box around a part, and so much more as the picture has."""
    rows, columns = (np.flatnonzero(part.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(0, rows[0] - margin_px), rows[-1] + margin_px + 1),
        slice(max(0, columns[0] - margin_px), columns[-1] + margin_px + 1),
    )


def _lines(part: _Bools, depths: NDArray[np.int64]) -> Iterator[_Bools]:
    """Where the brush's centre may go: along the skeleton, shortest line first."""
    along = np.where(skeleton(part), depths, 0)
    deepest = int(along.argmax())
    for depth_01 in _DEPTHS_01:
        deep = (along > 0) & (along >= depth_01**2 * along.flat[deepest])
        _, pieces = cv2.connectedComponents(deep.astype(np.uint8), connectivity=8)
        yield np.asarray(pieces == pieces.flat[deepest])


def _depths(part: _Bools) -> NDArray[np.int64]:
    """How far each pixel lies from what is no part; beyond the picture nothing is."""
    return squared_distances(np.pad(~part, 1, constant_values=True))[1:-1, 1:-1]


def squared_distances(targets: _Bools) -> NDArray[np.int64]:
    """Each pixel's distance from the nearest of the targets: pixels, squared.

    Squared they are whole numbers. OpenCV's are not the same from call to call: the
    last bit depends on where the array lies in memory (seen in 4.12), and equals, of
    which the first is taken, would no longer be equal.
    """
    found = cv2.distanceTransform(
        (~targets).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    return np.asarray(np.rint(np.square(found, dtype=np.float64)), np.int64)


def skeleton(part: _Bools) -> _Bools:
    """Thin to lines of one pixel, each connected part staying one: bool (Y, X).

    Guo and Hall's first algorithm (CACM 32, 1989), in two alternating passes. OpenCV
    has it in its contrib modules only.
    """
    line = np.pad(part, 1).astype(np.uint8)
    while True:
        before = line
        for removable in _REMOVABLE:
            codes = cv2.filter2D(
                line, cv2.CV_8U, _NEIGHBOUR_BITS, borderType=cv2.BORDER_CONSTANT
            )
            line = line & ~removable[codes] & 1
        if np.array_equal(line, before):
            return np.asarray(line[1:-1, 1:-1] > 0)


# The eight neighbours' bits, clockwise from the upper one.
_NEIGHBOUR_BITS: Final = np.array(
    [[128, 1, 2], [64, 0, 4], [32, 16, 8]], dtype=np.float32
)


def _removable(code: int, *, is_first: bool) -> bool:
    """Whether a pixel with these neighbours goes in the first or the second pass."""
    p2, p3, p4, p5, p6, p7, p8, p9 = (bool(code >> bit & 1) for bit in range(8))
    pairs = ((p2, p3, p4), (p4, p5, p6), (p6, p7, p8), (p8, p9, p2))
    n_arcs = sum(not side and (corner or other) for side, corner, other in pairs)
    n_neighbours = min(
        (p9 or p2) + (p3 or p4) + (p5 or p6) + (p7 or p8),
        (p2 or p3) + (p4 or p5) + (p6 or p7) + (p8 or p9),
    )
    kept = (p2 or p3 or not p5) and p4 if is_first else (p6 or p7 or not p9) and p8
    return n_arcs == 1 and 2 <= n_neighbours <= 3 and not kept


_REMOVABLE: Final = tuple(
    np.array([_removable(code, is_first=first) for code in range(256)], np.uint8)
    for first in (True, False)
)
