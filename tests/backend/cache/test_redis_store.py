import contextlib
import logging
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from backend.cache.cache import Cache, open_cache
from backend.cache.redis_store import KEY_PREFIX, RedisStore
from backend.errors import SettingsError
from tests.clock import Clock
from tests.redis_server import RedisServer, free_port, running_redis

PASSWORD = "p@ss/w:rd 100%"


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def redis_cache(
    url: str, clock: Clock, *, ttl_s: int = 60
) -> contextlib.closing[Cache]:
    return contextlib.closing(Cache(RedisStore(url, ttl_s=ttl_s), clock=clock))


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    names = ("WARNING", "INFO", "ERROR")
    return [r.levelname for r in caplog.records if r.levelname in names]


def test_redis_killed_between_two_calls_is_a_miss(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with running_redis() as server, redis_cache(server.url, clock) as cache:
        cache.put("key", b"value")
        assert cache.get("key") == b"value"

        os.kill(server.pid, signal.SIGKILL)
        server.stop()

        assert cache.get("key") is None
        assert cache.get_many(["key", "key"]) == [None, None]
        cache.put("key", b"value")
        assert cache.ping() is False
        assert cache.stats.faults == 1
        assert levels(caplog) == ["WARNING"]


def test_redis_that_comes_back_is_used_after_the_cooldown(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with running_redis() as server, redis_cache(server.url, clock) as cache:
        server.stop()
        assert cache.get("key") is None
        server.start()

        cache.put("key", b"early")
        assert cache.get("key") is None
        clock.now += 5
        assert cache.get("key") is None
        cache.put("key", b"value")

        assert cache.get("key") == b"value"
        assert levels(caplog) == ["WARNING", "INFO"]


def test_redis_restarted_between_two_calls_is_not_an_outage(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with running_redis() as server, redis_cache(server.url, clock) as cache:
        cache.put("key", b"value")
        server.restart()

        assert cache.get("key") is None
        cache.put("key", b"value")

        assert cache.get("key") == b"value"
        assert levels(caplog) == []


def test_redis_that_dies_under_many_threads_raises_in_none(clock: Clock) -> None:
    with running_redis() as server, redis_cache(server.url, clock) as cache:
        stop = threading.Event()
        raised: list[Exception] = []

        def work() -> None:
            while not stop.is_set():
                try:
                    cache.put("key", b"value" * 1000)
                    cache.get_many(["key"] * 5)
                except Exception as e:
                    raised.append(e)
                    return

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        server.stop()
        time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()

        assert raised == []
        assert cache.get("key") is None
        assert cache.stats.faults >= 1


def test_dead_redis_costs_no_timeout_per_call(clock: Clock) -> None:
    with redis_cache(f"redis://127.0.0.1:{free_port()}/0", clock) as cache:
        start = time.perf_counter()
        for _ in range(1000):
            cache.get("key")
            cache.put("key", b"value")

        assert time.perf_counter() - start < 1
        assert cache.stats.faults == 1


def test_port_that_never_answers_costs_one_bounded_wait(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        url = f"redis://127.0.0.1:{black_hole.getsockname()[1]}/0"
        with redis_cache(url, clock) as cache:
            start = time.perf_counter()
            for _ in range(100):
                assert cache.get("key") is None

            assert time.perf_counter() - start < 2
            assert cache.stats.faults == 1


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
        pytest.param(b"$many\r\n", id="length-not-a-number"),
        pytest.param(b":1\r\n" * 9, id="number-for-a-list"),
        pytest.param(b"", id="hangs-up"),
    ],
)
def test_port_that_is_no_redis_is_a_miss(
    reply: bytes, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        with redis_cache(f"redis://127.0.0.1:{port}/0", clock) as cache:
            assert cache.get("key") is None
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()

    assert levels(caplog) == ["WARNING"]


def test_right_password_is_used_and_never_shown(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with running_redis(password=PASSWORD) as server:
        with redis_cache(server.url, clock) as cache:
            cache.put("key", b"value")
            assert cache.get("key") == b"value"

            server.stop()
            assert cache.get("key") is None

        for text in (repr(cache), cache.describe(), caplog.text):
            assert PASSWORD not in text
            assert str(server.port) in text


@pytest.mark.parametrize("login", ["", ":wr0ng-secret@", "someone:wr0ng-secret@"])
def test_wrong_password_is_a_miss_and_never_shown(
    login: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with running_redis(password=PASSWORD) as server:
        url = f"redis://{login}127.0.0.1:{server.port}/0"
        with redis_cache(url, clock) as cache:
            cache.put("key", b"value")
            assert cache.get("key") is None
            assert cache.ping() is False

    assert levels(caplog) == ["WARNING"]
    assert "wr0ng-secret" not in caplog.text


def test_password_that_redis_echoes_is_not_logged(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ["--rename-command", "AUTH", "LOGIN"]
    with running_redis(extra_args=arguments) as server:
        url = f"redis://:wr0ng-secret@127.0.0.1:{server.port}/0"
        with redis_cache(url, clock) as cache:
            assert cache.get("key") is None

    assert "***" in caplog.text
    assert "wr0ng-secret" not in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--min-replicas-to-write", "1"], id="no-replicas"),
        pytest.param(["--replicaof", "127.0.0.1", "1"], id="replica"),
        pytest.param(["--maxmemory", "100kb"], id="out-of-memory"),
    ],
)
def test_redis_that_cannot_be_written_still_answers_reads(
    arguments: list[str], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running_redis(extra_args=arguments) as server,
        redis_cache(server.url, clock) as cache,
    ):
        for _ in range(3):
            cache.put("key", b"value")
            assert cache.get("key") is None
            clock.now += 60

        assert cache.ping() is True
        assert cache.stats.faults == 3
        assert levels(caplog) == ["WARNING"]


def test_key_of_another_type_is_a_miss_and_no_outage(
    redis_url: str, redis_server: RedisServer, clock: Clock
) -> None:
    with redis_server.client() as client, redis_cache(redis_url, clock) as cache:
        client.rpush(KEY_PREFIX + "list", "item")
        cache.put("key", b"value")

        assert cache.get_many(["list", "key"]) == [None, b"value"]
        assert cache.stats.faults == 0


def test_redis_keys_carry_the_prefix_and_the_ttl(
    redis_url: str, redis_server: RedisServer, clock: Clock
) -> None:
    with redis_server.client() as client, redis_cache(redis_url, clock) as cache:
        cache.put("key", b"value")

        assert client.keys() == [b"diffsegmenter:v1:key"]
        ttl_s = client.ttl("diffsegmenter:v1:key")
        assert isinstance(ttl_s, int)
        assert 55 <= ttl_s <= 60


def test_text_decoding_option_of_the_url_is_a_miss_not_text(
    redis_url: str, clock: Clock
) -> None:
    with redis_cache(f"{redis_url}?decode_responses=true", clock) as cache:
        cache.put("text", b"text")
        cache.put("bytes", b"\xff\xfe")

        assert cache.get("text") is None
        assert cache.get("bytes") is None


def test_unix_socket_is_a_redis_too(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with (
        running_redis(extra_args=["--unixsocket", str(path)]),
        redis_cache(f"unix://{path}", clock) as cache,
    ):
        cache.put("key", b"value")

        assert cache.get("key") == b"value"
        assert cache.describe() == f"Redis at {path}"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://:hunter2@localhost", id="scheme"),
        pytest.param("redis://:hunter2/x@localhost:6379", id="slash-in-password"),
        pytest.param("redis://:hunter2@localhost:port/0", id="port"),
        pytest.param("redis://:hunter2@localhost?colour=red", id="unknown-option"),
        pytest.param("redis://:hunter2@localhost?protocol=9", id="protocol"),
    ],
)
def test_unreadable_url_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL") as refusal:
        open_cache(url, Path("unused"), ttl_s=60)

    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__suppress_context__


def test_clear_and_measure_leave_other_people_s_keys_alone(
    redis_server: RedisServer, redis_url: str, clock: Clock
) -> None:
    with redis_cache(redis_url, clock) as cache, redis_server.client() as client:
        client.set("theirs", b"value")
        client.rpush(f"{KEY_PREFIX}a-list", b"value")
        cache.put("ours", b"12345")

        size = cache.measure()
        removed = cache.clear()

        assert size is not None
        # A key of another type has no length that could be added.
        assert (size.entries, size.bytes) == (2, 5)
        assert removed == 2
        assert client.keys("*") == [b"theirs"]


def test_a_redis_that_is_away_can_be_neither_measured_nor_cleared(
    clock: Clock,
) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with redis_cache(url, clock) as cache:
        assert cache.measure() is None
        assert cache.clear() is None
