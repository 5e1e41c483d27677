"""Pictures are read before somebody clicks on them; whole projects fill no store."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backend.cache import FeatureStore, Slots
from backend.inference import Predictor
from backend.inference.reading_ahead import Background
from backend.label_studio import parse_predict
from backend.types import LabelStudioAccess, Task
from tests.clicking import CLICKABLE, STRIPES, ask_clicks, point, pre_annotated
from tests.fakes import ColourSegmenter, MemoryCache, make_predictor

FEATURES = np.ones((4, 3, 5), np.float16)
NOWHERE = LabelStudioAccess(url=None)


def predictor_of(segmenter: ColourSegmenter, cache: MemoryCache) -> Predictor:
    features = FeatureStore(Slots(cache, "features", 64), max_bytes=100_000)
    return make_predictor(segmenter, cache=cache, features=features)


def seeing() -> ColourSegmenter:
    segmenter = ColourSegmenter()
    segmenter.features = FEATURES
    return segmenter


def ask(predictor: Predictor, n_tasks: int = 1, context: Any = None) -> list[Any]:
    tasks = [
        {"id": number, "data": {"image": STRIPES}} for number in range(7, 7 + n_tasks)
    ]
    body = {"tasks": tasks, "label_config": CLICKABLE, "project": "7.1795346673"}
    asked = parse_predict({**body, "params": {"context": context}})
    return predictor.predict(asked, NOWHERE)


def feature_values(cache: MemoryCache) -> int:
    return sum(name.startswith("features") for name in cache.values)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_prewarming_is_answered_at_once_and_the_picture_read_behind_it() -> None:
    may_read = threading.Event()
    segmenter = ColourSegmenter(before=lambda _: may_read.wait(10) and None)
    segmenter.features = FEATURES
    cache = MemoryCache()
    predictor = predictor_of(segmenter, cache)

    (answer,) = ask(predictor, context={"event": "prewarm"})

    assert answer["result"] == []
    may_read.set()
    wait_until(lambda: feature_values(cache) == 1)
    assert ask_clicks(predictor, point(20, 10))["result"]
    assert segmenter.calls == 1


def test_a_task_that_is_opened_is_read_for_clicks_in_the_same_pass() -> None:
    segmenter, cache = seeing(), MemoryCache()
    predictor = predictor_of(segmenter, cache)

    pre_annotated(predictor)

    assert feature_values(cache) == 1
    assert ask_clicks(predictor, point(20, 10))["result"]
    assert segmenter.calls == 1


def test_whole_projects_fill_no_store_with_features() -> None:
    cache = MemoryCache()
    predictor = predictor_of(seeing(), cache)
    task = Task(id=1, data={"image": STRIPES})

    ask(predictor, n_tasks=3)
    list(
        predictor.predict_in_background(
            [task], predictor.plan(CLICKABLE), NOWHERE, limit_s=10
        )
    )

    assert feature_values(cache) == 0


def test_a_click_without_features_is_answered_and_the_next_has_them() -> None:
    segmenter, cache = seeing(), MemoryCache()
    predictor = predictor_of(segmenter, cache)
    ask(predictor, n_tasks=2)
    passes = segmenter.calls

    first = ask_clicks(predictor, point(20, 10))

    assert first["result"]
    wait_until(lambda: feature_values(cache) == 1)
    assert segmenter.calls == passes + 1
    for _ in range(3):
        ask_clicks(predictor, point(20, 10))
    time.sleep(0.1)
    assert segmenter.calls == passes + 1


def test_a_model_without_features_is_asked_for_them_once() -> None:
    segmenter, cache = ColourSegmenter(), MemoryCache()
    predictor = predictor_of(segmenter, cache)
    ask(predictor, n_tasks=2)
    passes = segmenter.calls

    ask_clicks(predictor, point(20, 10))
    wait_until(lambda: feature_values(cache) == 1)
    for _ in range(3):
        ask_clicks(predictor, point(20, 10))
    time.sleep(0.1)

    assert segmenter.calls == passes + 1


def test_features_of_another_process_are_found_in_the_store() -> None:
    segmenter, cache = seeing(), MemoryCache()
    pre_annotated(predictor_of(segmenter, cache))

    ask_clicks(predictor_of(segmenter, cache), point(20, 10))
    time.sleep(0.1)

    assert segmenter.calls == 1


def test_a_picture_that_cannot_be_read_ahead_costs_nothing_else() -> None:
    predictor = predictor_of(seeing(), MemoryCache())
    body = {
        "tasks": [{"id": 7, "data": {"image": "nowhere"}}],
        "label_config": CLICKABLE,
        "params": {"context": {"event": "prewarm"}},
    }

    predictor.predict(parse_predict(body), NOWHERE)
    (answer,) = ask(predictor, context={"event": "prewarm"})

    assert answer["result"] == []


def test_the_line_of_the_background_is_short_and_holds_nothing_twice() -> None:
    background, go, done = Background(), threading.Event(), []
    for number in [*range(20), *range(20)]:
        background.submit(number, lambda n=number: (go.wait(10), done.append(n)))
    go.set()

    wait_until(lambda: len(done) == 8)
    time.sleep(0.05)

    assert done == list(range(8))
