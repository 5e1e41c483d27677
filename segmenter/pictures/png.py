"""PNG files that browsers show and Pillow refuses, made such that it reads them.

A PNG is a row of chunks: four bytes of length, four of name, the content, four of
checksum. Pillow reads every one of them, and refuses the file for a wrong checksum or
a large text in what is no part of the picture. Compared with Chromium, chunk by chunk.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_END: Final = b"IEND"
_DATA: Final = b"IDAT"
# What makes the picture. An animation's further frames are not among it.
_PICTURE: Final = frozenset({b"IHDR", b"PLTE", _DATA, _END})
# What changes it as well, if it is whole and comes before the pixels.
_EXTRAS: Final = frozenset({b"tRNS", b"eXIf"})
_TRANSPARENCY_BYTES: Final = {0: {2}, 2: {6}, 3: set(range(1, 257))}
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Of each of Adam7's passes: first column and row, steps between columns and rows.
_ADAM7: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


class _Chunk(NamedTuple):
    kind: bytes
    content: memoryview
    whole: memoryview


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filtering: int
    interlace: int


def keep_picture_chunks(data: bytes) -> bytes:
    """Leave out what browsers pass over: texts, profiles, times, damaged extras.

    Args:
        data: any file; what is no PNG comes back as it is.

    Returns:
        A PNG of those chunks that the first frame's pixels, its transparency and its
        orientation are made of. What of them is damaged stays so, but for extras with
        a wrong checksum.
    """
    if not data.startswith(_SIGNATURE):
        return data
    kept = bytearray(_SIGNATURE)
    colour, has_pixels = -1, False
    for chunk in _chunks(data):
        if chunk.kind == b"IHDR" and len(chunk.content) >= 13:
            colour = chunk.content[9]
        has_pixels = has_pixels or chunk.kind == _DATA
        if chunk.kind in _PICTURE or (
            chunk.kind in _EXTRAS and not has_pixels and _is_sound(chunk, colour)
        ):
            kept += chunk.whole
    return bytes(kept)


def complete_png(data: bytes) -> bytes | None:
    """Give a PNG that ends early the rest of its pixels, which are 0.

    Args:
        data: from `keep_picture_chunks`.

    Returns:
        A whole PNG; None for a file that is none, does not end early, or holds no
        pixel.
    """
    chunks = list(_chunks(data)) if data.startswith(_SIGNATURE) else []
    if not chunks or chunks[-1].kind == _END or len(chunks[0].content) != 13:
        return None
    header = _Header(*struct.unpack(">IIBBBBB", chunks[0].content))
    n_bytes = _raw_bytes(header)
    packed = b"".join(chunk.content for chunk in chunks if chunk.kind == _DATA)
    try:
        pixels = zlib.decompressobj().decompress(packed, n_bytes)
    except zlib.error:
        return None
    if not pixels:
        return None
    before = b"".join(chunk.whole for chunk in chunks if chunk.kind != _DATA)
    raw = zlib.compress(pixels.ljust(n_bytes, b"\0"), 0)
    return _SIGNATURE + before + _write(_DATA, raw) + _write(_END, b"")


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """All chunks up to the end; the last may be cut off."""
    view, place = memoryview(data), len(_SIGNATURE)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = view[place + 8 : place + 8 + length]
        yield _Chunk(kind, content, view[place : place + 12 + length])
        if kind == _END:
            return
        place += 12 + length


def _is_sound(chunk: _Chunk, colour: int) -> bool:
    checksum = chunk.whole[8 + len(chunk.content) :]
    if zlib.crc32(chunk.content, zlib.crc32(chunk.kind)).to_bytes(4) != checksum:
        return False
    sizes = _TRANSPARENCY_BYTES.get(colour, set())
    return chunk.kind != b"tRNS" or len(chunk.content) in sizes


def _raw_bytes(header: _Header) -> int:
    """How many bytes the pixels are before they are compressed, filters included."""
    bits = header.depth * _CHANNELS.get(header.colour, 0)
    passes = _ADAM7 if header.interlace else ((0, 0, 1, 1),)
    total = 0
    for left, top, step_x, step_y in passes:
        columns = max(0, -(-(header.width - left) // step_x))
        rows = max(0, -(-(header.height - top) // step_y))
        total += rows * (1 + -(-columns * bits // 8)) if columns else 0
    return total


def _write(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return len(content).to_bytes(4) + kind + content + checksum.to_bytes(4)
