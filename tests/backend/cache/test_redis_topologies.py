"""The cache on every kind of Redis: TLS, an access list, Sentinel, a cluster."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.cache.cache import Cache
from backend.cache.redis_store import RedisStore
from backend.doctor.cache import check_cache
from tests.backend.doctor.checks import only, settings
from tests.clock import Clock
from tests.redis_server import TlsFiles, free_port, running_redis
from tests.redis_topologies import SERVICE, Watched, running_cluster, running_sentinel

PASSWORD = "p@ss/w:rd 100%"
QUOTED = "p%40ss%2Fw%3Ard%20100%25"
SENTINEL_PASSWORD = "s3ntinel"
KEYS = [f"key {number}" for number in range(60)]
# What the docstring of `RedisStore` says; the first is enough for a backend.
SERVING = "~diffsegmenter:* +get +mget +set +eval +del +pttl"
IN_A_CLUSTER = "+cluster|slots +command"
LOOKING = "+scan +strlen +unlink +info +ping"


@pytest.fixture
def tls(tmp_path: Path) -> TlsFiles:
    return TlsFiles.make(tmp_path)


def cache_on(url: str, **parts: Clock) -> contextlib.closing[Cache]:
    return contextlib.closing(Cache(RedisStore(url, ttl_s=60), **parts))


def use_everything(cache: Cache) -> None:
    """Every command of the cache, and what it has to say."""
    for key in KEYS:
        cache.put(key, key.encode())
    assert cache.get_many([*KEYS, "other"]) == [*(key.encode() for key in KEYS), None]
    assert not any(it.is_leased for it in cache.acquire(["a", "b"], "mine", 10))
    cache.renew(["a"], "mine", 60)
    found = cache.acquire(["a", "c", KEYS[0]], "theirs", 10)
    assert [it.is_leased for it in found] == [True, False, False]
    assert found[2].value == KEYS[0].encode()
    assert cache.peek("a").is_leased
    cache.release(["a", "b", "c"], "mine")
    assert not cache.peek("a").is_leased
    assert cache.peek("c").is_leased
    assert cache.peek(KEYS[1]).value == KEYS[1].encode()
    assert cache.ping() is True
    size = cache.measure()
    assert size is not None
    assert (size.entries, size.bytes) == (60, sum(map(len, KEYS)))
    assert size.room is not None
    assert size.room.policy == "noeviction"
    assert size.room.used_bytes > size.bytes
    assert cache.clear() == 60
    assert cache.get(KEYS[0]) is None
    assert cache.stats.faults == 0


def wait_for(answer: Callable[[], bool], clock: Clock) -> None:
    """Ask until it is so, as if a minute passed between two tries."""
    deadline = time.monotonic() + 30
    while not answer():
        assert time.monotonic() < deadline, "it never came to that"
        clock.now += 60
        time.sleep(0.1)


def test_cache_speaks_tls_to_a_certificate_that_it_is_told_of(tls: TlsFiles) -> None:
    with running_redis(password=PASSWORD, tls=tls) as server:
        with cache_on(server.url) as cache:
            use_everything(cache)
            assert "ssl_ca_certs" not in cache.describe()
        assert only(check_cache(settings(REDIS_URL=server.url))).level == "ok"


def test_certificate_of_nobody_known_is_a_miss(
    tls: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    with running_redis(tls=tls) as server:
        with cache_on(server.url.partition("?")[0]) as cache:
            assert cache.get("key") is None
        with cache_on(server.url.replace("rediss", "redis").partition("?")[0]) as plain:
            assert plain.get("key") is None

    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_cache_speaks_through_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with running_redis(extra_args=["--unixsocket", str(path)]):
        with cache_on(f"unix://{path}") as cache:
            use_everything(cache)
        assert only(check_cache(settings(REDIS_URL=f"unix://{path}"))).level == "ok"


@pytest.mark.parametrize("options", ["", "?db=0"])
def test_cache_needs_no_more_than_the_access_list_that_is_documented(
    options: str,
) -> None:
    with running_redis() as server:
        with server.client() as client:
            rule = f"ACL SETUSER cache on >pw {SERVING} {LOOKING}"
            client.execute_command(*rule.split())
        url = f"redis://cache:pw@127.0.0.1:{server.port}{options}"
        with cache_on(url) as cache:
            use_everything(cache)
        assert only(check_cache(settings(REDIS_URL=url))).level == "ok"


def test_backend_that_only_serves_needs_less() -> None:
    with running_redis() as server:
        with server.client() as client:
            client.execute_command(*f"ACL SETUSER cache on >pw {SERVING}".split())
        with cache_on(f"redis://cache:pw@127.0.0.1:{server.port}") as cache:
            cache.put("key", b"value")
            cache.acquire(["a"], "mine", 10)
            cache.renew(["a"], "mine", 10)
            cache.release(["a"], "mine")

            assert cache.get("key") == b"value"
            assert not cache.peek("a").is_leased
            assert cache.ping() is True
            assert cache.stats.faults == 0


@pytest.mark.parametrize("command", ["get", "mget", "set", "eval", "del"])
def test_every_right_of_the_access_list_is_needed(command: str) -> None:
    with running_redis() as server:
        with server.client() as client:
            rule = f"ACL SETUSER cache on >pw {SERVING} -{command}"
            client.execute_command(*rule.split())
        with cache_on(f"redis://cache:pw@127.0.0.1:{server.port}") as cache:
            cache.put("key", b"value")
            cache.get("key")
            cache.acquire(["key"], "mine", 10)
            cache.release(["key"], "mine")

            assert cache.stats.faults > 0


def test_values_are_kept_where_an_access_list_knows_no_claims() -> None:
    with running_redis() as server:
        with server.client() as client:
            rule = "ACL SETUSER cache on >pw ~diffsegmenter:v1:* +mget +set"
            client.execute_command(*rule.split())
        with cache_on(f"redis://cache:pw@127.0.0.1:{server.port}") as cache:
            (state,) = cache.acquire(["key"], "mine", 10)
            cache.put("key", b"value")

            assert not state.is_leased
            assert cache.get("key") == b"value"


def sentinel_url(watched: Watched, scheme: str = "redis", options: str = "") -> str:
    return f"{scheme}+sentinel://:{QUOTED}@{watched.hosts}/{SERVICE}/0{options}"


def test_cache_goes_on_with_the_replica_that_a_sentinel_promotes(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with running_sentinel(
        password=PASSWORD, sentinel_password=SENTINEL_PASSWORD
    ) as watched:
        url = sentinel_url(watched, options=f"?sentinel_password={SENTINEL_PASSWORD}")
        with cache_on(url, clock=clock) as cache:
            use_everything(cache)
            assert only(check_cache(settings(REDIS_URL=url))).level == "ok"

            os.kill(watched.master.pid, signal.SIGKILL)
            watched.master.stop()
            assert cache.get("key") is None
            watched.wait_for_promotion()

            def is_kept() -> bool:
                cache.put("key", b"value")
                return cache.get("key") == b"value"

            wait_for(is_kept, clock)
            with watched.replica.client() as client:
                assert client.get("diffsegmenter:v1:key") == b"value"
    assert SENTINEL_PASSWORD not in caplog.text
    assert PASSWORD not in caplog.text


def test_sentinel_that_wants_a_password_gets_only_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running_sentinel(
        password=PASSWORD, sentinel_password=SENTINEL_PASSWORD
    ) as watched:
        urls = [
            sentinel_url(watched, options=options)
            for options in ("", "?sentinel_password=wr0ng-secret")
        ]
        for url in urls:
            with cache_on(url) as cache:
                assert cache.get("key") is None
                assert cache.stats.faults == 1
            finding = only(check_cache(settings(REDIS_URL=url)))
            assert finding.level == "problem"
            assert "wr0ng-secret" not in str(finding)

    assert "wr0ng-secret" not in caplog.text
    assert PASSWORD not in caplog.text


def test_sentinel_and_its_redis_speak_tls(tls: TlsFiles) -> None:
    with running_sentinel(password=PASSWORD, tls=tls) as watched:
        options = f"?ssl_ca_certs={tls.certificate}"
        with cache_on(sentinel_url(watched, "rediss", options)) as cache:
            use_everything(cache)


def test_cache_is_spread_over_a_cluster(clock: Clock) -> None:
    with running_cluster(password=PASSWORD) as servers:
        dead = f"127.0.0.1:{free_port()}"
        url = f"redis+cluster://:{QUOTED}@{dead},127.0.0.1:{servers[1].port}"
        with cache_on(url, clock=clock) as cache:
            use_everything(cache)
            for key in KEYS:
                cache.put(key, b"value")
            assert only(check_cache(settings(REDIS_URL=url))).level == "ok"

        for server in servers:
            with server.client() as client:
                assert 0 < client.dbsize() < len(KEYS)


def test_cluster_needs_two_rights_more() -> None:
    with running_cluster() as servers:
        for server in servers:
            with server.client() as client:
                rule = f"ACL SETUSER cache on >pw {SERVING} {IN_A_CLUSTER} {LOOKING}"
                client.execute_command(*rule.split())
        url = f"redis+cluster://cache:pw@127.0.0.1:{servers[0].port}"
        with cache_on(url) as cache:
            use_everything(cache)


def test_cluster_that_loses_a_node_raises_nothing_and_is_used_when_it_is_back(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running_cluster(password=PASSWORD) as servers:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        url = f"redis+cluster://:{QUOTED}@{hosts}"
        with cache_on(url, clock=clock) as cache:
            for key in KEYS:
                cache.put(key, b"value")
            servers[0].stop()

            for _ in range(3):
                cache.get_many(KEYS)
                cache.acquire(KEYS, "mine", 10)
                cache.put(KEYS[0], b"value")
                clock.now += 60
            assert cache.stats.faults > 0
            servers[0].start()

            wait_for(lambda: cache.get_many(KEYS)[1:] != [None] * 59, clock)
    assert PASSWORD not in caplog.text


def test_cluster_that_comes_later_is_found(clock: Clock) -> None:
    port = free_port()
    with cache_on(f"redis+cluster://127.0.0.1:{port}", clock=clock) as cache:
        assert cache.get("key") is None
        assert cache.measure() is None
        assert cache.stats.faults == 1
        assert cache.describe() == f"Redis Cluster at 127.0.0.1:{port}"


def test_server_that_is_no_cluster_is_a_miss(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with cache_on(redis_url.replace("redis://", "redis+cluster://")) as cache:
        assert cache.get("key") is None

    assert "Cluster mode is not enabled" in caplog.text
