"""Regions that were drawn in, the same out, until others need their room.

In memory, bounded in bytes, and in slots of the cache, bounded in bytes as well: places
of a few sizes, so many of each that all of them full are no more than was allowed.
Knows nothing of what regions are but that JSON holds them.
"""

import zlib
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any, Final

import orjson

from backend.cache.cache import Cache
from backend.cache.kept import KeptBytes, seal, unseal

Regions = list[dict[str, Any]]

# A usual picture takes 2 to 20 kB; one of 12 MP with twenty ragged masks a megabyte.
_SLOT_BYTES: Final = (1 << 14, 1 << 17, 1 << 20)
# Of what is kept, unpacked: zlib makes a thousand bytes of one.
_MOST_UNPACKED_BYTES: Final = 32 << 20
_MAGIC: Final = b"DSA1"


class FinishedStore:
    """Regions by key, compressed. Any thread may call; no call raises.

    Args:
        cache: for all processes.
        max_bytes: in memory.
        max_cache_bytes: in the cache; what is less than a slot keeps nothing there.
    """

    def __init__(self, cache: Cache, *, max_bytes: int, max_cache_bytes: int) -> None:
        self._kept = KeptBytes(
            cache,
            "finished",
            max_bytes=max_bytes,
            max_cache_bytes=max_cache_bytes,
            slot_bytes=_SLOT_BYTES,
        )

    @property
    def held_bytes(self) -> int:
        """What is taken in memory."""
        return self._kept.held_bytes

    def get(self, key: str, is_good: Callable[[Regions], bool]) -> Regions | None:
        """What was put under `key`, None where it is gone.

        Args:
            key: names all that they depend on.
            is_good: asked once of what another process may have put, or anybody who
                can reach an unprotected Redis; what is not good is a miss.
        """
        return self._kept.get(key, _unpack, is_good=is_good)

    def put(self, key: str, regions: Regions) -> None:
        """Keep the regions of one picture."""
        packed = _pack(regions)
        if packed is not None:
            self._kept.put(key, packed)


def _pack(regions: Regions) -> bytes | None:
    """Compress them; None where JSON does not hold them, or they are too many."""
    try:
        text = orjson.dumps([_with_rle(region, _as_text) for region in regions])
    except orjson.JSONEncodeError:
        return None
    if len(text) > _MOST_UNPACKED_BYTES:
        return None
    return seal(_MAGIC, zlib.compress(text, level=1))


def _unpack(packed: bytes) -> Regions | None:
    """What `_pack` packed; None for anything else."""
    body = unseal(_MAGIC, packed)
    if body is None:
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
