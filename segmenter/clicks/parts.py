"""A mask of everything of a kind in, the part that was clicked out. Pure."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

_Bools = NDArray[np.bool_]

# Parts that are nearer than this share of the long side are taken for one.
_GAP_01: Final = 0.02


def clicked_parts(mask: _Bools, seeds: _Bools) -> _Bools:
    """The connected parts of a mask that hold a seed: bool (Y, X).

    Parts with a narrow gap between them count as one: what stands before an object
    cuts it in two. All of the mask where no part holds a seed.

    Args:
        mask: bool (Y, X).
        seeds: bool (Y, X).
    """
    gap = max(1, round(_GAP_01 * max(mask.shape)))
    brush = np.ones((gap + 1, gap + 1), np.uint8)
    closed = cv2.dilate(mask.astype(np.uint8), brush)
    _, parts = cv2.connectedComponents(closed, connectivity=8)
    kept = np.unique(parts[seeds & mask])
    if not kept.size:
        return mask
    return np.asarray(mask & np.isin(parts, kept))
