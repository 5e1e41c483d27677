"""`data:` addresses, which hold the image themselves."""

import binascii
from typing import Final
from urllib.parse import unquote_to_bytes

from backend.errors import ImageRefused, ImageTooLarge, ImageUnreadable
from backend.http import shorten
from backend.images.source import ImageRequest, SourceLimits
from backend.label_studio import SUPPORTED

ORDER: Final = 1
_BLANKS: Final = b" \t\n\r\f\v"


class _DataUris:
    """Decodes them."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def read(self, request: ImageRequest) -> bytes | None:
        """See `Source`."""
        if request.address[:5].lower() != "data:":
            return None
        return _decode(request.address, self._max_bytes)


def open_source(limits: SourceLimits) -> _DataUris:
    """See `open_sources`."""
    return _DataUris(limits.max_bytes)


def _decode(address: str, max_bytes: int) -> bytes:
    head, comma, payload = address.partition(",")
    media_type, *parameters = (part.strip().lower() for part in head[5:].split(";"))
    if not comma or not media_type.startswith("image/"):
        raise ImageRefused(
            f"{shorten(address)!r} is not a data: URI of an image. {SUPPORTED}"
        )
    data = unquote_to_bytes(payload)
    if "base64" in parameters:
        compact = data.translate(None, _BLANKS).rstrip(b"=")
        try:
            data = binascii.a2b_base64(
                compact + b"=" * (-len(compact) % 4), strict_mode=True
            )
        except binascii.Error as e:
            raise ImageUnreadable(
                f"{shorten(address)!r} is not valid base64: {e}. Import it again."
            ) from e
    if len(data) > max_bytes:
        raise ImageTooLarge(
            f"{shorten(address)!r} holds {len(data):,} bytes; the limit is "
            f"{max_bytes:,}. Use a smaller copy or raise IMAGE_MAX_BYTES."
        )
    return data
