"""A backend that runs is asked for the prediction, if it would give the same."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from backend.doctor import Finding, examine
from backend.doctor.project import Project
from backend.doctor.running import RunningBackend, find_running
from backend.engine import build_engine
from backend.inference import Predictor
from backend.label_studio import LabelStudioConnections
from backend.server.app import create_app
from backend.settings import Settings
from backend.types import LabelStudioAccess, Task
from tests.backend.doctor.checks import TOKEN, settings
from tests.backend.doctor.test_doctor import serve_project
from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    ColourSegmenter,
    make_predictor,
    picture,
)
from tests.serving import make_services
from tests.web_server import WebServer, running_web_server

PROJECT = Project(
    id=7,
    title="Stripes",
    label_config=RED_AND_BLUE,
    shows_predictions=True,
    predicts_when_listed=False,
)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


@contextmanager
def served(predictor: Predictor, **services: Any) -> Iterator[int]:
    """A real backend on a port of its own."""
    app = create_app(make_services(predictor, **services))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def find(port: int, project: Project | None = PROJECT, **others: Any) -> Any:
    expected = {"expected_version": MODEL_VERSION, **others}
    return find_running(settings(PORT=str(port)), project, **expected)


@pytest.mark.parametrize("project", [PROJECT, None], ids=["project", "none"])
def test_find_running_finds_a_backend_that_gives_the_same_version(
    project: Project | None,
) -> None:
    with served(make_predictor(ColourSegmenter())) as port:
        found = find(port, project)

    assert found.url == f"http://127.0.0.1:{port}"


def test_find_running_leaves_a_backend_that_gives_another_version() -> None:
    predictor = make_predictor(ColourSegmenter())
    by_config = make_predictor(
        ColourSegmenter(), version_of=lambda print: f"diffsegmenter-{print}"
    )

    with served(predictor) as port, served(by_config) as other_port:
        found = find(port, expected_version="diffsegmenter-colours-other")
        # The same without a label config, another for the project's.
        other = find(other_port, expected_version=by_config.model_version(""))

    assert found is other is None


@pytest.mark.parametrize("status", ["loading", "failed: no weights"])
def test_find_running_leaves_a_backend_that_has_no_model(status: str) -> None:
    predictor = make_predictor(ColourSegmenter())

    with served(predictor, model_status=lambda: status) as port:
        assert find(port) is None


def test_find_running_leaves_what_is_no_backend(web: WebServer) -> None:
    web.serve("/health", b"[]", headers={"Content-Type": "application/json"})

    assert find(web.port) is None
    assert find(9) is None
    assert find(web.port, expected_version=None) is None


def test_find_running_shows_the_password() -> None:
    predictor = make_predictor(ColourSegmenter())

    with served(predictor, basic_auth=("ann", "s3cret")) as port:
        without = find(port)
        known = settings(
            PORT=str(port), BASIC_AUTH_USER="ann", BASIC_AUTH_PASS="s3cret"
        )
        found = find_running(known, PROJECT, MODEL_VERSION)

    assert without is None
    assert found is not None
    assert "s3cret" not in repr(found)


def test_a_running_backend_predicts_a_task() -> None:
    task = Task(id=3, data={"image": picture("red", "white")})

    with served(make_predictor(ColourSegmenter())) as port:
        answer = RunningBackend(url=f"http://127.0.0.1:{port}").predict(task, PROJECT)

    assert answer["model_version"] == MODEL_VERSION
    assert answer["result"]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"{}", "status 500"),
        (200, b"[]", "not that of a backend"),
        (200, b'{"results": []}', "not that of a backend"),
    ],
)
def test_a_running_backend_that_gives_no_answer_says_why(
    web: WebServer, status: int, body: bytes, reason: str
) -> None:
    headers = {"Content-Type": "application/json"}
    web.serve("/predict", body, status=status, headers=headers)

    answer = RunningBackend(url=web.url).predict(Task(id=3, data={}), PROJECT)

    assert reason in answer


def look(known: Settings, **options: Any) -> dict[str, Finding]:
    return {
        finding.subject: finding for finding in examine(known, project_id=7, **options)
    }


def test_examine_loads_no_second_model_unless_it_is_told_to(
    tmp_path: Path, web: WebServer
) -> None:
    serve_project(web)
    known = {
        "MODEL": "pocket",
        "LABEL_STUDIO_URL": web.url,
        "LABEL_STUDIO_API_KEY": TOKEN,
        "CACHE_DIR": str(tmp_path),
    }
    engine = build_engine(settings(**known))
    segmenter = ColourSegmenter()
    predictor = make_predictor(
        segmenter,
        version_of=engine.predictor.version_of,
        defaults=engine.predictor.defaults,
        fetcher=engine.predictor.fetcher,
    )
    engine.cache.close()
    environment = LabelStudioAccess(url=web.url, token=TOKEN, from_environment=True)
    connections = LabelStudioConnections(environment, trusts_setup=True)
    with served(predictor, connections=connections) as port:
        found = look(settings(**known, PORT=str(port)))
        loaded = look(settings(**known, PORT=str(port)), loads=True)

    assert f"the backend at http://127.0.0.1:{port} has the model" in (
        found["loading"].seen
    )
    assert found["prediction"].level == "ok"
    assert segmenter.calls == 1
    assert found["device"].seen == (
        f"the backend at http://127.0.0.1:{port} runs on DEVICE=auto"
    )
    assert "the model loads in" in loaded["loading"].seen
    assert "runs on" not in loaded["device"].seen
