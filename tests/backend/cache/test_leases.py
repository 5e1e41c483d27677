"""Two backends on one store; each image is computed by one of them."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import redis

from backend.cache.cache import Cache, open_cache
from backend.cache.leases import hold_leases
from backend.cache.redis_store import KEY_PREFIX, LEASE_PREFIX, RedisStore
from backend.cache.sqlite_store import SqliteStore
from backend.inference import Metrics, Scorer
from backend.inference.batcher import DeadlineExceeded
from backend.inference.scorer import Query
from backend.types import FetchedImage
from segmenter import ScoreMaps
from tests.children import child
from tests.clock import no_longer_than
from tests.fakes import OPTIONS, ColourSegmenter, MemoryCache, Pixels, striped
from tests.redis_server import running_redis

LATER = 1e9


def query(number: int = 0, prompts: tuple[str, ...] = ("red", "blue")) -> Query:
    pixels = striped("red", "blue", size_yx=(4, 6 + number))
    return Query(
        image=FetchedImage(pixels=pixels, digest=f"digest {number}"),
        prompts=prompts,
        mode="fast",
    )


def scorer_on(cache: Cache, *, lease_ttl_s: float = 10.0) -> Scorer:
    return Scorer(
        cache=cache,
        metrics=Metrics(lambda: cache.stats),
        weights_fingerprint="colours",
        options=OPTIONS,
        lease_ttl_s=lease_ttl_s,
    )


def key_of(scorer: Scorer, asked: Query) -> str:
    return scorer._key(asked)


def ask(
    scorer: Scorer, segmenter: ColourSegmenter, *queries: Query, deadline: float = LATER
) -> list[ScoreMaps | Exception]:
    return list(scorer.score(queries or [query()], segmenter, deadline))


def labels_of(answers: list[ScoreMaps | Exception]) -> list[tuple[str, ...]]:
    for answer in answers:
        assert isinstance(answer, ScoreMaps), answer
    return [answer.labels for answer in answers if isinstance(answer, ScoreMaps)]


@contextlib.contextmanager
def held_up() -> Iterator[tuple[ColourSegmenter, threading.Event, threading.Event]]:
    """A segmenter that says when it has begun and waits for leave to go on."""
    has_begun, go_on = threading.Event(), threading.Event()

    def wait(pixels: Pixels) -> None:
        has_begun.set()
        assert go_on.wait(30)

    try:
        yield ColourSegmenter(wait), has_begun, go_on
    finally:
        go_on.set()


@pytest.fixture(params=["redis", "embedded"])
def caches(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Cache]]:
    """Two caches on one store, as two processes would have them."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(open_cache(url, tmp_path, ttl_s=60)))
            for _ in range(2)
        ]


def test_an_image_that_two_backends_are_asked_for_is_computed_once(
    caches: list[Cache],
) -> None:
    scorers = [scorer_on(cache) for cache in caches]
    segmenter = ColourSegmenter(lambda pixels: time.sleep(0.3))
    start = threading.Barrier(8)

    def work(number: int) -> list[ScoreMaps | Exception]:
        start.wait()
        return ask(scorers[number % 2], segmenter)

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for found in pool.map(work, range(8)) for answer in found]

    assert segmenter.calls == 1
    assert labels_of(answers) == [("red", "blue")] * 8
    first = answers[0]
    for other in answers:
        assert isinstance(first, ScoreMaps)
        assert isinstance(other, ScoreMaps)
        np.testing.assert_array_equal(first.maps, other.maps)
    assert [cache.stats.faults for cache in caches] == [0, 0]


def test_two_backends_asked_for_the_same_images_share_them_out(
    caches: list[Cache],
) -> None:
    scorers = [scorer_on(cache) for cache in caches]
    segmenters = [ColourSegmenter(lambda pixels: time.sleep(0.05)) for _ in caches]
    queries = [query(number) for number in range(8)]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(ask, scorers, segmenters, *[[q] * 2 for q in queries]))

    assert [labels_of(answers) for answers in found] == [[("red", "blue")] * 8] * 2
    assert [answer.size_yx for answer in found[1] if isinstance(answer, ScoreMaps)] == [
        (4, 6 + number) for number in range(8)
    ]
    assert sum(segmenter.calls for segmenter in segmenters) == 8


def test_a_value_that_came_between_the_miss_and_the_claim_is_found(
    caches: list[Cache],
) -> None:
    mine, theirs = (scorer_on(cache) for cache in caches)
    segmenter = ColourSegmenter()
    both = mine.score([query(1), query()], ColourSegmenter(), LATER)
    next(both)  # has missed both, and computed the first

    ask(theirs, segmenter)

    assert isinstance(next(both), ScoreMaps)
    assert segmenter.calls == 1


def test_who_waits_takes_the_place_of_a_holder_that_died(caches: list[Cache]) -> None:
    scorer = scorer_on(caches[0], lease_ttl_s=0.5)
    segmenter = ColourSegmenter()
    caches[1].acquire([key_of(scorer, query())], "of a dead process", 0.5)

    answers = ask(scorer, segmenter)

    assert labels_of(answers) == [("red", "blue")]
    assert segmenter.calls == 1


def test_who_waits_computes_at_once_when_the_holder_s_model_raises(
    caches: list[Cache],
) -> None:
    mine, theirs = (scorer_on(cache, lease_ttl_s=600) for cache in caches)
    segmenter = ColourSegmenter()
    with held_up() as (failing, has_begun, go_on), ThreadPoolExecutor(2) as pool:

        def fail(pixels: Pixels) -> None:
            has_begun.set()
            go_on.wait(30)
            raise RuntimeError("out of memory")

        failing.before = fail
        theirs_found = pool.submit(ask, theirs, failing)
        assert has_begun.wait(30)
        mine_found = pool.submit(ask, mine, segmenter)
        time.sleep(0.2)
        assert segmenter.calls == 0
        go_on.set()

        with no_longer_than(10):
            assert labels_of(mine_found.result(30)) == [("red", "blue")]
        (failure,) = theirs_found.result(30)
        assert isinstance(failure, RuntimeError)
    assert segmenter.calls == 1


def test_who_waits_for_another_backend_waits_no_longer_than_the_deadline(
    caches: list[Cache],
) -> None:
    scorer = scorer_on(caches[0])
    caches[1].acquire([key_of(scorer, query())], "of somebody slow", 600)
    segmenter = ColourSegmenter()

    with no_longer_than(10):
        (answer,) = ask(scorer, segmenter, deadline=time.monotonic() + 0.3)

    assert isinstance(answer, DeadlineExceeded)
    assert segmenter.calls == 0


def test_what_another_backend_computes_does_not_hold_up_the_rest(
    caches: list[Cache],
) -> None:
    scorer = scorer_on(caches[0])
    segmenter = ColourSegmenter()
    key = key_of(scorer, query())
    caches[1].acquire([key], "of somebody slow", 600)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, scorer, segmenter, query(), query(1))
        # The line is free for other requests, and so is this one's own rest.
        assert labels_of(ask(scorer, segmenter, query(2))) == [("red", "blue")]
        while segmenter.calls < 2:
            time.sleep(0.01)
        caches[1].release([key], "of somebody slow")
        answers = first.result(30)

    assert labels_of(answers) == [("red", "blue")] * 2
    assert segmenter.calls == 3


def test_the_answer_of_another_backend_bears_the_query_s_own_spelling(
    caches: list[Cache],
) -> None:
    mine, theirs = (scorer_on(cache) for cache in caches)
    segmenter = ColourSegmenter()
    with held_up() as (slow, has_begun, go_on), ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, theirs, slow, query(prompts=("caf\u00e9", "red")))
        assert has_begun.wait(30)
        again = pool.submit(ask, mine, segmenter, query(prompts=("cafe\u0301", "red")))
        time.sleep(0.1)
        go_on.set()

        assert labels_of(first.result(30)) == [("caf\u00e9", "red")]
        assert labels_of(again.result(30)) == [("cafe\u0301", "red")]
    assert segmenter.calls == 0


def test_a_claim_lasts_as_long_as_its_pass(caches: list[Cache]) -> None:
    with hold_leases(caches[0], ["a", "b"], ttl_s=0.3):
        time.sleep(1)

        assert caches[1].peek("a").is_leased
        assert caches[1].peek("b").is_leased

    assert not caches[1].peek("a").is_leased


@pytest.mark.parametrize("ttl_s", [None, 100_000])
@pytest.mark.parametrize("kind", ["text", "list", "hash"])
def test_a_lease_that_is_none_holds_nobody_up(
    kind: str, ttl_s: int | None, redis_url: str, tmp_path: Path
) -> None:
    with contextlib.closing(open_cache(redis_url, tmp_path, ttl_s=60)) as cache:
        scorer = scorer_on(cache)
        name = f"{LEASE_PREFIX}{{{KEY_PREFIX}{key_of(scorer, query())}}}"
        with redis.Redis.from_url(redis_url) as client:
            if kind == "text":
                client.set(name, "left behind")
            elif kind == "list":
                client.rpush(name, "left", "behind")
            else:
                client.hset(name, "left", "behind")
            if ttl_s is not None:
                client.expire(name, ttl_s)
            segmenter = ColourSegmenter()

            answers = ask(scorer, segmenter, deadline=time.monotonic() + 5)

            assert labels_of(answers) == [("red", "blue")]
            assert segmenter.calls == 1
            assert not client.exists(name)


def test_a_lease_of_somebody_else_is_not_seized(redis_url: str, tmp_path: Path) -> None:
    with contextlib.closing(open_cache(redis_url, tmp_path, ttl_s=60)) as cache:
        cache.acquire(["a"], "theirs", 10)

        (state,) = cache.acquire(["a"], "ours", 10)

        assert state.is_leased


def test_an_access_list_without_pttl_shares_work_as_ever() -> None:
    with running_redis() as server:
        with server.client() as client:
            rule = "~diffsegmenter:* +get +mget +set +eval +del"
            client.execute_command(*f"ACL SETUSER cache on >pw {rule}".split())
        url = f"redis://cache:pw@127.0.0.1:{server.port}"
        with contextlib.closing(open_cache(url, Path(), ttl_s=60)) as cache:
            cache.acquire(["a"], "theirs", 10)

            (state,) = cache.acquire(["a"], "ours", 10)

            assert state.is_leased
            assert cache.stats.faults == 0


def test_an_embedded_lease_of_a_wrong_clock_holds_nobody_up(tmp_path: Path) -> None:
    with contextlib.closing(SqliteStore(tmp_path, ttl_s=60)) as store:
        store.acquire(["a"], "theirs", 1_000_000)

        is_seen = store.peek("a").is_leased
        (state,) = store.acquire(["a"], "ours", 10)

    assert not is_seen
    assert not state.is_leased


def test_only_claims_that_were_granted_are_released() -> None:
    cache = MemoryCache()
    cache.acquire(["a"], "of somebody", 10)

    with hold_leases(cache, ["a", "b"], ttl_s=10) as states:
        assert [state.is_leased for state in states] == [True, False]
        assert set(cache.leases) == {"a", "b"}

    assert cache.leases == {"a": "of somebody"}


def test_everybody_is_answered_when_redis_dies_in_the_middle() -> None:
    with running_redis() as server, contextlib.ExitStack() as stack:
        scorers = [
            scorer_on(stack.enter_context(contextlib.closing(cache)))
            for cache in (Cache(RedisStore(server.url, ttl_s=60)) for _ in range(2))
        ]
        with held_up() as (segmenter, has_begun, go_on), ThreadPoolExecutor(8) as pool:
            found = [pool.submit(ask, scorers[n % 2], segmenter) for n in range(8)]
            assert has_begun.wait(30)
            time.sleep(0.1)
            server.stop()
            go_on.set()
            answers = [answer for future in found for answer in future.result(30)]

    assert labels_of(answers) == [("red", "blue")] * 8
    # Without a store each backend computes for itself.
    assert segmenter.calls >= 2


WORKER = """
import sys, time
from pathlib import Path
from backend.cache.cache import open_cache
from tests.backend.cache.test_leases import ask, labels_of, scorer_on
from tests.fakes import ColourSegmenter

cache = open_cache(sys.argv[1] or None, Path(sys.argv[2]), ttl_s=60)
segmenter = ColourSegmenter(lambda pixels: time.sleep(1))
print("ready", flush=True)
sys.stdin.readline()
labels_of(ask(scorer_on(cache), segmenter))
print(segmenter.calls, flush=True)
cache.close()
"""


@pytest.mark.parametrize("store", ["redis", "embedded"])
def test_two_processes_compute_an_image_once(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("redis_url") if store == "redis" else ""
    command = [sys.executable, "-c", WORKER, url, str(tmp_path)]

    def start() -> AbstractContextManager[subprocess.Popen[str]]:
        return child(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )

    with start() as first, start() as second:
        processes = (first, second)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        calls = [process.communicate(timeout=60)[0] for process in processes]

    assert sorted(calls) == ["0\n", "1\n"]
