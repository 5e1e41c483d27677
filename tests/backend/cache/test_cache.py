import contextlib
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.cache import Cache, open_cache, score_key
from backend.cache.codec import UnreadableScores, decode_score_maps
from backend.cache.store import LeaseState
from backend.errors import SettingsError
from tests.fakes import MemoryStore
from tests.redis_server import free_port


@pytest.fixture(params=["redis", "embedded"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    """Both stores, through the door that the backend uses."""
    url = None
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    with contextlib.closing(open_cache(url, tmp_path, ttl_s=1)) as cache:
        yield cache


def test_get_returns_the_bytes_that_were_put(cache: Cache) -> None:
    every_byte = bytes(range(256)) * 1000

    cache.put("key", every_byte)
    cache.put("empty", b"")

    assert cache.get("key") == every_byte
    assert cache.get("empty") == b""
    assert cache.get("other") is None


def test_get_many_answers_in_the_order_of_the_keys(cache: Cache) -> None:
    cache.put("a", b"1")
    cache.put("b", b"2")

    values = cache.get_many(["b", "missing", "a", "b"])

    assert values == [b"2", None, b"1", b"2"]
    assert cache.get_many([]) == []


def test_put_replaces_the_value(cache: Cache) -> None:
    cache.put("key", b"old")
    cache.put("key", b"new")

    assert cache.get("key") == b"new"


def test_value_is_gone_after_its_ttl(cache: Cache) -> None:
    cache.put("key", b"value")

    time.sleep(1.1)

    assert cache.get("key") is None


def test_stats_count_hits_and_misses(cache: Cache) -> None:
    cache.put("a", b"1")

    cache.get_many(["a", "missing", "a"])
    cache.get("missing")

    stats = cache.stats
    assert (stats.hits, stats.misses, stats.faults) == (2, 2, 0)


def taken(cache: Cache, keys: list[str], token: str, ttl_s: float = 10) -> list[bool]:
    return [state.is_leased for state in cache.acquire(keys, token, ttl_s)]


def test_claim_is_granted_to_the_first_and_refused_to_others(cache: Cache) -> None:
    assert taken(cache, ["a", "b"], "mine") == [False, False]

    assert taken(cache, ["b", "c"], "theirs") == [True, False]
    assert cache.peek("a").is_leased
    assert not cache.peek("d").is_leased


def test_claim_finds_what_was_stored_meanwhile(cache: Cache) -> None:
    cache.put("a", b"1")

    (state, other) = cache.acquire(["a", "b"], "mine", 10)

    assert (state.value, other.value) == (b"1", None)
    assert cache.peek("a").value == b"1"
    assert (cache.stats.hits, cache.stats.misses) == (0, 0)


def test_release_ends_one_s_own_claims_and_no_other(cache: Cache) -> None:
    cache.acquire(["a"], "mine", 10)
    cache.acquire(["b"], "theirs", 10)

    cache.release(["a", "b", "c"], "mine")

    assert not cache.peek("a").is_leased
    assert cache.peek("b").is_leased
    assert cache.stats.faults == 0


def test_claim_that_is_not_renewed_ends(cache: Cache) -> None:
    cache.acquire(["a", "b", "c"], "mine", 0.2)
    cache.acquire(["c"], "theirs", 10)
    cache.renew(["b", "c"], "mine", 10)

    time.sleep(0.3)

    assert taken(cache, ["a", "b"], "theirs") == [False, True]


def test_renewal_leaves_the_claim_of_a_successor_alone(cache: Cache) -> None:
    cache.acquire(["a"], "theirs", 0.3)

    cache.renew(["a"], "mine", 10)
    time.sleep(0.4)

    assert not cache.peek("a").is_leased


def test_renewal_restores_a_claim_that_the_store_lost(cache: Cache) -> None:
    cache.renew(["a"], "mine", 10)

    assert taken(cache, ["a"], "theirs") == [True]


def test_claims_are_no_values(cache: Cache) -> None:
    cache.put("a", b"1")
    cache.acquire(["a", "b"], "mine", 10)

    size = cache.measure()

    assert size is not None
    assert size.entries == 1
    assert cache.clear() == 1


def test_ping_is_true_and_counts_nothing(cache: Cache) -> None:
    assert cache.ping() is True
    assert (cache.stats.hits, cache.stats.misses) == (0, 0)


def test_measure_counts_values_and_bytes(cache: Cache) -> None:
    empty = cache.measure()
    for number in range(3):
        cache.put(f"key {number}", b"x" * 1000)

    full = cache.measure()

    assert empty is not None
    assert full is not None
    assert (empty.entries, full.entries) == (0, 3)
    # The embedded cache's file has overhead of its own.
    assert full.bytes >= 3000
    assert full.bytes >= empty.bytes


def test_clear_forgets_everything_and_says_how_much(cache: Cache) -> None:
    for number in range(1201):
        cache.put(f"key {number}", b"value")

    assert cache.clear() == 1201
    assert cache.clear() == 0
    assert cache.get("key 7") is None
    cache.put("key 7", b"again")
    assert cache.get("key 7") == b"again"


def test_clear_leaves_claims_alone(cache: Cache) -> None:
    cache.acquire(["a"], "mine", 10)

    cache.clear()

    assert cache.peek("a").is_leased


class BrokenStore(MemoryStore):
    """Fails in whatever is asked of it, and quotes its password."""

    unreachable = (OSError,)
    secrets = ("hunter2",)

    def fail(self, *arguments: object) -> Any:
        raise OSError("no store at hunter2")

    get_many = put = acquire = renew = release = peek = measure = clear = fail


def test_store_that_always_fails_is_misses_and_grants(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = Cache(BrokenStore(), cooldown_s=0)

    cache.put("a", b"1")
    cache.renew(["a"], "mine", 10)
    cache.release(["a"], "mine")

    assert cache.get_many(["a", "b"]) == [None, None]
    assert cache.acquire(["a", "b"], "mine", 10) == [LeaseState(), LeaseState()]
    assert cache.peek("a") == LeaseState()
    assert cache.ping() is False
    assert cache.measure() is None
    assert cache.clear() is None
    assert (cache.stats.hits, cache.stats.misses, cache.stats.faults) == (0, 2, 9)
    assert "no store at ***" in caplog.text


def test_many_threads_read_what_they_wrote(cache: Cache) -> None:
    lost: list[str] = []

    def work(worker: int) -> None:
        for i in range(20):
            key = f"{worker}-{i}"
            cache.put(key, key.encode())
            if cache.get(key) != key.encode():
                lost.append(key)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert lost == []
    assert cache.stats.faults == 0


def test_garbage_value_is_refused_by_the_codec(cache: Cache) -> None:
    cache.put("key", pickle.dumps(["not", "scores"]))
    value = cache.get("key")

    assert value is not None
    with pytest.raises(UnreadableScores):
        decode_score_maps(value)


def test_call_after_close_does_not_raise(cache: Cache) -> None:
    cache.close()

    cache.put("key", b"value")
    cache.get("key")
    cache.close()


def test_open_cache_starts_while_redis_is_down(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/3"

    with contextlib.closing(open_cache(url, tmp_path, ttl_s=60)) as cache:
        assert cache.describe() == f"Redis at {url.removeprefix('redis://')}"


def test_open_cache_refuses_a_ttl_below_one_second(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CACHE_TTL_S is 0"):
        open_cache(None, tmp_path, ttl_s=0)


TEXTS = st.lists(st.text(max_size=5), max_size=3)


@given(st.text(max_size=5), TEXTS, st.text(max_size=5))
def test_score_key_is_64_hex_digits_for_any_text(
    digest: str, prompts: list[str], model: str
) -> None:
    key = score_key(image_digest=digest, prompts=prompts, model=model)

    assert len(key) == 64
    assert int(key, 16) >= 0


def test_score_key_differs_when_any_part_differs() -> None:
    keys = [
        score_key(image_digest=digest, prompts=prompts, model=model)
        for digest, prompts, model in [
            ("d", ["a", "b"], "m"),
            ("d", ["b", "a"], "m"),
            ("d", ["ab"], "m"),
            ("d", ["a", "b", ""], "m"),
            ("d", ['a","b'], "m"),
            ("d", [], "m"),
            ("e", ["a", "b"], "m"),
            ("d", ["a", "b"], "n"),
            ("d", ["A", "b"], "m"),
        ]
    ]

    assert len(set(keys)) == len(keys)


def test_score_key_is_one_for_both_spellings_of_an_accent() -> None:
    composed = score_key(image_digest="d", prompts=["caf\u00e9"], model="m")
    combined = score_key(image_digest="d", prompts=["cafe\u0301"], model="m")

    assert composed == combined


def test_score_key_stays_what_it_was() -> None:
    key = score_key(image_digest="d", prompts=["dog", "grass"], model="m")

    assert key.startswith("f6781fab433f7cac433426a628901740")
