"""The webhook where new tasks are to get their predictions."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from backend.batch import Backlog
from backend.inference import Predictor
from tests.batch_work import work_of
from tests.label_studio_stand_in import LabelStudioStandIn
from tests.serving import client_of

CREATED = {
    "action": "TASKS_CREATED",
    "project": {"id": 7, "title": "pictures"},
    "tasks": [{"id": 11, "data": {}}, {"id": 12, "data": {}}],
}


@pytest.fixture
def backlog(studio: LabelStudioStandIn, predictor: Predictor) -> Backlog:
    """Takes tasks, and does nothing with them: it is not started."""
    return Backlog(predictor=predictor, work=work_of(studio, predictor))


@pytest.fixture
def listening(predictor: Predictor, backlog: Backlog) -> FlaskClient:
    return client_of(predictor, backlog=backlog, basic_auth=("user", "password"))


def test_webhook_takes_new_tasks_and_asks_for_no_password(
    listening: FlaskClient, backlog: Backlog
) -> None:
    answer = listening.post("/webhook", json=CREATED)

    assert (answer.status_code, answer.json) == (200, {"status": "accepted"})
    assert backlog.n_waiting == 2


def test_webhook_ignores_new_tasks_where_the_operator_does_not_want_it(
    predictor: Predictor,
) -> None:
    answer = client_of(predictor).post("/webhook", json=CREATED)

    assert (answer.status_code, answer.json) == (200, {"status": "ignored"})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param([CREATED], id="list"),
        pytest.param(None, id="null"),
        pytest.param("TASKS_CREATED", id="text"),
        pytest.param({**CREATED, "action": "ANNOTATION_CREATED"}, id="annotation"),
        pytest.param({**CREATED, "action": ["TASKS_CREATED"]}, id="list-of-actions"),
        pytest.param({**CREATED, "project": 7}, id="bare-project"),
        pytest.param({**CREATED, "project": {"id": "7"}}, id="text-project"),
        pytest.param({**CREATED, "project": {"id": True}}, id="true-project"),
        pytest.param({**CREATED, "project": {"id": -7}}, id="negative-project"),
        pytest.param({**CREATED, "project": {"id": 10**40}}, id="huge-project"),
        pytest.param({**CREATED, "project": {"id": 7.0}}, id="float-project"),
        pytest.param({**CREATED, "tasks": {"id": 1}}, id="no-list"),
        pytest.param({**CREATED, "tasks": None}, id="no-tasks"),
        pytest.param({k: CREATED[k] for k in ("action", "tasks")}, id="no-project"),
    ],
)
def test_webhook_ignores_whatever_names_no_project_and_tasks(
    body: Any, listening: FlaskClient, backlog: Backlog
) -> None:
    answer = listening.post("/webhook", data=json.dumps(body))

    assert (answer.status_code, answer.json) == (200, {"status": "ignored"})
    assert backlog.n_waiting == 0


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param([], id="none"),
        pytest.param([None, 5, "6", [7]], id="no-objects"),
        pytest.param([{"id": None}, {"id": "8"}, {"id": True}, {}], id="no-numbers"),
        pytest.param([{"id": 0}, {"id": -1}, {"id": 10**40}], id="out-of-range"),
    ],
)
def test_webhook_leaves_out_what_is_no_task(
    tasks: Any, listening: FlaskClient, backlog: Backlog
) -> None:
    body = {**CREATED, "tasks": [*tasks, {"id": 11}]}

    answer = listening.post("/webhook", json=body)

    assert answer.status_code == 200
    assert backlog.n_waiting == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 200_000, json.dumps(CREATED).encode()[:-1]],
    ids=["empty", "half", "no-text", "deep", "cut"],
)
def test_webhook_refuses_what_is_not_json(
    body: bytes, listening: FlaskClient, backlog: Backlog
) -> None:
    answer = listening.post("/webhook", data=body, content_type="application/json")

    assert answer.status_code == 400
    assert backlog.n_waiting == 0


def test_webhook_leaves_more_tasks_than_can_wait_to_the_command(
    listening: FlaskClient, backlog: Backlog, caplog: pytest.LogCaptureFixture
) -> None:
    body = {**CREATED, "tasks": [{"id": n} for n in range(1, 200_002)]}

    answer = listening.post("/webhook", json=body)

    assert answer.json == {"status": "accepted"}
    assert backlog.n_waiting == 0
    assert "200001 new tasks are not queued" in caplog.text
