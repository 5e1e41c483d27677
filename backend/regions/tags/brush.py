"""`<BrushLabels>` and `<Brush>`: a mask as run lengths."""

from typing import Any

from backend.regions.components import Part, as_mask
from backend.regions.control_tags import ControlTag, Mask
from backend.regions.rle import encode_rle
from backend.types import CutOptions


def _encode(
    shape: Part | Mask, size_yx: tuple[int, int], cut: CutOptions
) -> dict[str, Any]:
    return {"format": "rle", "rle": encode_rle(as_mask(shape, size_yx))}


TAG = ControlTag(element="Brush", order=1, one_region_per_part=False, encode=_encode)
