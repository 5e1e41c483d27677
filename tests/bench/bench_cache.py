"""What the cache costs: when Redis fails, per image, per image stored, and in a file.

    python -m tests.bench.bench_cache [--entries 10000] [--lookups 1000]

Real Redis servers on loopback, broken in every way that the tests know.
"""

import argparse
import logging
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

import numpy as np
from rich.console import Console
from rich.table import Table

from backend.cache import (
    Cache,
    encode_score_maps,
    hold_leases,
    open_cache,
    score_key,
)
from backend.cache.redis_store import RedisStore
from tests.bench.redis_usage import redis_counters, used_bytes
from tests.redis_faults import FAULTS, Fault
from tests.redis_server import running_redis

LABELS = (1, 5, 20)
NOISES = (0.0, 0.002)
GRID = 64
IMAGE_SIZE_YX = (1080, 1920)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--lookups", type=int, default=1000)
    asked = parser.parse_args()
    logging.disable()  # a line for each outage
    console = Console()
    console.print(_outages(asked.lookups))
    console.print(_traffic(asked.lookups))
    console.print(_memory(asked.entries))
    console.print(_embedded(asked.entries, asked.lookups))


def _outages(lookups: int) -> Table:
    table = Table(title="A lookup of one image, and an image computed")
    for name in (
        "Redis is",
        "first lookup ms",
        "later us",
        "first image ms",
        "later us ",
    ):
        table.add_column(name, justify="left" if name == "Redis is" else "right")
    well = Fault(name="well", bring=lambda server: None, mend=lambda server: None)
    for fault in (well, *FAULTS):
        with running_redis(extra_args=fault.extra_args) as server:
            cells = []
            for use in (_look_up, _compute):
                with closing(Cache(RedisStore(server.url, ttl_s=600))) as cache:
                    use(cache)
                    fault.bring(server)
                    cells += _first_and_later(lambda: use(cache), lookups)  # noqa: B023
                    fault.mend(server)
                    sleep(0.1)
            table.add_row(fault.name, *cells)
    return table


def _first_and_later(use: Callable[[], None], times: int) -> list[str]:
    spent_s = []
    for _ in range(times):
        start = perf_counter()
        use()
        spent_s.append(perf_counter() - start)
    return [f"{spent_s[0] * 1e3:.1f}", f"{median(spent_s[1:]) * 1e6:.1f}"]


def _look_up(cache: Cache) -> None:
    cache.get("key")


def _compute(cache: Cache) -> None:
    """All that a scorer does about one image that was missing."""
    cache.get("key")
    with hold_leases(cache, ["key"], ttl_s=10):
        cache.put("key", b"value")


def _traffic(times: int) -> Table:
    table = Table(
        title="Commands and bytes per image, a request of one image\n"
        "(the script that releases a claim calls one get and one del itself)"
    )
    for name in ("image", "commands", "to Redis", "from Redis", "which commands"):
        table.add_column(name, justify="right" if "Redis" in name else "left")
    value = _packed(5, 0)

    def hit(cache: Cache, number: int) -> None:
        cache.get(_key(0))

    def miss(cache: Cache, number: int) -> None:
        cache.get(_key(number + 1))
        with hold_leases(cache, [_key(number + 1)], ttl_s=10):
            cache.put(_key(number + 1), value)

    for name, use in (("hit, 5 labels", hit), ("miss, 5 labels", miss)):
        with (
            running_redis() as server,
            closing(Cache(RedisStore(server.url, ttl_s=600))) as cache,
            server.client() as client,
        ):
            cache.put(_key(0), value)
            before = redis_counters(client)
            for number in range(times):
                use(cache, number)
            after = redis_counters(client)
        spent = {key: (after[key] - before.get(key, 0)) / times for key in after}
        sent, received = spent.pop("in"), spent.pop("out")
        calls = {key: n for key, n in sorted(spent.items()) if n > 0.1}
        table.add_row(
            name,
            f"{sum(calls.values()):.0f}",
            f"{sent:.0f} B",
            f"{received:.0f} B",
            ", ".join(f"{n:.0f} {key}" for key, n in calls.items()),
        )
    return table


def _memory(entries: int) -> Table:
    table = Table(title=f"Maps of {GRID} x {GRID}, over {entries} images in Redis")
    for name in ("labels", "noise", "value", "Redis's memory", "1 M images"):
        table.add_column(name, justify="right")
    for n_labels, noise in product(LABELS, NOISES):
        # Compression makes no two alike; a few kinds stand for all.
        values = [_packed(n_labels, seed, noise) for seed in range(50)]
        with (
            running_redis() as server,
            closing(Cache(RedisStore(server.url, ttl_s=3600))) as cache,
            server.client() as client,
        ):
            before = used_bytes(client)
            for number in range(entries):
                cache.put(_key(number), values[number % len(values)])
            used = (used_bytes(client) - before) / entries
        mean = sum(map(len, values)) / len(values)
        table.add_row(
            str(n_labels),
            f"{noise:g}",
            f"{mean:.0f} B",
            f"{used:.0f} B",
            f"{used * 1e6 / 1e9:.1f} GB",
        )
    return table


def _embedded(entries: int, lookups: int) -> Table:
    table = Table(title=f"The embedded cache, {entries} images of 5 labels, medians")
    for name in ("operation", "us"):
        table.add_column(name, justify="right" if name == "us" else "left")
    values = [_packed(5, seed, NOISES[-1]) for seed in range(50)]
    token = "token"
    with (
        TemporaryDirectory() as folder,
        closing(open_cache(None, Path(folder), ttl_s=600)) as cache,
    ):
        operations: dict[str, Callable[[int], object]] = {
            "put": lambda n: cache.put(_key(n), values[n % len(values)]),
            "hit": lambda n: cache.get(_key(n * 7919 % entries)),
            "32 hits": lambda n: cache.get_many([_key(n + i) for i in range(32)]),
            "miss": lambda n: cache.get(_key(-1 - n)),
            "lease": lambda n: cache.acquire([_key(n)], token, 600),
            "release": lambda n: cache.release([_key(n)], token),
        }
        for name, use in operations.items():
            spent_s = []
            for number in range(entries if name == "put" else lookups):
                start = perf_counter()
                use(number)
                spent_s.append(perf_counter() - start)
            table.add_row(name, f"{median(spent_s) * 1e6:.0f}")
        assert cache.stats.faults == 0
        size = cache.measure()
    assert size is not None
    table.add_row("file, bytes an image", f"{size.bytes / size.entries:.0f}")
    return table


def _key(number: int) -> str:
    return score_key(image_digest=str(number), prompts=["a"], model="m")


def _packed(n_labels: int, seed: int, noise: float = 0) -> bytes:
    """Maps of a few soft blobs; `noise` is its standard deviation, in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:GRID, 0:GRID] / GRID
    maps = np.zeros((n_labels, GRID, GRID))
    for one in maps:
        for _ in range(3):
            at_y, at_x, size = random.uniform([0, 0, 0.05], [1, 1, 0.3])
            one += np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / (2 * size**2))
    maps = np.clip(maps / maps.max() + random.normal(0, noise, maps.shape), 0, 1)
    return encode_score_maps(
        maps.astype(np.float16),
        np.ones(n_labels, np.float32),
        [f"label {number}" for number in range(n_labels)],
        IMAGE_SIZE_YX,
    )


if __name__ == "__main__":
    main()
