import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.doctor.findings import Finding
from backend.doctor.project import (
    Project,
    find_project,
    first_task,
    why_no_project,
)
from tests.backend.doctor.checks import client_of, outcome, serve_json
from tests.web_server import WebServer, running_web_server

PROJECT = Project(
    id=7,
    title="Boats",
    label_config="<View/>",
    shows_predictions=True,
    predicts_when_listed=False,
)
ROW = {"title": "Boats", "label_config": "<View/>", "show_collab_predictions": True}
TASK = {"id": 3, "data": {"image": "/data/upload/a.png"}}


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


def find(web: WebServer, project_id: int | None) -> tuple[Finding, Project | None]:
    client = client_of(web)
    (finding,), project = outcome(find_project(client, project_id))
    return finding, project


def ask_for_task(
    web: WebServer, project: Project = PROJECT, task_id: int | None = None
) -> Any:
    client = client_of(web)
    return first_task(client, project, task_id)


def test_find_project_reads_what_later_checks_need(web: WebServer) -> None:
    serve_json(web, "/api/projects/7", ROW)

    finding, project = find(web, 7)

    assert finding.level == "ok"
    assert finding.seen == "7 'Boats'"
    assert project == PROJECT


def test_find_project_reads_how_predictions_are_shown(web: WebServer) -> None:
    flags = {
        "show_collab_predictions": False,
        "evaluate_predictions_automatically": True,
    }
    serve_json(web, "/api/projects/7", {**ROW, **flags})

    _, project = find(web, 7)

    assert project == replace(
        PROJECT, shows_predictions=False, predicts_when_listed=True
    )


def test_find_project_lists_others_where_one_is_not_seen(web: WebServer) -> None:
    detail = {"detail": "No Project matches the given query."}
    serve_json(web, "/api/projects/9", detail, status=404)
    rows = {"count": 41, "results": [{"id": 1, "title": "A"}, {"id": 2, "title": "B"}]}
    serve_json(web, "/api/projects", rows)

    finding, project = find(web, 9)

    assert project is None
    assert finding.level == "problem"
    assert "(status 404: No Project matches the given query.)" in finding.seen
    assert finding.details == ("41 seen: 1 'A', 2 'B'",)


def test_find_project_lists_what_there_is_when_none_is_chosen(web: WebServer) -> None:
    rows = {"count": 1, "results": [{"id": 1, "title": "A"}]}
    serve_json(web, "/api/projects", rows)

    finding, project = find(web, None)

    assert project is None
    assert finding.level == "ok"
    assert finding.seen == "1 seen: 1 'A'"
    assert finding.details == ("Add --project NUMBER to check one of them.",)


def test_find_project_warns_that_there_is_none(web: WebServer) -> None:
    serve_json(web, "/api/projects", {"count": 0, "results": []})

    assert find(web, None)[0].level == "warning"


def test_find_project_is_skipped_without_label_studio() -> None:
    (finding,), project = outcome(find_project(None, 7))

    assert project is None
    assert finding.level == "skipped"


@pytest.mark.parametrize("body", [None, [], 3, "x", {"results": None}, {"results": 1}])
def test_find_project_survives_strange_answers(web: WebServer, body: Any) -> None:
    serve_json(web, "/api/projects/7", body if isinstance(body, list) else [body])
    serve_json(web, "/api/projects", body)

    assert find(web, 7)[0].level == "problem"
    assert find(web, None)[0].level == "problem"


def test_first_task_asks_for_one_task_as_it_was_imported(web: WebServer) -> None:
    serve_json(web, "/api/tasks", {"tasks": [TASK], "total": 9})

    assert ask_for_task(web) == TASK
    query = parse_qs(urlsplit(web.seen[0].path).query)
    assert query == {
        "project": ["7"],
        "page": ["1"],
        "page_size": ["1"],
        "resolve_uri": ["false"],
    }


def test_first_task_asks_for_the_chosen_task(web: WebServer) -> None:
    serve_json(web, "/api/tasks", {"tasks": [TASK]})

    ask_for_task(web, task_id=3)

    query = parse_qs(urlsplit(web.seen[0].path).query)
    selected = json.loads(query["query"][0])["selectedItems"]
    assert selected == {"all": False, "included": [3]}


def test_first_task_asks_as_reviewer_where_lists_ask_for_predictions(
    web: WebServer,
) -> None:
    serve_json(web, "/api/tasks", {"tasks": [TASK]})

    ask_for_task(web, replace(PROJECT, predicts_when_listed=True))

    assert parse_qs(urlsplit(web.seen[0].path).query)["review"] == ["true"]


@pytest.mark.parametrize(
    ("task_id", "reason"), [(None, "it has no task"), (5, "it has no task 5")]
)
def test_first_task_says_that_there_is_none(
    web: WebServer, task_id: int | None, reason: str
) -> None:
    serve_json(web, "/api/tasks", {"tasks": [], "total": 0})

    assert ask_for_task(web, task_id=task_id) == reason


def test_first_task_says_why_tasks_are_not_shown(web: WebServer) -> None:
    serve_json(web, "/api/tasks", {"detail": "Go away."}, status=403)

    assert ask_for_task(web) == "its tasks are not shown (status 403: Go away.)"


@pytest.mark.parametrize(
    "body", [None, [], {"tasks": 3}, {"tasks": [3]}, {"tasks": [{"data": 3}]}]
)
def test_first_task_survives_strange_answers(web: WebServer, body: Any) -> None:
    serve_json(web, "/api/tasks", body)

    assert isinstance(ask_for_task(web), str)


def test_why_no_project_tells_apart_what_was_not_asked_and_not_found(
    web: WebServer,
) -> None:
    client = client_of(web)
    reasons = [
        why_no_project(client, None),
        why_no_project(client, 77),
        why_no_project(None, 77),
    ]

    assert reasons == [
        "no project is chosen with --project",
        "project 77 was not found",
        "Label Studio's API is not open to this command",
    ]
