"""Sound TIFFs that are not decoded, and what GDAL notes in those that are."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from segmenter import PictureUnreadable, decode_image


def tiff(
    *,
    bands: int = 1,
    bits: int = 8,
    sample_format: int = 1,
    compression: int = 1,
    content: bytes | None = None,
    order: str = "<",
) -> bytes:
    """A TIFF of 4 rows and 6 columns in one strip, without a library's opinion."""
    pixels = bytes(4 * 6 * bands * bits // 8) if content is None else content
    entries = [
        (256, 3, [6]),
        (257, 3, [4]),
        (258, 3, [bits] * bands),
        (259, 3, [compression]),
        (262, 3, [1]),
        (273, 4, [8]),
        (277, 3, [bands]),
        (278, 3, [4]),
        (279, 4, [len(pixels)]),
        (339, 3, [sample_format] * bands),
    ]
    at = 8 + len(pixels)
    beyond = at + 2 + 12 * len(entries) + 4
    directory, tail = struct.pack(order + "H", len(entries)), b""
    for tag, kind, values in entries:
        packed = struct.pack(order + {3: "H", 4: "I"}[kind] * len(values), *values)
        place = packed.ljust(4, b"\0")
        if len(packed) > 4:
            place = struct.pack(order + "I", beyond + len(tail))
            tail += packed
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, at)
    return head + pixels + directory + bytes(4) + tail


def refusal(data: bytes) -> str:
    with pytest.raises(PictureUnreadable) as caught:
        decode_image(data)
    return str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("made", "kind"),
    [
        pytest.param(
            {"bits": 64, "sample_format": 3}, "1 band of 64-bit float, c", id="float64"
        ),
        pytest.param(
            {"bands": 5, "bits": 32, "sample_format": 3},
            "5 bands of 32-bit float, compression none, marked as grey",
            id="five-bands",
        ),
        pytest.param(
            {"bands": 3, "bits": 16},
            "3 bands of 16-bit unsigned integer, compression none, marked as grey",
            id="three-bands",
        ),
        pytest.param(
            {"bits": 64, "sample_format": 6}, "1 band of 64-bit complex float", id="sar"
        ),
        pytest.param(
            {"compression": 34712}, "unsigned integer, compression JPEG 2000", id="jp2"
        ),
        pytest.param({"compression": 34887}, "compression LERC", id="lerc"),
        pytest.param({"compression": 50001}, "compression WebP", id="webp"),
        pytest.param({"compression": 50002}, "compression JPEG XL", id="jxl"),
        pytest.param({"compression": 4711}, "compression number 4711", id="unknown"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_sound_tiff_that_is_not_decoded_is_named_with_what_to_convert_it_to(
    made: dict[str, Any], kind: str, order: str
) -> None:
    message = refusal(tiff(order=order, **made))

    assert message.startswith("The image is a TIFF of a kind that is not read here: ")
    assert kind in message
    assert (
        "Convert it to 8-bit RGB, for example with `gdal_translate -of PNG" in message
    )
    bands = "-b 1 -b 2 -b 3" if made.get("bands", 1) >= 3 else "-b 1"
    assert f" -scale {bands} IN.tif OUT.png` or ImageMagick's `convert IN" in message
    assert "Save it anew" not in message


@pytest.mark.filterwarnings("ignore")
def test_what_a_decoder_says_of_a_tiff_is_passed_on() -> None:
    message = refusal(tiff(compression=50001, content=b"no picture"))

    assert "compression WebP (" in message
    assert message.endswith("If no program opens it, it is damaged.")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_bytes", [60, 150])
def test_a_tiff_that_ends_early_is_called_damaged(n_bytes: int) -> None:
    whole = tiff(bands=5, bits=32, sample_format=3)
    # The tags stand at the end; put them within reach.
    assert "damaged or incomplete" in refusal(whole[:n_bytes])


@pytest.mark.filterwarnings("ignore")
def test_a_tiff_whose_pixels_lie_beyond_its_end_is_called_damaged() -> None:
    whole = tiff(bits=64, sample_format=3)
    at = whole.index(struct.pack("<HHI", 273, 4, 1)) + 8

    moved = whole[:at] + struct.pack("<I", len(whole)) + whole[at + 4 :]

    assert "damaged or incomplete" in refusal(moved)


def test_a_tiff_is_not_described_where_tiffs_are_not_allowed() -> None:
    with pytest.raises(PictureUnreadable, match="TIFF file; allowed are PNG"):
        decode_image(tiff(bands=5), formats=("PNG",))


def geotiff(values: np.ndarray, nodata: str | None) -> np.ndarray:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if nodata is not None:
        tags[42113] = nodata
        tags.tagtype[42113] = 2
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF", tiffinfo=tags)
    return decode_image(file.getvalue()).pixels[0, :, 0]


@pytest.mark.parametrize(
    ("hole", "nodata"),
    [
        pytest.param(-9999, "-9999", id="usual"),
        pytest.param(-9999, None, id="usual-not-noted"),
        pytest.param(-3.4e38, "-3.4e+38", id="rounded-by-the-type"),
        pytest.param(-3.4028234663852886e38, None, id="least-float-not-noted"),
        pytest.param(3.4028234663852886e38, None, id="largest-float-not-noted"),
        pytest.param(np.nan, "nan", id="not-a-number"),
        pytest.param(np.nan, None, id="not-a-number-not-noted"),
        pytest.param(np.inf, None, id="infinite"),
        pytest.param(0, " 0 ", id="zero"),
        pytest.param(500, "500", id="among-the-values"),
        pytest.param(np.nan, "no number", id="noted-wrongly"),
    ],
)
def test_what_means_no_data_does_not_eat_the_contrast(
    hole: float, nodata: str | None
) -> None:
    values = np.float32([[1000, hole, 1100, 1255]])

    assert geotiff(values, nodata).tolist() == [0, 0, 100, 255]


def test_whole_numbers_with_no_data_are_stretched_without_it() -> None:
    values = np.int32([[100, -32768, 200, 355]])

    assert geotiff(values, "-32768").tolist() == [0, 0, 100, 255]
    assert geotiff(values, None).tolist() == [0, 0, 100, 255]


def test_a_usual_filling_among_its_like_is_a_measurement() -> None:
    values = np.float32([[-9999, -5000, 0, 201]])

    assert geotiff(values, None).tolist() == [0, 125, 250, 255]


def test_nothing_but_no_data_is_black() -> None:
    assert geotiff(np.float32([[-9999, -9999]]), "-9999").tolist() == [0, 0]
    assert geotiff(np.float32([[np.nan, np.nan]]), None).tolist() == [0, 0]


def test_16_bit_grey_keeps_its_scale_whatever_means_no_data() -> None:
    values = np.uint16([[0, 257, 65535]])

    assert geotiff(values, "65535").tolist() == [0, 1, 255]
