"""`<RectangleLabels>` and `<Rectangle>`: the box around a connected part."""

import math
from typing import Any

import numpy as np

from backend.errors import BadMask
from backend.regions.components import Part, as_part, percent
from backend.regions.control_tags import ControlTag, Corners, Mask, Value
from backend.regions.polygons import fill, to_pixels
from backend.types import CutOptions


def _encode(
    shape: Part | Mask, size_yx: tuple[int, int], cut: CutOptions
) -> dict[str, Any]:
    rows, columns = size_yx
    y0, x0, y1, x1 = as_part(shape, size_yx).box_yxyx
    return {
        "x": percent(x0, of=columns),
        "y": percent(y0, of=rows),
        "width": percent(x1 - x0, of=columns),
        "height": percent(y1 - y0, of=rows),
        "rotation": 0,
    }


def _corners(value: Value, size_yx: tuple[int, int]) -> Corners:
    """The corners, turned around the first, as the editor turns them."""
    names = ("x", "y", "width", "height", "rotation")
    try:
        x, y, width, height, degrees = (float(value.get(n) or 0) for n in names)
    except (TypeError, ValueError) as error:
        raise BadMask(
            f"The rectangle is not one of numbers ({error}). Draw it anew."
        ) from error
    if not math.isfinite(degrees):
        raise BadMask(f"The rectangle is turned by {degrees} degrees. Draw it anew.")
    right, bottom = x + width, y + height
    upright = np.array([[x, y], [right, y], [right, bottom], [x, bottom]])
    corners = to_pixels(upright, size_yx)
    if not degrees:
        return corners
    # In pixels: a percent of the columns is longer or shorter than one of the rows.
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cosine, sine], [-sine, cosine]])
    turned: Corners = (corners - corners[0]) @ turn + corners[0]
    return turned


def _decode(value: Value, size_yx: tuple[int, int]) -> Mask:
    return fill(_corners(value, size_yx), size_yx)


TAG = ControlTag(
    element="Rectangle",
    order=4,
    one_region_per_part=True,
    encode=_encode,
    is_input="smart",
    decode=_decode,
    corners=_corners,
)
