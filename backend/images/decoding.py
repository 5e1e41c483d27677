"""Bytes of an image file in, the pixels that a browser would show out.

Pure: no network, no file, no settings. Axis letters: Y, X image pixels.

What a browser shows was compared with Chromium: it turns JPEG and PNG files by
their EXIF orientation, and no file by XMP or a WebP's EXIF. A mask is painted on
what the browser shows, hence not `ImageOps.exif_transpose`, which obeys them all.
"""

import io
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from backend.errors import ImageTooLarge, ImageUnreadable
from backend.types import IMAGE_FORMATS, MAX_IMAGE_PIXELS

# How a file of each begins, those included that browsers show and Pillow cannot read.
_BEGINNINGS: Final = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("BMP", re.compile(rb"BM")),
    ("AVIF", re.compile(rb"....ftypavi[fs]", re.DOTALL)),
    ("HEIC", re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL)),
    ("JPEG 2000", re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51")),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("PDF", re.compile(rb"%PDF-")),
)
_TURNED_BY_BROWSERS: Final = frozenset({"JPEG", "MPO", "PNG"})
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on damaged files.
_DECODER_FAULTS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    RuntimeError,
    EOFError,
    AttributeError,
    struct.error,
)
_STRIP_PIXELS: Final = 1 << 20
_WEB_PAGE_STARTS: Final = (b"<!doctype html", b"<html", b"<head")


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Read an allow-list of formats, in any case.

    Raises:
        ValueError: if it is empty, or a name is none of IMAGE_FORMATS.
    """
    known = f"known are {', '.join(IMAGE_FORMATS)}"
    for name in names:
        if name.upper() not in IMAGE_FORMATS:
            raise ValueError(f"{name!r} is no format that can be read; {known}")
    if not names:
        raise ValueError(f"no format is named; {known}")
    return tuple(dict.fromkeys(name.upper() for name in names))


def decode_image(
    data: bytes,
    *,
    max_pixels: int,
    formats: tuple[str, ...] = IMAGE_FORMATS,
    admit: Callable[[int], object] = lambda n_pixels: None,
) -> NDArray[np.uint8]:
    """Decode the first frame of an image.

    Args:
        data: a whole file.
        max_pixels: limit of Y * X, checked before any pixel is decoded.
        formats: those of IMAGE_FORMATS that are allowed; no decoder of another is run.
        admit: called with Y * X before any pixel is decoded; may wait, and may raise
            `ImageError`.

    Returns:
        uint8 (Y, X, 3), RGB, turned upright. Transparency lies on white, 16-bit
        grey is scaled, and colour profiles are ignored.

    Raises:
        ImageTooLarge: if there are more than `max_pixels`.
        ImageUnreadable: if the bytes are damaged, or of another format.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _too_large(f"{width} x {height}", max_pixels)
            admit(width * height)
            image.load()
            return _to_rgb(_turn_upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        # Pillow's own words are about attacks; the first number in them is the size.
        size = re.search(r"\d+", str(e))
        raise _too_large(size[0] if size else "millions", max_pixels) from e
    except UnidentifiedImageError as e:
        raise ImageUnreadable(_describe_stranger(data, formats)) from e
    except _DECODER_FAULTS as e:
        raise ImageUnreadable(
            f"The image is damaged or incomplete: {e}. Save it anew and import it "
            f"again."
        ) from e


def _turn_upright(image: Image.Image) -> Image.Image:
    if image.format not in _TURNED_BY_BROWSERS:
        return image
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        turn = _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    except _DECODER_FAULTS:
        return image  # A browser shows an image with damaged EXIF as it is.
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        grey = _to_8_bit(np.asarray(image))  # (Y, X)
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


def _to_8_bit(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale deep grey values to 0..255.

    16-bit values keep their scale, 65535 becoming 255. Others have no white of
    their own: they are stretched, so that the least is black and the largest white.
    """
    if grey.dtype.kind in "iu" and grey.min() >= 0 and grey.max() <= 65535:
        # Rounds value * 255 / 65535 without a float copy of a large image.
        return ((grey.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)
    values = np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    span = high - low if high > low else 1.0
    return np.rint((values - low) * (255 / span)).astype(np.uint8)


def _describe_stranger(data: bytes, formats: Sequence[str]) -> str:
    head = data[:512].lower()
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_WEB_PAGE_STARTS):
        return (
            "There is a web page in place of an image, perhaps one to log in. "
            "Check the address, and LABEL_STUDIO_API_KEY if it is Label Studio's."
        )
    found = next((name for name, start in _BEGINNINGS if start.match(data)), None)
    if b"<svg" in head:
        found = "SVG"
    allowed = ", ".join(formats)
    if found in formats:
        return (
            f"The image is damaged or incomplete: it begins as {found} does. Save it "
            f"anew and import it again."
        )
    if found in IMAGE_FORMATS:
        return (
            f"The image is a {found} file; IMAGE_FORMATS allows {allowed}. Convert it, "
            f"or add {found} to IMAGE_FORMATS."
        )
    what = f"are {found}, not" if found else "are not"
    return (
        f"The {len(data):,} bytes {what} an image of a known format. "
        f"Known are {allowed}; convert the image to one of them."
    )


def _too_large(found: str, max_pixels: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"The image has too many pixels: {found}; the limit is {max_pixels:,} in all. "
        f"Use a smaller copy, or raise IMAGE_MAX_PIXELS, which goes up to "
        f"{MAX_IMAGE_PIXELS:,}."
    )
