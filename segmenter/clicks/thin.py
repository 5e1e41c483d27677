"""Clicks on thin things in, what of their surroundings is like them out.

Spokes, wires and leaves are half background in every cell, and in every window that
edges are found in. But the background is seen between them: a pixel that differs from
it by more than a share of what the purest pixels nearby do is more object than
background, which is alpha matting with the coverage read off the contrast. A click
into a hole says that the background shows through around it, a click on something thin
that what stands out there is the object. Axis letters: Y, X working pixels; y, x cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.clicks.canvas import Canvas
from segmenter.clicks.placing import PlacedClicks, distance_to_edge, falloff

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]

# Whose mean the background's colour is: what is not the object for certain, this near,
# and a negative click so many times over.
_BACKGROUND_CELLS: Final = 3.0
_SURE: Final = 0.5
_CLICK_WORTH: Final = 4.0
# A pixel is more object than background from this share of the purest difference
# within so many cells; and never for less than this in Lab, or so many deviations of
# the background's own colours.
_SHARE_01: Final = 0.4
_PURE_CELLS: Final = 1.75
_PURE_LEVEL: Final = -0.5
_LEAST_LAB: Final = 6.0
_LEAST_DEVIATIONS: Final = 2.0
# How steeply a difference becomes certain, around the share.
_STEEPNESS: Final = 3.0
# A click on the wrong side of the share moves it, to this much beyond itself and no
# further than so; it is not moved for what is all but the background's colour.
_BEYOND: Final = 0.8
_SHARE_MOVES: Final = (0.4, 1.5)
_MOVES_FROM_LAB: Final = 4.0
# How far a click is heard, in cells, and how far it adds what stands out: other things
# do so as well.
_REACH_CELLS: Final = 4.0
_REACH_ON_CELLS: Final = 1.8
# What is nowhere thicker than this, near a click, is thin: a solid thing may be of the
# background's colour within.
_THICK_CELLS: Final = 0.6
_THICK_WITHIN_CELLS: Final = 1.5
# What a click on a thin thing tells of its surroundings, beside one into a hole.
_WORTH_THIN: Final = 0.5
# Where the level was lower before any click, something else is known to be.
_NOT_BELOW: Final = -0.7
_NOT_BELOW_SLOPE: Final = 2.0
# Says less than this of its own place: not of these.
_LEAST_SAID: Final = 0.25
_SHARPENING: Final = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Contrast:
    """Against the background near each pixel.

    Attributes:
        difference: float32 (Y, X), in Lab.
        bar: float32 (Y, X), what it has to be.
    """

    difference: _Floats
    bar: _Floats

    def side(self, move: "_Floats | float") -> _Floats:
        """1 for object, -1 for background, with the bars so many times as high."""
        beyond = self.difference / (self.bar * np.float32(move)) - 1
        return np.asarray((beyond * _STEEPNESS).clip(-1, 1), np.float32)


class ThinThings:
    """What clicks have told of thin things, one after the other."""

    def __init__(self, level: _Floats, canvas: Canvas, cell_px: float) -> None:
        """Begin before the first click.

        Args:
            level: float32 (Y, X), as it is then.
            canvas: the working picture.
            cell_px: working pixels that a cell is wide.
        """
        self._canvas = canvas
        self._cell_px = cell_px
        self._possible = ((level - _NOT_BELOW) * _NOT_BELOW_SLOPE).clip(0, 1)
        self._heard = np.zeros_like(level)
        self._moves = np.zeros_like(level)
        # Where no click is near, the bar is where it was.
        self._weights = np.full_like(level, 0.05)

    def hear(self, level: _Floats, clicks: PlacedClicks) -> _Floats | None:
        """Take the newest of some clicks.

        Args:
            level: float32 (Y, X), before it.
            clicks: all up to it.

        Returns:
            float32 (Y, X) in [0, 1], its kernel: 1 at the click; None if it tells
            nothing of thin things.
        """
        at = (int(clicks.at[0][-1]), int(clicks.at[1][-1]))
        sign = float(clicks.signs[-1])
        contrast = self._contrast(level, clicks)
        move = _move_of_bar(contrast, at, sign)
        side = contrast.side(move)
        squares = self._canvas.distances(*at)
        near = falloff(squares, _REACH_CELLS * self._cell_px)
        self._moves += near * np.float32(np.log(move))
        self._weights += near
        is_thin = self._is_thin(side > 0, at)
        if side[at] * sign > 0 and level[at] * sign <= 0 and is_thin:
            worth = 1.0
            if sign > 0:
                edge_px = distance_to_edge(level, *at, sign)
                worth = _WORTH_THIN if edge_px <= self._cell_px / 2 else 0.0
            self._heard = np.maximum(self._heard, near * np.float32(worth))
        if side[at] * sign <= _LEAST_SAID or not is_thin:
            return None
        kernel = (side / side[at]).clip(0, 1)
        if sign < 0:
            kernel *= near
        else:
            kernel *= falloff(squares, _REACH_ON_CELLS * self._cell_px)
            kernel *= self._possible * _parts_with(side > 0, [at])
        kernel[at] = 1
        return np.asarray(kernel, np.float32)

    def sharpen(self, sharp: _Floats, level: _Floats, clicks: PlacedClicks) -> _Floats:
        """Give back what smoothing took from thin things: float32 (Y, X).

        Args:
            sharp: float32 (Y, X), the level on the picture's edges.
            level: float32 (Y, X), after all clicks, before that.
            clicks: all of them.
        """
        if not self._heard.any():
            return sharp
        move = np.exp(self._moves / self._weights)
        side = self._contrast(level, clicks).side(move) * self._heard
        # Another thing stands out as well; what hangs together with the object is it.
        found = sharp + np.float32(_SHARPENING) * side * self._possible > 0
        own = _parts_with(found, np.argwhere(sharp > 0))
        side = np.where(side > 0, side * self._possible * own, side)
        return np.asarray(sharp + np.float32(_SHARPENING) * side, np.float32)

    def _contrast(self, level: _Floats, clicks: PlacedClicks) -> _Contrast:
        """Of every pixel to the mean of the background around it."""
        weights = (-level / np.float32(_SURE)).clip(0, 1)
        weights[clicks.at] = np.where(clicks.signs < 0, np.float32(_CLICK_WORTH), 0)
        squares, variance = self._differ(weights)
        # Once more, with less of what is of another colour: objects beside this one.
        weights /= 1 + squares / np.maximum(variance, np.float32(_LEAST_LAB**2))
        squares, variance = self._differ(weights)
        difference = np.sqrt(squares)
        brush = np.ones((self._window(_PURE_CELLS),) * 2, np.uint8)
        pure = cv2.dilate(np.where(level > _PURE_LEVEL, difference, 0), brush)
        bar = np.maximum(_SHARE_01 * pure, _LEAST_DEVIATIONS * np.sqrt(variance))
        return _Contrast(
            difference=difference,
            bar=np.maximum(bar, np.float32(_LEAST_LAB)).astype(np.float32),
        )

    def _differ(self, weights: _Floats) -> tuple[_Floats, _Floats]:
        """Squared difference to the weighted mean nearby, and its own mean there."""
        lab = self._canvas.lab
        sums = self._around(np.dstack([lab * weights[..., None], weights]))
        total = np.maximum(sums[..., 3:], np.float32(1e-4))
        away = lab - self._at_pixels(sums[..., :3] / total)
        squares = np.asarray(np.einsum("yxc,yxc->yx", away, away), np.float32)
        own = self._around(squares * weights).reshape(total.shape) / total
        return squares, self._at_pixels(own).reshape(squares.shape)

    def _around(self, values: _Floats) -> _Floats:
        """A Gaussian so wide that cells are fine enough: float32 (y, x, ...)."""
        size = values.shape[1::-1]
        cells = tuple(max(1, round(side / self._cell_px)) for side in size)
        small = cv2.resize(values, cells, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.GaussianBlur(small, (0, 0), _BACKGROUND_CELLS))

    def _at_pixels(self, cells: _Floats) -> _Floats:
        return np.asarray(cv2.resize(cells, self._canvas.size_yx[::-1]))

    def _is_thin(self, found: _Bools, at: tuple[int, int]) -> bool:
        """Whether what was found near a pixel is nowhere thick."""
        depths = cv2.distanceTransform(found.astype(np.uint8), cv2.DIST_L2, 5)
        reach = round(_THICK_WITHIN_CELLS * self._cell_px)
        rows, columns = (slice(max(0, n - reach), n + reach + 1) for n in at)
        return bool(depths[rows, columns].max() <= _THICK_CELLS * self._cell_px)

    def _window(self, cells: float) -> int:
        """Pixels of a window that has a middle."""
        return max(3, round(cells * self._cell_px) | 1)


def _move_of_bar(contrast: _Contrast, at: tuple[int, int], sign: float) -> float:
    """How many times as high a bar has to be for a click to be right."""
    ratio = float(contrast.difference[at] / contrast.bar[at])
    lowest, highest = _SHARE_MOVES
    if sign < 0:
        return min(highest, max(1.0, ratio / _BEYOND))
    if contrast.difference[at] <= _MOVES_FROM_LAB:
        return 1.0
    return max(lowest, min(1.0, ratio * _BEYOND))


def _parts_with(
    found: _Bools, seeds: Sequence[Sequence[int]] | NDArray[np.intp]
) -> _Bools:
    """The parts, and a pixel around them, that hold a seed: bool (Y, X)."""
    brush = np.ones((3, 3), np.uint8)
    grown = cv2.dilate(found.astype(np.uint8), brush)
    _, parts = cv2.connectedComponents(grown, connectivity=8)
    rows, columns = np.asarray(seeds, np.intp).reshape(-1, 2).T
    held = np.unique(parts[rows, columns])
    return np.asarray(np.isin(parts, held[held > 0]))
