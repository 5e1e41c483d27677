"""What of a PNG is left out; each case was shown by Chromium 156 as it is said here."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segmenter import PictureUnreadable, decode_image
from segmenter.pictures.png import complete_png, keep_picture_chunks

PIXELS = np.random.default_rng(1).integers(0, 256, (9, 13, 3), np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6
TURN = TURNED.tobytes()[6:]


def png(image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes, *, is_sound: bool = True) -> bytes:
    checksum = zlib.crc32(kind + content) ^ (not is_sound)
    return struct.pack(">I", len(content)) + kind + content + checksum.to_bytes(4)


def first(data: bytes, added: bytes) -> bytes:
    """Put chunks behind the header."""
    return data[:33] + added + data[33:]


def last(data: bytes, added: bytes) -> bytes:
    """Put chunks behind the pixels."""
    return data[:-12] + added + data[-12:]


def damaged(kind: bytes, content: bytes) -> bytes:
    return chunk(kind, content, is_sound=False)


BOMB = zlib.compress(bytes(30_000_000))


@pytest.mark.parametrize("place", [first, last])
@pytest.mark.parametrize(
    "added",
    [
        pytest.param(damaged(b"iCCP", b"x\0\0abc"), id="profile-checksum"),
        pytest.param(damaged(b"tEXt", b"key\0text"), id="text-checksum"),
        pytest.param(damaged(b"tIME", bytes(7)), id="time-checksum"),
        pytest.param(damaged(b"eXIf", TURN), id="exif-checksum"),
        pytest.param(damaged(b"prVt", b"..."), id="private-checksum"),
        pytest.param(chunk(b"iCCP", b"x\0\0" + BOMB), id="profile-too-large"),
        pytest.param(chunk(b"iCCP", b"x\0\7abc"), id="profile-unknown-method"),
        pytest.param(chunk(b"zTXt", b"key\0\0" + BOMB), id="packed-text-bomb"),
        pytest.param(
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB), id="xmp-bomb"
        ),
        pytest.param(chunk(b"tEXt", b"key\0" + bytes(2_000_000)), id="large-text"),
        pytest.param(chunk(b"zTXt", b"key\0\0" + BOMB) * 70, id="70-bombs"),
        pytest.param(chunk(b"gAMA", b"\0"), id="short-gamma"),
        pytest.param(chunk(b"pHYs", b"\0"), id="short-size"),
        pytest.param(chunk(b"cHRM", b""), id="no-colours"),
        pytest.param(chunk(b"tRNS", b"\0"), id="short-transparency"),
        pytest.param(chunk(b"acTL", b"\0"), id="short-animation"),
        pytest.param(chunk(b"a\0zz", b""), id="strange-name"),
    ],
)
def test_what_is_no_part_of_the_picture_is_passed_over(
    place: Callable[[bytes, bytes], bytes], added: bytes
) -> None:
    picture = decode_image(place(png(), added))

    assert picture.is_complete
    np.testing.assert_array_equal(picture.pixels, PIXELS)


def test_sound_exif_before_the_pixels_turns_and_behind_them_does_not() -> None:
    exif = chunk(b"eXIf", TURN)

    assert decode_image(first(png(), exif)).pixels.shape == (13, 9, 3)
    assert decode_image(last(png(), exif)).pixels.shape == (9, 13, 3)


@pytest.mark.parametrize(
    ("mode", "clear"),
    [
        ("P", b"\0" * 200),
        ("L", struct.pack(">H", 7)),
        ("RGB", struct.pack(">HHH", 7, 7, 7)),
    ],
)
def test_transparency_holds_if_its_checksum_does(mode: str, clear: bytes) -> None:
    whole = png(Image.new("RGB", (4, 3), (7, 7, 7)).convert(mode))
    at = whole.index(b"IDAT") - 4

    def shown(added: bytes) -> int:
        return int(decode_image(whole[:at] + added + whole[at:]).pixels[0, 0, 0])

    assert shown(chunk(b"tRNS", clear)) == 255
    assert shown(damaged(b"tRNS", clear)) < 10


def test_further_frames_are_left_out() -> None:
    second = Image.fromarray(255 - PIXELS)

    kept = keep_picture_chunks(png(save_all=True, append_images=[second]))

    assert b"fdAT" not in kept
    np.testing.assert_array_equal(decode_image(kept).pixels, PIXELS)


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_a_wrong_checksum_of_what_makes_the_picture_is_damage(kind: bytes) -> None:
    whole = png(Image.fromarray(PIXELS).convert("P"))
    at = whole.index(kind)
    (length,) = struct.unpack(">I", whole[at - 4 : at])
    end = at + 4 + length

    with pytest.raises(PictureUnreadable, match="damaged or incomplete"):
        decode_image(whole[:end] + b"BAD!" + whole[end + 4 :])


def test_what_is_no_png_is_left_alone() -> None:
    data = b"GIF89a..."

    assert keep_picture_chunks(data) is data


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize(
    "size",
    [(1, 1), (3, 5), (13, 9)],
    ids=str,
)
def test_a_png_without_its_end_is_completed_to_its_very_pixels(
    mode: str, size: tuple[int, int]
) -> None:
    image = Image.fromarray(PIXELS).resize(size).convert(mode)
    whole = png(image)

    completed = complete_png(keep_picture_chunks(whole[:-12]))

    assert completed is not None
    with Image.open(io.BytesIO(completed)) as opened:
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(image))


def test_an_interlaced_png_that_ends_early_keeps_what_it_has() -> None:
    # Pillow writes none. One pixel of each pass but the last: 8 x 8, grey.
    passes = [(1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)]
    raw = b"".join((b"\0" + b"\x50" * width) * rows for width, rows in passes[:6])
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw, 0)[:-4])
    )

    picture = decode_image(data)

    assert not picture.is_complete
    assert (picture.pixels[::2] == 0x50).all()
    assert (picture.pixels[1::2] == 0).all()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(png(), id="whole"),
        pytest.param(png()[:40], id="no-pixels"),
        pytest.param(png()[:20], id="half-a-header"),
        pytest.param(
            png()[:33] + chunk(b"IDAT", b"no zlib stream"), id="no-zlib-stream"
        ),
    ],
)
def test_what_cannot_or_need_not_be_completed_is_not(data: bytes) -> None:
    assert complete_png(data) is None
