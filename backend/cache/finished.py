"""Regions that were drawn in, the same out, until others need their room.

In memory, bounded in bytes, and in slots of the cache, bounded in bytes as well: places
of a few sizes, so many of each that all of them full are no more than was allowed.
Knows nothing of what regions are but that JSON holds them.
"""

import struct
import zlib
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any, Final

import orjson

from backend.cache.cache import Cache
from backend.cache.held import HeldValues
from backend.cache.slots import SizedSlots

Regions = list[dict[str, Any]]

# A usual picture takes 2 to 20 kB; one of 12 MP with twenty ragged masks a megabyte.
_SLOT_BYTES: Final = (1 << 14, 1 << 17, 1 << 20)
# Of what is kept, unpacked: zlib makes a thousand bytes of one.
_MOST_UNPACKED_BYTES: Final = 32 << 20
_MAGIC: Final = b"DSA1"
_HEAD: Final = struct.Struct("<4sI")


class FinishedStore:
    """Regions by key, compressed. Any thread may call; no call raises.

    Args:
        cache: for all processes.
        max_bytes: in memory.
        max_cache_bytes: in the cache; what is less than a slot keeps nothing there.
    """

    def __init__(self, cache: Cache, *, max_bytes: int, max_cache_bytes: int) -> None:
        self._slots = SizedSlots(
            cache, "finished", max_bytes=max_cache_bytes, slot_bytes=_SLOT_BYTES
        )
        self._held: HeldValues[bytes] = HeldValues(max_bytes, len)

    @property
    def held_bytes(self) -> int:
        """What is taken in memory."""
        return self._held.held_bytes

    def get(self, key: str, is_good: Callable[[Regions], bool]) -> Regions | None:
        """What was put under `key`, None where it is gone.

        Args:
            key: names all that they depend on.
            is_good: asked once of what another process may have put, or anybody who
                can reach an unprotected Redis; what is not good is a miss.
        """
        packed = self._held.get(key)
        if packed is not None:
            return _unpack(packed)
        for kept in self._slots.get(key):
            regions = _unpack(kept)
            if regions is not None and is_good(regions):
                self._held.put(key, kept)
                return regions
        return None

    def put(self, key: str, regions: Regions) -> None:
        """Keep the regions of one picture."""
        packed = _pack(regions)
        if packed is None:
            return
        self._held.put(key, packed)
        self._slots.put(key, packed)


def _pack(regions: Regions) -> bytes | None:
    """Compress them; None where JSON does not hold them, or they are too many."""
    try:
        text = orjson.dumps([_with_rle(region, _as_text) for region in regions])
    except orjson.JSONEncodeError:
        return None
    if len(text) > _MOST_UNPACKED_BYTES:
        return None
    body = zlib.compress(text, level=1)
    return _HEAD.pack(_MAGIC, zlib.crc32(body)) + body


def _unpack(packed: bytes) -> Regions | None:
    """What `_pack` packed; None for anything else."""
    if len(packed) <= _HEAD.size:
        return None
    magic, checksum = _HEAD.unpack_from(packed)
    body = memoryview(packed)[_HEAD.size :]
    if magic != _MAGIC or zlib.crc32(body) != checksum:
        return None
    try:
        reader = zlib.decompressobj()
        regions = orjson.loads(reader.decompress(body, _MOST_UNPACKED_BYTES))
        return [_with_rle(region, _as_list) for region in regions]
    # What others may have put there is anything at all.
    except (zlib.error, ValueError, TypeError, AttributeError):
        return None


def _with_rle(region: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The region with its run lengths, if it has any, written in another way."""
    value = region.get("value")
    if not isinstance(value, dict) or "rle" not in value:
        return region
    return {**region, "value": {**value, "rle": change(value["rle"])}}


def _as_text(rle: Any) -> Any:
    """A third of the text, and of the time, that a list of numbers takes."""
    if not isinstance(rle, list):
        return rle
    try:
        return b64encode(bytes(rle)).decode()
    except (TypeError, ValueError):
        return rle


def _as_list(rle: Any) -> Any:
    return list(a2b_base64(rle, strict_mode=True)) if isinstance(rle, str) else rle
