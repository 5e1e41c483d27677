"""`<KeyPointLabels>` and `<KeyPoint>`: the innermost point of a connected part."""

from typing import Any, Final

import cv2
import numpy as np

from backend.regions.components import Part, as_part, percent
from backend.regions.control_tags import ControlTag, Mask
from backend.types import CutOptions

# Of the image's width; about what the editor gives a click.
_WIDTH_PERCENT: Final = 0.3


def _encode(
    shape: Part | Mask, size_yx: tuple[int, int], cut: CutOptions
) -> dict[str, Any]:
    part = as_part(shape, size_yx)
    # What lies outside of the box is not the part's, so its edges count as borders.
    depth = cv2.distanceTransform(
        np.pad(part.pixels, 1).astype(np.uint8), cv2.DIST_L2, 5
    )[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    y0, x0 = part.box_yxyx[:2]
    rows, columns = size_yx
    return {
        "x": percent(x0 + int(column) + 0.5, of=columns),
        "y": percent(y0 + int(row) + 0.5, of=rows),
        "width": _WIDTH_PERCENT,
    }


TAG = ControlTag(
    element="KeyPoint",
    order=5,
    one_region_per_part=True,
    encode=_encode,
    is_input="always",
)
