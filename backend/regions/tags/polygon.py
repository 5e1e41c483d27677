"""`<PolygonLabels>` and `<Polygon>`: the outline of a connected part."""

import math
from typing import Any

from backend.regions.components import Part, as_part, percent
from backend.regions.control_tags import ControlTag, Mask
from backend.regions.polygons import outline
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


TAG = ControlTag(element="Polygon", order=3, one_region_per_part=True, encode=_encode)
