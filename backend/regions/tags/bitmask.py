"""`<BitmaskLabels>` and `<Bitmask>`: a mask as a PNG.

The editor's own bitmasks are PNGs with black pixels on a transparent background,
of which it draws the alpha in the colour of the label, at the size of the image.
Ours are the same picture with one bit per pixel: a palette of two blacks, the
first transparent. Browsers decode that to the same pixels as the editor's 32 bits
per pixel, for a fraction of the bytes.
"""

from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.errors import BadMask
from backend.regions.components import Part, as_mask
from backend.regions.control_tags import ControlTag, Mask
from backend.types import CutOptions

_TWO_BLACKS = [0, 0, 0] * 2
_TRANSPARENT = 0


def encode_bitmask(mask: NDArray[np.bool_]) -> str:
    """Write one mask as a PNG in a data URL.

    Args:
        mask: bool (Y, X), at the size of the image as the browser shows it. The
            editor would stretch a smaller one, unlike a brush.

    Returns:
        `data:image/png;base64,...`, ASCII.

    Raises:
        BadMask: if the mask is not 2-D or is empty.
    """
    if mask.ndim != 2 or mask.size == 0:
        raise BadMask(
            f"The mask has shape {mask.shape}; a bitmask has 2 dimensions, (rows, "
            f"columns), of at least 1. Check the size that the image was read with."
        )
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette(_TWO_BLACKS)
    png = BytesIO()
    picture.save(png, "PNG", transparency=_TRANSPARENT)
    return f"data:image/png;base64,{b64encode(png.getvalue()).decode('ascii')}"


def _encode(
    shape: Part | Mask, size_yx: tuple[int, int], cut: CutOptions
) -> dict[str, Any]:
    return {"imageDataURL": encode_bitmask(as_mask(shape, size_yx))}


TAG = ControlTag(element="Bitmask", order=2, one_region_per_part=False, encode=_encode)
