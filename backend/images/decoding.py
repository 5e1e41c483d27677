"""Bytes of an image file in, its pixels out, refusals in the words of who must act.

The segmenter decodes, and has never heard of settings; here each of its refusals gets
the variable that it depends on.
"""

from collections.abc import Callable, Sequence
from typing import Final

from backend.errors import ImageTooLarge, ImageUnreadable
from segmenter import (
    IMAGE_FORMATS,
    MAX_IMAGE_PIXELS,
    Picture,
    PictureError,
    PictureFormatRefused,
    PictureTooLarge,
    WebPageInstead,
)
from segmenter import decode_image as decode

CUT_OFF: Final = (
    "The file ends before its image does. What is there is used, as browsers show it; "
    "import the whole file to have the rest."
)


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
) -> Picture:
    """Decode the first frame of an image; see `segmenter.decode_image`.

    Raises:
        ImageTooLarge: if there are more than `max_pixels`.
        ImageUnreadable: if the bytes are damaged, or of another format.
    """
    try:
        return decode(data, max_pixels=max_pixels, formats=formats, admit=admit)
    except PictureTooLarge as e:
        raise ImageTooLarge(
            f"The image has too many pixels: {e.found}; the limit is "
            f"{e.max_pixels:,} in all. Use a smaller copy, or raise IMAGE_MAX_PIXELS, "
            f"which goes up to {MAX_IMAGE_PIXELS:,}."
        ) from e
    except PictureFormatRefused as e:
        raise ImageUnreadable(
            f"The image is a {e.found} file; IMAGE_FORMATS allows "
            f"{', '.join(e.allowed)}. Convert it, or add {e.found} to IMAGE_FORMATS."
        ) from e
    except WebPageInstead as e:
        raise ImageUnreadable(
            f"{e} Check the address, and LABEL_STUDIO_API_KEY if it is Label Studio's."
        ) from e
    except PictureError as e:
        raise ImageUnreadable(str(e)) from e
