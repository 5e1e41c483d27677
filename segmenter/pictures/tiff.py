"""What a TIFF is, in words, where Pillow has none; and which value means no data.

TIFF is a wrapper: any number of bands, of any type, in any compression. Most of what
geographers and microscopes write is sound, and not for a decoder of photographs.
"""

import contextlib
import io
from typing import Any, Final

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from segmenter.formats import DECODER_FAULTS

_BITS, _COMPRESSION, _COLOURS, _BANDS, _SAMPLE_FORMAT = 258, 259, 262, 277, 339
# Of strips and of tiles: where each begins, and how many bytes it has.
_PIECES: Final = ((273, 279), (324, 325))
_NODATA: Final = 42113
_TYPES: Final = {
    1: "unsigned integer",
    2: "signed integer",
    3: "float",
    5: "complex integer",
    6: "complex float",
}
_COMPRESSIONS: Final = {
    1: "none",
    2: "CCITT",
    3: "CCITT T.4",
    4: "CCITT T.6",
    5: "LZW",
    6: "old JPEG",
    7: "JPEG",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}


def refuse_tiff(data: bytes, reason: str = "") -> str | None:
    """What to say of a TIFF that is whole and cannot be decoded.

    Args:
        data: the file.
        reason: what the decoder said, if one was found.

    Returns:
        Sentences with kind and remedy; None if the file is no TIFF, or damaged in a
        way that shows: its tags cannot be read, or lead beyond its end.
    """
    try:
        tags = _first_directory(data)
        if not _is_whole(tags, len(data)):
            return None
        kind, remedy = _kind(tags), _remedy(tags)
    except DECODER_FAULTS:
        return None
    if reason:
        kind = f"{kind} ({reason})"
        remedy = f"{remedy} If no program opens it, it is damaged."
    return f"The image is a TIFF of a kind that is not read here: {kind}. {remedy}"


def find_nodata(image: Image.Image) -> float | None:
    """The value that stands for no data, as GDAL notes it; None where none does."""
    noted = getattr(image, "tag_v2", {}).get(_NODATA)
    with contextlib.suppress(TypeError, ValueError):
        return float(str(noted).strip("\0 "))
    return None


def _first_directory(data: bytes) -> ImageFileDirectory_v2:
    file = io.BytesIO(data)
    # BigTIFF has a longer head.
    tags = ImageFileDirectory_v2(file.read(16 if 43 in data[2:4] else 8))
    file.seek(tags.next)
    tags.load(file)
    return tags


def _is_whole(tags: ImageFileDirectory_v2, n_bytes: int) -> bool:
    for places, sizes in _PIECES:
        if tags.get(places) and tags.get(sizes):
            pieces = zip(tags[places], tags[sizes], strict=True)
            return all(place + size <= n_bytes for place, size in pieces)
    return False


def _kind(tags: ImageFileDirectory_v2) -> str:
    """Such as "5 bands of 32-bit float, compression LZW"."""
    bands = tags.get(_BANDS, 1)
    number = tags.get(_COMPRESSION, 1)
    types = dict.fromkeys(_each(tags, _SAMPLE_FORMAT, 1))
    sample = " and ".join(_TYPES.get(found, "samples") for found in types)
    bits = "/".join(str(found) for found in dict.fromkeys(_each(tags, _BITS, 1)))
    compression = _COMPRESSIONS.get(number, f"number {number}")
    many = "band" if bands == 1 else "bands"
    marked = ", marked as grey" if bands > 1 and tags.get(_COLOURS) in {0, 1} else ""
    return f"{bands} {many} of {bits}-bit {sample}, compression {compression}{marked}"


def _remedy(tags: ImageFileDirectory_v2) -> str:
    chosen = "-b 1 -b 2 -b 3" if tags.get(_BANDS, 1) >= 3 else "-b 1"
    return (
        f"Convert it to 8-bit RGB, for example with `gdal_translate -of PNG -ot Byte "
        f"-scale {chosen} IN.tif OUT.png` or ImageMagick's `convert IN.tif -depth 8 "
        f"OUT.png`."
    )


def _each(tags: ImageFileDirectory_v2, number: int, usual: int) -> tuple[Any, ...]:
    found = tags.get(number, (usual,))
    return found if isinstance(found, tuple) else (found,)
