"""Between an image and its working picture, which is smaller if the image is large.

Axis letters: Y, X pixels of the image; y, x of the working picture.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.masks import Guide

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]

# Working pixels around what is enlarged, for its edges.
_MARGIN: Final = 4


def shrink_mask(mask: _Bools, work_yx: tuple[int, int]) -> _Bools:
    """The working pixels that are covered by more than half: bool (y, x)."""
    if mask.shape == work_yx:
        return mask
    shares = cv2.resize(
        mask.astype(np.float32), work_yx[::-1], interpolation=cv2.INTER_AREA
    )
    return np.asarray(shares > 0.5).reshape(work_yx)


def enlarge_mask(mask: _Bools, size_yx: tuple[int, ...]) -> _Bools:
    """The pixels whose working pixel is among these: bool (Y, X)."""
    if mask.shape == size_yx:
        return mask
    large = cv2.resize(
        mask.astype(np.uint8), size_yx[::-1], interpolation=cv2.INTER_NEAREST
    )
    return np.asarray(large > 0).reshape(size_yx)


def enlarge_level(level: _Floats, where: _Bools, pixels: NDArray[np.uint8]) -> _Bools:
    """Where a level is above 0 at image size, its edges on the image's: bool (Y, X).

    Args:
        level: float32 (y, x).
        where: bool (y, x), what is wanted; elsewhere the result is False.
        pixels: uint8 (Y, X, 3), the image. Nothing is computed of it but around what
            is wanted: a large image has many pixels.
    """
    size_yx = (pixels.shape[0], pixels.shape[1])
    if level.shape == size_yx:
        return np.asarray(level > 0)
    result = np.zeros(size_yx, np.bool_)
    if not where.any():
        return result
    small, large = [], []
    for axis in (0, 1):
        hit = np.flatnonzero(where.any(axis=1 - axis))
        first = max(0, int(hit[0]) - _MARGIN)
        last = min(level.shape[axis], int(hit[-1]) + 1 + _MARGIN)
        scale = size_yx[axis] / level.shape[axis]
        small.append(slice(first, last))
        large.append(slice(round(first * scale), round(last * scale)))
    rows, columns = large
    part = np.ascontiguousarray(level[tuple(small)].clip(-1, 1))
    guide = Guide(np.ascontiguousarray(pixels[rows, columns]))
    result[rows, columns] = guide.follow(part) > 0
    return result
