"""`<RectangleLabels>` and `<Rectangle>`: the box around a connected part."""

from typing import Any

from backend.regions.components import Part, as_part, percent
from backend.regions.control_tags import ControlTag, Mask
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


TAG = ControlTag(
    element="Rectangle",
    order=4,
    one_region_per_part=True,
    encode=_encode,
    is_input="smart",
)
