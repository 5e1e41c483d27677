"""The doctor against a real Label Studio, healthy and in the ways it fails."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from backend.doctor import Finding, examine
from backend.settings import Settings
from tests.e2e.backend_process import Backend, running_backend
from tests.e2e.examples import PROJECTS
from tests.e2e.label_studio import LabelStudio, running_label_studio
from tests.e2e.label_studio_api import (
    LabelStudioApi,
    api_with_legacy_token,
    api_with_personal_access_token,
)
from tests.e2e.processes import (
    ARTIFACTS_DIR,
    REPOSITORY,
    child_environment,
    free_port,
)
from tests.e2e.seeding import SeededTask, seed_project
from tests.redis_server import RedisServer
from tests.web_server import running_web_server

pytestmark = pytest.mark.e2e

_PETS: Final = PROJECTS[1]
_DOCTOR_TIMEOUT_S: Final = 180
# What Label Studio itself calls backends as.
_LABEL_STUDIO_AGENT: Final = "heartex"


@pytest.fixture(scope="module")
def task(api: LabelStudioApi, backend: Backend) -> SeededTask:
    """A picture in a project of its own, which is connected to the backend."""
    (seeded,) = seed_project(
        api, _PETS, backend_url=backend.url, examples=_PETS.examples[:1]
    )
    return seeded


@pytest.fixture(scope="module")
def strict_label_studio(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LabelStudio]:
    """A Label Studio as it comes: it blocks private addresses."""
    with running_label_studio(
        folder=tmp_path_factory.mktemp("strict-label-studio") / "data",
        log_path=ARTIFACTS_DIR / "label-studio-strict.log",
        allows_loopback=False,
    ) as server:
        yield server


def look(
    label_studio: LabelStudio,
    folder: Path,
    *,
    project_id: int | None = None,
    task_id: int | None = None,
    **variables: str,
) -> Mapping[str, Sequence[Finding]]:
    """Findings by subject, of an installation whose model is not there."""
    environment = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.legacy_token,
        "CACHE_DIR": str(folder),
        "MODEL": "./nowhere",
        "PORT": str(free_port()),
        **variables,
    }
    by_subject: dict[str, list[Finding]] = {}
    settings = Settings.from_env(environment)
    for finding in examine(settings, project_id=project_id, task_id=task_id):
        by_subject.setdefault(finding.subject, []).append(finding)
    return by_subject


def call(label_studio: LabelStudio, method: str, path: str, body: Any = None) -> Any:
    """One request of Label Studio's API."""
    headers = {"Authorization": f"Token {label_studio.legacy_token}"}
    url = label_studio.url + path
    answer = httpx.request(method, url, json=body, headers=headers, timeout=30)
    return answer.raise_for_status().json()


def test_doctor_finds_nothing_wrong_with_a_healthy_installation(
    api: LabelStudioApi,
    label_studio: LabelStudio,
    backend: Backend,
    redis_server: RedisServer,
    task: SeededTask,
) -> None:
    command = [sys.executable, "-m", "backend.cli", "doctor", "--json"]
    before = _contents(api, label_studio, task)

    result = subprocess.run(
        [*command, "--project", str(task.project_id)],
        cwd=REPOSITORY,
        env=child_environment(
            {
                "LABEL_STUDIO_URL": label_studio.url,
                "LABEL_STUDIO_API_KEY": label_studio.legacy_token,
                "REDIS_URL": redis_server.url,
                "PORT": backend.url.rpartition(":")[2],
            }
        ),
        capture_output=True,
        text=True,
        timeout=_DOCTOR_TIMEOUT_S,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(result.stdout)["findings"]
    (ARTIFACTS_DIR / "doctor.json").write_text(result.stdout)
    # The pocket model is for trying out, and it says so.
    assert {f["subject"] for f in found if f["level"] != "ok"} == {"weights"}
    seen = {f["subject"]: f["seen"] for f in found}
    assert "accepted" in seen["token"]
    assert "is connected, model version diffsegmenter-pocket" in seen["connection"]
    assert "1 image read" in seen["image"]
    assert "regions in" in seen["prediction"]
    assert "strict validation accepts them" in seen["prediction"]
    assert label_studio.legacy_token not in result.stdout + result.stderr
    assert _contents(api, label_studio, task) == before


def test_doctor_lists_the_projects_where_none_is_chosen(
    label_studio: LabelStudio, task: SeededTask, tmp_path: Path
) -> None:
    (project,) = look(label_studio, tmp_path)["project"]

    assert project.level == "ok"
    assert f"{task.project_id} {_PETS.title!r}" in project.seen


def test_doctor_reports_a_project_that_is_not_there(
    label_studio: LabelStudio, tmp_path: Path
) -> None:
    (project,) = look(label_studio, tmp_path, project_id=10**6)["project"]

    assert project.level == "problem"
    assert "status 404" in project.seen


def test_doctor_reports_a_running_backend_that_has_other_settings(
    label_studio: LabelStudio, backend: Backend, task: SeededTask, tmp_path: Path
) -> None:
    found = look(
        label_studio,
        tmp_path,
        project_id=task.project_id,
        MODEL="pocket",
        MODEL_SCORE_THRESHOLD="0.31",
        PORT=backend.url.rpartition(":")[2],
    )

    assert [finding.level for finding in found["connection"]] == ["ok", "warning"]
    assert "they differ in MODEL, thresholds or options" in found["connection"][1].seen


def test_doctor_reports_a_wrong_token(
    label_studio: LabelStudio, tmp_path: Path
) -> None:
    token = "0" * 40

    found = look(label_studio, tmp_path, LABEL_STUDIO_API_KEY=token)

    assert [f.level for f in found["Label Studio"]] == ["ok"]
    assert found["token"][0].level == "problem"
    assert "a legacy token, refused (status 401: Invalid token.)" in (
        found["token"][0].seen
    )
    assert found["project"][0].level == "skipped"


def test_doctor_tells_tokens_apart_where_legacy_tokens_are_off(
    api: LabelStudioApi, label_studio: LabelStudio, task: SeededTask, tmp_path: Path
) -> None:
    token = api.create_personal_access_token()
    with api_with_personal_access_token(label_studio.url, token) as own_api:
        own_api.allow_legacy_tokens(False)
        try:
            legacy = look(label_studio, tmp_path)
            personal = look(
                label_studio,
                tmp_path,
                project_id=task.project_id,
                LABEL_STUDIO_API_KEY=token,
            )
        finally:
            own_api.allow_legacy_tokens(True)
            own_api.revoke_personal_access_token(token)
    revoked = look(label_studio, tmp_path, LABEL_STUDIO_API_KEY=token)

    assert legacy["token"][0].level == "problem"
    assert "legacy tokens are disabled" in legacy["token"][0].seen
    assert personal["token"][0].level == "ok"
    assert "a personal access token of admin@example.com" in personal["token"][0].seen
    assert personal["image"][0].level == "ok"
    assert revoked["token"][0].level == "problem"
    assert "revoked" in revoked["token"][0].seen
    assert token not in str([legacy, personal, revoked])


def test_doctor_reports_a_label_config_without_anything_to_segment(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    project_id = api.create_project(
        "Only choices",
        '<View><Image name="image" value="$image"/><Choices name="c" toName="image">'
        '<Choice value="cat"/></Choices></View>',
    )

    found = look(label_studio, tmp_path, project_id=project_id)

    assert found["label config"][0].level == "problem"
    assert "<BrushLabels" in str(found["label config"][0].details)
    assert found["connection"][0].level == "problem"
    assert "no backend is connected" in found["connection"][0].seen
    assert found["image"][0].level == "skipped"


def test_doctor_reports_an_image_that_is_missing_for_the_chosen_task(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    project_id = api.create_project("Missing", _PETS.label_config)
    address = f"/data/upload/{project_id}/gone.png"
    _, second = api.import_tasks(project_id, [{"image": "x"}, {"image": address}])

    found = look(
        label_studio, tmp_path, project_id=project_id, task_id=int(second["id"])
    )

    assert found["image"][0].level == "problem"
    # Label Studio answers 500 for an upload that was deleted.
    assert address in found["image"][0].seen
    assert found["image"][0].remedy


def test_doctor_reports_a_backend_that_has_stopped(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    project_id = api.create_project("Stopped", _PETS.label_config)
    with running_backend(
        cache_dir=tmp_path / "cache", log_path=tmp_path / "backend.log"
    ) as backend:
        api.connect_backend(project_id, backend.url)

    found = look(
        label_studio,
        tmp_path,
        project_id=project_id,
        PORT=backend.url.rpartition(":")[2],
    )

    (connection,) = found["connection"]
    assert connection.level == "problem"
    assert f"at {backend.url} is disconnected" in connection.seen
    assert connection.remedy == "Start the backend: diffsegmenter serve"


def test_doctor_has_no_task_predicted_by_looking_at_it(
    api: LabelStudioApi, label_studio: LabelStudio, task: SeededTask, tmp_path: Path
) -> None:
    # Even a plain list of tasks asks the backend then.
    path = f"/api/projects/{task.project_id}"
    call(label_studio, "PATCH", path, {"evaluate_predictions_automatically": True})
    try:
        found = look(label_studio, tmp_path, project_id=task.project_id)
    finally:
        call(label_studio, "PATCH", path, {"evaluate_predictions_automatically": False})

    assert found["image"][0].level == "ok"
    assert api.predictions(task.id) == []


def test_doctor_stores_and_calls_nothing_by_asking_about_an_address(
    label_studio: LabelStudio, tmp_path: Path
) -> None:
    with running_web_server() as web:
        found = look(label_studio, tmp_path, PORT=str(web.port))

    assert found["call back"][0].level == "ok"
    assert found["webhook"][0].level == "ok"
    agents = [request.headers["user-agent"] for request in web.seen]
    assert not [agent for agent in agents if agent.startswith(_LABEL_STUDIO_AGENT)]
    webhooks = call(label_studio, "GET", "/api/webhooks/")
    assert not [row for row in webhooks if str(web.port) in row["url"]]


def test_doctor_reports_a_label_studio_that_blocks_private_addresses(
    strict_label_studio: LabelStudio, backend: Backend, tmp_path: Path
) -> None:
    server = strict_label_studio
    with api_with_legacy_token(server.url, server.legacy_token) as api:
        project_id = api.create_project("Blocked", _PETS.label_config)
        found = look(
            server,
            tmp_path,
            project_id=project_id,
            PORT=backend.url.rpartition(":")[2],
        )
        backends = api.backends(project_id)

    (finding,) = found["call back"]
    assert finding.level == "problem"
    assert finding.remedy is not None
    assert "LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false" in finding.remedy
    assert found["connection"][0].level == "problem"
    assert backends == []
    assert call(server, "GET", "/api/webhooks/") == []


def _contents(api: LabelStudioApi, label_studio: LabelStudio, task: SeededTask) -> Any:
    """What a check of a project could have changed in it."""
    return (
        api.tasks(task.project_id),
        api.predictions(task.id),
        [row["id"] for row in api.backends(task.project_id)],
        call(label_studio, "GET", "/api/webhooks/"),
    )
