"""`/predict` through the door."""

import json
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from label_studio_sdk.label_interface.interface import LabelInterface

from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    brush_config,
    encoded,
    picture,
    striped,
)
from tests.serving import BODY, SETUP, predict_body
from tests.web_server import WebServer, running_web_server


@pytest.fixture
def label_studio() -> Iterator[WebServer]:
    with running_web_server() as server:
        server.serve("/data/upload/1/a.png", encoded(striped("red", "blue")))
        yield server


def test_predict_reads_uploads_as_setup_told(
    label_studio: WebServer, client: FlaskClient
) -> None:
    client.post("/setup", json={**SETUP, "hostname": label_studio.url})

    answer = client.post(
        "/predict",
        json=predict_body("/data/upload/1/a.png", project=SETUP["project"]),
    )

    assert len(answer.json["results"][0]["result"]) == 2
    assert label_studio.seen[0].headers["authorization"] == "Token legacy"


def test_predict_fails_the_uploads_of_a_project_that_never_was_set_up(
    label_studio: WebServer, client: FlaskClient
) -> None:
    client.post("/setup", json={**SETUP, "hostname": label_studio.url})

    answer = client.post(
        "/predict", json=predict_body("/data/upload/1/a.png", project="2.3")
    )

    assert answer.json == {"results": [[]]}
    assert label_studio.seen == []


def test_predict_fails_single_tasks_when_setup_told_nonsense(
    client: FlaskClient,
) -> None:
    client.post("/setup", json={**SETUP, "hostname": "no address at all"})

    answer = client.post(
        "/predict",
        json=predict_body(
            "/data/a.png", picture("red", "blue"), project=SETUP["project"]
        ),
    )

    assert [bool(result) for result in answer.json["results"]] == [False, True]


def test_predict_answers_every_task_with_the_version_of_setup(
    client: FlaskClient,
) -> None:
    told = client.post("/setup", json=SETUP).json["model_version"]

    answer = client.post(
        "/predict", json=predict_body(picture("red", "blue"), None, picture("white"))
    )

    assert answer.status_code == 200
    found, failed, empty = answer.json["results"]
    assert failed == []
    assert found["model_version"] == empty["model_version"] == told
    assert empty["result"] == []
    interface = LabelInterface(RED_AND_BLUE)
    assert interface.validate_prediction(found, return_errors=True) == []
    assert interface.validate_prediction(empty, return_errors=True) == []


def test_predict_answers_the_same_bytes_twice(client: FlaskClient) -> None:
    first = client.post("/predict", json=BODY).data

    assert client.post("/predict", json=BODY).data == first


def test_predict_answers_names_of_any_script(client: FlaskClient) -> None:
    name = "斑马 \N{ZEBRA FACE}"
    config = brush_config(f'<Label value="{name}" model_prompt="red"/>')

    answer = client.post("/predict", json={**BODY, "label_config": config})

    (region,) = answer.json["results"][0]["result"]
    assert region["value"]["brushlabels"] == [name]
    assert name.encode() in answer.data


def test_predict_answers_the_editor_with_an_object_on_failure(
    client: FlaskClient,
) -> None:
    params = {"login": None, "password": None, "context": {"result": []}}

    answer = client.post("/predict", json=predict_body(None, params=params))

    (result,) = answer.json["results"]
    assert result == {"model_version": MODEL_VERSION, "score": 0, "result": []}


def test_predict_takes_json_of_any_content_type(client: FlaskClient) -> None:
    answer = client.post(
        "/predict", data=json.dumps(BODY), content_type="application/octet-stream"
    )

    assert answer.status_code == 200


def test_predict_takes_tasks_that_carry_megabytes_of_old_predictions(
    client: FlaskClient,
) -> None:
    old = [{"result": [{"value": {"rle": [255] * 2_000_000}}]}]
    task = {**BODY["tasks"][0], "predictions": old}

    answer = client.post("/predict", json={**BODY, "tasks": [task]})

    assert answer.status_code == 200
