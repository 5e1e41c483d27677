"""Answers that Label Studio has not stored yet: a few, for a while, in a cache."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.inference.recent_answers import RecentAnswers
from backend.label_studio.clicks import ClickRequest, parse_clicks
from backend.regions import SeenRegion
from tests.clicking import SIZE_YX, columns, point, task_with
from tests.clock import Clock
from tests.fakes import MemoryCache


def asked(name: str = "p") -> ClickRequest:
    clicks = parse_clicks({"result": [point(20, 10, name=name)]}, task_with(draft=[]))
    assert clicks is not None
    return clicks


def seen(name: str = "r", last: int = 20) -> SeenRegion:
    return SeenRegion(
        id=name,
        from_name="tag",
        labels=("red",),
        to_name="image",
        item_index=0,
        size_yx=SIZE_YX,
    ).with_mask(columns(0, last))


def kept(answers: RecentAnswers, key: str = "task") -> list[str]:
    return [answer.region.id for answer in answers.get(key)]


def test_an_answer_comes_back_as_it_was_in_every_process() -> None:
    cache = MemoryCache()
    clicks = asked()

    RecentAnswers(cache).put(
        "task", seen(), asked=clicks, start=columns(0, 5), content="c"
    )
    (answer,) = RecentAnswers(cache).get("task")

    mask = answer.region.mask()
    assert mask is not None
    np.testing.assert_array_equal(mask, columns(0, 20))
    assert answer.start is not None
    np.testing.assert_array_equal(answer.start, columns(0, 5))
    assert (answer.prompts, answer.content) == (clicks.ids, "c")
    assert (answer.state, answer.user) == (clicks.state, "a@example.com")
    assert kept(RecentAnswers(cache), "another task") == []


def test_a_second_answer_for_a_region_takes_the_place_of_the_first() -> None:
    answers = RecentAnswers(MemoryCache())
    for name in ("a", "b", "a"):
        answers.put("task", seen(name), asked=asked(), start=None, content="")

    assert kept(answers) == ["b", "a"]


def test_of_many_answers_for_a_task_the_last_are_kept() -> None:
    answers = RecentAnswers(MemoryCache())
    for number in range(20):
        answers.put("task", seen(str(number)), asked=asked(), start=None, content="")

    assert kept(answers) == [str(number) for number in range(12, 20)]


def test_of_answers_with_large_masks_as_many_are_kept_as_there_is_room_for() -> None:
    cache = MemoryCache()
    answers = RecentAnswers(cache)
    random = np.random.default_rng(0)
    for name in ("a", "b", "c", "d"):
        noise = random.random((900, 1000)) < 0.5
        region = replace(seen(name), size_yx=noise.shape).with_mask(noise)
        answers.put("task", region, asked=asked(), start=None, content="")

    (stored,) = cache.values.values()
    assert len(stored) < 600_000
    assert kept(answers) == ["b", "c", "d"]


def test_tasks_share_a_bounded_number_of_places() -> None:
    cache = MemoryCache()
    answers = RecentAnswers(cache)
    for number in range(1500):
        answers.put(f"task {number}", seen(), asked=asked(), start=None, content="")

    assert len(cache.values) <= 1024


def test_an_answer_is_forgotten_after_a_quarter_of_an_hour() -> None:
    clock = Clock()
    answers = RecentAnswers(MemoryCache(), clock)
    answers.put("task", seen(), asked=asked(), start=None, content="")
    clock.now += 899
    before = kept(answers)
    clock.now += 2

    assert (before, kept(answers)) == (["r"], [])


def _changed(**fields: Any) -> bytes:
    cache = MemoryCache()
    RecentAnswers(cache).put("task", seen(), asked=asked(), start=None, content="")
    (stored,) = cache.values.values()
    (entry,) = json.loads(stored[32:])
    return json.dumps([entry | fields]).encode()


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[[]]", id="list"),
        pytest.param(b"{}1", id="no-json"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(_changed(mask=None), id="no-mask"),
        pytest.param(_changed(mask="AAAA"), id="no-zlib"),
        pytest.param(_changed(size_yx=[10**9, 10**9]), id="huge"),
        pytest.param(_changed(size_yx=[-1, -1]), id="negative"),
        pytest.param(_changed(size_yx=[41, 60]), id="other-size"),
        pytest.param(_changed(prompts=7), id="prompts"),
        pytest.param(_changed(at_s="now"), id="time"),
        pytest.param(_changed(item_index=[]), id="page"),
    ],
)
def test_what_somebody_else_wrote_there_is_no_answer(packed: bytes) -> None:
    cache = MemoryCache()
    answers = RecentAnswers(cache)
    answers.put("task", seen(), asked=asked(), start=None, content="")
    (name,) = cache.values
    cache.values[name] = cache.values[name][:32] + packed

    assert answers.get("task") == []
