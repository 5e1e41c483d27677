"""Score bytes by key, kept between requests; a fault is a miss.

What a segmentation costs is the model; what it yields is small. `score_key`
names a result by everything that went into it, `Cache` keeps its bytes, and
`codec` says what the bytes mean. Nothing here raises because of the store: a
cache that is down makes the backend slower, never wrong.
"""

import hashlib
import json
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from backend.cache.fault_guard import CacheStats, FaultGuard
from backend.cache.sqlite_store import SqliteStore
from backend.cache.store import CacheSize, LeaseState, LeasingStore
from backend.errors import SettingsError


class Cache:
    """A store whose faults are misses. Any thread may call; no call raises.

    After a fault the store is left alone for `cooldown_s`, and longer after each
    further one, so that a dead one costs microseconds per call, not a timeout.

    Args:
        store: where values and leases are.
        cooldown_s: pause after the first fault.
        clock: seconds that never go back.

    Attributes:
        stats: hits, misses and faults since the start.
    """

    def __init__(
        self,
        store: LeasingStore,
        *,
        cooldown_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stats = CacheStats()
        self._store = store
        self._guard = FaultGuard(
            store.describe(),
            unreachable=store.unreachable,
            refused=store.refused,
            secrets=store.secrets,
            stats=self.stats,
            cooldown_s=cooldown_s,
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"<Cache: {self.describe()}>"

    def get(self, key: str) -> bytes | None:
        """The value of `key`, None when there is none or the store cannot say."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value or None per key, in the order of `keys`, in one round trip."""
        if not keys:
            return []
        found = self._guard.read(lambda: self._store.get_many(keys))
        values = found or [None] * len(keys)
        hits = sum(value is not None for value in values)
        self.stats.add(hits=hits, misses=len(keys) - hits)
        return values

    def put(self, key: str, value: bytes) -> None:
        """Store `value`, or skip it when the store will not have it."""
        self._guard.write(lambda: self._store.put(key, value))

    def acquire(
        self, keys: Sequence[str], token: str, ttl_s: float
    ) -> list[LeaseState]:
        """See `Leases`; a store that cannot be reached grants everything."""
        states = self._guard.acquire(lambda: self._store.acquire(keys, token, ttl_s))
        return states or [LeaseState()] * len(keys)

    def renew(self, keys: Sequence[str], token: str, ttl_s: float) -> None:
        """See `Leases`."""
        self._guard.acquire(lambda: self._store.renew(keys, token, ttl_s))

    def release(self, keys: Sequence[str], token: str) -> None:
        """See `Leases`."""
        self._guard.acquire(lambda: self._store.release(keys, token))

    def peek(self, key: str) -> LeaseState:
        """See `Leases`."""
        return self._guard.read(lambda: self._store.peek(key)) or LeaseState()

    def ping(self) -> bool:
        """Whether the store can be read now; False at once during an outage."""
        return self._guard.read(lambda: self._store.get_many(["ping"])) is not None

    def measure(self) -> CacheSize | None:
        """What the store holds, None when it cannot say."""
        return self._guard.read(self._store.measure)

    def clear(self) -> int | None:
        """Forget everything of ours: how many values, None when it could not."""
        return self._guard.read(self._store.clear)

    def describe(self) -> str:
        """Where the store is, for logs and `/health`; shows no password."""
        return self._store.describe()

    def close(self) -> None:
        """Let go of connections and files. Later calls do not raise either."""
        self._store.close()


def open_cache(redis_url: str | None, directory: Path, ttl_s: int) -> Cache:
    """Choose the store: Redis when there is a URL, else a folder.

    Neither is reached for yet, so a backend starts while its Redis is down.

    Args:
        redis_url: see `redis_client`; None or empty for none.
        directory: where the embedded cache goes (into a folder of its own).
        ttl_s: seconds until a value is forgotten.

    Raises:
        SettingsError: if `ttl_s` is below 1 or the URL cannot be read.
    """
    if ttl_s < 1:
        raise SettingsError(f"CACHE_TTL_S is {ttl_s}; it must be at least 1 second.")
    if redis_url:
        # Brings redis-py along, which is slow to import.
        from backend.cache.redis_store import RedisStore

        return Cache(RedisStore(redis_url, ttl_s=ttl_s))
    return Cache(SqliteStore(directory / "score-maps", ttl_s=ttl_s))


def score_key(*, image_digest: str, prompts: Sequence[str], model: str) -> str:
    """Name the scores of one image.

    Args:
        image_digest: hex digest of the image's bytes.
        prompts: the label prompts in order. Texts that Unicode holds equal
            (NFC) give one key, so read cached maps by position, not by name.
        model: the segmenter's fingerprint of weights and options.

    Returns:
        64 hex digits; different parts, different key.
    """
    normal = [unicodedata.normalize("NFC", prompt) for prompt in prompts]
    parts = json.dumps([image_digest, normal, model], separators=(",", ":"))
    return hashlib.sha256(parts.encode("ascii")).hexdigest()
