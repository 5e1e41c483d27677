"""The adapter in a process of label-studio-ml 1.0.9, asked by a real Label Studio.

On the library's 2.x: tests/backend/test_label_studio_ml.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest

from tests.e2e.backend_process import Backend
from tests.e2e.examples import PROJECTS, encode_file
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.label_studio_ml import (
    LaunchedModel,
    run_beside_the_library,
    running_label_studio_ml,
)
from tests.e2e.masks import intersection_over_union, label_mask
from tests.e2e.processes import ARTIFACTS_DIR
from tests.e2e.seeding import SeededTask, seed_project
from tests.web_server import WebServer, running_web_server

pytestmark = pytest.mark.e2e

MEAN_IOU_FLOOR: Final = 0.7

_BOATS, _PETS, _STREET, _ = PROJECTS
_TIMEOUT_S: Final = 120

# Prints the version that `/setup` answers for a model that is not ours.
_ANOTHER_MODEL: Final = """
from label_studio_ml.api import init_app
from label_studio_ml.model import LabelStudioMLBase

import backend.label_studio_ml

class Another(LabelStudioMLBase):
    def predict(self, tasks, **kwargs):
        return []

client = init_app(Another, model_dir="models").test_client()
told = {"project": "1.1795346673", "schema": "<View></View>"}
print(client.post("/setup", json=told).json["model_version"])
"""


@pytest.fixture(scope="module")
def pictures() -> Iterator[WebServer]:
    """A web server for pictures, empty."""
    with running_web_server() as server:
        yield server


@pytest.fixture(scope="module")
def launched(
    pictures: WebServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LaunchedModel]:
    """The model, told by nobody but `/setup` where Label Studio is."""
    folder = tmp_path_factory.mktemp("label-studio-ml")
    with running_label_studio_ml(
        folder=folder,
        log_path=ARTIFACTS_DIR / "label-studio-ml.log",
        environment={
            "CACHE_DIR": str(folder / "cache"),
            "IMAGE_HOSTS": pictures.url.removeprefix("http://"),
            "BASIC_AUTH_USER": "somebody",
            "BASIC_AUTH_PASS": "secret",
        },
    ) as model:
        yield model


@pytest.fixture(scope="module")
def boats(api: LabelStudioApi, launched: LaunchedModel) -> list[SeededTask]:
    """Three tasks, after one "Retrieve predictions"."""
    tasks = seed_project(api, _BOATS, backend_url=launched.url)
    api.retrieve_predictions(tasks[0].project_id)
    return tasks


def post(label_studio: LabelStudio, path: str, body: Any) -> Any:
    """What Label Studio's API answers."""
    headers = {"Authorization": f"Token {label_studio.legacy_token}"}
    answer = httpx.post(
        f"{label_studio.url}{path}", json=body, headers=headers, timeout=_TIMEOUT_S
    )
    return answer.raise_for_status().json()


def stored_ids(api: LabelStudioApi, tasks: list[SeededTask]) -> list[int]:
    """Every prediction of the tasks."""
    return [int(p["id"]) for task in tasks for p in api.predictions(task.id)]


def test_masks_that_the_launched_model_paints_agree_with_the_true_ones(
    api: LabelStudioApi, boats: list[SeededTask]
) -> None:
    ious = []
    for task in boats:
        (prediction,) = api.predictions(task.id)
        stored = label_mask(prediction, "boat", task.example.size_yx)
        (truth,) = task.scene.visible
        ious.append(intersection_over_union(stored, truth))

    assert float(np.mean(ious)) >= MEAN_IOU_FLOOR, ious
    assert any(rows != columns for rows, columns in (t.example.size_yx for t in boats))


def test_predictions_have_the_version_that_setup_told_and_are_made_once(
    api: LabelStudioApi, boats: list[SeededTask]
) -> None:
    project_id = boats[0].project_id
    stored = [p for task in boats for p in api.predictions(task.id)]

    (row,) = api.backends(project_id)
    api.retrieve_predictions(project_id)

    assert row["readable_state"] == "Connected", row["error_message"]
    assert row["model_version"].startswith("diffsegmenter-pocket-")
    assert {p["model_version"] for p in stored} == {row["model_version"]}
    assert stored_ids(api, boats) == [p["id"] for p in stored]


def test_an_annotation_starts_no_process_and_makes_no_prediction_stale(
    api: LabelStudioApi,
    label_studio: LabelStudio,
    launched: LaunchedModel,
    boats: list[SeededTask],
) -> None:
    project_id = boats[0].project_id
    before = stored_ids(api, boats)
    # The library answers 201, having started a process that imports torch.
    taken_in = '"POST /webhook HTTP/1.1" 200'
    seen = launched.log.count(taken_in)

    post(label_studio, f"/api/tasks/{boats[0].id}/annotations", {"result": []})
    api.retrieve_predictions(project_id)

    assert launched.log.count(taken_in) > seen
    assert "has been started" not in launched.log
    assert stored_ids(api, boats) == before


def test_a_click_is_answered_as_by_our_own_server_and_for_its_own_project(
    api: LabelStudioApi,
    label_studio: LabelStudio,
    launched: LaunchedModel,
    backend: Backend,
) -> None:
    (task,) = seed_project(
        api, _PETS, backend_url=launched.url, examples=_PETS.examples[:1]
    )
    api.connect_backend(task.project_id, backend.url)
    rows = api.backends(task.project_id)
    for row in rows:
        api.update_backend(row, is_interactive=True)
    # The last project that is set up is the one whose model the library keeps.
    seed_project(api, _STREET, backend_url=launched.url, examples=_STREET.examples[:1])
    y, x = np.argwhere(task.scene.visible[task.scene.words.index("cat")])[200] + 0.5
    rows_px, columns_px = task.example.size_yx
    value = {"x": 100 * x / columns_px, "y": 100 * y / rows_px, "width": 0.3}
    click = {
        "id": "click",
        "type": "keypointlabels",
        "from_name": "points",
        "to_name": "image",
        "origin": "manual",
        "is_positive": True,
        "value": {**value, "labels": ["cat"], "keypointlabels": ["cat"]},
    }

    theirs, ours = (
        post(
            label_studio,
            f"/api/ml/{row['id']}/interactive-annotating",
            {"task": task.id, "context": {"result": [click]}},
        )
        for row in rows
    )

    assert theirs["data"]["model_version"] == rows[0]["model_version"]
    assert len(theirs["data"]["result"]) == 1
    assert json.dumps(theirs) == json.dumps(ours)


def test_a_task_without_its_image_costs_the_others_nothing_and_is_asked_again(
    api: LabelStudioApi, launched: LaunchedModel, pictures: WebServer
) -> None:
    example = _BOATS.examples[1]
    content = encode_file(example, _BOATS.scene(example).image)
    late = f"{pictures.url}/late.png"
    project_id = api.create_project("Late", _BOATS.label_config)
    addresses = [
        pictures.serve("/1.png", content),
        late,
        pictures.serve("/3.png", content),
    ]
    tasks = api.import_tasks(project_id, [{"image": address} for address in addresses])
    api.connect_backend(project_id, launched.url)

    api.retrieve_predictions(project_id)
    first = [len(api.predictions(task["id"])) for task in tasks]
    pictures.serve("/late.png", content)
    api.retrieve_predictions(project_id)
    second = [len(api.predictions(task["id"])) for task in tasks]

    assert (first, second) == ([1, 0, 1], [1, 1, 1])


def test_the_log_says_that_nobody_is_asked_for_the_password(
    launched: LaunchedModel, boats: list[SeededTask]
) -> None:
    assert boats
    assert "asks nobody for a password" in launched.log
    assert "secret" not in launched.log


def test_another_model_of_the_same_process_keeps_the_librarys_ways(
    tmp_path: Path,
) -> None:
    assert run_beside_the_library(_ANOTHER_MODEL, tmp_path) == "INITIAL\n"
