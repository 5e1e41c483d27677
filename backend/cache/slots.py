"""Values that may be forgotten in, the latest of them out: bounded in number or bytes.

For what is worth its room for a while only, beside what is worth it for weeks: the
store gets never more than so many values of one kind, however many tasks there are. Two
keys may share a slot: what was put last is there, and the other is a miss.
"""

import hashlib
from collections.abc import Iterator, Sequence

from backend.cache.cache import Cache

_KEY_BYTES = 32


class Slots:
    """A fixed number of places in a cache. Any thread may call; no call raises.

    Args:
        cache: where the values are kept.
        kind: tells these slots from others.
        count: of places, at least 1.
    """

    def __init__(self, cache: Cache, kind: str, count: int) -> None:
        self._cache = cache
        self._kind = kind
        self._count = count

    def get(self, key: str) -> bytes | None:
        """What was put under `key` last, None where it is gone."""
        name, digest = self._place(key)
        # Counts no miss: what is not there was not promised to be.
        found = self._cache.peek(name).value
        if found is None or found[:_KEY_BYTES] != digest:
            return None
        return found[_KEY_BYTES:]

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` in place of whatever had its slot."""
        name, digest = self._place(key)
        self._cache.put(name, digest + value)

    def _place(self, key: str) -> tuple[str, bytes]:
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        return f"{self._kind}:{int.from_bytes(digest[:8]) % self._count}", digest


class SizedSlots:
    """Slots of a few sizes: all of them full are no more bytes than was allowed.

    Args:
        cache: where the values are kept.
        kind: tells these slots from others.
        max_bytes: of all; each size has an equal share, and none if that holds no slot.
        slot_bytes: the sizes, smallest first.
    """

    def __init__(
        self, cache: Cache, kind: str, *, max_bytes: int, slot_bytes: Sequence[int]
    ) -> None:
        share = max_bytes // len(slot_bytes)
        self._slots = [
            (n_bytes, Slots(cache, f"{kind}-{n_bytes}", share // n_bytes))
            for n_bytes in slot_bytes
            if share >= n_bytes
        ]

    def get(self, key: str) -> Iterator[bytes]:
        """What was put under `key`; of several sizes, the smallest first."""
        found = (slots.get(key) for _, slots in self._slots)
        return (value for value in found if value is not None)

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` in the smallest slot that holds it, if any does."""
        for n_bytes, slots in self._slots:
            if _KEY_BYTES + len(value) <= n_bytes:
                slots.put(key, value)
                return
