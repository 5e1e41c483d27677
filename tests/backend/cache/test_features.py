"""What clicks need beside score maps: bounded in memory and in the store."""

from pathlib import Path

import numpy as np
import pytest

from backend.cache import FeatureStore, Slots, open_cache
from backend.cache.features import MAX_BYTES, decode_features, encode_features
from tests.fakes import MemoryCache


def features(seed: int = 0, shape: tuple[int, int, int] = (8, 4, 6)) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=shape).astype(np.float16)


def store(cache: MemoryCache, *, count: int = 64, max_bytes: int = 0) -> FeatureStore:
    return FeatureStore(Slots(cache, "features", count), max_bytes=max_bytes)


@pytest.mark.parametrize("kind", ["redis", "embedded"])
def test_slots_keep_a_value_in_either_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("redis_url") if kind == "redis" else None
    cache = open_cache(url, tmp_path, ttl_s=60)
    slots = Slots(cache, "things", 3)

    slots.put("a", b"1")
    slots.put("a", b"2")

    assert slots.get("a") == b"2"
    assert slots.get("other") is None
    cache.close()


def test_slots_never_hold_more_values_than_there_are_slots() -> None:
    cache = MemoryCache()
    slots = Slots(cache, "things", 5)

    for number in range(100):
        slots.put(f"key {number}", str(number).encode())

    assert len(cache.values) == 5
    found = [slots.get(f"key {number}") for number in range(100)]
    kept = {n: value for n, value in enumerate(found) if value is not None}
    assert len(kept) == 5
    assert all(value == str(number).encode() for number, value in kept.items())


def test_slots_of_two_kinds_do_not_share_values() -> None:
    cache = MemoryCache()
    Slots(cache, "one", 1).put("key", b"1")

    assert Slots(cache, "other", 1).get("key") is None


def test_slots_count_no_miss_of_the_score_maps() -> None:
    cache = MemoryCache()

    Slots(cache, "things", 3).get("key")

    assert (cache.stats.hits, cache.stats.misses) == (0, 0)


def test_features_come_back_as_they_were_in_every_process() -> None:
    cache = MemoryCache()
    original = features()

    store(cache).put("key", original)
    found = store(cache).get("key")

    assert found is not None
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, original)
    assert store(cache).get("other") is None


def test_features_in_memory_are_bounded_in_bytes_and_the_latest() -> None:
    cache = MemoryCache()
    kept = store(cache, max_bytes=3 * (features().nbytes + 512))
    for number in range(3):
        kept.put(f"key {number}", features(number))
    kept.get("key 0")
    kept.put("key 3", features(3))
    cache.values.clear()

    found = [kept.get(f"key {number}") is not None for number in range(4)]

    assert found == [True, False, True, True]


def test_that_a_pass_had_no_features_is_known_as_well() -> None:
    cache = MemoryCache()
    store(cache).put("key", None)

    found = store(cache).get("key")

    assert found is not None
    assert not found.size


def test_an_image_without_features_takes_room_too() -> None:
    cache = MemoryCache()
    kept = store(cache, max_bytes=10 * 512)
    for number in range(100):
        kept.put(f"key {number}", None)
    cache.values.clear()

    assert sum(kept.get(f"key {n}") is not None for n in range(100)) == 10


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(features(shape=(1, 512, 513)), id="too-large"),
        pytest.param(np.full((1, 2, 2), np.nan, np.float16), id="no-number"),
        pytest.param(features()[0], id="flat"),
    ],
)
def test_what_is_no_features_is_kept_as_none(wrong: np.ndarray) -> None:
    cache = MemoryCache()

    store(cache).put("key", wrong)

    found = store(cache).get("key")
    assert found is not None
    assert not found.size
    assert all(len(value) < 100 for value in cache.values.values())


def test_the_largest_features_take_a_quarter_of_a_megabyte() -> None:
    largest = features(shape=(128, 32, 32))

    assert largest.nbytes == MAX_BYTES
    assert len(encode_features(largest)) < MAX_BYTES + 100


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x" * 500, id="other"),
        pytest.param(encode_features(features())[:-1], id="cut"),
        pytest.param(encode_features(features()) + b"x", id="surplus"),
        pytest.param(encode_features(features())[:-1] + b"\0", id="changed"),
        pytest.param(
            encode_features(np.full((1, 2, 2), np.inf, np.float16)), id="infinite"
        ),
        pytest.param(b"\0" * (MAX_BYTES + 100), id="huge"),
    ],
)
def test_bytes_that_are_no_features_are_a_miss(packed: bytes) -> None:
    assert decode_features(packed) is None
