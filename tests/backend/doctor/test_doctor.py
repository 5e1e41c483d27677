import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.doctor import examine
from backend.doctor.findings import Finding
from backend.engine import build_engine
from tests.backend.doctor.checks import (
    TOKEN,
    row,
    serve_json,
    serve_label_studio,
    settings,
)
from tests.fakes import RED_AND_BLUE, encoded, striped
from tests.redis_server import free_port
from tests.web_server import WebServer, running_web_server

# The order in which things fail in practice, and in which they are to be mended.
SUBJECTS = [
    "settings",
    "listening",
    "Label Studio",
    "token",
    "project",
    "call back",
    "connection",
    "score",
    "label config",
    "clicks",
    "learning",
    "weights",
    "device",
    "loading",
    "cache",
    "workers",
    "image",
    "prediction",
]


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


def look(
    folder: Path, project_id: int | None = None, **variables: str
) -> list[Finding]:
    """All findings, of a model that is not there unless one is named."""
    given = {
        "MODEL": "./nowhere",
        "CACHE_DIR": str(folder),
        "PORT": str(free_port()),
        **variables,
    }
    return list(examine(settings(**given), project_id=project_id))


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.level for finding in findings}


def serve_project(web: WebServer, *, label_config: str = RED_AND_BLUE) -> None:
    """A stand-in that has one project with one picture, seen by the token's user."""
    serve_label_studio(web)
    serve_json(web, "/api/current-user/whoami", {"email": "ann@example.com"})
    serve_json(web, "/api/projects/7", {"title": "X", "label_config": label_config})
    serve_json(web, "/api/webhooks/", {}, status=400)
    serve_json(web, "/api/ml", {}, status=400)
    tasks = [{"id": 3, "data": {"image": "/data/upload/7/a.png"}}]
    serve_json(web, "/api/tasks", {"tasks": tasks})
    web.serve("/data/upload/7/a.png", encoded(striped("red", "blue")))


def test_examine_looks_at_everything_in_the_order_of_failures(tmp_path: Path) -> None:
    findings = look(tmp_path)

    assert [finding.subject for finding in findings] == SUBJECTS


def test_examine_skips_what_cannot_be_looked_at(tmp_path: Path) -> None:
    found = levels(look(tmp_path))

    skipped = {subject for subject, level in found.items() if level == "skipped"}
    assert skipped == {
        "project",
        "call back",
        "connection",
        "score",
        "label config",
        "clicks",
        "loading",
        "image",
        "prediction",
    }


def test_examine_needs_label_studio_only_when_a_project_is_chosen(
    tmp_path: Path,
) -> None:
    assert levels(look(tmp_path))["Label Studio"] == "warning"
    assert levels(look(tmp_path, 7))["Label Studio"] == "problem"


def test_every_finding_that_is_not_fine_has_a_remedy(
    tmp_path: Path, web: WebServer
) -> None:
    cases = [
        look(tmp_path),
        look(tmp_path, 7, HOST="no.such.host.invalid", DEVICE="cuda:99"),
        look(tmp_path, 7, LABEL_STUDIO_URL=web.url, LABEL_STUDIO_API_KEY=TOKEN),
        look(tmp_path, LABEL_STUDIO_URL="http://127.0.0.1:9", REDIS_URL="redis://h:p"),
    ]

    for finding in (finding for found in cases for finding in found):
        is_fine = finding.level in {"ok", "skipped"}
        assert (finding.remedy is None) == is_fine, finding


def test_examine_reads_an_image_even_without_a_model(
    tmp_path: Path, web: WebServer
) -> None:
    serve_project(web)

    found = look(tmp_path, 7, LABEL_STUDIO_URL=web.url, LABEL_STUDIO_API_KEY=TOKEN)

    assert levels(found)["weights"] == "problem"
    assert levels(found)["image"] == "ok"
    assert found[-1].seen == "because the model is not loaded"


def test_examine_tries_a_project_with_the_model_and_leaves_nothing(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_project(web)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    cache = tmp_path / "cache"

    found = look(
        cache,
        7,
        MODEL="pocket",
        LABEL_STUDIO_URL=web.url,
        LABEL_STUDIO_API_KEY=TOKEN,
    )

    assert found[-1].subject == "prediction"
    assert found[-1].level in {"ok", "warning"}
    assert levels(found)["loading"] == "ok"
    assert list(cache.iterdir()) == []
    assert not [t for t in threading.enumerate() if "embedded-cache" in t.name]
    # torch keeps a folder of its own there.
    assert [path for path in scratch.iterdir() if "diffsegmenter" in path.name] == []


def test_examine_shows_no_secret_whoever_says_it(
    tmp_path: Path, web: WebServer
) -> None:
    serve_label_studio(web)
    secrets = f"{TOKEN} basic-s3cret r3dis/pw r3dis%2Fpw"
    serve_json(web, "/api/current-user/whoami", {"email": secrets})
    projects = {"count": 1, "results": [{"id": 1, "title": secrets}]}
    serve_json(web, "/api/projects", projects)

    found = look(
        tmp_path,
        LABEL_STUDIO_URL=web.url,
        LABEL_STUDIO_API_KEY=TOKEN,
        BASIC_AUTH_USER="ann",
        BASIC_AUTH_PASS="basic-s3cret",
        REDIS_URL="redis://:r3dis%2Fpw@127.0.0.1:9/0",
    )

    text = str(found)
    assert "1 '*** *** *** ***'" in text
    assert "Redis at 127.0.0.1:9/0 cannot be used" in text
    for secret in (TOKEN, "basic-s3cret", "r3dis"):
        assert secret not in text


@pytest.mark.parametrize("body", [None, [], {}, "x", 0, [None], {"results": [[]]}])
def test_examine_survives_a_label_studio_that_answers_nonsense(
    tmp_path: Path, web: WebServer, body: Any
) -> None:
    serve_json(web, "/api/current-user/whoami", {"email": body})
    for path in ("version", "projects", "projects/7", "ml", "webhooks/", "tasks"):
        serve_json(web, f"/api/{path}", body)

    found = look(tmp_path, 7, LABEL_STUDIO_URL=web.url, LABEL_STUDIO_API_KEY=TOKEN)

    assert not [f for f in found if "this check broke down" in f.seen]
    assert {f.subject for f in found} <= {*SUBJECTS, "webhook", "reachable"}


def test_examine_says_of_a_project_that_is_not_there_that_it_was_not_found(
    tmp_path: Path, web: WebServer
) -> None:
    serve_project(web)

    found = look(tmp_path, 77, LABEL_STUDIO_URL=web.url, LABEL_STUDIO_API_KEY=TOKEN)

    seen = {finding.subject: finding.seen for finding in found}
    for subject in ("connection", "label config", "image"):
        assert seen[subject] == "because project 77 was not found"


def test_examine_needs_a_token_only_when_a_project_is_chosen(
    tmp_path: Path, web: WebServer
) -> None:
    serve_project(web)

    assert levels(look(tmp_path, LABEL_STUDIO_URL=web.url))["token"] == "warning"
    assert levels(look(tmp_path, 7, LABEL_STUDIO_URL=web.url))["token"] == "problem"


@pytest.mark.parametrize(
    ("variables", "differs"),
    [
        pytest.param({}, False, id="same"),
        pytest.param({"MODEL_SCORE_THRESHOLD": "0.3"}, True, id="other-threshold"),
        pytest.param({"MODEL": "./nowhere"}, False, id="no-model-to-compare"),
    ],
)
def test_examine_compares_its_settings_with_the_running_backends(
    tmp_path: Path, web: WebServer, variables: dict[str, str], differs: bool
) -> None:
    serve_project(web)
    running = settings(MODEL="pocket", CACHE_DIR=str(tmp_path / "running"))
    engine = build_engine(running)
    version = engine.predictor.model_version(RED_AND_BLUE)
    engine.cache.close()
    serve_json(web, "/api/ml", [row("http://127.0.0.1:9", model_version=version)])

    found = look(
        tmp_path / "cache",
        7,
        LABEL_STUDIO_URL=web.url,
        LABEL_STUDIO_API_KEY=TOKEN,
        **{"MODEL": "pocket", **variables},
    )

    warnings = [f for f in found if f"answers version {version}" in f.seen]
    assert [f.level for f in warnings] == ["warning"] * differs
    assert not [f for f in found if "this check broke down" in f.seen]


def test_examine_goes_on_after_a_check_that_breaks_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Any) -> Any:
        raise RuntimeError("no such disk, s3cret")

    monkeypatch.setattr(shutil, "disk_usage", broken)

    found = look(tmp_path, LABEL_STUDIO_API_KEY="s3cret")

    cache = next(finding for finding in found if finding.subject == "cache")
    assert cache.level == "problem"
    assert "broke down (RuntimeError: no such disk, ***)" in cache.seen
    assert [finding.subject for finding in found] == SUBJECTS
