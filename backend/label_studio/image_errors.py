"""What goes wrong on the web in, an ImageError with the remedy out.

`backend.http` does not know what it fetches; what an operator or an annotator does
about a failure depends on it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

import httpx

from backend.errors import (
    HostOutOfScope,
    HostReserved,
    HttpError,
    HttpTimeout,
    ImageError,
    ImageRefused,
    ImageTooLarge,
    ImageTooSlow,
    InvalidUrl,
    ResponseCompressed,
    ResponseTooLarge,
)
from backend.http import parse_url

SUPPORTED: Final = (
    "Supported are uploads to Label Studio and its local files (/data/...), cloud "
    "storage (s3://, gs://, azure-blob://), http and https addresses, and data: URIs "
    "of images."
)
# Every other HttpError brings its remedy along.
_MEANINGS: Final[Mapping[type[HttpError], tuple[type[ImageError], str]]] = {
    InvalidUrl: (ImageRefused, SUPPORTED),
    HostOutOfScope: (
        ImageRefused,
        "If images may be read there, add {place} to IMAGE_HOSTS, which then lists "
        "every host besides Label Studio that is read from; if it is Label Studio, "
        "set LABEL_STUDIO_URL to it.",
    ),
    HostReserved: (
        ImageRefused,
        "Images are not read there, because credentials can be; import the image from "
        "elsewhere.",
    ),
    HttpTimeout: (ImageTooSlow, "Check the server, or raise FETCH_TIMEOUT_S."),
    ResponseTooLarge: (ImageTooLarge, "Use a smaller copy or raise IMAGE_MAX_BYTES."),
    ResponseCompressed: (
        ImageError,
        "Switch compression off for images on that server.",
    ),
}


@contextlib.contextmanager
def image_errors() -> Iterator[None]:
    """Raise every HttpError of the block as the ImageError that it means."""
    try:
        yield
    except HttpError as e:
        kind, remedy = _MEANINGS.get(type(e), (ImageError, ""))
        raise kind(f"{e} {remedy.format(**vars(e))}".rstrip()) from e


def parse_image_url(address: str) -> httpx.URL:
    """Read an absolute http(s) URL on the way to an image.

    Raises:
        ImageRefused: if it is none.
    """
    with image_errors():
        return parse_url(address)
