"""`<PolygonLabels>` and `<Polygon>`: the outline of a connected part."""

import math
from typing import Any

import numpy as np

from backend.errors import BadMask
from backend.regions.components import Part, as_part, percent
from backend.regions.control_tags import ControlTag, Corners, Mask, Value
from backend.regions.polygons import fill, outline, to_pixels
from backend.types import CutOptions


def _encode(
    shape: Part | Mask, size_yx: tuple[int, int], cut: CutOptions
) -> dict[str, Any]:
    rows, columns = size_yx
    ring = outline(
        as_part(shape, size_yx),
        tolerance_px=cut.polygon_tolerance_01 * math.hypot(rows, columns),
    )
    points = [[percent(x, of=columns), percent(y, of=rows)] for x, y in ring]
    return {"points": points, "closed": True}


def _corners(value: Value, size_yx: tuple[int, int]) -> Corners:
    try:
        points = np.array(value.get("points"), np.float64)
    except (TypeError, ValueError) as error:
        raise BadMask(f"The polygon's `points` are no points: {error}.") from error
    return to_pixels(points, size_yx)


def _decode(value: Value, size_yx: tuple[int, int]) -> Mask:
    return fill(_corners(value, size_yx), size_yx)


TAG = ControlTag(
    element="Polygon",
    order=3,
    one_region_per_part=True,
    encode=_encode,
    decode=_decode,
    corners=_corners,
)
