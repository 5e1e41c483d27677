"""Score bytes by key, kept between requests; a fault is a miss.

What a segmentation costs is the model; what it yields is small. `score_key`
names a result by everything that went into it, `Cache` keeps its bytes, and
`score_codec` says what the bytes mean. Nothing here raises because of the
store: a cache that is down makes the backend slower, never wrong.
"""

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from backend.cache.embedded_store import EmbeddedCache
from backend.cache.fault_guard import CacheSize, CacheStats, LeaseState
from backend.cache.redis_store import RedisCache
from backend.errors import SettingsError


class Cache(Protocol):
    """Bytes by key, for a while. Any thread may call; no call raises."""

    @property
    def stats(self) -> CacheStats:
        """Hits, misses and faults since the start."""

    def get(self, key: str) -> bytes | None:
        """The value of `key`, or None."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value or None per key, in the order of `keys`."""

    def put(self, key: str, value: bytes) -> None:
        """Store `value`, or skip it when the store will not have it."""

    def acquire(
        self, keys: Sequence[str], token: str, ttl_s: float
    ) -> list[LeaseState]:
        """Take the leases of what nobody else computes, in the name of `token`.

        The values are read after the leases are made: one that another process
        stored between a miss and the lease is found. Counts neither hits nor
        misses. A store that cannot be reached grants everything.

        Args:
            keys: to be computed now.
            token: not to be guessed; of this holder and this computation.
            ttl_s: until a lease ends that is not renewed.
        """

    def renew(self, keys: Sequence[str], token: str, ttl_s: float) -> None:
        """Let the leases of `token` last for `ttl_s` from now on."""

    def release(self, keys: Sequence[str], token: str) -> None:
        """End the leases of `token`, and nobody else's."""

    def peek(self, key: str) -> LeaseState:
        """Value and lease of one key, for who waits; counts no hit and no miss."""

    def ping(self) -> bool:
        """Whether the store can be read now."""

    def measure(self) -> CacheSize | None:
        """What the store holds, None when it cannot say."""

    def clear(self) -> int | None:
        """Forget everything of ours: how many values, None when it could not."""

    def describe(self) -> str:
        """Where the store is, for logs and `/health`; shows no password."""

    def close(self) -> None:
        """Let go of connections and files."""


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
        return RedisCache(redis_url, ttl_s=ttl_s)
    return EmbeddedCache(directory / "score-maps", ttl_s=ttl_s)


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
