"""Corrections, heads and events in Redis; see `store.Records`.

What belongs together is changed by one script, on one node of a cluster. Nothing has a
time to live, so that a full Redis with a `volatile-*` policy drops cached results first
and none of this; one with `allkeys-*` may drop it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from backend.errors import FeedbackUnavailable
from backend.redis_client import (
    REDIS_FAULTS,
    close_redis,
    describe_redis,
    redis_client,
    redis_secrets,
)

_PREFIX: Final = "diffsegmenter:feedback:"
_PROJECTS: Final = _PREFIX + "projects"
# A correction has up to 1 MB, an event 4 MB; the read timeout is for the next bytes.
_CONNECT_TIMEOUT_S: Final = 0.5
_READ_TIMEOUT_S: Final = 2.0
# Whoever deletes more sends late events of the latest, if of any.
_MOST_FORGOTTEN: Final = 10_000
# Events of a model that nobody runs any more.
_EVENTS_KEPT_S: Final = 30 * 24 * 3600

# KEYS: values, ranks, forgotten. ARGV: annotation (of 20 digits, so that equal ranks
# are in its order), rank, value, most.
_PUT: Final = """
if redis.call('zscore', KEYS[3], ARGV[1]) then return 0 end
local before = redis.call('zscore', KEYS[2], ARGV[1])
if before and tonumber(before) > tonumber(ARGV[2]) then return 0 end
redis.call('hset', KEYS[1], ARGV[1], ARGV[3])
redis.call('zadd', KEYS[2], ARGV[2], ARGV[1])
while redis.call('zcard', KEYS[2]) > tonumber(ARGV[4]) do
    local lowest = redis.call('zrange', KEYS[2], 0, 0)[1]
    redis.call('zrem', KEYS[2], lowest)
    redis.call('hdel', KEYS[1], lowest)
end
return 1
"""
# ARGV: now, most, then annotations.
_FORGET: Final = """
for at = 3, #ARGV do
    redis.call('zadd', KEYS[3], ARGV[1], ARGV[at])
    redis.call('zrem', KEYS[2], ARGV[at])
    redis.call('hdel', KEYS[1], ARGV[at])
end
redis.call('zremrangebyrank', KEYS[3], 0, -tonumber(ARGV[2]) - 1)
"""
# KEYS: bodies, due, attempts, bytes. ARGV: event, body, now, most, most bytes, TTL.
_ADD_EVENT: Final = """
if redis.call('zscore', KEYS[2], ARGV[1]) then return 1 end
local n_bytes = tonumber(redis.call('get', KEYS[4]) or 0) + #ARGV[2]
if redis.call('zcard', KEYS[2]) >= tonumber(ARGV[4]) or n_bytes > tonumber(ARGV[5]) then
    return 0
end
redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
redis.call('zadd', KEYS[2], ARGV[3], ARGV[1])
redis.call('set', KEYS[4], n_bytes)
for at = 1, 4 do redis.call('expire', KEYS[at], ARGV[6]) end
return 1
"""
# ARGV: now, and when it may be taken again.
_TAKE_EVENT: Final = """
local found = redis.call('zrangebyscore', KEYS[2], '-inf', ARGV[1], 'limit', 0, 1)[1]
if not found then return nil end
redis.call('zadd', KEYS[2], ARGV[2], found)
return {found, redis.call('hget', KEYS[1], found) or '',
        redis.call('hincrby', KEYS[3], found, 1)}
"""
_END_EVENT: Final = """
local n_bytes = redis.call('hstrlen', KEYS[1], ARGV[1])
if redis.call('zrem', KEYS[2], ARGV[1]) == 0 then return end
redis.call('hdel', KEYS[1], ARGV[1])
redis.call('hdel', KEYS[3], ARGV[1])
redis.call('decrby', KEYS[4], n_bytes)
"""


class RedisRecords:
    """`store.Records` on a Redis server; connects when used.

    An access list needs to allow, beside what the cache needs,
    `+eval +expire +decrby +hget +hset +hdel +hmget +hincrby +hstrlen +sadd +srem
    +smembers +zadd +zrem +zcard +zrange +zrangebyscore +zremrangebyrank +zscore`.
    """

    def __init__(self, url: str) -> None:
        """Read the URL.

        Raises:
            SettingsError: if it cannot be read.
        """
        self._client: Any = redis_client(
            url, connect_timeout_s=_CONNECT_TIMEOUT_S, read_timeout_s=_READ_TIMEOUT_S
        )
        self._secrets = [secret for secret in redis_secrets(self._client) if secret]

    def put(
        self, project: str, annotation: int, rank: int, value: bytes, *, most: int
    ) -> bool:
        """See `Records`."""
        with self._faults():
            self._client.sadd(_PROJECTS, project)
            keys = _project_keys(project)
            return bool(self._eval(_PUT, keys, _member(annotation), rank, value, most))

    def forget(self, project: str, annotations: Sequence[int]) -> None:
        """See `Records`."""
        members = map(_member, annotations)
        with self._faults():
            keys = _project_keys(project)
            self._eval(_FORGET, keys, time.time(), _MOST_FORGOTTEN, *members)

    def get_many(self, project: str, annotations: Sequence[int]) -> list[bytes | None]:
        """See `Records`."""
        with self._faults():
            values: list[bytes | None] = self._client.hmget(
                _project_keys(project)[0], [_member(one) for one in annotations]
            )
            return values

    def annotations(self, project: str) -> list[int]:
        """See `Records`."""
        with self._faults():
            return sorted(
                map(int, self._client.zrange(_project_keys(project)[1], 0, -1))
            )

    def get_fact(self, project: str, name: str) -> bytes | None:
        """See `Records`."""
        with self._faults():
            value: bytes | None = self._client.hget(_facts_key(project), name)
            return value

    def set_fact(self, project: str, name: str, value: bytes | None) -> None:
        """See `Records`."""
        with self._faults():
            if value is None:
                self._client.hdel(_facts_key(project), name)
                return
            self._client.sadd(_PROJECTS, project)
            self._client.hset(_facts_key(project), name, value)

    def projects(self) -> list[str]:
        """See `Records`."""
        with self._faults():
            return sorted(
                str(name, "utf-8") for name in self._client.smembers(_PROJECTS)
            )

    def reset(self, project: str) -> None:
        """See `Records`."""
        values, ranks, _ = _project_keys(project)
        with self._faults():
            self._client.delete(values, ranks, _facts_key(project))
            self._client.srem(_PROJECTS, project)

    def add_event(
        self, queue: str, event_id: str, body: bytes, *, most: int, most_bytes: int
    ) -> bool:
        """See `Records`."""
        given = (event_id, body, time.time(), most, most_bytes, _EVENTS_KEPT_S)
        with self._faults():
            return bool(self._eval(_ADD_EVENT, _event_keys(queue), *given))

    def take_event(
        self, queue: str, lease_s: float, overdue_s: float
    ) -> tuple[str, bytes, int] | None:
        """See `Records`."""
        now = time.time()
        with self._faults():
            times = (now - overdue_s, now + lease_s)
            found = self._eval(_TAKE_EVENT, _event_keys(queue), *times)
            if found is None:
                return None
            event_id, body, attempts = found
            return str(event_id, "utf-8"), body, int(attempts)

    def end_event(self, queue: str, event_id: str) -> None:
        """See `Records`."""
        with self._faults():
            self._eval(_END_EVENT, _event_keys(queue), event_id)

    def postpone_event(self, queue: str, event_id: str, delay_s: float) -> None:
        """See `Records`."""
        with self._faults():
            due = {event_id: time.time() + delay_s}
            self._client.zadd(_event_keys(queue)[1], due, xx=True)

    def n_events(self, queue: str) -> int:
        """See `Records`."""
        with self._faults():
            return int(self._client.zcard(_event_keys(queue)[1]))

    def describe(self) -> str:
        """See `Records`."""
        return describe_redis(self._client)

    def close(self) -> None:
        """See `Records`."""
        close_redis(self._client)

    def _eval(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        return self._client.eval(script, len(keys), *keys, *arguments)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except REDIS_FAULTS as error:
            reason = f"{type(error).__name__}: {error}"
            for secret in self._secrets:
                reason = reason.replace(secret, "***")
            raise FeedbackUnavailable(
                f"{self.describe()} cannot be used for what projects have learned "
                f"({reason}). Check that it runs and can be written to."
            ) from None


def _project_keys(project: str) -> tuple[str, str, str]:
    """Values, ranks and forgotten ones of a project: on one node of a cluster."""
    name = f"{_PREFIX}{{{project}}}:"
    return name + "corrections", name + "ranks", name + "forgotten"


def _facts_key(project: str) -> str:
    return f"{_PREFIX}{{{project}}}:facts"


def _event_keys(queue: str) -> tuple[str, str, str, str]:
    name = f"{_PREFIX}events:{{{queue}}}:"
    return name + "bodies", name + "due", name + "attempts", name + "bytes"


def _member(annotation: int) -> str:
    return f"{annotation:020d}"
