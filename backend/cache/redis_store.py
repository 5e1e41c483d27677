"""Keys and bytes in, bytes or a miss out; the store is Redis 6 or newer.

Knows nothing of what the bytes mean. Any fault of Redis is a miss or a skipped
put: the request that met it goes on, only slower.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import redis

from backend.cache.fault_guard import CacheSize, CacheStats, FaultGuard, LeaseState
from backend.cache.redis_memory import redis_memory_usage
from backend.redis_client import (
    REDIS_FAULTS,
    close_redis,
    describe_redis,
    is_cluster,
    redis_client,
    redis_secrets,
)

KEY_PREFIX = "diffsegmenter:v1:"
LEASE_PREFIX = "diffsegmenter:lease:"
# What a Redis that hangs costs the one caller that tries it. A lookup of 32 values
# is 0.6 MB and takes 5 ms on a gigabit LAN, a TLS handshake two round trips; the
# read timeout is for the next bytes, not for all. A Redis that is far away has
# `?socket_timeout=` in its URL.
CONNECT_TIMEOUT_S = 0.25
READ_TIMEOUT_S = 0.25
_KEYS_AT_ONCE = 500
# Of KEYS[1] in the name of ARGV[1]. A renewal leases again what a restart of Redis
# forgot; ARGV[2] is in ms.
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end
"""
_RENEW = """
local token = redis.call('get', KEYS[1])
if not token or token == ARGV[1] then
    redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
end
"""


class RedisCache:
    """`backend.cache.store.Cache` on a Redis server.

    Making one does not connect. After a fault Redis is left alone for
    `cooldown_s`, and longer after each further one, so that a dead one costs
    microseconds per call, not a timeout.

    What it costs, in round trips (and commands): all lookups of a request are 1
    (one MGET). A pass over n images that were missing adds 2 + n: to lease them
    (SET NX and GET for each), to store each (SET), and to release the leases (EVAL
    for each); and every few seconds, while it lasts, one to renew them (EVAL for
    each). Who waits for another process looks four times a second or more (MGET).

    An access list needs to allow no more than
    `~diffsegmenter:* +get +mget +set +eval +del`, and of a cluster
    `+cluster|slots +command` as well; `diffsegmenter cache` and `doctor` use
    `+scan +strlen +unlink +info +ping` beside it.

    Args:
        url: see `redis_client`.
        ttl_s: seconds until a value is forgotten, at least 1.
        cooldown_s: pause after the first fault.
        clock: seconds that never go back.

    Raises:
        SettingsError: if the URL cannot be read; the message does not show it.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl_s: int,
        cooldown_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = redis_client(
            url, connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=READ_TIMEOUT_S
        )
        self._ttl_s = ttl_s
        self.stats = CacheStats()
        self._guard = FaultGuard(
            self.describe(),
            unreachable=REDIS_FAULTS,
            refused=(redis.ResponseError,),
            secrets=redis_secrets(self._client),
            stats=self.stats,
            cooldown_s=cooldown_s,
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"<RedisCache: {self.describe()}>"

    def get(self, key: str) -> bytes | None:
        """The value of `key`, None when there is none or Redis cannot say."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value or None per key, in the order of `keys`, in one round trip."""
        if not keys:
            return []
        names = [KEY_PREFIX + key for key in keys]
        values = self._guard.read(lambda: self._mget(names)) or [None] * len(keys)
        hits = sum(value is not None for value in values)
        self.stats.add(hits=hits, misses=len(keys) - hits)
        return values

    def put(self, key: str, value: bytes) -> None:
        """Store `value` for `ttl_s`, or skip it when Redis will not have it."""
        self._guard.write(
            lambda: self._client.set(KEY_PREFIX + key, value, ex=self._ttl_s)
        )

    def acquire(
        self, keys: Sequence[str], token: str, ttl_s: float
    ) -> list[LeaseState]:
        """See `Cache`."""
        nobody = LeaseState(value=None, is_leased=False)
        found = self._guard.acquire(lambda: self._acquire(keys, token, _ms(ttl_s)))
        return found or [nobody] * len(keys)

    def renew(self, keys: Sequence[str], token: str, ttl_s: float) -> None:
        """See `Cache`."""
        self._guard.acquire(lambda: self._run(_RENEW, keys, token, _ms(ttl_s)))

    def release(self, keys: Sequence[str], token: str) -> None:
        """See `Cache`."""
        self._guard.acquire(lambda: self._run(_RELEASE, keys, token))

    def peek(self, key: str) -> LeaseState:
        """See `Cache`."""
        names = [KEY_PREFIX + key, _lease_name(key)]
        found = self._guard.read(lambda: self._mget(names))
        value, token = found or (None, None)
        return LeaseState(value=value, is_leased=token is not None)

    def ping(self) -> bool:
        """Whether Redis answers a read now; False at once during an outage.

        A read, not PING: an access list may allow the one and refuse the other.
        """
        return self._guard.read(lambda: self._mget([KEY_PREFIX + "ping"])) is not None

    def measure(self) -> CacheSize | None:
        """How many values of ours Redis holds, and their bytes."""
        return self._guard.read(self._measure)

    def clear(self) -> int | None:
        """Remove all keys of ours, none of anybody else's."""
        return self._guard.read(self._clear)

    def describe(self) -> str:
        """Where the cache is, for logs and `/health`; never shows a password."""
        return describe_redis(self._client)

    def close(self) -> None:
        """Drop the connections."""
        close_redis(self._client)

    def _measure(self) -> CacheSize:
        entries = n_bytes = 0
        for keys in self._all_keys():
            # No transaction, and a key of another type is an error in its place.
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.strlen(key)
            lengths = pipeline.execute(raise_on_error=False)
            entries += len(keys)
            n_bytes += sum(length for length in lengths if isinstance(length, int))
        room = redis_memory_usage(self._client)
        return CacheSize(entries=entries, bytes=n_bytes, room=room)

    def _clear(self) -> int:
        removed = 0
        for keys in self._all_keys():
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                # One by one: those of a cluster are on several nodes.
                pipeline.unlink(key)
            removed += sum(pipeline.execute())
        return removed

    def _all_keys(self) -> Iterator[list[bytes]]:
        """Keys of ours, some hundreds at a time: Redis serves others in between."""
        found = self._client.scan_iter(match=KEY_PREFIX + "*", count=_KEYS_AT_ONCE)
        while keys := list(islice(found, _KEYS_AT_ONCE)):
            yield keys

    def _mget(self, names: Sequence[str]) -> list[bytes | None]:
        # MGET also for one key: a key of another type is nil, not an error.
        # In a cluster there is one MGET for every slot, all of them at once.
        client = self._client
        answer: Any = (
            client.mget_nonatomic(names) if is_cluster(client) else client.mget(names)
        )
        if not isinstance(answer, list) or len(answer) != len(names):
            raise redis.InvalidResponse(f"MGET of {len(names)} keys got {answer!r:.80}")
        return [value if isinstance(value, bytes) else None for value in answer]

    def _acquire(
        self, keys: Sequence[str], token: str, ttl_ms: int
    ) -> list[LeaseState]:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.set(_lease_name(key), token, nx=True, px=ttl_ms)
        for key in keys:
            pipeline.get(KEY_PREFIX + key)
        answers = pipeline.execute(raise_on_error=False)
        granted, values = answers[: len(keys)], answers[len(keys) :]
        for answer in granted:
            if isinstance(answer, Exception):
                raise answer
        return [
            LeaseState(
                # What cannot be read, such as a key of another type, is no value.
                value=value if isinstance(value, bytes) else None,
                is_leased=not is_granted,
            )
            for is_granted, value in zip(granted, values, strict=True)
        ]

    def _run(self, script: str, keys: Sequence[str], *arguments: str | int) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            # By name: the pipeline of a cluster has no method for it.
            pipeline.execute_command("EVAL", script, 1, _lease_name(key), *arguments)
        pipeline.execute()


def _lease_name(key: str) -> str:
    """Where the lease of `key` is; on the same node of a cluster as its value."""
    return f"{LEASE_PREFIX}{{{KEY_PREFIX}{key}}}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
