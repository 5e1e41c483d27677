"""Refusals of the segmenter's decoder, in the words of who must act."""

import io

import pytest
from PIL import Image

from backend.errors import ImageTooLarge, ImageUnreadable
from backend.images.decoding import check_formats, decode_image


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (10, 11)).save(file, "PNG")
    return file.getvalue()


def test_decode_image_names_the_variable_for_too_many_pixels() -> None:
    with pytest.raises(ImageTooLarge) as caught:
        decode_image(png(), max_pixels=109)

    assert str(caught.value) == (
        "The image has too many pixels: 10 x 11; the limit is 109 in all. Use a "
        "smaller copy, or raise IMAGE_MAX_PIXELS, which goes up to 178,956,970."
    )
    assert decode_image(png(), max_pixels=110).pixels.shape == (11, 10, 3)


def test_decode_image_names_the_variable_for_a_format_that_is_not_allowed() -> None:
    with pytest.raises(ImageUnreadable) as caught:
        decode_image(png(), max_pixels=1000, formats=("JPEG", "GIF"))

    assert str(caught.value) == (
        "The image is a PNG file; IMAGE_FORMATS allows JPEG, GIF. "
        "Convert it, or add PNG to IMAGE_FORMATS."
    )


def test_decode_image_names_the_token_for_a_page_to_log_in() -> None:
    with pytest.raises(ImageUnreadable, match=r"to log in\. Check the address, and"):
        decode_image(b"<html>", max_pixels=1000)


def test_decode_image_hands_on_other_refusals() -> None:
    with pytest.raises(ImageUnreadable, match="0 bytes are not an image"):
        decode_image(b"", max_pixels=1000)


def test_check_formats_takes_names_in_any_case_and_twice() -> None:
    assert check_formats(["png", "JPEG", "Png"]) == ("PNG", "JPEG")


@pytest.mark.parametrize("names", [["JPG"], ["PNG", "PPM"], ["PNG", ""], []])
def test_check_formats_refuses_unknown_names_and_tells_the_known_ones(
    names: list[str],
) -> None:
    with pytest.raises(ValueError, match="known are JPEG, PNG, WEBP, AVIF, GIF"):
        check_formats(names)


def test_decode_asks_before_it_decodes() -> None:
    asked: list[int] = []

    def refuse(n_pixels: int) -> None:
        asked.append(n_pixels)
        raise ImageTooLarge("not now")

    with pytest.raises(ImageTooLarge, match="not now"):
        decode_image(png(), max_pixels=1000, admit=refuse)

    assert asked == [110]
