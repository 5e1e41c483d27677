"""What the doctor says of the Data Manager's prediction score."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.doctor.findings import Finding
from backend.doctor.project import Project
from backend.doctor.score import FLAG, check_score
from tests.backend.doctor.checks import client_of, only
from tests.fakes import MODEL_VERSION, RED_AND_BLUE
from tests.web_server import WebServer, send

PROJECT = Project(
    id=7,
    title="Stripes",
    label_config=RED_AND_BLUE,
    shows_predictions=True,
    predicts_when_listed=False,
    shown_version="DiffSegmenter",
)


@pytest.fixture
def check(server: WebServer) -> Callable[..., Finding]:
    """Checks a project of which so many tasks hold a prediction, or have a score."""

    def run(n_held: Any, n_scored: Any, **fields: Any) -> Finding:
        def respond(handler: Any) -> None:
            query = parse_qs(urlsplit(handler.path).query)
            assert query["review"] == ["true"], "other lists may ask for predictions"
            filters = json.loads(query["query"][0])["filters"]["items"]
            has_score = any("predictions_score" in row["filter"] for row in filters)
            body = {"total": n_scored if has_score else n_held, "tasks": []}
            send(handler, json.dumps(body).encode())

        server.route("/api/tasks", respond)
        arguments = {"project": PROJECT, "version": MODEL_VERSION, **fields}
        return only(check_score(client_of(server), **arguments))

    return run


def test_check_score_warns_of_a_column_that_stays_empty(
    check: Callable[..., Finding],
) -> None:
    finding = check(12, 0)

    assert finding.level == "warning"
    assert "the project's model version is 'DiffSegmenter'" in finding.seen
    assert finding.remedy is not None
    assert MODEL_VERSION in finding.remedy
    assert f"{FLAG}=true" in finding.remedy


@pytest.mark.parametrize(
    ("n_held", "n_scored", "level", "seen"),
    [
        pytest.param(12, 12, "ok", "sorts and filters 12 tasks", id="works"),
        pytest.param(0, 0, "ok", "no task holds a prediction", id="nothing-yet"),
        pytest.param(None, None, "skipped", "is not shown", id="no-count"),
    ],
)
def test_check_score_is_content_otherwise(
    n_held: Any,
    n_scored: Any,
    level: str,
    seen: str,
    check: Callable[..., Finding],
) -> None:
    finding = check(n_held, n_scored)

    assert finding.level == level
    assert seen in finding.seen


def test_check_score_is_skipped_without_a_version_or_a_project(
    check: Callable[..., Finding], server: WebServer
) -> None:
    without_version = check(1, 1, version=None)
    without_project = check(1, 1, project=None)

    assert without_version.level == without_project.level == "skipped"
    assert server.seen == []


def test_check_score_says_of_a_label_studio_that_refuses_that_it_does(
    server: WebServer,
) -> None:
    finding = only(
        check_score(
            client_of(server), replace(PROJECT, shown_version=""), MODEL_VERSION
        )
    )

    assert finding.level == "skipped"
