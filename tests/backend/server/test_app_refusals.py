"""What the door refuses, and how."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from segmenter import SegmenterError, WeightsNotFound
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    brush_config,
    make_predictor,
)
from tests.serving import BODY, SETUP, client_of, never_called


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(b"", "is not JSON (0 bytes)", id="empty"),
        pytest.param(b"tasks=1", "is not JSON (7 bytes)", id="form"),
        pytest.param(b"\xff\xfe\x00", "is not JSON", id="bytes"),
        pytest.param(b"[" * 200_000, "is not JSON", id="nested-without-end"),
        pytest.param(b"[]", "got an empty list", id="list"),
        pytest.param(b"null", "got missing", id="null"),
        pytest.param(b"{}", "no tasks", id="no-tasks"),
        pytest.param(
            json.dumps({**BODY, "tasks": []}).encode(), "no tasks", id="empty-tasks"
        ),
        pytest.param(
            json.dumps({**BODY, "label_config": None}).encode(),
            "no label config",
            id="no-config",
        ),
        pytest.param(
            json.dumps({**BODY, "label_config": "<View><Text"}).encode(),
            "cannot be read",
            id="broken-config",
        ),
        pytest.param(
            json.dumps({**BODY, "label_config": "<View/>"}).encode(),
            "has no <Image> tag",
            id="config-without-image",
        ),
        pytest.param(
            json.dumps(
                {
                    **BODY,
                    "label_config": RED_AND_BLUE.replace("BrushLabels", "Labels"),
                }
            ).encode(),
            "has no <BrushLabels>,",
            id="config-without-brush",
        ),
        pytest.param(
            json.dumps(
                {
                    **BODY,
                    "label_config": brush_config(
                        '<Label value="red" model_score_threshold="high"/>'
                    ),
                }
            ).encode(),
            "model_score_threshold='high' on <Label> 'red' of 'tag'",
            id="bad-threshold",
        ),
        pytest.param(
            json.dumps({**BODY, "label_config": RED_AND_BLUE + "\udc80"}).encode(),
            "cannot be read",
            id="half-a-character",
        ),
    ],
)
def test_predict_refuses_the_whole_request_with_a_reason(
    body: bytes, told: str, unloaded: FlaskClient
) -> None:
    answer = unloaded.post("/predict", data=body, content_type="application/json")

    assert answer.status_code == 400
    assert set(answer.json) == {"error"}
    assert answer.json["error"]["type"] in {"BadRequest", "BadLabelConfig"}
    assert told in answer.json["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b'"x"', b"[" * 200_000])
def test_setup_refuses_a_body_that_is_no_object(
    body: bytes, unloaded: FlaskClient
) -> None:
    answer = unloaded.post("/setup", data=body)

    assert answer.status_code == 400
    assert "JSON object" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(WeightsNotFound("sd", "the hub is down"), id="no-weights"),
        pytest.param(SegmenterError("the hub is down"), id="other"),
    ],
)
def test_predict_answers_503_with_the_remedy_while_there_is_no_model(
    error: SegmenterError,
) -> None:
    segmenters: list[SegmenterError | ColourSegmenter] = [error, ColourSegmenter()]

    def load(timeout_s: float) -> ColourSegmenter:
        loaded = segmenters.pop(0)
        if isinstance(loaded, SegmenterError):
            raise loaded
        return loaded

    client = client_of(make_predictor(ColourSegmenter(), segmenter=load))

    failed = client.post("/predict", json=BODY)
    retried = client.post("/predict", json=BODY)

    assert failed.status_code == 503
    assert failed.json["error"] == {"type": type(error).__name__, "message": str(error)}
    assert retried.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/health/x", 404),
        ("GET", "/predict", 405),
        ("GET", "/setup", 405),
        ("GET", "/webhook", 405),
        ("POST", "/health", 405),
        ("DELETE", "/", 405),
        ("POST", "/versions", 405),
    ],
)
def test_app_answers_an_unknown_path_or_method_with_json(
    method: str, path: str, status: int, client: FlaskClient
) -> None:
    answer = client.open(path, method=method)

    assert answer.status_code == status
    assert set(answer.json["error"]) == {"type", "message"}


def _raise() -> str:
    raise KeyError("s3cret")


@pytest.mark.parametrize(
    ("path", "services", "predictor"),
    [
        pytest.param("/health", {"model_status": _raise}, {}, id="part"),
        pytest.param("/predict", {}, {"segmenter": never_called}, id="segmenter"),
    ],
)
def test_app_logs_a_fault_of_its_own_and_tells_nobody(
    path: str,
    services: dict[str, Callable[[], str]],
    predictor: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = client_of(make_predictor(ColourSegmenter(), **predictor), **services)
    method = client.post if path == "/predict" else client.get

    answer = method(path, json=BODY)

    assert answer.status_code == 500
    assert answer.mimetype == "application/json"
    assert "its log has the traceback" in answer.json["error"]["message"]
    assert "s3cret" not in answer.text
    assert "Traceback" not in answer.text
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "s3cret" in caplog.text


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
def test_app_refuses_what_a_web_page_sends(path: str, unloaded: FlaskClient) -> None:
    answer = unloaded.post(path, json=SETUP, headers={"Origin": "https://evil.org"})

    assert answer.status_code == 403
    assert "Label Studio's server" in answer.json["error"]["message"]
