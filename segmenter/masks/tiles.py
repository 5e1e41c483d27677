"""A large image and coefficients of a small one in, maps at image size out, in tiles.

What `boundaries.Guide.follow` computes of a whole picture, a few thousand pixels at a
time: they stay in the processor's cache, nothing of the picture's size is allocated,
and bounds tell beforehand which tiles are worth the work. Values are those of
`Guide.follow` but for rounding, about 1e-6. Pure; no torch.

Axis letters: Y, X image pixels; y, x pixels of the small image; tiles lie in B bands of
rows and K columns.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Side of a tile, about. Smaller ones are bounded more closely and cost more calls.
_TILE_SIDE_PX: Final = 32
# At once: four planes of neighbouring tiles fit the second-level cache.
_MOST_PX: Final = 1 << 15
# Of rounding, as a share of the largest sum that could occur.
_ROUNDING: Final = 1e-5

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]
Place = tuple[slice, slice]


class Surface:
    """One map's coefficients, ready for tiles."""

    def __init__(self, fit: _Floats) -> None:
        """Take them as `Guide.fit` makes them: float32 (4, y, x)."""
        fit = fit.transpose(1, 0, 2)
        # Beyond the first and the last row, these go on.
        self.rows: Final = np.concatenate([fit[:1], fit, fit[-1:]])
        # From each column to the next.
        self.steps: Final = np.diff(self.rows, axis=2, append=self.rows[..., -1:])


class Tiles:
    """An image cut into bands of rows, and these into tiles."""

    def __init__(self, pixels: NDArray[np.uint8], small_yx: tuple[int, int]) -> None:
        """Take the image, uint8 (Y, X, 3), and the size of the small one."""
        self._pixels = pixels
        rows, columns = pixels.shape[:2]
        above, self._below_01 = _neighbours(rows, small_yx[0])
        # Of `Surface.rows`, of which the first is one more.
        self._above = above + 1
        left, self._right_01 = _neighbours(columns, small_yx[1])
        self._left = left.clip(0)
        # Before the first column it goes on as it is there.
        self._right_01[left < 0] = 0
        self._cells = tuple(
            max(1, round(_TILE_SIDE_PX * small / large))
            for small, large in zip(small_yx, (rows, columns), strict=True)
        )
        self._tops, self._used_rows = _cut(self._above, self._cells[0], small_yx[0] + 1)
        self._lefts, self._used_columns = _cut(
            self._left, self._cells[1], small_yx[1] - 1
        )
        self._middle, self._spread = self._colour_bounds()
        self._buffers: dict[str, _Floats] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """How many bands, and tiles in each: (B, K)."""
        return len(self._tops) - 1, len(self._lefts) - 1

    def bounds(self, surface: Surface) -> tuple[_Floats, _Floats]:
        """What no value of a tile lies below, and above: two float32 (B, K)."""
        (n_bands, rows), (n_tiles, columns) = (
            self._used_rows.shape,
            self._used_columns.shape,
        )
        # Tiles come after their small pixels: numpy reduces so at its quickest.
        used = surface.rows.take(self._used_rows.T.reshape(-1), axis=0)
        used = used.take(self._used_columns.T.reshape(-1), axis=2)
        used = used.reshape(rows, n_bands, 4, columns, n_tiles)
        slopes = used[:, :, 1:]
        steepness = np.abs(slopes).max(axis=0).max(axis=2)
        slack = (steepness * self._spread).sum(axis=1)
        largest = np.abs(surface.rows[:, 0]).max() + 3 * 255 * steepness.max()
        slack += np.float32(_ROUNDING) * largest
        # Around the middle of the tile's colours: slopes and offset cancel there.
        slopes *= self._middle[:, :, None]
        level = used.sum(axis=2)
        low, high = level.min(axis=0).min(axis=1), level.max(axis=0).max(axis=1)
        return low - slack, high + slack

    def visit(
        self, surfaces: Sequence[Surface], wanted: Sequence[_Bools]
    ) -> Iterator[tuple[int, _Floats, Place]]:
        """Enlarge the tiles that are wanted.

        Args:
            surfaces: of this image.
            wanted: bool (B, K) for each.

        Yields:
            Number of the surface, float32 values, which are lost with the next tile,
            and their rows and columns in the image. Band by band, each with the
            surfaces in their order.
        """
        runs = [
            (band, number, first, end)
            for number, flags in enumerate(wanted)
            for band, first, end in _runs(flags)
        ]
        loaded = -1
        for band, number, first, end in sorted(runs):
            top, bottom = self._tops[band : band + 2]
            if top == bottom:
                continue
            if band != loaded:
                self._load(band)
                loaded = band
            step = max(1, _MOST_PX // (bottom - top))
            for left in range(self._lefts[first], self._lefts[end], step):
                columns = slice(left, min(self._lefts[end], left + step))
                values = self._values(surfaces[number], band, columns)
                yield number, values, (slice(top, bottom), columns)

    def _load(self, band: int) -> None:
        """Have a band's colours ready, and how near its pixels are to the row below."""
        rows = slice(*self._tops[band : band + 2])
        colours = self._pixels[rows]
        height, columns = colours.shape[:2]
        self._colours = self._buffer("colours", (height, 3, columns))
        for channel, plane in enumerate(cv2.split(colours)):
            self._colours[:, channel] = plane.reshape(height, columns)
        # As a plane: numpy is slow at one number a row.
        self._below = self._buffer("below", (height, 1, columns))
        self._below[:] = self._below_01[rows, None, None]

    def _values(self, surface: Surface, band: int, columns: slice) -> _Floats:
        """A stretch of the loaded band at image size."""
        left = self._left[columns]
        first = band * self._cells[0]
        rows = slice(first, first + self._cells[0] + 1)
        coefficients, steps_right = surface.rows[rows], surface.steps[rows]
        shape = (len(coefficients), 4, left.size)
        wide, steps = self._buffer("wide", shape), self._buffer("steps", shape)
        np.take(coefficients, left, axis=2, out=wide, mode="clip")
        np.take(steps_right, left, axis=2, out=steps, mode="clip")
        steps *= self._right_01[columns]
        wide += steps
        down = np.subtract(wide[1:], wide[:-1], out=steps[:-1])
        above = self._above[self._tops[band] : self._tops[band + 1]] - first
        shape = (above.size, 4, left.size)
        parts, more = self._buffer("parts", shape), self._buffer("more", shape)
        np.take(wide, above, axis=0, out=parts, mode="clip")
        np.take(down, above, axis=0, out=more, mode="clip")
        more *= self._below[..., columns]
        parts += more
        parts[:, 1:] *= self._colours[..., columns]
        result: _Floats = parts[:, 0]
        for channel in range(3):
            result += parts[:, 1 + channel]
        return result

    def _buffer(self, name: str, shape: tuple[int, ...]) -> _Floats:
        """Memory that is kept: asking the system for it costs more than the work."""
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = np.empty(size, np.float32)
        return self._buffers[name][:size].reshape(shape)

    def _colour_bounds(self) -> tuple[_Floats, _Floats]:
        """Middle of a tile's colours, and how far they reach: float32 (B, 3, K)."""
        shape = (*self.shape, 3)
        low, high = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        lefts = self._lefts[:-1]
        for band, (top, bottom) in enumerate(pairwise(self._tops)):
            if top == bottom:
                continue
            rows = self._pixels[top:bottom]
            low[band] = np.minimum.reduceat(rows.min(axis=0), lefts, axis=0)
            high[band] = np.maximum.reduceat(rows.max(axis=0), lefts, axis=0)
        half = np.float32(0.5)
        middle, spread = half * (low + high), half * (high - low)
        return middle.transpose(0, 2, 1), spread.transpose(0, 2, 1)


def _cut(
    before: NDArray[np.int64], cells: int, last: int
) -> tuple[list[int], NDArray[np.int64]]:
    """Cut an axis of the image into stretches of so many small pixels.

    Returns:
        Where stretches start, and the image's end; and int64 (n, cells + 1), the small
        pixels that are used for each, the neighbour after the last among them.
    """
    number = before // cells
    n_stretches = int(number[-1]) + 1
    starts = np.searchsorted(number, np.arange(n_stretches + 1)).tolist()
    used = np.arange(n_stretches)[:, None] * cells + np.arange(cells + 1)
    return starts, used.clip(0, last)


def _neighbours(
    n_large: int, n_small: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of each large pixel: the small one before it, and how near it is to the next.

    As OpenCV's bilinear has it, with half pixels; -1 before the first.
    """
    at = (np.arange(n_large) + 0.5) * (n_small / n_large) - 0.5
    before = np.floor(at)
    return before.astype(np.int64), (at - before).astype(np.float32)


def _runs(flags: _Bools) -> Iterator[tuple[int, int, int]]:
    """Row, first and end of every run of True."""
    padded = np.pad(flags, ((0, 0), (1, 1)))
    rows, ends = np.nonzero(padded[:, 1:] != padded[:, :-1])
    yield from zip(
        rows[::2].tolist(), ends[::2].tolist(), ends[1::2].tolist(), strict=True
    )
