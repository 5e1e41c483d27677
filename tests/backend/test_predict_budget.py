"""What a request does not reach in its time is left for the next."""

from collections.abc import Callable

import pytest

from tests.asking import PICTURE, ask, outcomes
from tests.clock import Clock
from tests.fakes import (
    ColourSegmenter,
    MemoryCache,
    Pixels,
    make_annotator,
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
    annotator = make_annotator(segmenter, cache=cache, clock=clock, budget_s=80)
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(20)]

    answers = ask(annotator, *addresses)

    assert sorted(map(bool, answers)) == [False] * 17 + [True] * 3
    assert [answer for answer in answers if not answer] == [[]] * 17
    assert outcomes(annotator) == {"predicted": 3, "out_of_time": 17}
    assert len(cache.values) == segmenter.calls == 3
    assert "17 of 20 tasks were not reached within 80 s" in caplog.text


def test_predict_goes_on_where_the_budget_ended(
    clock: Clock, cache: MemoryCache
) -> None:
    segmenter = ColourSegmenter(taking(30, clock))
    annotator = make_annotator(segmenter, cache=cache, clock=clock, budget_s=80)
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(5)]
    ask(annotator, *addresses)

    answers = ask(annotator, *addresses)

    assert all(answers)
    assert segmenter.calls == 5


def test_predict_counts_the_loading_of_the_model_into_the_budget(clock: Clock) -> None:
    segmenter = ColourSegmenter()

    def load() -> ColourSegmenter:
        clock.now += 90
        return segmenter

    annotator = make_annotator(segmenter, segmenter=load, clock=clock, budget_s=80)

    assert ask(annotator, PICTURE) == [[]]
    assert segmenter.calls == 0


def test_predict_answers_what_is_cached_after_the_budget(clock: Clock) -> None:
    segmenter = ColourSegmenter(taking(100, clock))
    annotator = make_annotator(segmenter, clock=clock, budget_s=80)
    late = picture("blue", "red")
    ask(annotator, PICTURE)

    answers = ask(annotator, late, PICTURE)

    assert all(answers)
    assert segmenter.calls == 2
