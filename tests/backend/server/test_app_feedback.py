"""The webhook where labels learn from what is submitted."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from backend.feedback import FeedbackLoop, FeedbackStore, Teacher, open_feedback_store
from backend.inference import Predictor
from backend.types import CutOptions, LabelStudioAccess
from tests.backend.feedback.annotations import annotation, deleted, payload, region
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    defaults_of,
    make_predictor,
    picture,
)
from tests.serving import client_of, predict_body

SIZE_YX = (8, 12)
RED = np.zeros(SIZE_YX, bool)
RED[:, :6] = True
ADDRESS = picture("red", "blue", size_yx=SIZE_YX)


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return open_feedback_store(None, tmp_path)


@pytest.fixture
def loop(
    predictor: Predictor, cache: MemoryCache, store: FeedbackStore
) -> FeedbackLoop:
    """Takes events, and does nothing with them: it is not started."""
    teacher = Teacher(store=store, leases=cache, models=(), learn_after=0)
    return FeedbackLoop.build(
        store=store,
        teacher=teacher,
        predictor=predictor,
        cache=cache,
        access_of=lambda event: LabelStudioAccess(url=None),
    )


@pytest.fixture
def learning(predictor: Predictor, loop: FeedbackLoop) -> FlaskClient:
    return client_of(predictor, feedback=loop, basic_auth=("user", "password"))


def sent(*regions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    submitted = annotation(regions or [region(RED)], task=1, **changes)
    return payload(submitted, config=RED_AND_BLUE, data={"image": ADDRESS}, task_id=1)


@pytest.mark.parametrize(
    "body",
    [
        sent(),
        {**sent(), "action": "ANNOTATION_UPDATED"},
        deleted(3),
        {"action": "START_TRAINING", "project": {"id": 7}},
    ],
    ids=lambda body: body["action"],
)
def test_webhook_takes_what_teaches_and_asks_for_no_password(
    body: dict[str, Any],
    learning: FlaskClient,
    loop: FeedbackLoop,
    store: FeedbackStore,
) -> None:
    answer = learning.post("/webhook", json=body)

    assert (answer.status_code, answer.json) == (200, {"status": "accepted"})
    assert store.n_events(loop.intake.queue) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"action": "ANNOTATION_CREATED"},
        {**sent(), "project": {"id": -1}},
        {**sent(), "annotation": {"id": 1}},
        {"action": "TASKS_CREATED", "project": {"id": 7}, "tasks": [{"id": 1}]},
        {"action": "PROJECT_UPDATED", "project": {"id": 7}},
        [],
    ],
)
def test_webhook_ignores_what_teaches_nothing(
    body: Any, learning: FlaskClient, loop: FeedbackLoop, store: FeedbackStore
) -> None:
    answer = learning.post("/webhook", json=body)

    assert (answer.status_code, answer.json) == (200, {"status": "ignored"})
    assert store.n_events(loop.intake.queue) == 0


def test_webhook_takes_nothing_from_who_does_not_know_the_secret(
    predictor: Predictor, loop: FeedbackLoop, store: FeedbackStore
) -> None:
    client = client_of(predictor, feedback=loop, webhook_secret="hush")

    assert client.post("/webhook", json=sent()).status_code == 403
    assert client.post("/webhook?secret=no", json=sent()).status_code == 403
    page = {"Origin": "https://example.org"}
    answer = client.post("/webhook?secret=hush", json=sent(), headers=page)
    assert answer.status_code == 403
    assert store.n_events(loop.intake.queue) == 0

    assert client.post("/webhook?secret=hush", json=sent()).status_code == 200
    assert client.post("/hush/webhook", json=deleted(9)).status_code == 200
    assert store.n_events(loop.intake.queue) == 2


def test_what_was_predicted_tells_what_became_of_it(
    predictor: Predictor, loop: FeedbackLoop, store: FeedbackStore
) -> None:
    client = client_of(predictor, feedback=loop)
    body = predict_body(ADDRESS, ADDRESS, project="7.1795346673")
    _, answer = client.post("/predict", json=body).json["results"]
    red, _ = answer["result"]
    until = time.monotonic() + 5
    while loop.learner.answers.get("7", 1) is None and time.monotonic() < until:
        time.sleep(0.005)

    client.post(
        "/webhook",
        json=sent({**red, "origin": "prediction"}, parent_prediction=9),
    )
    loop.start()
    while not store.corrections("7") and time.monotonic() < until:
        time.sleep(0.005)
    loop.finish(5)

    (correction,) = store.corrections("7")
    assert correction.had_predictions
    assert [(one.label, one.kind) for one in correction.outcomes] == [
        ("red", "accepted"),
        ("blue", "deleted"),
    ]


def test_events_that_wait_outlast_other_thresholds_but_not_another_model(
    loop: FeedbackLoop, store: FeedbackStore, cache: MemoryCache
) -> None:
    def queue(**parts: Any) -> str:
        return FeedbackLoop.build(
            store=store,
            teacher=Teacher(store=store, leases=cache, models=(), learn_after=0),
            predictor=make_predictor(ColourSegmenter(), **parts),
            cache=cache,
            access_of=lambda event: LabelStudioAccess(url=None),
        ).intake.queue

    lower = defaults_of(CutOptions(threshold_01=0.1))
    assert queue(defaults=lower) == loop.intake.queue
    assert queue(weights_fingerprint="other colours") != loop.intake.queue
