"""JPEG files that browsers show and Pillow refuses, made such that it reads them.

Before its pixels a JPEG has segments: two bytes of marker, two of length, the content.
Pillow reads profiles and notes of programs among them, and refuses the file for one
that is shorter than it should be. Compared with Chromium.
"""

from typing import Final

_START: Final = b"\xff\xd8"
_JFIF, _EXIF, _ADOBE, _COMMENT, _PIXELS = 0xE0, 0xE1, 0xEE, 0xFE, 0xDA
# Of programs; what of them changes the picture is in `_changes_the_picture`.
_NOTES: Final = frozenset({*range(0xE0, 0xF0), _COMMENT})


def keep_picture_segments(data: bytes) -> bytes:
    """Leave out profiles and notes, which change nothing of what is shown.

    Args:
        data: any file; what is no JPEG comes back as it is.

    Returns:
        A JPEG that keeps its orientation and how its colours are encoded. What else
        of it is damaged stays so.
    """
    if not data.startswith(_START):
        return data
    kept, place = bytearray(_START), len(_START)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        if marker in {0xFF, _PIXELS}:
            break
        if marker not in _NOTES or _changes_the_picture(marker, data[place + 4 : end]):
            kept += data[place:end]
        place = end
    return bytes(kept + data[place:])


def _changes_the_picture(marker: int, content: bytes) -> bool:
    if marker == _ADOBE:
        # It says whether colours are YCbCr, and is 12 bytes long.
        return content.startswith(b"Adobe") and len(content) >= 12
    return marker == _JFIF or (marker == _EXIF and content.startswith(b"Exif\0"))
