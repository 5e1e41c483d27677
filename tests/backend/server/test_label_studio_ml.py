"""The adapter on label-studio-ml 2.x, as far as that can be stood in for.

On 1.0.9, the one on PyPI: tests/e2e/test_label_studio_ml.py.
"""

import importlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from flask.testing import FlaskClient
from label_studio_sdk.label_interface import LabelInterface

from backend.engine import settings_feedback
from backend.errors import BadLabelConfig, SettingsError
from backend.feedback import FeedbackStore
from backend.server import build_app
from backend.settings import Settings
from segmenter import WeightsNotFound
from tests.clicking import CLICKABLE, point, task_with
from tests.fakes import RED_AND_BLUE, brush_config, encoded, picture, striped
from tests.web_server import WebServer, running_web_server

_LIBRARY: Final = Path(__file__).parents[2] / "label_studio_ml_2x"
_PROJECT: Final = "7.1795346673"
# The pocket model paints every label that it is asked for.
_PICTURE: Final = picture("red", "blue", size_yx=(48, 80))
_CONTEXT: Final = {"result": [{"type": "keypointlabels"}]}


def import_adapter() -> Any:
    """A fresh copy, on a fresh copy of the library; neither stays importable."""
    sys.path.insert(0, str(_LIBRARY))
    try:
        return importlib.import_module("backend.server.label_studio_ml")
    finally:
        sys.path.remove(str(_LIBRARY))
        for name in list(sys.modules):
            if "label_studio_ml" in name.split(".")[:3]:
                del sys.modules[name]


def join_loading() -> None:
    for thread in threading.enumerate():
        if thread.name == "load-model":
            thread.join(60)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The bundled model, and a Label Studio that nobody named."""
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    # Stripes of colours are none of the things that the pocket model knows.
    monkeypatch.setenv("PRESENCE", "off")
    for name in ("MODEL", "REDIS_URL", "IMAGE_HOSTS", "MODEL_SCORE_THRESHOLD"):
        monkeypatch.delenv(name, raising=False)
    for name in ("URL", "HOST", "API_KEY", "ACCESS_TOKEN"):
        monkeypatch.delenv(f"LABEL_STUDIO_{name}", raising=False)
    yield
    # transformers cannot load two models at a time: leave none to the next test.
    join_loading()


@pytest.fixture
def adapter() -> Any:
    return import_adapter()


@pytest.fixture
def client(adapter: Any) -> FlaskClient:
    client: FlaskClient = adapter.api.init_app(adapter.DiffSegmenter).test_client()
    return client


@pytest.fixture
def server() -> Iterator[WebServer]:
    with running_web_server() as running:
        yield running


def set_up(client: FlaskClient, label_config: str, **told: Any) -> str:
    """What `/setup` says the version is."""
    body = {
        "project": _PROJECT,
        "schema": label_config,
        "hostname": "http://label-studio.invalid",
        "access_token": "learned",
        "extra_params": None,
        **told,
    }
    version: str = client.post("/setup", json=body).json["model_version"]
    return version


def ask(
    client: FlaskClient,
    *addresses: str,
    label_config: str = RED_AND_BLUE,
    context: Any = None,
) -> list[Any]:
    """The results of `/predict`, asked as Label Studio does."""
    body = {
        "tasks": [
            {"id": number, "data": {"image": address}}
            for number, address in enumerate(addresses, 1)
        ],
        "project": _PROJECT,
        "label_config": label_config,
        "params": {"login": None, "password": None, "context": context},
    }
    results: list[Any] = client.post("/predict", json=body).json["results"]
    return results


def test_setup_and_every_prediction_say_the_same_version(client: FlaskClient) -> None:
    version = set_up(client, RED_AND_BLUE)

    results = ask(client, _PICTURE, _PICTURE)

    assert version.startswith("diffsegmenter-pocket-")
    assert [result["model_version"] for result in results] == [version, version]


def test_another_label_config_is_another_version(client: FlaskClient) -> None:
    other_config = brush_config('<Label value="red"/>')
    other_version = set_up(client, other_config)

    version = set_up(client, RED_AND_BLUE)

    assert version != other_version
    (result,) = ask(client, _PICTURE, label_config=other_config)
    assert result["model_version"] == other_version


def test_predictions_pass_strict_validation(client: FlaskClient) -> None:
    (result,) = ask(client, _PICTURE)

    assert {name for r in result["result"] for name in r["value"]["brushlabels"]} == {
        "red",
        "blue",
    }
    assert (result["result"][0]["original_height"]) == 48
    assert (result["result"][0]["original_width"]) == 80
    interface = LabelInterface(RED_AND_BLUE)
    assert interface.validate_prediction(result, return_errors=True) == []


def test_a_failed_task_is_an_empty_list_in_its_place(client: FlaskClient) -> None:
    results = ask(client, _PICTURE, "data:image/png;base64,AAAA", _PICTURE)

    assert [bool(result) for result in results] == [True, False, True]
    assert results[1] == []


def test_an_interactive_request_gets_an_object_even_where_it_failed(
    client: FlaskClient,
) -> None:
    version = set_up(client, RED_AND_BLUE)

    results = ask(client, "data:image/png;base64,AAAA", context=_CONTEXT)

    assert results == [{"result": [], "score": 0, "model_version": version}]


def test_a_click_is_answered_with_the_bytes_of_our_own_server(
    client: FlaskClient,
) -> None:
    click = point(20, 10)
    own = build_app(Settings.from_env(), preload=False).test_client()
    body = {
        "tasks": [task_with()],
        "project": _PROJECT,
        "label_config": CLICKABLE,
        "params": {"login": None, "password": None, "context": {"result": [click]}},
    }

    theirs, ours = (
        server.post("/predict", json=body).json["results"] for server in (client, own)
    )

    assert len(theirs[0]["result"]) == 1
    assert json.dumps(theirs) == json.dumps(ours)


def test_a_prewarming_is_answered_at_once(client: FlaskClient) -> None:
    (result,) = ask(client, _PICTURE, context={"event": "prewarm"})

    assert result["result"] == []


@pytest.mark.parametrize(
    "keywords",
    [
        pytest.param({}, id="2.x"),
        pytest.param(
            {"login": None, "password": None, "context": None}, id="1.0.9-batch"
        ),
        pytest.param(
            {"login": None, "password": None, "context": _CONTEXT}, id="1.0.9-click"
        ),
    ],
)
def test_predict_answers_without_a_request_too(
    adapter: Any, keywords: dict[str, Any]
) -> None:
    model = adapter.DiffSegmenter(project_id="7", label_config=RED_AND_BLUE)

    (result,) = model.predict([{"id": 1, "data": {"image": _PICTURE}}], **keywords)

    assert result["model_version"] == model.get("model_version")


def test_an_address_and_token_from_setup_read_the_projects_images(
    client: FlaskClient, server: WebServer
) -> None:
    server.serve("/data/upload/7/a.png", encoded(striped("red", "blue")))
    set_up(client, RED_AND_BLUE, hostname=server.url)

    (result,) = ask(client, "/data/upload/7/a.png")

    assert result["result"]
    assert {r.headers["authorization"] for r in server.seen} == {"Token learned"}


def test_the_environments_address_and_token_win_over_those_from_setup(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "own")
    adapter = import_adapter()
    client = adapter.api.init_app(adapter.DiffSegmenter).test_client()
    server.serve("/data/upload/7/a.png", encoded(striped("red", "blue")))

    with running_web_server() as other:
        set_up(client, RED_AND_BLUE, hostname=other.url)
        results = ask(client, "/data/upload/7/a.png", f"{other.url}/b.png")

    assert [bool(result) for result in results] == [True, False]
    assert {r.headers["authorization"] for r in server.seen} == {"Token own"}
    assert other.seen == []


def test_setup_loads_no_weights_and_many_at_once_share_one_model(
    client: FlaskClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "model" / "unet").mkdir(parents=True)
    (tmp_path / "model" / "unet" / "model.safetensors").write_bytes(b"no weights")
    monkeypatch.setenv("MODEL", str(tmp_path / "model"))
    start = threading.Barrier(8)

    def wait_and_set_up(_: int) -> str:
        start.wait(10)
        return set_up(client.application.test_client(), RED_AND_BLUE)

    with ThreadPoolExecutor(8) as pool:
        versions = set(pool.map(wait_and_set_up, range(8)))
    join_loading()

    assert len(versions) == 1
    (failure,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "Loading the model failed" in failure.getMessage()
    with pytest.raises(WeightsNotFound, match="Use 'pocket'"):
        ask(client, _PICTURE)


def test_a_project_without_labels_is_connected_and_refused_at_predict(
    client: FlaskClient,
) -> None:
    empty = '<View><Image name="image" value="$image"/></View>'

    version = set_up(client, empty)

    assert version.startswith("diffsegmenter-pocket-")
    with pytest.raises(BadLabelConfig, match="One that works"):
        ask(client, _PICTURE, label_config=empty)


def test_impossible_settings_are_named_when_the_model_is_made(
    adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SCORE_THRESHOLD", "7")

    with pytest.raises(SettingsError, match="MODEL_SCORE_THRESHOLD='7'"):
        adapter.DiffSegmenter(label_config=RED_AND_BLUE)


def test_without_the_library_the_import_says_what_to_install() -> None:
    program = "import backend.label_studio_ml"

    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert outcome.returncode == 1
    assert "No module named 'label_studio_ml'" in outcome.stderr
    assert "pip install --no-deps label-studio-ml==1.0.9" in outcome.stderr
    assert "diffsegmenter serve" in outcome.stderr


def annotated(number: int = 1, **annotation: Any) -> dict[str, Any]:
    """What a webhook tells of a rectangle around what is red."""
    value = {"x": 0, "y": 0, "width": 50, "height": 100, "rotation": 0}
    region = {
        "id": "r",
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "original_width": 80,
        "original_height": 48,
        "value": {**value, "rectanglelabels": ["red"]},
    }
    return {
        "annotation": {
            "id": number,
            "updated_at": "2026-11-28T21:00:00Z",
            "result": [region],
            "completed_by": {"email": "somebody@example.org"},
            **annotation,
        },
        "project": {
            "id": 7,
            "label_config": _BOXES,
            "created_at": "2026-11-22T12:04:33Z",
        },
        "task": {"id": 5, "data": {"image": _PICTURE}},
    }


_BOXES: Final = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="box" toName="image"><Label value="red"/>'
    '<Label value="zork" model_prompt=""/></RectangleLabels></View>'
)


@pytest.fixture
def store() -> FeedbackStore:
    """What is kept, as another process sees it."""
    return settings_feedback(Settings.from_env())


def wait_until(is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["webhook", "fit"])
def test_an_annotation_is_learned_from_as_our_own_server_does(
    how: str, adapter: Any, client: FlaskClient, store: FeedbackStore, tmp_path: Path
) -> None:
    event = annotated()

    if how == "webhook":
        told = client.post("/webhook", json={"action": "ANNOTATION_CREATED", **event})
        answer = told.json
    else:
        model = adapter.DiffSegmenter(project_id="7", label_config=_BOXES)
        answer = model.fit("ANNOTATION_CREATED", event)

    assert answer == {"status": "accepted"}
    wait_until(lambda: store.n_corrections("7"))
    (theirs,) = store.corrections("7")
    assert len(theirs.examples) == 1
    store.reset("7")
    own = build_app(Settings.from_env(), preload=False).test_client()
    own.post("/webhook", json={"action": "ANNOTATION_CREATED", **event})
    wait_until(lambda: store.n_corrections("7"))
    assert store.corrections("7") == [theirs]


def test_a_deletion_is_taken_in_although_the_library_leaves_it_out(
    client: FlaskClient, store: FeedbackStore
) -> None:
    client.post("/webhook", json={"action": "ANNOTATION_CREATED", **annotated()})
    wait_until(lambda: store.n_corrections("7"))
    deleted = {"project": {"id": 7}, "annotations": [{"id": 1}]}

    answer = client.post("/webhook", json={"action": "ANNOTATIONS_DELETED", **deleted})

    assert answer.json == {"status": "accepted"}
    wait_until(lambda: not store.n_corrections("7"))


def test_start_training_makes_what_was_corrected_count(
    client: FlaskClient, store: FeedbackStore
) -> None:
    client.post("/webhook", json={"action": "ANNOTATION_CREATED", **annotated()})
    project = {"id": 7, "label_config": _BOXES}

    answer = client.post(
        "/webhook", json={"action": "START_TRAINING", "project": project}
    )

    assert answer.json == {"status": "accepted"}
    wait_until(lambda: store.heads("7"))
    taught = store.heads("7")
    assert taught is not None
    assert taught.n_corrections == 1


def test_events_of_other_kinds_are_ignored(adapter: Any, client: FlaskClient) -> None:
    model = adapter.DiffSegmenter(project_id="7", label_config=_BOXES)

    answer = client.post("/webhook", json={"action": "PROJECT_UPDATED", "project": {}})

    assert answer.json == {"status": "ignored"}
    assert model.fit([{"id": 1}], workdir="models") == {"status": "ignored"}
    assert model.fit("ANNOTATION_CREATED", {}) == {"status": "ignored"}


def test_nothing_is_learned_where_the_operator_does_not_want_it(
    monkeypatch: pytest.MonkeyPatch, store: FeedbackStore
) -> None:
    monkeypatch.setenv("LEARNING", "off")
    adapter = import_adapter()
    client = adapter.api.init_app(adapter.DiffSegmenter).test_client()

    answer = client.post(
        "/webhook", json={"action": "ANNOTATION_CREATED", **annotated()}
    )

    assert answer.json == {"status": "ignored"}
    assert store.projects() == []
