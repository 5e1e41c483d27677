"""What a Redis that fails costs: one try, and less and less after it."""

import contextlib
import time

import pytest

from backend.cache.cache import Cache
from backend.cache.fault_guard import LONGEST_COOLDOWN_S
from backend.cache.redis_store import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, RedisStore
from tests.clock import Clock
from tests.redis_faults import FAULTS, Fault
from tests.redis_server import running_redis

every_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


def use(cache: Cache) -> bytes | None:
    """All that one image costs."""
    found = cache.get("key")
    cache.acquire(["key"], "mine", 10)
    cache.put("key", b"value")
    cache.renew(["key"], "mine", 10)
    cache.release(["key"], "mine")
    cache.peek("key")
    return found


@every_fault
def test_redis_that_fails_is_tried_once_by_each_kind_of_command(
    fault: Fault, clock: Clock
) -> None:
    with (
        running_redis(extra_args=fault.extra_args) as server,
        contextlib.closing(
            Cache(RedisStore(server.url, ttl_s=60), clock=clock)
        ) as cache,
    ):
        cache.put("old", b"kept")
        fault.bring(server)

        started = time.monotonic()
        cache.get("old")
        # Generous: a busy machine, and no more than that.
        assert time.monotonic() - started < 4 * (CONNECT_TIMEOUT_S + READ_TIMEOUT_S)
        use(cache)
        faults = cache.stats.faults
        for _ in range(100):
            use(cache)

        # What can be read refuses leases and values, one fault each.
        assert faults == (2 if fault.can_be_read else 1)
        assert cache.stats.faults == faults
        fault.mend(server)


@every_fault
def test_redis_that_fails_grants_every_claim(fault: Fault, clock: Clock) -> None:
    with (
        running_redis(extra_args=fault.extra_args) as server,
        contextlib.closing(
            Cache(RedisStore(server.url, ttl_s=60), clock=clock)
        ) as cache,
    ):
        fault.bring(server)

        for token in ("mine", "theirs"):
            (state,) = cache.acquire(["key"], token, 10)
            assert not state.is_leased
        assert not cache.peek("key").is_leased
        fault.mend(server)


@every_fault
def test_redis_that_failed_is_used_again_when_it_is_back(
    fault: Fault, clock: Clock
) -> None:
    with (
        running_redis(extra_args=fault.extra_args) as server,
        contextlib.closing(
            Cache(RedisStore(server.url, ttl_s=60), clock=clock)
        ) as cache,
    ):
        fault.bring(server)
        for _ in range(4):
            use(cache)
            clock.now += LONGEST_COOLDOWN_S
        fault.mend(server)

        clock.now += LONGEST_COOLDOWN_S
        use(cache)

        assert use(cache) == b"value"
        assert cache.peek("key").value == b"value"
        (state,) = cache.acquire(["key"], "mine", 10)
        assert state.value == b"value"
        assert [it.is_leased for it in cache.acquire(["key"], "theirs", 10)] == [True]


def test_redis_that_hangs_is_tried_ever_less_often(clock: Clock) -> None:
    (hanging,) = (fault for fault in FAULTS if fault.name == "hanging")
    with (
        running_redis() as server,
        contextlib.closing(
            Cache(RedisStore(server.url, ttl_s=60), clock=clock)
        ) as cache,
    ):
        hanging.bring(server)
        for _ in range(600):
            use(cache)
            clock.now += 0.5
        hanging.mend(server)

    # At 0, 5, 15, 35, 75, 135, 195 and 255 of 300 seconds.
    assert cache.stats.faults == 8
