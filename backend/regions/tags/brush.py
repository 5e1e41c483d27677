"""`<BrushLabels>` and `<Brush>`: a mask as run lengths."""

from typing import Any

from backend.errors import BadMask
from backend.regions.components import Part, as_mask
from backend.regions.control_tags import ControlTag, Mask, Value
from backend.regions.rle import decode_rle, encode_rle
from backend.types import CutOptions


def _encode(
    shape: Part | Mask, size_yx: tuple[int, int], cut: CutOptions
) -> dict[str, Any]:
    return {"format": "rle", "rle": encode_rle(as_mask(shape, size_yx))}


def _decode(value: Value, size_yx: tuple[int, int]) -> Mask:
    rle = value.get("rle")
    if not isinstance(rle, list):
        raise BadMask(
            "The brush region has no `rle`: its strokes were never submitted. Open "
            "the task in the editor and submit it again."
        )
    return decode_rle(rle, size_yx=size_yx)


TAG = ControlTag(
    element="Brush",
    order=1,
    one_region_per_part=False,
    encode=_encode,
    decode=_decode,
    tools=("magicwand",),
)
