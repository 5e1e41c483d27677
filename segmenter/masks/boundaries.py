"""A coarse score map and its image in, the map at image size out, edges on edges.

A fast guided filter (He & Sun, arXiv 1505.00996, after He et al., ECCV 2010): in
every neighbourhood the map is fitted as a linear function of the image's colours;
the coefficients are smooth and may be computed small, the image then brings back
its edges. A neighbourhood of one colour says nothing, and the map is only smoothed.
Pure; no torch. Axis letters: Y, X image pixels; y, x pixels of the small image.
"""

from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Longest side of the small image, on which coefficients are computed.
_SMALL_PX: Final = 512
# Radius of a neighbourhood, in cells of the map. On pocket scenes, whose backgrounds
# are smooth, 3 was better still; textures of photographs want less.
_RADIUS_CELLS: Final = 2.0
# Variance of colour, in [0, 1] each channel, below which a neighbourhood counts as
# of one colour: texture is not painted into the map.
_EPSILON: Final = 1e-3

# The two other rows (or columns), in the order that gives a cofactor its sign.
_OTHERS: Final = ((1, 2), (2, 0), (0, 1))

_Floats = NDArray[np.float32]


class Guide:
    """An image whose edges maps are to follow; what all maps share is computed once."""

    def __init__(
        self, pixels: NDArray[np.uint8], *, radius_cells: float = _RADIUS_CELLS
    ) -> None:
        """Take the image: uint8 (Y, X, 3), and how large neighbourhoods are."""
        self._pixels = pixels
        self._radius_cells = radius_cells
        rows, columns = pixels.shape[:2]
        shrink = min(1.0, _SMALL_PX / max(rows, columns))
        self.small_yx: Final = (
            max(1, round(rows * shrink)),
            max(1, round(columns * shrink)),
        )
        small = cv2.resize(pixels, self.small_yx[::-1], interpolation=cv2.INTER_AREA)
        colours = small.reshape(*self.small_yx, 3).transpose(2, 0, 1)
        self._colours: _Floats = np.ascontiguousarray(colours, np.float32)
        self._colours /= np.float32(255)
        self._box_yx = (0, 0)

    def follow(
        self,
        score_map: NDArray[np.float16 | np.float32],
        grid_yx: tuple[int, int] | None = None,
    ) -> _Floats:
        """Bring a map to image size along the image's edges: float32 (Y, X).

        Args:
            score_map: (h, w).
            grid_yx: rows and columns of the cells that neighbourhoods are counted in;
                None for the map's own. Maps on one such grid share what is computed.
        """
        return self._apply(self.fit(score_map, grid_yx))

    def fit(
        self,
        score_map: NDArray[np.float16 | np.float32],
        grid_yx: tuple[int, int] | None = None,
    ) -> _Floats:
        """What `follow` multiplies the image with: float32 (4, y, x).

        An offset and a slope for each colour of uint8, of every small pixel.

        Args:
            score_map: as for `follow`.
            grid_yx: as for `follow`.
        """
        self._prepare(grid_yx or (score_map.shape[0], score_map.shape[1]))
        values = _resize(score_map.astype(np.float32), self.small_yx)
        mean = self._mean(values)
        covariance = np.stack(
            [
                self._mean(colour * values) - mean_colour * mean
                for colour, mean_colour in zip(self._colours, self._means, strict=True)
            ]
        )
        slope = np.einsum("abyx,byx->ayx", self._inverse, covariance)
        offset = mean - (slope * self._means).sum(axis=0)
        fit = np.empty((4, *self.small_yx), np.float32)
        fit[0] = self._mean(offset)
        for channel, one in enumerate(slope):
            np.divide(self._mean(one), np.float32(255), out=fit[1 + channel])
        return fit

    def _prepare(self, grid_yx: tuple[int, int]) -> None:
        """Statistics of the image alone, for maps of this size."""
        rows, columns = (
            2 * max(1, round(self._radius_cells * px / cells)) + 1
            for px, cells in zip(self.small_yx, grid_yx, strict=True)
        )
        if self._box_yx == (rows, columns):
            return
        self._box_yx = (rows, columns)
        self._means: _Floats = np.stack([self._mean(one) for one in self._colours])
        covariance = np.empty((3, 3, *self.small_yx), np.float32)
        for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
            product = self._mean(self._colours[a] * self._colours[b])
            covariance[a, b] = covariance[b, a] = (
                product - self._means[a] * self._means[b]
            )
        for a in range(3):
            covariance[a, a] += np.float32(_EPSILON)
        self._inverse = _inverted(covariance)

    def _mean(self, values: _Floats) -> _Floats:
        """Mean over the neighbourhood, mirrored at the edges: float32 (y, x)."""
        blurred = cv2.blur(
            values, self._box_yx[::-1], borderType=cv2.BORDER_REFLECT
        ).reshape(values.shape)
        return np.asarray(blurred, np.float32)

    @cached_property
    def _channels(self) -> list[NDArray[np.uint8]]:
        """The image's, each in one piece."""
        size_yx = self._pixels.shape[:2]
        split = cv2.split(self._pixels)
        return [np.asarray(one, np.uint8).reshape(size_yx) for one in split]

    def _apply(self, fit: _Floats) -> _Floats:
        """Coefficients to image size, and the image through them."""
        size_yx = (self._pixels.shape[0], self._pixels.shape[1])
        result = _resize(fit[0], size_yx)
        for small, channel in zip(fit[1:], self._channels, strict=True):
            factor = _resize(small, size_yx)
            factor *= channel
            result += factor
        return result


def _inverted(matrices: _Floats) -> _Floats:
    """Inverses of symmetric matrices, (3, 3, y, x), by their cofactors.

    All at once, where LAPACK takes them one by one.
    """
    cofactors = np.empty_like(matrices)
    for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        (i, j), (k, m) = _OTHERS[a], _OTHERS[b]
        cofactors[a, b] = cofactors[b, a] = (
            matrices[i, k] * matrices[j, m] - matrices[i, m] * matrices[j, k]
        )
    determinant = (matrices[0] * cofactors[0]).sum(axis=0)
    return np.asarray(cofactors / determinant, np.float32)


def _resize(values: _Floats, size_yx: tuple[int, int]) -> _Floats:
    """Bilinear: float32 (Y, X)."""
    resized = cv2.resize(
        np.ascontiguousarray(values), size_yx[::-1], interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(resized, np.float32).reshape(size_yx)
