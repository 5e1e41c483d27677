"""Score maps kept between requests, by key; leases on what is being computed.

In: keys, maps, regions and tokens. Out: bytes, maps, regions, or a miss. A store that
fails is a miss and never an exception. Refuses to know images, tasks and models.
"""

from backend.cache.cache import Cache, open_cache, score_key
from backend.cache.codec import UnreadableScores, decode_score_maps, encode_score_maps
from backend.cache.encodings import EncodingStore
from backend.cache.fault_guard import CacheStats
from backend.cache.features import MAX_LAYER_BYTES, FeatureStore
from backend.cache.finished import FinishedStore
from backend.cache.leases import (
    LEASE_TTL_S,
    LeasedElsewhere,
    hold_leases,
    poll_intervals_s,
)
from backend.cache.redis_store import (
    CONNECT_TIMEOUT_S,
    KEY_PREFIX,
    READ_TIMEOUT_S,
    redis_memory_usage,
)
from backend.cache.slots import Slots
from backend.cache.sqlite_store import SIZE_LIMIT_BYTES
from backend.cache.store import MemoryUsage

__all__ = [
    "CONNECT_TIMEOUT_S",
    "KEY_PREFIX",
    "LEASE_TTL_S",
    "MAX_LAYER_BYTES",
    "READ_TIMEOUT_S",
    "SIZE_LIMIT_BYTES",
    "Cache",
    "CacheStats",
    "EncodingStore",
    "FeatureStore",
    "FinishedStore",
    "LeasedElsewhere",
    "MemoryUsage",
    "Slots",
    "UnreadableScores",
    "decode_score_maps",
    "encode_score_maps",
    "hold_leases",
    "open_cache",
    "poll_intervals_s",
    "redis_memory_usage",
    "score_key",
]
