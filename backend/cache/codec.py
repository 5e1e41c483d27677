"""Score maps in, compact bytes out, and back. The value format of the cache.

Pure functions: no Redis, no file. Nothing is pickled. Everything a decoder
reads is checked before it is believed, because anyone who can reach an
unprotected Redis can write there. Axis letters:

    L  labels      h, w  latent grid

Layout (little-endian):

    magic 4 | version 1 | crc32 4 | header length 4 | header | packed

The checksum covers all bytes after itself; the header is JSON. `packed`
inflates to L float32 presence scores and then the maps: 10-bit levels (0 to
1024), each replaced by its difference from what its left, upper and upper-left
neighbours predict, low bytes of all cells first, then the high bytes. Smooth
64 x 64 maps take 1.6 to 3.4 kB per label instead of 8.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import BackendError
from backend.types import MAX_PROMPTS

LEVELS = 1024
"""Steps between 0 and 1. Every k/1024 is exact in float16."""

MAX_ERROR = 0.5 / LEVELS
"""Largest difference between a map and its decoded copy, 1/2048."""

MAX_LABELS = MAX_PROMPTS
MAX_GRID = 1024
MAX_SIDE_PX = 1 << 20
MAX_CELLS = 1 << 25
MAX_HEADER_BYTES = 1 << 20

_MAGIC = b"DSSM"
_VERSION = 1
_FRONT = struct.Struct("<4sBI")
_HEADER_LENGTH = struct.Struct("<I")


class UnreadableScores(BackendError, ValueError):
    """Bytes from the cache that are not score maps of ours; treat as a miss."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CachedScores:
    """What the segmenter said about one image, before any threshold.

    Attributes:
        maps: float16 (L, h, w), values in [0, 1].
        presence: float32 (L,), finite.
        labels: L prompts in the order of `maps`.
        size_yx: rows and columns of the upright image.
    """

    maps: NDArray[np.float16]
    presence: NDArray[np.float32]
    labels: tuple[str, ...]
    size_yx: tuple[int, int]


def encode_score_maps(
    maps: NDArray[np.float16],
    presence: NDArray[np.float32],
    labels: Sequence[str],
    size_yx: tuple[int, int],
) -> bytes:
    """Pack one image's scores.

    The maps are rounded to 1024 levels (error at most `MAX_ERROR`); encoding a
    decoded copy again changes nothing more.

    Args:
        maps: float16 (L, h, w), values in [0, 1].
        presence: float32 (L,), finite.
        labels: L prompts in the order of `maps`.
        size_yx: rows and columns of the upright image.

    Returns:
        Bytes for `decode_score_maps`.

    Raises:
        ValueError: if the shapes disagree, a size is out of bounds, a map
            leaves [0, 1] or a presence score is not finite.
    """
    if maps.ndim != 3:
        raise ValueError(f"maps must be (L, h, w), got shape {maps.shape}.")
    grid = (int(maps.shape[1]), int(maps.shape[2]))
    size = (int(size_yx[0]), int(size_yx[1]))
    if not len(labels) == maps.shape[0] == presence.size or presence.ndim != 1:
        raise ValueError(
            f"maps {maps.shape}, presence {presence.shape} and {len(labels)} labels "
            f"disagree about the number of labels."
        )
    if problem := _implausible(labels, grid, size):
        raise ValueError(problem)
    if maps.size and not (maps.min() >= 0 and maps.max() <= 1):
        raise ValueError(f"maps must lie in [0, 1], got {maps.min()} to {maps.max()}.")
    if not np.isfinite(presence).all():
        raise ValueError(f"presence must be finite, got {presence}.")

    header = json.dumps(
        {"labels": list(labels), "grid_yx": grid, "size_yx": size},
        separators=(",", ":"),
    ).encode("ascii")
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"labels need {len(header)} bytes, over {MAX_HEADER_BYTES}.")
    levels = np.rint(maps.astype(np.float32) * LEVELS).astype(np.uint16)
    raw = presence.astype("<f4").tobytes() + _predict(levels)
    body = _HEADER_LENGTH.pack(len(header)) + header + zlib.compress(raw, level=6)
    return _FRONT.pack(_MAGIC, _VERSION, zlib.crc32(body)) + body


def decode_score_maps(data: bytes) -> CachedScores:
    """Unpack what `encode_score_maps` packed.

    Args:
        data: bytes from the cache, trusted in no way.

    Returns:
        The scores, in arrays of their own (writable).

    Raises:
        UnreadableScores: if anything is not exactly as the encoder writes it.
            At most 64 MiB are inflated before that is known.
    """
    header, packed = _split(data)
    labels, (h, w), size_yx = _read_header(header)
    presence_bytes = 4 * len(labels)
    raw = _inflate(packed, presence_bytes + 2 * len(labels) * h * w)
    presence = np.frombuffer(raw, "<f4", count=len(labels)).astype(np.float32)
    levels = _restore(raw[presence_bytes:], (len(labels), h, w))
    if levels.max(initial=0) > LEVELS or not np.isfinite(presence).all():
        raise UnreadableScores("Cached scores are out of range.")
    return CachedScores(
        maps=(levels.astype(np.float32) / LEVELS).astype(np.float16),
        presence=presence,
        labels=labels,
        size_yx=size_yx,
    )


def _predict(levels: NDArray[np.uint16]) -> bytes:
    """Levels to differences from their neighbours, as two planes of bytes."""
    across = np.diff(levels, axis=2, prepend=np.uint16(0))
    signed = np.diff(across, axis=1, prepend=np.uint16(0)).view(np.int16)
    # Zigzag: small differences of either sign leave the high byte 0.
    folded = (np.left_shift(signed, 1) ^ np.right_shift(signed, 15)).view(np.uint16)
    planes = np.stack([folded & 0xFF, folded >> 8]).astype(np.uint8)
    return bytes(planes.tobytes())


def _restore(planes: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint16]:
    """Inverse of `_predict`; wraps around on bytes that it never wrote."""
    low, high = np.frombuffer(planes, np.uint8).reshape(2, *shape).astype(np.uint16)
    folded = (high << 8) | low
    signed = (folded >> 1) ^ (np.uint16(0) - (folded & 1))
    across = np.cumsum(signed, axis=1, dtype=np.uint16)
    restored: NDArray[np.uint16] = np.cumsum(across, axis=2, dtype=np.uint16)
    return restored


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Check the envelope; header and packed payload."""
    if len(data) < _FRONT.size + _HEADER_LENGTH.size:
        raise UnreadableScores(f"Cached scores are cut off at {len(data)} bytes.")
    magic, version, checksum = _FRONT.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        raise UnreadableScores(
            f"Cached value starts with {magic!r} version {version}, "
            f"not {_MAGIC!r} version {_VERSION}."
        )
    body = memoryview(data)[_FRONT.size :]
    if zlib.crc32(body) != checksum:
        raise UnreadableScores("Cached scores fail their checksum.")
    (header_bytes,) = _HEADER_LENGTH.unpack_from(body)
    end = _HEADER_LENGTH.size + header_bytes
    if header_bytes > MAX_HEADER_BYTES or end > len(body):
        raise UnreadableScores(f"Cached scores claim a header of {header_bytes} bytes.")
    return bytes(body[_HEADER_LENGTH.size : end]), bytes(body[end:])


def _read_header(
    header: bytes,
) -> tuple[tuple[str, ...], tuple[int, int], tuple[int, int]]:
    """Labels, grid_yx and size_yx of a header, all plausible."""
    try:
        fields = json.loads(header)
        labels = tuple(fields["labels"])
        grid_y, grid_x = fields["grid_yx"]
        size_y, size_x = fields["size_yx"]
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise UnreadableScores(f"Cached scores have a bad header: {e!r}.") from e
    grid, size = (grid_y, grid_x), (size_y, size_x)
    if problem := _implausible(labels, grid, size):
        raise UnreadableScores(problem)
    return labels, grid, size


def _implausible(
    labels: Sequence[Any], grid: tuple[Any, Any], size: tuple[Any, Any]
) -> str | None:
    """Why nobody would store such a value, or None when one would."""
    if len(labels) > MAX_LABELS:
        return f"Scores of {len(labels)} labels; at most {MAX_LABELS} can be stored."
    if not all(type(label) is str for label in labels):
        return "Scores hold a label that is not text."
    if not all(type(side) is int and 1 <= side <= MAX_GRID for side in grid):
        return f"Scores on a grid of {grid}; each side is 1 to {MAX_GRID}."
    if len(labels) * grid[0] * grid[1] > MAX_CELLS:
        return f"Scores of {len(labels)} x {grid} cells; at most {MAX_CELLS}."
    if not all(type(side) is int and 1 <= side <= MAX_SIDE_PX for side in size):
        return f"Scores of an image of {size} px; each side is 1 to {MAX_SIDE_PX}."
    return None


def _inflate(packed: bytes, expected_bytes: int) -> bytes:
    """Decompress to exactly `expected_bytes`, never to more than one over."""
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, expected_bytes + 1)
    except zlib.error as e:
        raise UnreadableScores(f"Cached scores do not decompress: {e}.") from e
    if len(raw) != expected_bytes or not inflater.eof or inflater.unused_data:
        raise UnreadableScores(
            f"Cached scores do not decompress to the {expected_bytes} bytes "
            f"that their header names."
        )
    return raw
