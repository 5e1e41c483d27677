"""A mask in, the connected parts that are worth drawing out.

Pure functions on numpy arrays: no label, no score, nothing of what a part will
be drawn as.

Two pixels of a part touch along an edge (4-connected). Two pixels of the
background touch along an edge or at a corner (8-connected). One of the two has
to be the wider rule, or a line of pixels that touch at corners would neither be
whole nor keep apart what lies on its two sides. The narrow one is the mask's:
two objects that meet in a corner stay two, and a part has one outline. So a hole
is a piece of background from which no step, straight or diagonal, leads out.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.regions.runs import Runs

_PART_CONNECTIVITY = 4
_HOLE_CONNECTIVITY = 8
# Runs a pixel, above which a number for every pixel is quicker and smaller.
_RAGGED_01 = 1 / 32


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """One connected part of a mask, or all of it, cut out.

    Attributes:
        box_yxyx: (y0, x0, y1, x1) in the mask, the smallest that holds a connected
            part; y1 and x1 are the first row and column after it.
        pixels: bool (y1 - y0, x1 - x0), True where the part is.
        area_px: how many pixels are True, at least 1.
    """

    box_yxyx: tuple[int, int, int, int]
    pixels: NDArray[np.bool_]
    area_px: int

    def on_canvas(self, size_yx: tuple[int, int]) -> NDArray[np.bool_]:
        """Put the part back where it was.

        Args:
            size_yx: (rows, columns) of the mask that it was cut from.

        Returns:
            bool (Y, X), True where the part is and nowhere else.

        Raises:
            ValueError: if the part's box does not fit into that size.
        """
        self.check_fits(size_yx)
        y0, x0, y1, x1 = self.box_yxyx
        canvas = np.zeros(size_yx, np.bool_)
        canvas[y0:y1, x0:x1] = self.pixels
        return canvas

    def moved_by(self, rows: int, columns: int) -> Self:
        """The same further down and to the right."""
        y0, x0, y1, x1 = self.box_yxyx
        box_yxyx = (y0 + rows, x0 + columns, y1 + rows, x1 + columns)
        return replace(self, box_yxyx=box_yxyx)

    def check_fits(self, size_yx: tuple[int, int]) -> None:
        """Refuse a size, (rows, columns), that the part's box does not fit into.

        Raises:
            ValueError: if it does not.
        """
        if self.box_yxyx[2] > size_yx[0] or self.box_yxyx[3] > size_yx[1]:
            raise ValueError(
                f"the part's box {self.box_yxyx} does not fit into {size_yx}; "
                f"pass the (rows, columns) of the mask that it was cut from"
            )


def clean(
    mask: NDArray[np.bool_],
    *,
    min_area_px: float,
    fillable: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Drop the specks of a mask, then fill its pinholes.

    Specks go first, so that a speck inside a pinhole does not keep it open. A
    part is therefore counted without its holes.

    Args:
        mask: bool (Y, X).
        min_area_px: parts, and holes, with fewer pixels than this go; those with
            exactly as many stay.
        fillable: bool (Y, X), where holes may be filled; None for everywhere. A
            hole with a single pixel elsewhere stays whole, since that pixel
            belongs to something else. The mask's own specks count as fillable.

    Returns:
        bool (Y, X), a new array. Cleaning it again changes nothing.
    """
    x0, y0, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    cleaned = np.zeros_like(mask)
    if not width:
        return cleaned
    # All parts and holes lie within the box, and what touches its edge is no hole.
    box = (slice(y0, y0 + height), slice(x0, x0 + width))
    inside = mask[box].copy()
    may_fill = None if fillable is None else fillable[box]
    off, on = Runs.both(inside)
    if on.starts.size > inside.size * _RAGGED_01:
        if may_fill is not None:
            may_fill = may_fill | inside
        kept = _without_specks(inside, min_area_px)
        cleaned[box] = kept | _pinholes(kept, min_area_px, may_fill)
        return cleaned
    specks = _specks(on, min_area_px)
    if specks.size:
        inside.reshape(-1)[specks] = False
        off, _ = Runs.both(inside)
    holes = _holes(off, min_area_px, may_fill, specks)
    inside.reshape(-1)[holes] = True
    cleaned[box] = inside
    return cleaned


def parts(mask: NDArray[np.bool_]) -> list[Part]:
    """Cut a mask into its connected parts.

    Args:
        mask: bool (Y, X).

    Returns:
        Every part, the largest first; of two as large, the one whose first pixel
        in reading order comes first. None for an empty mask.
    """
    if not mask.any():
        return []
    labels, stats = _components(mask, _PART_CONNECTIVITY)
    found = [_cut_out(labels, stats, number) for number in range(1, len(stats))]
    return sorted(found, key=_place_in_line)


def as_mask(
    shape: Part | NDArray[np.bool_], size_yx: tuple[int, int]
) -> NDArray[np.bool_]:
    """A part, or a mask, as a mask of the image's size: bool (Y, X).

    Raises:
        ValueError: if it is of another size.
    """
    if isinstance(shape, Part):
        return shape.on_canvas(size_yx)
    if shape.shape != size_yx:
        raise ValueError(
            f"the mask is {shape.shape} but the image {size_yx}; resize the mask, "
            f"since the editor would draw it at the size of the image"
        )
    return shape


def as_part(shape: Part | NDArray[np.bool_], size_yx: tuple[int, int]) -> Part:
    """A part that fits into an image of this size.

    Raises:
        ValueError: if it is a mask, or does not fit.
    """
    if not isinstance(shape, Part):
        raise ValueError(
            "a polygon or rectangle encloses one part, not a mask; cut the mask "
            "with `components.parts` and write a region for each"
        )
    shape.check_fits(size_yx)
    return shape


def percent(length_px: float, *, of: int) -> float:
    """At most 100, which the server's validator insists on: one rounding only."""
    return 100 * length_px / of


def _specks(on: Runs, min_area_px: float) -> NDArray[np.int64]:
    """The pixels of parts that are too small."""
    number = on.pieces(with_corners=False)
    small = np.bincount(number, on.lengths) < min_area_px
    return on.pixels(small[number])


def _holes(
    off: Runs,
    min_area_px: float,
    fillable: NDArray[np.bool_] | None,
    specks: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The pixels of holes that are to be filled; `specks` are fillable."""
    number = off.pieces(with_corners=True)
    small = np.bincount(number, off.lengths) < min_area_px
    small[number[off.at_edge()]] = False
    if fillable is not None and small.any():
        of_small = small[number]
        pixels = off.pixels(of_small)
        taken = ~fillable[np.unravel_index(pixels, off.size_yx)]
        taken &= ~np.isin(pixels, specks)
        small[number[of_small].repeat(off.lengths[of_small])[taken]] = False
    return off.pixels(small[number])


def _without_specks(mask: NDArray[np.bool_], min_area_px: float) -> NDArray[np.bool_]:
    labels, stats = _components(mask, _PART_CONNECTIVITY)
    small = stats[:, cv2.CC_STAT_AREA] < min_area_px
    small[0] = False  # Component 0 is what is not in the mask.
    return mask & ~small[labels] if small.any() else mask


def _pinholes(
    mask: NDArray[np.bool_],
    min_area_px: float,
    fillable: NDArray[np.bool_] | None,
) -> NDArray[np.bool_]:
    """The pixels of all holes that are to be filled."""
    labels, stats = _components(~mask, _HOLE_CONNECTIVITY)
    small = stats[:, cv2.CC_STAT_AREA] < min_area_px
    small[0] = False
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        small[edge] = False
    if not small.any():
        return np.zeros_like(mask)
    holes = small[labels]
    if fillable is not None:
        taken = holes & ~fillable
        if taken.any():
            small[labels[taken]] = False
            holes = small[labels]
    return np.asarray(holes, np.bool_)


def _components(
    mask: NDArray[np.bool_], connectivity: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Number of each pixel's component, 0 outside, and a row of counts for each."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=connectivity, ltype=cv2.CV_32S
    )
    return np.asarray(labels, np.int32), np.asarray(stats, np.int32)


def _cut_out(labels: NDArray[np.int32], stats: NDArray[np.int32], number: int) -> Part:
    x0, y0, width, height, area_px = map(int, stats[number])
    y1, x1 = y0 + height, x0 + width
    return Part(
        box_yxyx=(y0, x0, y1, x1),
        pixels=labels[y0:y1, x0:x1] == number,
        area_px=area_px,
    )


def _place_in_line(part: Part) -> tuple[Any, ...]:
    y0, x0 = part.box_yxyx[:2]
    return -part.area_px, y0, x0 + int(np.argmax(part.pixels[0]))
