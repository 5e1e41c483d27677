"""One file in, its upright RGB pixels out: the order of the steps.

What a browser shows was compared with Chromium: it turns JPEG and PNG files by their
EXIF orientation, AVIF files by their own, and no file by XMP or a WebP's EXIF. A mask
is painted on what the browser shows, hence not `ImageOps.exif_transpose`, which obeys
them all. Axis letters: Y, X image pixels.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from segmenter.errors import PictureTooLarge, PictureUnreadable
from segmenter.formats import (
    DECODER_FAULTS,
    IMAGE_FORMATS,
    MAX_IMAGE_PIXELS,
    find_format,
    refuse_stranger,
)
from segmenter.pictures.grey import to_8_bit
from segmenter.pictures.jpeg import keep_picture_segments
from segmenter.pictures.png import complete_png, keep_picture_chunks
from segmenter.pictures.tiff import find_nodata, refuse_tiff

# Of AVIF, Pillow gives its own orientation in the place of EXIF's.
_TURNED_BY_BROWSERS: Final = frozenset({"JPEG", "MPO", "PNG", "AVIF"})
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRIP_PIXELS: Final = 1 << 20
_END_OF_JPEG: Final = b"\xff\xd9"


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded file.

    Attributes:
        pixels: uint8 (Y, X, 3), RGB.
        is_complete: False if the file ends early. Browsers show what there is; the
            rest is grey, black or white here.
    """

    pixels: NDArray[np.uint8]
    is_complete: bool = True


def decode_image(
    data: bytes,
    *,
    max_pixels: int = MAX_IMAGE_PIXELS,
    formats: tuple[str, ...] = IMAGE_FORMATS,
    turns: bool = True,
    admit: Callable[[int], object] = lambda n_pixels: None,
) -> Picture:
    """Decode the first frame of an image.

    Args:
        data: a whole file, or a JPEG or PNG that ends early.
        max_pixels: limit of Y * X, checked before any pixel is decoded.
        formats: those of IMAGE_FORMATS that are allowed; no decoder of another is run.
        turns: whether to turn it upright, as browsers do.
        admit: called once with Y * X before any pixel is decoded; may wait, and may
            raise.

    Returns:
        Its pixels. Transparency lies on white, 16-bit grey is scaled, deeper grey is
        stretched without what stands for no data, and colour profiles are ignored.

    Raises:
        PictureTooLarge: if there are more than `max_pixels`.
        PictureUnreadable: if the bytes are damaged, or of another format.
    """
    data = keep_picture_segments(keep_picture_chunks(data))
    asked: list[int] = []

    def check(width: int, height: int) -> None:
        if width * height > max_pixels:
            raise PictureTooLarge(found=f"{width} x {height}", max_pixels=max_pixels)
        if not asked:
            asked.append(width * height)
            admit(width * height)

    try:
        return Picture(pixels=_decode(data, check, formats, turns))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        # Pillow's own words are about attacks; the first number in them is the size.
        size = re.search(r"\d+", str(e))
        raise PictureTooLarge(
            found=size[0] if size else "millions", max_pixels=max_pixels
        ) from e
    except UnidentifiedImageError as e:
        sound = refuse_tiff(data) if "TIFF" in formats else None
        raise (
            PictureUnreadable(sound) if sound else refuse_stranger(data, formats)
        ) from e
    except DECODER_FAULTS as e:
        pixels = _decode_beginning(data, check, formats, turns)
        if pixels is not None:
            return Picture(pixels=pixels, is_complete=False)
        raise PictureUnreadable(
            refuse_tiff(data, str(e))
            or f"The image is damaged or incomplete: {e}. Save it anew."
        ) from e


def _decode(
    data: bytes,
    check: Callable[[int, int], None],
    formats: tuple[str, ...],
    turns: bool,
) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=formats) as image:
        check(*image.size)
        image.load()
        nodata = find_nodata(image)
        return _to_rgb(_turn_upright(image) if turns else image, nodata)


def _decode_beginning(
    data: bytes,
    check: Callable[[int, int], None],
    formats: tuple[str, ...],
    turns: bool,
) -> NDArray[np.uint8] | None:
    """What browsers show of a file that ends early; None if that is nothing.

    Pillow has a switch for it, which is one for the whole process and its threads.
    """
    is_jpeg = find_format(data) == "JPEG"
    completed = data + _END_OF_JPEG if is_jpeg else complete_png(data)
    if completed is None:
        return None
    try:
        return _decode(completed, check, formats, turns)
    except DECODER_FAULTS:
        return None


def _turn_upright(image: Image.Image) -> Image.Image:
    if image.format not in _TURNED_BY_BROWSERS:
        return image
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        turn = _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    except DECODER_FAULTS:
        return image  # A browser shows an image with damaged EXIF as it is.
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, nodata: float | None) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        deep = np.asarray(image)
        grey = to_8_bit(deep, nodata)  # (Y, X)
        if isinstance(clear := image.info.get("transparency"), int):
            grey = np.where(deep == clear, np.uint8(255), grey)
        return np.repeat(grey[:, :, None], 3, axis=2)  # (Y, X, 3)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    # In strips: the copies on the way would be five times the picture.
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = image.crop((0, top, image.width, bottom))
        rgb[top:bottom] = np.asarray(_on_white(strip))
    return rgb


def _on_white(image: Image.Image) -> Image.Image:
    """As RGB, transparency on white."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        image = Image.alpha_composite(white, layer)
    return image.convert("RGB")
