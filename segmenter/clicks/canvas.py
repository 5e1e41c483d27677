"""A picture in, what clicks need to know of its colours out.

Everything but the last step of a click happens on a working picture of bounded size.
The last few are kept, so that a second click on one finds it ready. Axis letters:

    Y, X  working pixels
    b  bins of place and colour: two of place, three of colour
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.masks import Guide

_Floats = NDArray[np.float32]

# Longest side of the working picture.
_WORK_PX: Final = 512
# Working pictures that are kept, 20 MB each at most.
_KEPT: Final = 2
# Of neighbourhoods that edges are found in: less than for whole maps, because what is
# clicked is smaller.
_RADIUS_CELLS: Final = 1.5
# Bins along the long side, and of lightness, green to red and blue to yellow. Colours
# beyond the span of the last two are in the outermost bin.
_PLACES: Final = 4
_COLOURS: Final = 20
_SPAN: Final = 160


class Canvas:
    """A working picture."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """Take the working picture: uint8 (Y, X, 3)."""
        self.size_yx: Final = (pixels.shape[0], pixels.shape[1])
        self.guide: Final = Guide(pixels, radius_cells=_RADIUS_CELLS)
        # As masks are cut with.
        self.guide_of_maps: Final = Guide(pixels)
        lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        self.lab: Final[_Floats] = np.asarray(lab, np.float32)
        rows, columns = np.mgrid[: self.size_yx[0], : self.size_yx[1]]
        self.rows: Final[_Floats] = rows.astype(np.float32)
        self.columns: Final[_Floats] = columns.astype(np.float32)
        self._shape, self._bins = self._sort_into_bins()
        self._counts = self._blurred_bins(np.ones(self.size_yx, np.float32))

    def mean_of_alike(self, values: _Floats) -> _Floats:
        """Mean over pixels nearby that have the same colour: float32 (Y, X).

        A bilateral grid (Chen, Paris & Durand, SIGGRAPH 2007), read at the nearest
        bin: what is of one colour is taken together over further than any window of
        the guided filter, and through gaps.
        """
        means = self._blurred_bins(values) / np.maximum(self._counts, 1e-6)
        return np.asarray(means[self._bins], np.float32)

    def distances(self, row: int, column: int) -> _Floats:
        """Squared distance of each pixel to one of them, in pixels: float32 (Y, X)."""
        return (self.rows - np.float32(row)) ** 2 + (
            self.columns - np.float32(column)
        ) ** 2

    def differences(self, row: int, column: int) -> _Floats:
        """Squared difference in colour to one pixel, in Lab: float32 (Y, X)."""
        away = self.lab - self.lab[row, column]
        return np.asarray(np.einsum("yxc,yxc->yx", away, away), np.float32)

    def _sort_into_bins(self) -> tuple[tuple[int, ...], NDArray[np.intp]]:
        """How many bins there are of each kind, and the one of each pixel."""
        side_px = max(self.size_yx) / _PLACES
        shape = (
            int(-(-self.size_yx[0] // side_px)),
            int(-(-self.size_yx[1] // side_px)),
            _COLOURS,
            _COLOURS,
            _COLOURS,
        )
        lightness, *hues = np.moveaxis(self.lab, 2, 0)
        bins = [
            self.rows / side_px,
            self.columns / side_px,
            lightness * (_COLOURS / 100),
            *(hue * (_COLOURS / _SPAN) + _COLOURS / 2 for hue in hues),
        ]
        index = np.ravel_multi_index(
            tuple(one.astype(np.intp) for one in bins), shape, mode="clip"
        )
        return shape, index

    def _blurred_bins(self, values: _Floats) -> _Floats:
        """Sum of each bin, blurred along every axis: float32 (b,)."""
        sums = np.bincount(
            self._bins.ravel(), values.ravel(), minlength=int(np.prod(self._shape))
        )
        grid = sums.astype(np.float32).reshape(self._shape)
        for axis in range(grid.ndim):
            grid = _blurred(grid, axis)
        return grid.ravel()


def make_canvas(pixels: NDArray[np.uint8]) -> Canvas:
    """The working picture of an image: uint8 (rows, columns, 3) in."""
    rows, columns = pixels.shape[:2]
    shrink = min(1.0, _WORK_PX / max(rows, columns))
    work_yx = max(1, round(rows * shrink)), max(1, round(columns * shrink))
    work = cv2.resize(pixels, work_yx[::-1], interpolation=cv2.INTER_AREA)
    return _canvas_of(work.tobytes(), work_yx)


@lru_cache(maxsize=_KEPT)
def _canvas_of(data: bytes, size_yx: Sequence[int]) -> Canvas:
    return Canvas(np.frombuffer(data, np.uint8).reshape(*size_yx, 3))


def _blurred(grid: _Floats, axis: int) -> _Floats:
    """A quarter to each neighbour along one axis; over the ends nothing comes in."""
    moved = np.moveaxis(grid, axis, 0)
    blurred = moved * np.float32(0.5)
    blurred[1:] += np.float32(0.25) * moved[:-1]
    blurred[:-1] += np.float32(0.25) * moved[1:]
    return np.moveaxis(blurred, 0, axis)
