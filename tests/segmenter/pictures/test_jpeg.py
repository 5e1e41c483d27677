"""What of a JPEG is left out; Chromium 156 shows each of these as the whole one."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segmenter import PictureUnreadable, decode_image
from segmenter.pictures.jpeg import keep_picture_segments

PIXELS = np.random.default_rng(2).integers(0, 256, (16, 24, 3), np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def first(data: bytes, added: bytes) -> bytes:
    return data[:2] + added + data[2:]


@pytest.mark.parametrize(
    "added",
    [
        pytest.param(segment(0xE2, b"ICC_PROFILE\0"), id="short-profile"),
        pytest.param(segment(0xE2, b"MPF\0garbage"), id="strange-index"),
        pytest.param(segment(0xEE, b"Adobe"), id="short-adobe"),
        pytest.param(segment(0xED, b"Photoshop 3.0\x008BIM\3"), id="short-notes"),
        pytest.param(segment(0xE1, b"Exif\0\0garbage"), id="strange-exif"),
        pytest.param(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<"), id="half-xmp"),
        pytest.param(segment(0xFE, b"\xff\xfe"), id="comment"),
        pytest.param(segment(0xEF, b""), id="nothing"),
        pytest.param(segment(0xE2, bytes(65_000)) * 40, id="large"),
    ],
)
def test_what_is_no_part_of_the_picture_is_passed_over(added: bytes) -> None:
    whole = jpeg()

    picture = decode_image(first(whole, added))

    assert picture.is_complete
    np.testing.assert_array_equal(picture.pixels, decode_image(whole).pixels)


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_colours_and_orientation_are_kept(mode: str) -> None:
    data = jpeg(mode, exif=TURNED, icc_profile=b"x" * 500, comment="note")

    kept = keep_picture_segments(data)

    assert b"ICC_PROFILE" not in kept
    assert b"note" not in kept
    with Image.open(io.BytesIO(data)) as opened:
        expected = opened.convert("RGB").transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(decode_image(data).pixels, np.asarray(expected))


def test_colours_that_are_no_ycbcr_are_kept() -> None:
    data = jpeg(keep_rgb=True)

    np.testing.assert_allclose(decode_image(data).pixels, PIXELS, atol=12)


@pytest.mark.parametrize("n_bytes", [2, 3, 4, 30, 200])
def test_what_ends_before_its_pixels_is_damaged(n_bytes: int) -> None:
    with pytest.raises(PictureUnreadable):
        decode_image(jpeg()[:n_bytes])


def test_what_is_no_jpeg_is_left_alone() -> None:
    data = b"GIF89a..."

    assert keep_picture_segments(data) is data
