"""What encoders made of images: kept to the bit, bounded, a miss where in doubt."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from backend.cache import Cache, EncodingStore, open_cache
from backend.cache.encodings import _MAGIC, decode_encoding, encode_encoding
from backend.cache.kept import seal
from backend.cache.redis_store import RedisStore
from segmenter import ImageEncoding
from tests.fakes import MemoryCache
from tests.redis_server import running_redis

MEBIBYTE = 1 << 20


def encoding(seed: int = 0, cells: int = 64) -> ImageEncoding:
    """As large as Stable Diffusion 1.5's."""
    random = np.random.default_rng(seed)
    return ImageEncoding(
        latents=(random.normal(size=(1, 4, cells, cells)).astype(np.float32),),
        embeddings=random.normal(size=(3, 768)).astype(np.float32),
        patches=random.normal(size=(512, 8, 8)).astype(np.float16),
    )


def store(
    cache: Cache, *, max_bytes: int = 0, max_cache_bytes: int = 64 * MEBIBYTE
) -> EncodingStore:
    return EncodingStore(cache, max_bytes=max_bytes, max_cache_bytes=max_cache_bytes)


def assert_same(found: ImageEncoding | None, expected: ImageEncoding) -> None:
    assert found is not None
    assert len(found.latents) == len(expected.latents)
    pairs = [
        *zip(found.latents, expected.latents, strict=True),
        (found.embeddings, expected.embeddings),
        (found.patches, expected.patches),
    ]
    for one, same in pairs:
        assert (one is None) == (same is None)
        if one is not None and same is not None:
            assert one.dtype == same.dtype
            assert one.flags.writeable
            np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("kind", ["redis", "embedded"])
def test_an_encoding_is_the_same_from_either_store_and_in_every_process(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("redis_url") if kind == "redis" else None
    cache = open_cache(url, tmp_path, ttl_s=60)
    without_looks = ImageEncoding(latents=(*encoding(1).latents, *encoding(2).latents))

    store(cache).put("a", encoding())
    store(cache).put("b", without_looks)

    assert_same(store(cache).get("a"), encoding())
    assert_same(store(cache).get("b"), without_looks)
    assert store(cache).get("c") is None
    cache.close()


def test_an_encoding_is_the_same_from_memory() -> None:
    cache = MemoryCache()
    kept = store(cache, max_bytes=MEBIBYTE, max_cache_bytes=0)

    kept.put("a", encoding())

    assert cache.values == {}
    assert_same(kept.get("a"), encoding())


def test_memory_and_cache_stay_within_their_bytes() -> None:
    cache = MemoryCache()
    kept = store(cache, max_bytes=MEBIBYTE, max_cache_bytes=8 * MEBIBYTE)

    for number in range(200):
        kept.put(f"key {number}", encoding(number, cells=64 if number % 2 else 128))

    assert kept._kept.held_bytes <= MEBIBYTE
    assert 0 < sum(map(len, cache.values.values())) <= 8 * MEBIBYTE


def test_a_dead_redis_costs_time_and_nothing_else() -> None:
    with running_redis() as server:
        cache = Cache(RedisStore(server.url, ttl_s=60))
        kept = store(cache, max_bytes=MEBIBYTE)
        kept.put("a", encoding())
    kept.put("b", encoding(1))

    assert_same(kept.get("a"), encoding())
    assert_same(kept.get("b"), encoding(1))
    assert store(cache).get("a") is None
    cache.close()


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x" * 500, id="other"),
        pytest.param(encode_encoding(encoding())[:-1], id="cut"),
        pytest.param(encode_encoding(encoding()) + b"x", id="surplus"),
        pytest.param(seal(_MAGIC, b""), id="nothing"),
        pytest.param(seal(_MAGIC, b"\xff" * 64), id="no-header"),
        pytest.param(
            seal(
                _MAGIC, save({"latents.0": np.full((1, 1, 1, 1), np.nan, np.float32)})
            ),
            id="no-number",
        ),
        pytest.param(
            seal(_MAGIC, save({"latents.0": np.zeros((1, 4, 2, 2), np.float64)})),
            id="other-type",
        ),
        pytest.param(
            seal(_MAGIC, save({"latents.0": np.zeros(4, np.float32)})), id="other-axes"
        ),
        pytest.param(
            seal(_MAGIC, save({"patches": np.zeros((1, 2), np.float16)})), id="flat"
        ),
    ],
)
def test_bytes_that_are_no_encoding_are_a_miss(packed: bytes) -> None:
    assert decode_encoding(packed) is None
    cache = MemoryCache()
    kept = store(cache)
    kept.put("a", encoding())
    (name,) = cache.values
    cache.values[name] = cache.values[name][:32] + packed

    assert kept.get("a") is None
