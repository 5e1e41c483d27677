"""Score maps kept between requests, by key; leases on what is being computed.

In: keys, maps, regions and tokens. Out: bytes, maps, regions, or a miss. A store that
fails is a miss and never an exception. Refuses to know images, tasks and models.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from backend.cache.cache import Cache, open_cache, score_key
from backend.cache.fault_guard import CacheStats
from backend.cache.finished import FinishedStore
from backend.cache.leases import (
    LEASE_TTL_S,
    LeasedElsewhere,
    hold_leases,
    poll_intervals_s,
)
from backend.cache.slots import Slots
from backend.cache.sqlite_store import SIZE_LIMIT_BYTES
from backend.cache.store import MemoryUsage

if TYPE_CHECKING:
    from backend.cache.codec import (
        UnreadableScores,
        decode_score_maps,
        encode_score_maps,
    )
    from backend.cache.encodings import EncodingStore
    from backend.cache.features import MAX_LAYER_BYTES, FeatureStore
    from backend.cache.redis_store import (
        CONNECT_TIMEOUT_S,
        KEY_PREFIX,
        READ_TIMEOUT_S,
        redis_memory_usage,
    )

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

# Where names are that are imported when they are asked for: numpy and redis-py come
# with them, and looking at a cache of this machine needs neither.
_LATE: Final = {
    "backend.cache.codec": {
        *("UnreadableScores", "decode_score_maps", "encode_score_maps"),
    },
    "backend.cache.encodings": {"EncodingStore"},
    "backend.cache.features": {"MAX_LAYER_BYTES", "FeatureStore"},
    "backend.cache.redis_store": {
        *("CONNECT_TIMEOUT_S", "KEY_PREFIX", "READ_TIMEOUT_S", "redis_memory_usage"),
    },
}


# A type checker would take any name for one that is there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        for module, names in _LATE.items():
            if name in names:
                found = globals()[name] = getattr(import_module(module), name)
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
