"""A large image and coefficients of a small one in, maps at image size out, in tiles.

What `boundaries.Guide.follow` computes of a whole picture, a few thousand pixels at a
time: they stay in the processor's cache, nothing of the picture's size is allocated,
and bounds tell beforehand which tiles are worth the work. A tile lies between two rows
of the small image, so that one product brings all its rows to image size. Values are
those of `Guide.follow` but for rounding, about 1e-6. Pure; no torch.

Axis letters: Y, X image pixels; y, x pixels of the small image; B bands; K blocks.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Small pixels to a block: about 120 image pixels at 12 megapixels.
_BLOCK: Final = 16
# At once: four planes of a tile fit the second-level cache.
_TILE_PX: Final = 1 << 14
# Of rounding, as a share of the largest sum that could occur.
_ROUNDING: Final = 1e-5

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]
Place = tuple[slice, slice]


class Surface:
    """One map's coefficients, ready for tiles."""

    def __init__(self, fit: _Floats) -> None:
        """Take them as `Guide.fit` makes them: float32 (y, 4, x)."""
        # Beyond the first and the last row, these go on.
        self.rows: Final = np.concatenate([fit[:1], fit, fit[-1:]])
        # From each column to the next.
        self.steps: Final = np.diff(self.rows, axis=2, append=self.rows[..., -1:])


class Tiles:
    """An image cut into bands of rows and blocks of columns."""

    def __init__(self, pixels: NDArray[np.uint8], small_yx: tuple[int, int]) -> None:
        """Take the image, uint8 (Y, X, 3), and the size of the small one."""
        self._pixels = pixels
        rows, columns = pixels.shape[:2]
        above, self._below_01 = _neighbours(rows, small_yx[0])
        # Band b lies below small row b - 1 and above small row b.
        starts = np.arange(-1, small_yx[0] + 1)
        self._tops: list[int] = np.searchsorted(above, starts).tolist()
        left, self._right_01 = _neighbours(columns, small_yx[1])
        self._left = left.clip(0)
        # Before the first column it goes on as it is there.
        self._right_01[left < 0] = 0
        blocks = self._left // _BLOCK
        edges = (np.flatnonzero(np.diff(blocks)) + 1).tolist()
        self._lefts: list[int] = [0, *edges, columns]
        # A block's small pixels, the right neighbour of its last among them.
        used = blocks[self._lefts[:-1]][:, None] * _BLOCK + np.arange(_BLOCK + 1)
        self._used = used.clip(0, small_yx[1] - 1)
        self._middle, self._spread = self._colour_bounds()
        self._buffers: dict[str, _Floats] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """How many bands and blocks: (B, K)."""
        return len(self._tops) - 1, len(self._lefts) - 1

    def bounds(self, surface: Surface) -> tuple[_Floats, _Floats]:
        """What no value of a tile lies below, and above: two float32 (B, K)."""
        used = surface.rows[:, :, self._used]
        # Around the middle of the block's colours: slopes and offset cancel there.
        ends = []
        for part in (used[:-1], used[1:]):
            level = part[:, 0].copy()
            for channel in range(3):
                level += part[:, 1 + channel] * self._middle[..., channel, None]
            ends.append(level)
        steepness = np.abs(used[:, 1:]).max(axis=3)
        steepness = np.maximum(steepness[:-1], steepness[1:])
        slack = np.einsum("bck,bkc->bk", steepness, self._spread)
        offset, slopes = surface.rows[:, 0], surface.rows[:, 1:]
        largest = np.abs(offset).max() + 3 * 255 * np.abs(slopes).max()
        slack += np.float32(_ROUNDING) * largest
        low = np.minimum(*(level.min(axis=2) for level in ends)) - slack
        high = np.maximum(*(level.max(axis=2) for level in ends)) + slack
        return low, high

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
            step = max(1, _TILE_PX // (bottom - top))
            for left in range(self._lefts[first], self._lefts[end], step):
                columns = slice(left, min(self._lefts[end], left + step))
                values = self._values(surfaces[number], band, columns)
                yield number, values, (slice(top, bottom), columns)

    def _load(self, band: int) -> None:
        """Have a band's colours ready, and how near its pixels are to the row below."""
        rows = slice(*self._tops[band : band + 2])
        colours = self._pixels[rows]
        self._colours = self._buffer("colours", (3, *colours.shape[:2]))
        for plane, channel in zip(self._colours, cv2.split(colours), strict=True):
            np.copyto(plane, channel.reshape(plane.shape))
        # As a plane: numpy is slow at one number a row.
        self._below = self._buffer("below", colours.shape[:2])
        np.copyto(self._below, self._below_01[rows, None])

    def _values(self, surface: Surface, band: int, columns: slice) -> _Floats:
        """A tile of the loaded band at image size."""
        left, right_01 = self._left[columns], self._right_01[columns]
        shape = (2, 4, left.size)
        wide, steps = self._buffer("wide", shape), self._buffer("steps", shape)
        two = slice(band, band + 2)
        np.take(surface.rows[two], left, axis=2, out=wide, mode="clip")
        np.take(surface.steps[two], left, axis=2, out=steps, mode="clip")
        steps *= right_01
        wide += steps
        above, down = wide[0, :, None], wide[1, :, None]
        down -= above
        below = self._below[:, columns]
        parts = self._buffer("parts", (4, *below.shape))
        np.multiply(down, below, out=parts)
        parts += above
        result: _Floats = parts[0]
        slopes = parts[1:]
        slopes *= self._colours[..., columns]
        for one in slopes:
            result += one
        return result

    def _buffer(self, name: str, shape: tuple[int, ...]) -> _Floats:
        """Memory that is kept: asking the system for it costs more than the work."""
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = np.empty(size, np.float32)
        return self._buffers[name][:size].reshape(shape)

    def _colour_bounds(self) -> tuple[_Floats, _Floats]:
        """Middle of a tile's colours, and how far they reach: float32 (B, K, 3)."""
        shape = (*self.shape, 3)
        low, high = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for band, (top, bottom) in enumerate(pairwise(self._tops)):
            if top == bottom:
                continue
            rows = self._pixels[top:bottom]
            lefts = self._lefts[:-1]
            low[band] = np.minimum.reduceat(rows.min(axis=0), lefts, axis=0)
            high[band] = np.maximum.reduceat(rows.max(axis=0), lefts, axis=0)
        half = np.float32(0.5)
        return half * (low + high), half * (high - low)


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
