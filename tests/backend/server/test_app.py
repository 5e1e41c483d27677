"""What the routes answer, but for predictions."""

import json
import threading
import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from backend.server.app import create_app
from tests.fakes import (
    MODEL_VERSION,
    ColourSegmenter,
    Pixels,
    brush_config,
    make_predictor,
    picture,
)
from tests.serving import BODY, SETUP, client_of, make_services, predict_body


def test_health_answers_json_about_model_and_cache(unloaded: FlaskClient) -> None:
    answer = unloaded.get("/health")

    assert answer.status_code == 200
    assert answer.json == {
        "status": "UP",
        "model": "ready",
        "model_version": MODEL_VERSION,
        "cache": "A dict",
    }


def test_health_answers_at_once_while_a_prediction_is_blocked() -> None:
    reached, released = threading.Event(), threading.Event()

    def block(pixels: Pixels) -> None:
        reached.set()
        assert released.wait(20)

    app = create_app(make_services(make_predictor(ColourSegmenter(block))))
    answers: list[Any] = []
    prediction = threading.Thread(
        target=lambda: answers.append(app.test_client().post("/predict", json=BODY))
    )
    prediction.start()
    try:
        assert reached.wait(20)
        started = time.monotonic()

        health = app.test_client().get("/health")
        setup = app.test_client().post("/setup", json=SETUP)

        assert time.monotonic() - started < 1
        assert (health.status_code, setup.status_code) == (200, 200)
        assert answers == []
    finally:
        released.set()
        prediction.join()
    assert answers[0].status_code == 200


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        pytest.param(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html",
            id="browser",
        ),
        pytest.param("*/*", "application/json", id="anything"),
        pytest.param("application/json", "application/json", id="json"),
        pytest.param(None, "application/json", id="no-header"),
        pytest.param("image/png", "application/json", id="neither"),
    ],
)
def test_index_shows_a_page_to_a_browser_and_json_to_others(
    accept: str | None, media_type: str, unloaded: FlaskClient
) -> None:
    headers = {} if accept is None else {"Accept": accept}

    answer = unloaded.get("/", headers=headers)

    assert answer.status_code == 200
    assert answer.mimetype == media_type
    assert ("Playground" if media_type == "text/html" else MODEL_VERSION) in answer.text


def test_index_without_a_page_is_json_for_browsers_too() -> None:
    client = client_of(make_predictor(ColourSegmenter()), page=None)

    answer = client.get("/", headers={"Accept": "text/html"})

    assert answer.json["status"] == "UP"
    assert client.get("/page/static/page.js").status_code == 404
    assert client.get("/page/state").status_code == 404
    assert client.post("/page/masks", json={}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(SETUP, id="as-label-studio-sends-it"),
        pytest.param({**SETUP, "extra_params": None}, id="null-extra-params"),
        pytest.param({**SETUP, "extra_params": "text"}, id="text-extra-params"),
        pytest.param({**SETUP, "extra_params": [1, {}]}, id="list-extra-params"),
        pytest.param({}, id="nothing"),
        pytest.param(dict.fromkeys(SETUP), id="nulls"),
        pytest.param({**SETUP, "schema": ""}, id="empty-schema"),
        pytest.param({**SETUP, "schema": "<View><"}, id="broken-schema"),
        pytest.param({**SETUP, "schema": "<View/>"}, id="schema-without-brush"),
        pytest.param({**SETUP, "schema": {"a": 1}}, id="parsed-schema"),
        pytest.param({**SETUP, "hostname": "no address at all"}, id="odd-hostname"),
    ],
)
def test_setup_answers_the_model_version_and_loads_nothing(
    body: dict[str, Any], unloaded: FlaskClient
) -> None:
    answer = unloaded.post("/setup", json=body)

    assert answer.status_code == 200
    assert answer.json == {"model_version": MODEL_VERSION}


def test_setup_says_in_the_log_that_a_project_cannot_be_predicted(
    unloaded: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    unloaded.post("/setup", json={**SETUP, "schema": "<View/>"})

    assert "Project 1.1795346673 cannot be predicted yet" in caplog.text
    assert "has no <Image> tag" in caplog.text
    assert "legacy" not in caplog.text


@pytest.mark.parametrize(
    "action",
    [
        "ANNOTATION_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATION_DELETED",
        "ANNOTATIONS_DELETED",
        "TASKS_CREATED",
        "PROJECT_UPDATED",
        "START_TRAINING",
        "SOMETHING_NEW",
        None,
        {"of": "another kind"},
        "\ud800",
    ],
)
def test_webhook_takes_every_action(action: Any, unloaded: FlaskClient) -> None:
    body = json.dumps({"action": action, "project": {"id": 1}})

    answer = unloaded.post("/webhook", data=body, content_type="application/json")

    assert answer.status_code == 200
    assert isinstance(answer.json, dict)


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"\xff", b"[" * 200_000, b'{"a": "' + b"x" * 5_000_000],
    ids=["empty", "text", "list", "bytes", "nested-without-end", "5-MB"],
)
def test_webhook_takes_any_body_at_once(body: bytes, unloaded: FlaskClient) -> None:
    started = time.monotonic()

    answer = unloaded.post("/webhook", data=body, content_type="application/json")

    assert answer.status_code == 200
    assert time.monotonic() - started < 1


def test_versions_lists_the_version_of_setup(unloaded: FlaskClient) -> None:
    told = unloaded.post("/setup", json=SETUP).json["model_version"]

    assert unloaded.get("/versions").json == {"versions": [told]}


def test_metrics_count_tasks_images_and_the_cache(client: FlaskClient) -> None:
    red = picture("red", "blue")
    client.post("/predict", json=predict_body(red, None))
    client.post("/predict", json=predict_body(red))

    answer = client.get("/metrics")

    assert answer.mimetype == "text/plain"
    samples = {
        (sample.name, sample.labels.get("outcome")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["diffsegmenter_tasks_total", "predicted"] == 2
    assert samples["diffsegmenter_tasks_total", "failed"] == 1
    assert samples["diffsegmenter_images_segmented_total", None] == 1
    assert samples["diffsegmenter_cache_hits_total", None] == 1
    assert samples["diffsegmenter_cache_misses_total", None] == 1
    assert samples["diffsegmenter_predict_seconds_count", None] == 2


def test_versions_are_those_that_setup_answered() -> None:
    client = client_of(make_predictor(ColourSegmenter(), version_of=lambda f: f[:8]))
    nothing_yet = client.get("/versions").json
    told = client.post("/setup", json=SETUP).json["model_version"]
    client.post("/setup", json=SETUP)
    other = {**SETUP, "schema": brush_config('<Label value="red"/>')}
    told_other = client.post("/setup", json=other).json["model_version"]

    versions = client.get("/versions").json

    assert nothing_yet == {"versions": [""]}
    assert versions == {"versions": [told, told_other]}
    assert told != told_other


def test_app_shares_nothing_with_another_app(segmenter: ColourSegmenter) -> None:
    first = client_of(make_predictor(segmenter))
    other = client_of(make_predictor(segmenter, version_of=lambda _: "other"))
    first.post("/predict", json=BODY)

    assert "diffsegmenter_images_segmented_total 0.0" in other.get("/metrics").text
    assert other.get("/versions").json == {"versions": ["other"]}
