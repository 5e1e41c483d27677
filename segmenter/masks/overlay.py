"""A picture and its segmentation in, one picture to look at out. Pure."""

import colorsys

import numpy as np
from numpy.typing import NDArray

from segmenter.types import Segmentation

# The golden angle keeps neighbours in a list of any length apart in hue.
_HUE_STEP = 0.381966
_OPACITY_01 = 0.55


def label_colour(index: int) -> tuple[int, int, int]:
    """RGB of label number `index`, 0 to 255 each."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * _HUE_STEP) % 1, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def paint_overlay(
    pixels: NDArray[np.uint8], segmentation: Segmentation
) -> NDArray[np.uint8]:
    """Tint every mask in its label's colour and outline it: uint8 (Y, X, 3)."""
    painted = pixels.astype(np.float32)
    for index in range(len(segmentation.labels)):
        mask = segmentation.mask(index)
        colour = np.array(label_colour(index), np.float32)
        painted[mask] = (1 - _OPACITY_01) * painted[mask] + _OPACITY_01 * colour
        painted[_outline(mask)] = colour
    return painted.round().astype(np.uint8)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask with a neighbour (of four) outside it."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inside)
