"""A picture in, what clicks need to know of its colours out.

Everything but the last step of a click happens on a working picture of bounded size.
The last few are kept, so that a second click on one finds it ready. Axis letters:

    Y, X  working pixels
    b  bins of place and colour that hold a pixel: two axes of place, three of colour
"""

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.masks import Guide

if TYPE_CHECKING:
    from segmenter.clicks.evidence import Evidence

_Floats = NDArray[np.float32]

# Longest side of the working picture.
_WORK_PX: Final = 512
# Working pictures that are kept in memory, of 40 MB each at most (2.5 MB at 128 px),
# and as much again of the clicks on them.
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
    """A working picture. Whoever uses it holds its lock: guides remember sizes."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """Take the working picture: uint8 (Y, X, 3)."""
        self.lock: Final = threading.Lock()
        self.size_yx: Final = (pixels.shape[0], pixels.shape[1])
        self.guide: Final = Guide(pixels, radius_cells=_RADIUS_CELLS)
        # As masks are cut with.
        self.guide_of_maps: Final = Guide(pixels)
        # What one label's maps say of this picture, as the last one asked for it.
        self.levels: Final[dict[Hashable, _Floats]] = {}
        # What clicks on this picture have told, as the last ones asked for it.
        self.evidence: Final[dict[Hashable, Evidence]] = {}
        lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        self.lab: Final[_Floats] = np.asarray(lab, np.float32)
        rows, columns = np.mgrid[: self.size_yx[0], : self.size_yx[1]]
        self.rows: Final[_Floats] = rows.astype(np.float32)
        self.columns: Final[_Floats] = columns.astype(np.float32)
        self._bins, self._pairs = self._sort_into_bins()
        self._counts = self._gathered(np.ones(self.size_yx, np.float32))

    def mean_of_alike(self, values: _Floats) -> _Floats:
        """Mean over pixels nearby that have the same colour: float32 (Y, X).

        A bilateral grid (Chen, Paris & Durand, SIGGRAPH 2007), read at the nearest
        bin: what is of one colour is taken together over further than any window of
        the guided filter, and through gaps.
        """
        means = self._gathered(values) / self._counts
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

    def _sort_into_bins(self) -> tuple[NDArray[np.intp], "_Pairs"]:
        """The bin of each pixel, among those that have any; and what they share."""
        side_px = max(self.size_yx) / _PLACES
        shape = (
            int(-(-self.size_yx[0] // side_px)),
            int(-(-self.size_yx[1] // side_px)),
            _COLOURS,
            _COLOURS,
            _COLOURS,
        )
        lightness, *hues = np.moveaxis(self.lab, 2, 0)
        values = [
            self.rows / side_px,
            self.columns / side_px,
            lightness * (_COLOURS / 100),
            *(hue * (_COLOURS / _SPAN) + _COLOURS / 2 for hue in hues),
        ]
        places = np.ravel_multi_index(
            tuple(one.astype(np.intp) for one in values), shape, mode="clip"
        )
        used, bins = np.unique(places, return_inverse=True)
        return bins.reshape(self.size_yx), _pair_neighbours(used, shape)

    def _gathered(self, values: _Floats) -> _Floats:
        """Sum over each bin and its neighbours, by weight: float32 (b,)."""
        own = np.bincount(
            self._bins.ravel(), values.ravel(), minlength=self._pairs.count
        )
        shared = np.bincount(
            self._pairs.to,
            self._pairs.weight * own[self._pairs.of],
            minlength=self._pairs.count,
        )
        return shared.astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Bins that are next to each other, and each with itself.

    Attributes:
        to: of each pair the one that takes.
        of: the one that gives.
        weight: float32, how much of it: a half of the bin at the same place, a quarter
            of either neighbour, along each axis.
        count: of bins.
    """

    to: NDArray[np.intp]
    of: NDArray[np.intp]
    weight: _Floats
    count: int


def _pair_neighbours(used: NDArray[np.intp], shape: tuple[int, ...]) -> _Pairs:
    """Find the used bins around each used bin; most of a grid is empty."""
    number = np.full(tuple(side + 2 for side in shape), -1, np.int32)
    at = np.stack(np.unravel_index(used, shape)) + 1
    number[tuple(at)] = np.arange(len(used))
    to, of, weights = [], [], []
    for offset in product((-1, 0, 1), repeat=len(shape)):
        found = number[tuple(at + np.array(offset)[:, None])]
        giving = np.flatnonzero(found >= 0)
        to.append(giving)
        of.append(found[giving].astype(np.intp))
        weight = 0.5 ** (len(shape) + np.abs(offset).sum())
        weights.append(np.full(len(giving), weight, np.float32))
    return _Pairs(
        to=np.concatenate(to),
        of=np.concatenate(of),
        weight=np.concatenate(weights),
        count=len(used),
    )


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
