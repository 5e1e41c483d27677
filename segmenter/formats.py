"""Which kinds of files are read, and what a file that is not read begins as."""

import re
import struct
from collections.abc import Sequence
from typing import Final

from segmenter.errors import PictureFormatRefused, PictureUnreadable, WebPageInstead

IMAGE_FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
"""File formats that can be read, as Pillow spells them."""

MAX_IMAGE_PIXELS: Final = 178_956_970
"""Pillow refuses more by itself."""

DECODER_FAULTS: Final = (
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
"""What Pillow's decoders raise on damaged files and tags."""

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
_WEB_PAGE_STARTS: Final = (b"<!doctype html", b"<html", b"<head")


def find_format(data: bytes) -> str | None:
    """What a file begins as, by its customary name; None for what is not known."""
    if b"<svg" in data[:512].lower():
        return "SVG"
    return next((name for name, start in _BEGINNINGS if start.match(data)), None)


def refuse_stranger(data: bytes, formats: Sequence[str]) -> PictureUnreadable:
    """What to say of a file that no decoder of the allowed formats takes.

    Args:
        data: the file.
        formats: those that are allowed.
    """
    start = data[:512].lower().lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_WEB_PAGE_STARTS):
        return WebPageInstead()
    found = find_format(data)
    allowed = ", ".join(formats)
    if found in formats:
        return PictureUnreadable(
            f"The image is damaged or incomplete: it begins as {found} does. Save it "
            f"anew."
        )
    if found in IMAGE_FORMATS:
        return PictureFormatRefused(found=str(found), allowed=tuple(formats))
    what = f"are {found}, not" if found else "are not"
    return PictureUnreadable(
        f"The {len(data):,} bytes {what} an image of a known format. "
        f"Known are {allowed}; convert the image to one of them."
    )
