"""Values that may be forgotten in, the latest of them out: a bounded number is kept.

For what is worth its room for a while only, beside what is worth it for weeks: the
store gets never more than so many values of one kind, however many tasks there are. Two
keys may share a slot: what was put last is there, and the other is a miss.
"""

import hashlib

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
