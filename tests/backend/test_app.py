import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from label_studio_sdk.label_interface.interface import LabelInterface
from prometheus_client.parser import text_string_to_metric_families

from backend.app import Parts, create_app
from backend.predict import PreAnnotator
from backend.projects import ProjectAccess
from backend.values import LabelStudioAccess
from segmenter import SegmenterError, WeightsNotFound
from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    ColourSegmenter,
    Pixels,
    brush_config,
    encoded,
    make_annotator,
    picture,
    striped,
)
from tests.web_server import WebServer, running_web_server

ENDPOINTS = [
    ("GET", "/"),
    ("GET", "/health"),
    ("POST", "/setup"),
    ("POST", "/predict"),
    ("GET", "/versions"),
    ("GET", "/metrics"),
]
SETUP = {
    "project": "1.1795346673",
    "schema": RED_AND_BLUE,
    "hostname": "http://127.0.0.1:8080",
    "access_token": "legacy",
    "extra_params": {"k": 1},
}


def predict_body(*addresses: Any, **fields: Any) -> dict[str, Any]:
    tasks = [{"id": n, "data": {"image": a}} for n, a in enumerate(addresses)]
    return {"tasks": tasks, "label_config": RED_AND_BLUE, "project": "1.2", **fields}


BODY = predict_body(picture("red", "blue"))


def never_called() -> ColourSegmenter:
    raise AssertionError("s3cret: the segmenter is not to be asked for")


def make_parts(annotator: PreAnnotator, **parts: Any) -> Parts:
    defaults: dict[str, Any] = {
        "projects": ProjectAccess(LabelStudioAccess(url=None)),
        "metrics": annotator.metrics,
        "cache": annotator.scorer.cache,
        "model_status": lambda: "ready",
    }
    return Parts(annotator=annotator, **{**defaults, **parts})


def client_of(annotator: PreAnnotator, **parts: Any) -> FlaskClient:
    return create_app(make_parts(annotator, **parts)).test_client()


@pytest.fixture
def segmenter() -> ColourSegmenter:
    return ColourSegmenter()


@pytest.fixture
def client(segmenter: ColourSegmenter) -> FlaskClient:
    return client_of(make_annotator(segmenter))


@pytest.fixture
def unloaded() -> FlaskClient:
    """A backend whose segmenter must not be asked for."""
    return client_of(make_annotator(ColourSegmenter(), segmenter=never_called))


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

    app = create_app(make_parts(make_annotator(ColourSegmenter(block))))
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
    assert MODEL_VERSION in answer.text


def test_index_shows_a_page_with_a_config_that_can_be_copied() -> None:
    status = "failed: <script>alert(1)</script>"
    client = client_of(make_annotator(ColourSegmenter()), model_status=lambda: status)

    page = client.get("/", headers={"Accept": "text/html"}).text

    assert "&lt;BrushLabels name=&#34;tag&#34;" in page
    assert "<script>" not in page


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

    def load() -> ColourSegmenter:
        loaded = segmenters.pop(0)
        if isinstance(loaded, SegmenterError):
            raise loaded
        return loaded

    client = client_of(make_annotator(ColourSegmenter(), segmenter=load))

    failed = client.post("/predict", json=BODY)
    retried = client.post("/predict", json=BODY)

    assert failed.status_code == 503
    assert failed.json["error"] == {"type": type(error).__name__, "message": str(error)}
    assert retried.status_code == 200


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
    ("path", "parts", "annotator"),
    [
        pytest.param("/health", {"model_status": _raise}, {}, id="part"),
        pytest.param("/predict", {}, {"segmenter": never_called}, id="segmenter"),
    ],
)
def test_app_logs_a_fault_of_its_own_and_tells_nobody(
    path: str,
    parts: dict[str, Callable[[], str]],
    annotator: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = client_of(make_annotator(ColourSegmenter(), **annotator), **parts)
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


def login(user: str, password: str) -> dict[str, str]:
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


@pytest.fixture
def guarded(segmenter: ColourSegmenter) -> FlaskClient:
    return client_of(make_annotator(segmenter), basic_auth=("señor", "pass:wörd"))


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="missing"),
        pytest.param(login("señor", "wrong"), id="wrong-password"),
        pytest.param(login("other", "pass:wörd"), id="wrong-user"),
        pytest.param(login("", ""), id="empty"),
        pytest.param({"Authorization": "Basic ???"}, id="not-base64"),
        pytest.param({"Authorization": "Basic"}, id="scheme-alone"),
        pytest.param({"Authorization": "Bearer pass:wörd"}, id="bearer"),
        pytest.param({"Authorization": "Token legacy"}, id="token"),
    ],
)
def test_basic_auth_refuses_others(
    method: str, path: str, headers: dict[str, str], guarded: FlaskClient
) -> None:
    answer = guarded.open(path, method=method, json=BODY, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert "BASIC_AUTH_USER" in answer.json["error"]["message"]
    assert MODEL_VERSION not in answer.text


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_basic_auth_lets_in_who_knows_the_password(
    method: str, path: str, guarded: FlaskClient
) -> None:
    answer = guarded.open(
        path, method=method, json=BODY, headers=login("señor", "pass:wörd")
    )

    assert answer.status_code == 200


def test_basic_auth_hides_which_paths_there_are(guarded: FlaskClient) -> None:
    assert guarded.get("/nothing").status_code == 401
    assert guarded.get("/webhook/").status_code == 401


def test_versions_are_those_that_setup_answered() -> None:
    client = client_of(make_annotator(ColourSegmenter(), version_of=lambda f: f[:8]))
    nothing_yet = client.get("/versions").json
    told = client.post("/setup", json=SETUP).json["model_version"]
    client.post("/setup", json=SETUP)
    other = {**SETUP, "schema": brush_config('<Label value="red"/>')}
    told_other = client.post("/setup", json=other).json["model_version"]

    versions = client.get("/versions").json

    assert nothing_yet == {"versions": [""]}
    assert versions == {"versions": [told, told_other]}
    assert told != told_other


def test_basic_auth_leaves_the_webhook_open(guarded: FlaskClient) -> None:
    answer = guarded.post("/webhook", json={"action": "ANNOTATION_CREATED"})

    assert answer.status_code == 200


def test_app_shares_nothing_with_another_app(segmenter: ColourSegmenter) -> None:
    first = client_of(make_annotator(segmenter))
    other = client_of(make_annotator(segmenter, version_of=lambda _: "other"))
    first.post("/predict", json=BODY)

    assert "diffsegmenter_images_segmented_total 0.0" in other.get("/metrics").text
    assert other.get("/versions").json == {"versions": ["other"]}
