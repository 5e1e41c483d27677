"""Keys and bytes in, bytes out; the store is Redis 6 or newer.

Knows nothing of what the bytes mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import redis

from backend.cache.store import (
    LONGEST_LEASE_S,
    CacheSize,
    LeaseState,
    MemoryUsage,
)
from backend.redis_client import (
    REDIS_FAULTS,
    RedisClient,
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
# A lease that never ends, or not in any time that one is granted for, is nobody's:
# whatever is under its name makes way for one of ARGV[1].
_SEIZE = """
local left = redis.call('pttl', KEYS[1])
if left < 0 or left > tonumber(ARGV[3]) then
    redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
    return 1
end
return 0
"""


class RedisStore:
    """`backend.cache.store.LeasingStore` on a Redis server; connects when used.

    What it costs, in round trips (and commands): all lookups of a request are 1
    (one MGET). A pass over n images that were missing adds 2 + n: to lease them
    (SET NX and GET for each), to store each (SET), and to release the leases (EVAL
    for each); one more for those that others hold (EVAL); and every few seconds,
    while it lasts, one to renew them (EVAL for each). Who waits for another process
    looks four times a second or more (MGET).

    An access list needs to allow no more than
    `~diffsegmenter:* +get +mget +set +eval +del +pttl`, and of a cluster
    `+cluster|slots +command` as well; `diffsegmenter cache` and `doctor` use
    `+scan +strlen +unlink +info +ping` beside it.

    Args:
        url: see `redis_client`.
        ttl_s: seconds until a value is forgotten, at least 1.

    Raises:
        SettingsError: if the URL cannot be read; the message does not show it.
    """

    unreachable = REDIS_FAULTS
    refused = (redis.ResponseError,)

    def __init__(self, url: str, *, ttl_s: int) -> None:
        self._client = redis_client(
            url, connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=READ_TIMEOUT_S
        )
        self._ttl_s = ttl_s
        self.secrets = redis_secrets(self._client)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value or None per key, in the order of `keys`, in one round trip."""
        return self._mget([KEY_PREFIX + key for key in keys])

    def put(self, key: str, value: bytes) -> None:
        """Store `value` for `ttl_s`."""
        self._client.set(KEY_PREFIX + key, value, ex=self._ttl_s)

    def acquire(
        self, keys: Sequence[str], token: str, ttl_s: float
    ) -> list[LeaseState]:
        """See `Leases`."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.set(_lease_name(key), token, nx=True, px=_ms(ttl_s))
        for key in keys:
            pipeline.get(KEY_PREFIX + key)
        answers = pipeline.execute(raise_on_error=False)
        granted, values = answers[: len(keys)], answers[len(keys) :]
        for answer in granted:
            if isinstance(answer, Exception):
                raise answer
        others = [key for key, it in zip(keys, granted, strict=True) if not it]
        seized = self._seize(others, token, ttl_s)
        return [
            LeaseState(
                # What cannot be read, such as a key of another type, is no value.
                value=value if isinstance(value, bytes) else None,
                is_leased=not is_granted and key not in seized,
            )
            for key, is_granted, value in zip(keys, granted, values, strict=True)
        ]

    def _seize(self, keys: Sequence[str], token: str, ttl_s: float) -> set[str]:
        """Take the leases that can be nobody's; which those were.

        Without them an image would be waited for in every request, for ever.
        """
        if not keys:
            return set()
        arguments = (token, _ms(ttl_s), _ms(LONGEST_LEASE_S))
        answers = self._eval(_SEIZE, keys, *arguments, raise_on_error=False)
        # An access list without PTTL: then they stay, as they did.
        return {key for key, answer in zip(keys, answers, strict=True) if answer == 1}

    def renew(self, keys: Sequence[str], token: str, ttl_s: float) -> None:
        """See `Leases`."""
        self._eval(_RENEW, keys, token, _ms(ttl_s))

    def release(self, keys: Sequence[str], token: str) -> None:
        """See `Leases`."""
        self._eval(_RELEASE, keys, token)

    def peek(self, key: str) -> LeaseState:
        """See `Leases`."""
        value, token = self._mget([KEY_PREFIX + key, _lease_name(key)])
        return LeaseState(value=value, is_leased=token is not None)

    def measure(self) -> CacheSize:
        """How many values of ours Redis holds, and their bytes."""
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

    def clear(self) -> int:
        """Remove all keys of ours, none of anybody else's."""
        removed = 0
        for keys in self._all_keys():
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                # One by one: those of a cluster are on several nodes.
                pipeline.unlink(key)
            removed += sum(pipeline.execute())
        return removed

    def describe(self) -> str:
        """Where the cache is, for logs and `/health`; never shows a password."""
        return describe_redis(self._client)

    def close(self) -> None:
        """Drop the connections."""
        close_redis(self._client)

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

    def _eval(
        self,
        script: str,
        keys: Sequence[str],
        *arguments: str | int,
        raise_on_error: bool = True,
    ) -> list[Any]:
        """One script for each of the keys' leases."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            # By name: the pipeline of a cluster has no method for it.
            pipeline.execute_command("EVAL", script, 1, _lease_name(key), *arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=raise_on_error)
        return answers


def _lease_name(key: str) -> str:
    """Where the lease of `key` is; on the same node of a cluster as its value."""
    return f"{LEASE_PREFIX}{{{KEY_PREFIX}{key}}}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def redis_memory_usage(client: RedisClient) -> MemoryUsage | None:
    """Memory and eviction policy, of all masters of a cluster together.

    Returns:
        None where an access list or a service refuses to say.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    try:
        found: Any = (
            client.info("memory", target_nodes="primaries")
            if is_cluster(client)
            else client.info("memory")
        )
    except redis.ResponseError:
        return None
    # Several nodes answer by their names, and one alone does not.
    is_one = "used_memory" in found
    nodes: list[Mapping[str, Any]] = [found] if is_one else list(found.values())
    return MemoryUsage(
        used_bytes=sum(int(node["used_memory"]) for node in nodes),
        limit_bytes=sum(int(node.get("maxmemory", 0)) for node in nodes),
        policy=str(nodes[0].get("maxmemory_policy", "")),
    )
