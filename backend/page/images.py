"""Pixels, masks and score maps in, files that a browser shows out. Pure."""

import base64
import colorsys
from io import BytesIO
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The golden angle keeps neighbours in a list of any length apart in hue.
_HUE_STEP: Final = 0.381966
_JPEG_QUALITY: Final = 92


def colour_of(index: int) -> tuple[int, int, int]:
    """RGB of label number `index`, 0 to 255 each."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * _HUE_STEP) % 1, 0.85, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def mask_address(mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> str:
    """A mask as a `data:` address of a PNG: bool (Y, X), the rest transparent."""
    image = Image.fromarray(mask.view(np.uint8), "P")
    image.putpalette([0, 0, 0, *colour])
    written = BytesIO()
    image.save(written, "PNG", bits=1, transparency=0, compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


def relevance_png(scores: NDArray[np.float16]) -> bytes:
    """A label's score map as a PNG, dark to bright: (h, w) in [0, 1]."""
    levels = (np.clip(scores.astype(np.float32), 0, 1) * 255).round().astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    return cv2.imencode(".png", colours)[1].tobytes()


def jpeg(pixels: NDArray[np.uint8], *, longest_px: int | None = None) -> bytes:
    """A picture to look at: uint8 (Y, X, 3), RGB.

    Args:
        pixels: of the picture.
        longest_px: of its longer side, where it is to be made smaller.
    """
    image = Image.fromarray(pixels)
    if longest_px is not None:
        image.thumbnail((longest_px, longest_px))
    written = BytesIO()
    image.save(written, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return written.getvalue()
