"""Tasks that nobody waits for: outcomes as they get ready, with their reasons."""

from collections.abc import Callable
from typing import Any

import pytest

from backend.errors import BadLabelConfig, ImageRefused
from backend.inference.predictor import Predictor
from backend.label_studio import parse_predict
from backend.types import Task
from tests.asking import NOWHERE, outcomes
from tests.clock import Clock
from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    ColourSegmenter,
    Pixels,
    make_predictor,
    picture,
)


def tasks_of(*addresses: Any) -> list[Task]:
    return [
        Task(id=number, data={"image": address})
        for number, address in enumerate(addresses, start=1)
    ]


def pictures(n_pictures: int) -> list[str]:
    return [picture("red", size_yx=(4, 6 + n)) for n in range(n_pictures)]


def taking(seconds: float, clock: Clock) -> Callable[[Pixels], None]:
    def spend(pixels: Pixels) -> None:
        clock.now += seconds

    return spend


def test_work_through_gives_every_task_one_outcome_by_its_place(
    predictor: Predictor,
) -> None:
    tasks = tasks_of(picture("red"), "ftp://a/b", picture("blue"))

    found = {
        outcome.index: outcome
        for outcome in predictor.predict_in_background(
            tasks, predictor.plan(RED_AND_BLUE), NOWHERE, limit_s=60
        )
    }

    assert sorted(found) == [0, 1, 2]
    assert found[1].prediction is None
    (failure,) = found[1].failures
    assert isinstance(failure, ImageRefused)
    assert failure.__traceback__ is None
    for index in (0, 2):
        prediction = found[index].prediction
        assert prediction is not None
        assert prediction["model_version"] == MODEL_VERSION
        assert found[index].failures == ()


def test_work_through_begins_nothing_new_when_its_time_is_up(clock: Clock) -> None:
    predictor = make_predictor(ColourSegmenter(taking(30, clock)), clock=clock)

    found = list(
        predictor.predict_in_background(
            tasks_of(*pictures(20)), predictor.plan(RED_AND_BLUE), NOWHERE, limit_s=80
        )
    )

    assert 0 < len(found) < 20
    assert all(outcome.prediction for outcome in found)


def test_work_through_is_not_bound_by_the_budget_of_requests(clock: Clock) -> None:
    predictor = make_predictor(
        ColourSegmenter(taking(30, clock)), clock=clock, budget_s=1
    )

    found = list(
        predictor.predict_in_background(
            tasks_of(*pictures(5)),
            predictor.plan(RED_AND_BLUE),
            NOWHERE,
            limit_s=86_400,
        )
    )

    assert len(found) == 5


def test_work_through_stops_when_it_is_closed(
    predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    working = predictor.predict_in_background(
        tasks_of(*pictures(40)), predictor.plan(RED_AND_BLUE), NOWHERE, limit_s=60
    )

    next(working)
    working.close()

    assert segmenter.calls < 40
    assert list(working) == []


def test_a_plan_refuses_a_label_config_with_nothing_to_segment(
    predictor: Predictor,
) -> None:
    with pytest.raises(BadLabelConfig):
        predictor.plan("<View/>")


def test_predict_puts_off_what_it_has_no_time_for(clock: Clock) -> None:
    told: list[Any] = []
    predictor = make_predictor(
        ColourSegmenter(taking(30, clock)),
        clock=clock,
        budget_s=80,
        on_timeout=lambda tasks, request, access: told.append((tasks, request, access)),
    )
    body = {
        "tasks": [
            {"id": n, "data": {"image": address}}
            for n, address in enumerate(pictures(20), start=1)
        ],
        "label_config": RED_AND_BLUE,
    }
    request = parse_predict(body)

    answers = predictor.predict(request, NOWHERE)

    ((left, asked, access),) = told
    assert (asked, access) == (request, NOWHERE)
    unanswered = [
        task for task, answer in zip(request.tasks, answers, strict=True) if not answer
    ]
    assert list(left) == unanswered
    assert outcomes(predictor)["out_of_time"] == len(left)


def test_predict_does_not_put_off_what_failed(segmenter: ColourSegmenter) -> None:
    told: list[Any] = []
    predictor = make_predictor(segmenter, on_timeout=lambda *given: told.append(given))
    body = {
        "tasks": [{"id": 1, "data": {"image": "ftp://a/b"}}],
        "label_config": RED_AND_BLUE,
    }

    assert predictor.predict(parse_predict(body), NOWHERE) == [[]]
    assert told == []
