"""`<BrushLabels>` and `<Brush>`: a mask as run lengths."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import BadMask
from backend.regions.components import Part, as_mask
from backend.regions.control_tags import ControlTag, Mask, Value
from backend.regions.rle import (
    OPAQUE,
    PAINTED_FROM_ALPHA,
    decode_alpha,
    encode_rle,
)
from backend.regions.strokes import draw_strokes
from backend.regions.tags.bitmask import decode_bitmask
from backend.types import CutOptions


def _encode(
    shape: Part | Mask, size_yx: tuple[int, int], cut: CutOptions
) -> dict[str, Any]:
    return {"format": "rle", "rle": encode_rle(as_mask(shape, size_yx))}


def _decode(value: Value, size_yx: tuple[int, int]) -> Mask:
    """As the editor shows it: a draft has strokes beside the mask that they change."""
    rle, url, touches = value.get("rle"), value.get("maskDataURL"), value.get("touches")
    if not (isinstance(rle, list) or isinstance(url, str) or touches):
        raise BadMask(
            "The brush region has neither an `rle` nor strokes. Open the task in the "
            "editor, draw it anew and submit."
        )
    alpha: NDArray[np.uint8] = np.zeros(size_yx, np.uint8)
    if isinstance(rle, list) and rle:
        alpha = decode_alpha(rle, size_yx=size_yx)
    if isinstance(url, str):
        # Of a magic wand.
        alpha[decode_bitmask(url, size_yx=size_yx)] = OPAQUE
    if touches:
        alpha = draw_strokes(alpha, touches, size_yx)
    return np.asarray(alpha >= PAINTED_FROM_ALPHA)


TAG = ControlTag(
    element="Brush",
    order=1,
    one_region_per_part=False,
    encode=_encode,
    decode=_decode,
    tools=("magicwand",),
)
