"""`<BitmaskLabels>` and `<Bitmask>`: a mask as a PNG.

The editor's own bitmasks are PNGs with black pixels on a transparent background,
of which it draws the alpha in the colour of the label, at the size of the image.
Ours are the same picture with one bit per pixel: a palette of two blacks, the
first transparent. Browsers decode that to the same pixels as the editor's 32 bits
per pixel, for a fraction of the bytes.
"""

import binascii
import struct
from base64 import b64decode, b64encode
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.errors import BadMask
from backend.regions.components import Part, as_mask
from backend.regions.control_tags import ControlTag, Mask, Value
from backend.regions.rle import PAINTED_FROM_ALPHA
from backend.types import CutOptions

_TWO_BLACKS = [0, 0, 0] * 2
_TRANSPARENT = 0
_PREFIX: Final = "data:image/png;base64,"
# What Pillow's decoder raises on damaged files.
_DECODER_FAULTS: Final = (
    *(OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError),
    *(RuntimeError, EOFError, AttributeError, struct.error),
    Image.DecompressionBombError,
)


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
    return f"{_PREFIX}{b64encode(png.getvalue()).decode('ascii')}"


def decode_bitmask(url: str, *, size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a bitmask back into a mask, ours or the editor's.

    Only alpha counts, as in the editor, which replaces the colours by the label's.

    Args:
        url: `data:image/png;base64,...`.
        size_yx: (rows, columns) that it must have; no pixel of another is decoded.

    Returns:
        bool (Y, X), True where alpha is at least half of full.

    Raises:
        BadMask: if it is no such PNG, is damaged, or has another size.
    """
    if not url.startswith(_PREFIX):
        raise BadMask(
            f"The bitmask begins with {url[:30]!r}; only {_PREFIX}... is read. Draw "
            f"the region anew."
        )
    try:
        png = BytesIO(b64decode(url.removeprefix(_PREFIX), validate=True))
        with Image.open(png, formats=["PNG"]) as picture:
            if picture.size != size_yx[::-1]:
                raise _of_another_size(picture.size[::-1], size_yx)
            alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
    except (binascii.Error, *_DECODER_FAULTS) as error:
        raise BadMask(
            f"The bitmask's PNG is damaged: {error}. Draw the region anew."
        ) from error
    return alpha >= PAINTED_FROM_ALPHA


def _of_another_size(found_yx: tuple[int, ...], size_yx: tuple[int, int]) -> BadMask:
    return BadMask(
        f"The bitmask is {found_yx[0]} x {found_yx[1]} (rows x columns), but its "
        f"region says {size_yx[0]} x {size_yx[1]}. Store it at the size of the image."
    )


def _encode(
    shape: Part | Mask, size_yx: tuple[int, int], cut: CutOptions
) -> dict[str, Any]:
    return {"imageDataURL": encode_bitmask(as_mask(shape, size_yx))}


def _decode(value: Value, size_yx: tuple[int, int]) -> Mask:
    url = value.get("imageDataURL")
    if not isinstance(url, str):
        raise BadMask("The bitmask region has no `imageDataURL`. Draw it anew.")
    return decode_bitmask(url, size_yx=size_yx)


TAG = ControlTag(
    element="Bitmask",
    order=2,
    one_region_per_part=False,
    encode=_encode,
    decode=_decode,
)
