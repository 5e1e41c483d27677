"""Packed values in, the same out: in memory, and behind it in slots of the cache.

What is packed has a name and a checksum in front: others may have put anything there.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from backend.cache.cache import Cache
from backend.cache.held import HeldValues
from backend.cache.slots import SizedSlots

_HEAD: Final = struct.Struct("<4sI")

V = TypeVar("V")


class KeptBytes:
    """Values by key, the latest of them. Any thread may call; no call raises.

    Args:
        cache: for all processes.
        kind: tells these values from others.
        max_bytes: in memory.
        max_cache_bytes: in the cache; what is less than a slot keeps nothing there.
        slot_bytes: sizes of slots, smallest first.
    """

    def __init__(
        self,
        cache: Cache,
        kind: str,
        *,
        max_bytes: int,
        max_cache_bytes: int,
        slot_bytes: Sequence[int],
    ) -> None:
        self._slots = SizedSlots(
            cache, kind, max_bytes=max_cache_bytes, slot_bytes=slot_bytes
        )
        self._held: HeldValues[bytes] = HeldValues(max_bytes, len)

    @property
    def held_bytes(self) -> int:
        """What is taken in memory."""
        return self._held.held_bytes

    def get(
        self,
        key: str,
        unpack: Callable[[bytes], V | None],
        *,
        is_good: Callable[[V], bool] = lambda _: True,
    ) -> V | None:
        """What was put under `key`, None where it is gone.

        Args:
            key: names all that it depends on.
            unpack: gives None for bytes that are none of ours.
            is_good: asked of what comes from the cache; what is not good is a miss.
        """
        held = self._held.get(key)
        if held is not None:
            return unpack(held)
        for kept in self._slots.get(key):
            found = unpack(kept)
            if found is not None and is_good(found):
                self._held.put(key, kept)
                return found
        return None

    def put(self, key: str, packed: bytes) -> None:
        """Keep a value."""
        self._held.put(key, packed)
        self._slots.put(key, packed)


def seal(magic: bytes, body: bytes) -> bytes:
    """A name of 4 bytes and a checksum, then the body."""
    return _HEAD.pack(magic, zlib.crc32(body)) + body


def unseal(magic: bytes, packed: bytes) -> bytes | None:
    """The body that `seal` was given; None for anything else."""
    if len(packed) <= _HEAD.size:
        return None
    found, checksum = _HEAD.unpack_from(packed)
    body = packed[_HEAD.size :]
    return body if found == magic and zlib.crc32(body) == checksum else None
