"""What a request does not reach in its time is left for the next."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import pytest

from backend.inference.lazy_segmenter import LazySegmenter
from backend.inference.pipeline import Pipeline
from backend.inference.predictor import Predictor
from tests.asking import PICTURE, ask, outcomes
from tests.clock import Clock, no_longer_than
from tests.fakes import (
    ColourSegmenter,
    MemoryCache,
    Pixels,
    make_predictor,
    picture,
)


def taking(seconds: float, clock: Clock) -> Callable[[Pixels], None]:
    def spend(pixels: Pixels) -> None:
        clock.now += seconds

    return spend


def test_predict_leaves_the_tasks_that_the_budget_does_not_reach(
    clock: Clock, cache: MemoryCache, caplog: pytest.LogCaptureFixture
) -> None:
    segmenter = ColourSegmenter(taking(30, clock))
    predictor = make_predictor(segmenter, cache=cache, clock=clock, budget_s=80)
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(20)]

    answers = ask(predictor, *addresses)

    # The third was begun in time, and is ready for the next request.
    assert sorted(map(bool, answers)) == [False] * 18 + [True] * 2
    assert [answer for answer in answers if not answer] == [[]] * 18
    assert outcomes(predictor) == {"predicted": 2, "out_of_time": 18}
    assert len(cache.values) == segmenter.calls == 3
    assert "Timed out after 80 s: 18 of 20 tasks are not predicted yet" in caplog.text
    assert "bug" not in caplog.text


def test_predict_goes_on_where_the_budget_ended(
    clock: Clock, cache: MemoryCache
) -> None:
    segmenter = ColourSegmenter(taking(30, clock))
    predictor = make_predictor(segmenter, cache=cache, clock=clock, budget_s=80)
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(5)]
    ask(predictor, *addresses)

    answers = ask(predictor, *addresses)

    assert all(answers)
    assert segmenter.calls == 5


def test_predict_counts_the_loading_of_the_model_into_the_budget(clock: Clock) -> None:
    segmenter = ColourSegmenter()

    def load(timeout_s: float) -> ColourSegmenter:
        clock.now += 90
        return segmenter

    predictor = make_predictor(segmenter, segmenter=load, clock=clock, budget_s=80)

    assert ask(predictor, PICTURE) == [[]]
    assert segmenter.calls == 0


def test_predict_waits_for_a_model_that_is_loading_no_longer_than_its_budget() -> None:
    loaded = threading.Event()

    def load() -> ColourSegmenter:
        assert loaded.wait(30)
        return ColourSegmenter()

    put_off: list[int | None] = []
    predictor = replace(
        make_predictor(ColourSegmenter(), segmenter=LazySegmenter(load).get),
        budget_s=0.2,
        on_timeout=lambda tasks, request, access: put_off.extend(t.id for t in tasks),
    )
    try:
        started = time.monotonic()

        answers = ask(predictor, picture("red"), picture("blue"))

        assert time.monotonic() - started < 5
        assert answers == [[], []]
        assert put_off == [1, 2]
        assert outcomes(predictor) == {"out_of_time": 2}
    finally:
        loaded.set()
    assert all(ask(replace(predictor, budget_s=30), PICTURE))


def test_predict_stops_at_its_budget_when_everything_is_cached(clock: Clock) -> None:
    segmenter = ColourSegmenter()
    predictor = make_predictor(segmenter, clock=clock, budget_s=80)
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(40)]
    for address in addresses:
        ask(predictor, address)

    class SlowPipeline(Pipeline):
        """Every drawn image takes 10 s."""

        def _paint(self, *args: Any) -> None:
            clock.now += 10
            super()._paint(*args)

    class SlowPainting(Predictor):
        @property
        def _pipeline(self) -> Pipeline:
            quick = super()._pipeline
            return SlowPipeline(
                **{f.name: getattr(quick, f.name) for f in fields(quick)}
            )

    parts = {part.name: getattr(predictor, part.name) for part in fields(predictor)}
    started = clock.now

    answers = ask(SlowPainting(**parts), *addresses)

    assert segmenter.calls == 40
    assert sum(map(bool, answers)) == 8
    assert clock.now - started <= 80 + 4 * 10


@pytest.mark.parametrize(
    "max_concurrent", [pytest.param(1, id="turn"), pytest.param(8, id="model")]
)
def test_predict_waits_for_its_turn_and_the_model_no_longer_than_its_budget(
    max_concurrent: int,
) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def block(pixels: Pixels) -> None:
        blocked.set()
        go_on.wait(30)

    segmenter = ColourSegmenter(block)
    predictor = make_predictor(
        segmenter, max_concurrent=threading.Semaphore(max_concurrent)
    )
    impatient = replace(predictor, budget_s=0.2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, predictor, PICTURE)
        blocked.wait(30)
        with no_longer_than(10):
            answers = ask(impatient, picture("blue", "red"))
        go_on.set()

    assert answers == [[]]
    assert all(first.result())


def test_predict_puts_off_the_tasks_of_a_request_that_finds_no_seat() -> None:
    on_timeout: list[list[int | None]] = []
    predictor = replace(
        make_predictor(ColourSegmenter()),
        max_pending=threading.Semaphore(0),
        on_timeout=lambda tasks, request, access: on_timeout.append(
            [t.id for t in tasks]
        ),
    )

    with no_longer_than(10):
        answers = ask(predictor, picture("red"), picture("blue"))

    assert answers == [[], []]
    assert on_timeout == [[1, 2]]


def test_predict_gives_its_seat_and_slot_back() -> None:
    predictor = replace(
        make_predictor(ColourSegmenter()),
        max_pending=threading.Semaphore(1),
        max_concurrent=threading.Semaphore(1),
    )

    answers = [ask(predictor, picture("red"))[0] for _ in range(3)]

    assert all(answers)
