"""Regions that are kept: the same out as in, bounded, and a miss where in doubt."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache import Cache, FinishedStore, open_cache
from backend.cache.finished import _MAGIC, _MOST_UNPACKED_BYTES
from backend.cache.kept import seal
from backend.cache.redis_store import RedisStore
from backend.regions.rle import encode_rle
from tests.fakes import MemoryCache
from tests.redis_server import running_redis

MEBIBYTE = 1 << 20


def brush(seed: int = 0, size_yx: tuple[int, int] = (40, 60)) -> dict[str, Any]:
    mask = np.random.default_rng(seed).random(size_yx) < 0.3
    value = {"format": "rle", "rle": encode_rle(mask), "brushlabels": ["köter"]}
    return {"id": f"r{seed}", "score": 0.1234, "value": value}


def store(
    cache: Cache, *, max_bytes: int = MEBIBYTE, max_cache_bytes: int = 64 * MEBIBYTE
) -> FinishedStore:
    return FinishedStore(cache, max_bytes=max_bytes, max_cache_bytes=max_cache_bytes)


def get(kept: FinishedStore, key: str, is_good: bool = True) -> Any:
    return kept.get(key, lambda regions: is_good)


@pytest.mark.parametrize("kind", ["redis", "embedded"])
def test_regions_are_the_same_from_memory_and_from_either_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("redis_url") if kind == "redis" else None
    cache = open_cache(url, tmp_path, ttl_s=60)
    regions = [brush(1), brush(2, (300, 500)), {"id": "box", "value": {"x": 0.1}}]
    here = store(cache)

    here.put("a", regions)
    here.put("b", [])

    for kept in (here, store(cache)):
        assert json.dumps(get(kept, "a")) == json.dumps(regions)
        assert get(kept, "b") == []
        assert get(kept, "c") is None
    assert cache.stats.faults == 0
    cache.close()


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda some: st.lists(some) | st.dictionaries(st.text("abrle"), some),
    max_leaves=8,
)
regions_of_any_kind = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text("ab"),
            "value": st.dictionaries(st.text("ab"), anything)
            | st.fixed_dictionaries({"rle": st.lists(st.integers(-1, 300)) | anything}),
        }
    ),
    max_size=3,
)


@given(regions=regions_of_any_kind)
def test_whatever_regions_hold_comes_back_or_is_a_miss(
    regions: list[dict[str, Any]],
) -> None:
    kept = store(MemoryCache())

    kept.put("a", regions)

    found = get(kept, "a")
    has_text = any(isinstance(r["value"].get("rle"), str) for r in regions)
    assert json.dumps(found) == json.dumps(regions) or has_text


def test_what_json_cannot_hold_is_not_kept() -> None:
    kept = store(MemoryCache())

    kept.put("a", [{"id": 1 << 70}])
    kept.put("b", [{"id": "half \ud800"}])

    assert (get(kept, "a"), get(kept, "b"), kept.held_bytes) == (None, None, 0)


def test_memory_is_bounded_and_the_latest_stay() -> None:
    kept = store(MemoryCache(), max_bytes=20_000, max_cache_bytes=0)

    for number in range(100):
        kept.put(str(number), [brush(number)])
        get(kept, "0")
        assert kept.held_bytes <= 20_000

    found = [number for number in range(100) if get(kept, str(number)) is not None]
    assert found[0] == 0
    assert found[1:] == list(range(101 - len(found), 100))
    assert 5 < len(found) < 50


def test_what_has_no_room_in_memory_pushes_nothing_out() -> None:
    kept = store(MemoryCache(), max_bytes=5_000, max_cache_bytes=0)
    kept.put("small", [brush(size_yx=(8, 8))])

    kept.put("large", [brush(size_yx=(400, 400))])

    assert get(kept, "small") == [brush(size_yx=(8, 8))]
    assert get(kept, "large") is None


def test_the_cache_is_bounded_in_bytes_whatever_sizes_regions_have() -> None:
    cache = MemoryCache()
    kept = store(cache, max_bytes=0, max_cache_bytes=6 * MEBIBYTE)

    for number in range(300):
        side = 40 + 10 * (number % 60)
        kept.put(str(number), [brush(number, (side, side))])

    sizes = [len(value) for value in cache.values.values()]
    assert max(sizes) > 1 << 14
    assert sum(sizes) <= 6 * MEBIBYTE
    kinds = {key.partition(":")[0] for key in cache.values}
    assert kinds == {"finished-16384", "finished-131072"}


def test_a_cache_without_room_keeps_nothing_there() -> None:
    cache = MemoryCache()
    kept = store(cache, max_cache_bytes=0)

    kept.put("a", [brush()])

    assert cache.values == {}
    assert get(kept, "a") == [brush()]


def test_each_damaged_byte_is_a_miss() -> None:
    cache = MemoryCache()
    store(cache).put("a", [brush(size_yx=(8, 8))])
    ((name, value),) = cache.values.items()

    for place in range(len(value)):
        cache.values[name] = (
            value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]
        )
        assert get(store(cache), "a") is None, place
    for length in range(len(value)):
        cache.values[name] = value[:length]
        assert get(store(cache), "a") is None, length
    cache.values[name] = value
    assert get(store(cache), "a") == [brush(size_yx=(8, 8))]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"{}", id="no-list"),
        pytest.param(b"7", id="number"),
        pytest.param(b"[7]", id="no-regions"),
        pytest.param(b"[", id="no-json"),
        pytest.param(b'[{"value": {"rle": "%%%"}}]', id="no-base64"),
        pytest.param(b" " * (_MOST_UNPACKED_BYTES + 1) + b"[]", id="bomb"),
    ],
)
def test_what_somebody_else_wrote_into_the_cache_is_a_miss(text: bytes) -> None:
    cache = MemoryCache()
    store(cache).put("a", [])
    ((name, value),) = cache.values.items()
    body = zlib.compress(text)
    cache.values[name] = value[:32] + seal(_MAGIC, body)

    found = get(store(cache), "a")

    assert found is None or found == []


def test_what_others_have_kept_is_judged_once_and_refused_where_it_is_not_good() -> (
    None
):
    cache = MemoryCache()
    store(cache).put("a", [brush()])
    kept = store(cache)
    asked = []

    assert get(kept, "a", is_good=False) is None
    for _ in range(3):
        assert kept.get("a", lambda regions: not asked.append(regions)) == [brush()]

    assert asked == [[brush()]]


def test_redis_that_dies_costs_what_it_held_and_nothing_else() -> None:
    with running_redis() as server:
        cache = Cache(RedisStore(server.url, ttl_s=60), cooldown_s=0.01)
        kept = store(cache)
        kept.put("a", [brush(1)])
        server.stop()

        kept.put("b", [brush(2)])

        assert [get(kept, "a"), get(kept, "b")] == [[brush(1)], [brush(2)]]
        assert get(store(cache), "a") is None
        cache.close()
