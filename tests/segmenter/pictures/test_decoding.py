import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from segmenter import (
    IMAGE_FORMATS,
    PictureError,
    PictureFormatRefused,
    PictureTooLarge,
    PictureUnreadable,
    decode_image,
)
from tests.examples import at_most

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def save(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    picture = decode_image(data, max_pixels=1_000_000)
    assert picture.is_complete
    return picture.pixels


def red_then_blue(mode: str = "RGB") -> Image.Image:
    """40 wide, 20 high; the left quarter is red, the rest blue."""
    image = Image.new("RGB", (40, 20), BLUE)
    image.paste(RED, (0, 0, 10, 20))
    return image.convert(mode)


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


@pytest.mark.parametrize("file_format", IMAGE_FORMATS)
def test_decode_image_gives_rows_by_columns_by_rgb_for_every_format(
    file_format: str,
) -> None:
    pixels = decode(save(red_then_blue(), file_format))

    assert pixels.shape == (20, 40, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[10, 2], RED, atol=6)
    np.testing.assert_allclose(pixels[10, 30], BLUE, atol=6)


def test_decode_image_gives_pixels_that_may_be_written_to() -> None:
    assert decode(save(red_then_blue(), "PNG")).flags.writeable


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("value", range(1, 9))
def test_decode_image_turns_all_exif_orientations_as_pillow_does(
    value: int, file_format: str
) -> None:
    image = red_then_blue()
    image.paste((0, 255, 0), (0, 0, 16, 8))
    data = save(image, file_format, exif=orientation(value))

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode(data), np.asarray(expected))


def test_decode_image_turns_a_photo_that_holds_more_pictures_than_one() -> None:
    """As telephones write them: Pillow calls such a JPEG an MPO."""
    photo = red_then_blue()
    data = save(photo, "MPO", save_all=True, append_images=[photo], exif=orientation(6))
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.format == "MPO"

    pixels = decode(data)

    assert pixels.shape == (40, 20, 3)
    np.testing.assert_allclose(pixels[2, 10], RED, atol=6)


def test_decode_image_puts_the_left_on_top_for_orientation_6() -> None:
    pixels = decode(save(red_then_blue(), "JPEG", exif=orientation(6)))

    assert pixels.shape == (40, 20, 3)
    np.testing.assert_allclose(pixels[2, 10], RED, atol=6)
    np.testing.assert_allclose(pixels[37, 10], BLUE, atol=6)


@pytest.mark.parametrize("value", range(1, 9))
def test_decode_image_turns_avif_files_by_their_own_orientation(value: int) -> None:
    """Pixel for pixel what Chromium 156 shows of them."""
    image = red_then_blue()
    image.paste((0, 255, 0), (0, 0, 16, 8))
    data = save(image, "AVIF", exif=orientation(value), quality=100)

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode(data), np.asarray(expected))


def test_decode_image_leaves_all_orientations_where_it_is_told_to() -> None:
    data = save(red_then_blue(), "JPEG", exif=orientation(6))

    assert decode_image(data, turns=False).pixels.shape == (20, 40, 3)


# Chromium's naturalWidth, looked at by hand: both are shown 40 wide.
@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        pytest.param("WEBP", {"exif": orientation(6)}, id="exif-of-webp"),
        pytest.param(
            "JPEG",
            {"xmp": b'<rdf:Description tiff:Orientation="6"/>'},
            id="xmp-of-jpeg",
        ),
    ],
)
def test_decode_image_leaves_orientations_that_browsers_leave(
    file_format: str, options: dict[str, Any]
) -> None:
    assert decode(save(red_then_blue(), file_format, **options)).shape == (20, 40, 3)


@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(b"Exif\x00\x00garbage", id="garbage"),
        pytest.param(orientation(99).tobytes(), id="out-of-range"),
        pytest.param(orientation(0).tobytes(), id="zero"),
    ],
)
def test_decode_image_shows_an_image_with_damaged_exif_as_it_is(exif: bytes) -> None:
    pixels = decode(save(red_then_blue(), "PNG", exif=exif))

    assert pixels.shape == (20, 40, 3)


def test_decode_image_scales_16_bit_grey_to_8_bit() -> None:
    ramp = np.linspace(0, 65535, 300).astype(np.uint16).reshape(10, 30)

    pixels = decode(save(Image.fromarray(ramp), "PNG"))

    expected = np.rint(ramp / 257).astype(np.uint8)
    np.testing.assert_array_equal(pixels, np.stack([expected] * 3, axis=2))


def test_decode_image_reads_big_endian_16_bit_tiff() -> None:
    image = Image.frombytes("I;16B", (2, 1), bytes.fromhex("8000ffff"))

    assert decode(save(image, "TIFF"))[0, :, 0].tolist() == [128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(np.float32([[0, 0.5, 1]]), [0, 128, 255], id="unit-floats"),
        pytest.param(np.float32([[np.nan, 0, 2]]), [0, 0, 255], id="not-a-number"),
        pytest.param(np.int32([[-100, 0, 155]]), [0, 100, 255], id="signed"),
        pytest.param(np.float32([[7, 7, 7]]), [0, 0, 0], id="uniform"),
    ],
)
def test_decode_image_stretches_grey_that_has_no_white(
    values: np.ndarray, expected: list[int]
) -> None:
    pixels = decode(save(Image.fromarray(values), "TIFF"))

    assert pixels[0, :, 1].tolist() == expected


@pytest.mark.parametrize(
    ("mode", "clear"),
    [
        pytest.param("RGBA", (255, 0, 0, 0), id="rgba"),
        pytest.param("LA", (0, 0), id="grey-alpha"),
    ],
)
def test_decode_image_lays_transparency_on_white(
    mode: str, clear: tuple[int, ...]
) -> None:
    pixels = decode(save(Image.new(mode, (3, 2), clear), "PNG"))

    assert (pixels == 255).all()


def test_decode_image_mixes_half_transparency_with_white() -> None:
    pixels = decode(save(Image.new("RGBA", (3, 2), (0, 0, 0, 128)), "PNG"))

    np.testing.assert_allclose(pixels, 127, atol=1)


def test_decode_image_lays_a_transparent_shade_of_16_bits_on_white() -> None:
    ramp = Image.fromarray(np.uint16([[0, 257, 25_700, 65_535]]))
    whole = save(ramp, "PNG")
    clear = b"tRNS" + struct.pack(">H", 257)
    checksum = struct.pack(">I", zlib.crc32(clear))
    data = whole[:33] + struct.pack(">I", 2) + clear + checksum + whole[33:]

    assert decode(data)[0, :, 0].tolist() == [0, 255, 100, 255]


def test_decode_image_lays_a_transparent_palette_colour_on_white() -> None:
    image = red_then_blue().quantize(2)
    index_of_red = image.getpixel((0, 0))

    pixels = decode(save(image, "PNG", transparency=index_of_red))

    assert tuple(pixels[10, 2]) == WHITE
    assert tuple(pixels[10, 30]) == BLUE


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        pytest.param("P", "PNG", id="palette"),
        pytest.param("CMYK", "JPEG", id="cmyk-jpeg"),
        pytest.param("CMYK", "TIFF", id="cmyk-tiff"),
        pytest.param("YCbCr", "TIFF", id="ycbcr"),
    ],
)
def test_decode_image_keeps_colours_of_other_modes(mode: str, file_format: str) -> None:
    pixels = decode(save(red_then_blue(mode), file_format))

    np.testing.assert_allclose(pixels[10, 2], RED, atol=6)
    np.testing.assert_allclose(pixels[10, 30], BLUE, atol=6)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_decode_image_repeats_grey_in_all_channels(mode: str) -> None:
    image = Image.new(mode, (3, 2), 0)
    image.putpixel((2, 0), 255)

    pixels = decode(save(image, "PNG"))

    assert tuple(pixels[0, 2]) == WHITE
    assert pixels.sum() == 3 * 255


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_decode_image_takes_the_first_of_several_frames(file_format: str) -> None:
    first, second = (Image.new("RGB", (6, 4), colour) for colour in (RED, BLUE))

    data = save(first, file_format, save_all=True, append_images=[second])

    np.testing.assert_allclose(decode(data)[2, 3], RED, atol=6)


def test_decode_image_ignores_a_colour_profile() -> None:
    plain = save(red_then_blue(), "PNG")
    profiled = save(red_then_blue(), "PNG", icc_profile=b"not a profile")

    np.testing.assert_array_equal(decode(plain), decode(profiled))


def test_decode_image_reads_a_single_pixel() -> None:
    assert decode(save(Image.new("RGB", (1, 1), RED), "PNG")).tolist() == [
        [[255, 0, 0]]
    ]


def test_decode_image_refuses_a_huge_header_before_decoding() -> None:
    with pytest.raises(PictureTooLarge, match=r"400000000.*100,000,000 in all.*small"):
        decode_image(png_header(20_000, 20_000), max_pixels=100_000_000)


def test_decode_image_refuses_one_pixel_over_the_limit_and_takes_the_limit() -> None:
    data = save(Image.new("RGB", (10, 11)), "PNG")

    with pytest.raises(PictureTooLarge, match="10 x 11; the limit is 109"):
        decode_image(data, max_pixels=109)
    assert decode_image(data, max_pixels=110).pixels.shape == (11, 10, 3)


def test_decode_image_turns_pillows_bomb_warning_into_too_large() -> None:
    with pytest.raises(PictureTooLarge, match="144000000"):
        decode_image(png_header(12_000, 12_000), max_pixels=100_000_000)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(bytes(10_000), "10,000 bytes are not an image", id="zeros"),
        pytest.param(b"", "0 bytes are not an image", id="empty"),
        pytest.param(b"<svg xmlns='x'/>", "Known are JPEG, PNG", id="svg"),
        pytest.param(
            b"\xef\xbb\xbf\n<!DOCTYPE HTML><title>Log in", "web page", id="html"
        ),
        pytest.param(
            save(red_then_blue(), "WEBP")[:-20], "damaged or incomplete", id="webp"
        ),
        pytest.param(save(red_then_blue(), "JPEG")[:200], "damaged or", id="jpeg"),
        pytest.param(png_header(4, 4), "damaged or incomplete", id="png"),
    ],
)
def test_decode_image_names_what_is_wrong_with_the_bytes(
    data: bytes, message: str
) -> None:
    with pytest.raises(PictureUnreadable, match=message):
        decode(data)


def rows_of_noise(n_rows: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (n_rows, 40, 3), np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("n_missing", [1, 2, 3, 40])
def test_decode_image_shows_a_jpeg_without_its_last_bytes_as_browsers_do(
    n_missing: int, progressive: bool
) -> None:
    whole = save(rows_of_noise(64), "JPEG", progressive=progressive)

    picture = decode_image(whole[:-n_missing])

    assert not picture.is_complete
    assert picture.pixels.shape == (64, 40, 3)
    n_sure = 40 if not progressive else 0
    np.testing.assert_array_equal(picture.pixels[:n_sure], decode(whole)[:n_sure])


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_decode_image_shows_the_beginning_of_half_a_jpeg(share: float) -> None:
    whole = save(rows_of_noise(64), "JPEG")

    pixels = decode_image(whole[: int(len(whole) * (0.2 + share * 0.8))]).pixels

    n_sure = 16 * int(share * 3)
    np.testing.assert_array_equal(pixels[:n_sure], decode(whole)[:n_sure])
    assert np.ptp(pixels[-8:]) == 0


def test_decode_image_turns_a_jpeg_that_ends_early() -> None:
    data = save(red_then_blue(), "JPEG", exif=orientation(6))[:-5]

    assert decode_image(data).pixels.shape == (40, 20, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA"])
def test_decode_image_shows_the_beginning_of_half_a_png(mode: str) -> None:
    whole = save(rows_of_noise(64).convert(mode), "PNG")

    picture = decode_image(whole[: len(whole) // 2 + 100])

    assert not picture.is_complete
    np.testing.assert_array_equal(picture.pixels[:20], decode(whole)[:20])
    assert np.ptp(picture.pixels[-4:]) == 0


def test_decode_image_does_not_touch_pillow_s_switch_for_all_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Untouched:
        def __bool__(self) -> bool:
            return False

    untouched = Untouched()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", untouched)

    decode_image(save(red_then_blue(), "JPEG")[:-2])

    assert ImageFile.LOAD_TRUNCATED_IMAGES is untouched


def test_decode_image_holds_what_ends_early_to_the_limit_too() -> None:
    with pytest.raises(PictureTooLarge, match="40 x 20"):
        decode_image(save(red_then_blue(), "JPEG")[:-2], max_pixels=799)


def test_decode_image_refuses_a_format_that_nobody_can_allow() -> None:
    with pytest.raises(PictureUnreadable, match="not an image of a known format"):
        decode(save(red_then_blue(), "PPM"))


@pytest.mark.parametrize("file_format", IMAGE_FORMATS)
def test_decode_image_decodes_a_format_only_when_it_is_allowed(
    file_format: str,
) -> None:
    data = save(red_then_blue(), file_format)
    others = tuple(name for name in IMAGE_FORMATS if name != file_format)

    pixels = decode_image(data, max_pixels=1000, formats=(file_format,)).pixels
    with pytest.raises(PictureUnreadable) as caught:
        decode_image(data, max_pixels=1000, formats=others)

    assert pixels.shape == (20, 40, 3)
    assert str(caught.value) == (
        f"The image is a {file_format} file; allowed are {', '.join(others)}. "
        f"Convert it."
    )
    assert isinstance(caught.value, PictureFormatRefused)
    assert (caught.value.found, caught.value.allowed) == (file_format, others)


def test_decode_image_runs_no_decoder_of_a_format_that_is_not_allowed() -> None:
    # To see its size, Pillow would have to open it.
    huge = png_header(20_000, 20_000)

    with pytest.raises(PictureUnreadable, match="PNG file; allowed are JPEG"):
        decode_image(huge, max_pixels=1000, formats=("JPEG",))


def test_decode_image_takes_several_pictures_in_one_jpeg_for_a_jpeg() -> None:
    first, second = (Image.new("RGB", (6, 4), colour) for colour in (RED, BLUE))
    data = save(first, "MPO", save_all=True, append_images=[second])

    picture = decode_image(data, max_pixels=1000, formats=("JPEG",))

    assert picture.pixels.shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        pytest.param(save(red_then_blue(), "JPEG2000"), "JPEG 2000", id="jpeg-2000"),
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", id="heic"),
        pytest.param(b"%PDF-1.7 ...", "PDF", id="pdf"),
        pytest.param(b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG", id="svg"),
    ],
)
def test_decode_image_names_well_known_formats_that_it_cannot_read(
    data: bytes, name: str
) -> None:
    with pytest.raises(PictureUnreadable, match=f"bytes are {name}, not an image of"):
        decode(data)


def test_decode_image_calls_a_file_with_a_right_beginning_damaged() -> None:
    with pytest.raises(PictureUnreadable, match="incomplete: it begins as GIF does"):
        decode(b"GIF89a")


WHOLE_FILES = [
    save(red_then_blue(), "JPEG", exif=orientation(6)),
    save(red_then_blue(), "PNG", exif=orientation(6)),
    save(red_then_blue(), "WEBP"),
    save(red_then_blue(), "AVIF"),
    save(red_then_blue(), "GIF"),
    save(red_then_blue(), "BMP"),
    save(red_then_blue(), "TIFF", compression="tiff_lzw"),
]


@pytest.mark.filterwarnings("ignore")  # Pillow also grumbles without raising
@settings(
    max_examples=at_most(150), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(st.sampled_from(WHOLE_FILES), st.data())
def test_decode_image_answers_damage_with_pixels_or_a_picture_error(
    whole: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(whole)
    places = st.integers(0, len(whole) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(whole) // 2, len(whole)))

    try:
        picture = decode_image(bytes(damaged[:cut]), max_pixels=1_000_000)
    except PictureError:
        return
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.ndim == 3


def test_strips_of_a_large_picture_are_put_together() -> None:
    rows, columns = 1200, 1000  # more than one strip
    values = np.arange(rows * columns * 4, dtype=np.uint32).reshape(rows, columns, 4)
    rgba = (values * 2654435761 >> 13).astype(np.uint8)
    white = Image.new("RGBA", (columns, rows), "white")
    expected = Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB")
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")

    pixels = decode_image(file.getvalue()).pixels

    assert np.array_equal(pixels, np.asarray(expected))
    assert pixels.flags.writeable
