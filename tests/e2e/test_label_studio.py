"""The whole way, nothing faked: what Label Studio stored and what it shows."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tests.e2e.backend_process import Backend, running_backend
from tests.e2e.browser import Browser
from tests.e2e.examples import LABEL_COLOURS, PROJECTS
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import (
    LabelStudioApi,
    api_with_personal_access_token,
)
from tests.e2e.masks import (
    decode_region,
    intersection_over_union,
    label_mask,
    shrink,
    union,
)
from tests.e2e.painting import Paint, assert_painted
from tests.e2e.processes import ARTIFACTS_DIR
from tests.e2e.seeding import SeededTask, seed_project
from tests.redis_server import RedisServer

pytestmark = pytest.mark.e2e

MEAN_IOU_FLOOR: Final = 0.7

_BOATS, _, _, _MEADOW = PROJECTS
LANDSCAPE: Final = _BOATS.examples[1]
TURNED: Final = _MEADOW.examples[2]


def test_label_studio_shows_every_backend_as_connected(
    api: LabelStudioApi, predicted_tasks: list[SeededTask]
) -> None:
    for project_id in {task.project_id for task in predicted_tasks}:
        (row,) = api.backends(project_id)

        assert row["readable_state"] == "Connected", row["error_message"]


def test_every_task_holds_one_prediction_with_the_version_of_setup(
    api: LabelStudioApi,
    backend: Backend,
    label_studio: LabelStudio,
    predicted_tasks: list[SeededTask],
) -> None:
    for task in predicted_tasks:
        version = _setup_version(backend, label_studio, task)

        predictions = api.predictions(task.id)

        assert [p["model_version"] for p in predictions] == [version], task.example


def test_every_region_decodes_to_the_upright_size_and_has_its_own_id(
    api: LabelStudioApi, predicted_tasks: list[SeededTask]
) -> None:
    missed: list[str] = []
    for task in predicted_tasks:
        (prediction,) = api.predictions(task.id)

        regions = prediction["result"]

        painted = {name for r in regions for name in r["value"]["brushlabels"]}
        assert painted <= set(task.project.labels), task.example
        missed += [f"{task.example} {n}" for n in set(task.project.labels) - painted]
        assert len({region["id"] for region in regions}) == len(regions)
        for region in regions:
            assert decode_region(region, task.example.size_yx).any()
            assert region["image_rotation"] == 0
            assert 0 <= region["score"] <= 1
        assert 0 <= prediction["score"] <= 1
    # Presence is a probability: of 21 objects that are there it may doubt one.
    assert len(missed) <= 1, missed


def test_stored_masks_agree_with_the_true_masks(
    api: LabelStudioApi, predicted_tasks: list[SeededTask]
) -> None:
    ious: list[float] = []
    lines: list[str] = []
    for task in predicted_tasks:
        (prediction,) = api.predictions(task.id)
        for word, truth in zip(task.scene.words, task.scene.visible, strict=True):
            stored = label_mask(prediction, word, task.example.size_yx)
            ious.append(intersection_over_union(stored, truth))
            lines.append(f"{task.example.file_name} {word} {ious[-1]:.3f}")

    mean_iou = float(np.mean(ious))

    report = "\n".join([*lines, f"mean {mean_iou:.3f}", ""])
    (ARTIFACTS_DIR / "iou.txt").write_text(report)
    assert len(predicted_tasks) >= 8
    assert mean_iou >= MEAN_IOU_FLOOR, report


def test_a_second_retrieval_adds_no_prediction(
    api: LabelStudioApi, predicted_tasks: list[SeededTask]
) -> None:
    before = {task.id: api.predictions(task.id) for task in predicted_tasks}

    for project_id in {task.project_id for task in predicted_tasks}:
        api.retrieve_predictions(project_id)

    after = {task.id: api.predictions(task.id) for task in predicted_tasks}
    assert after == before


def test_a_repeated_predict_is_answered_from_what_is_kept(
    api: LabelStudioApi,
    backend: Backend,
    redis_server: RedisServer,
    predicted_tasks: list[SeededTask],
) -> None:
    tasks = [t for t in predicted_tasks if t.project is PROJECTS[1]]
    request = _predict_request(tasks)
    known = backend.metric("diffsegmenter_images_known_total")
    segmented = backend.metric("diffsegmenter_images_segmented_total")

    answer = backend.post("/predict", request)

    with redis_server.client() as client:
        assert client.dbsize() >= len(predicted_tasks)
    assert backend.metric("diffsegmenter_images_known_total") == known + len(tasks)
    assert backend.metric("diffsegmenter_images_segmented_total") == segmented
    for task, again in zip(tasks, answer["results"], strict=True):
        (stored,) = api.predictions(task.id)
        for word in task.scene.words:
            np.testing.assert_array_equal(
                label_mask(again, word, task.example.size_yx),
                label_mask(stored, word, task.example.size_yx),
            )


@pytest.mark.parametrize(
    "example",
    [pytest.param(LANDSCAPE, id="landscape"), pytest.param(TURNED, id="exif-6")],
)
def test_the_editor_paints_each_object_in_its_labels_colour(
    api: LabelStudioApi,
    browser: Browser,
    predicted_tasks: list[SeededTask],
    example: Any,
) -> None:
    (task,) = (t for t in predicted_tasks if t.example == example)
    (prediction,) = api.predictions(task.id)
    stored = {
        w: label_mask(prediction, w, example.size_yx) for w in task.project.labels
    }
    truth = dict(zip(task.scene.words, task.scene.visible, strict=True))
    colours = dict(zip(task.project.labels, LABEL_COLOURS, strict=False))
    # Where two labels' masks overlap, both colours lie over the picture.
    alone = {w: ~union([m for v, m in stored.items() if v != w]) for w in stored}
    paints = {
        w: Paint(
            colour=colours[w],
            where=shrink(truth[w] & stored[w] & alone[w], by_px=1),
        )
        for w in stored
    }

    browser.open_task(task.project_id, task.id)

    assert_painted(
        browser,
        task.scene.image,
        paints,
        untouched=shrink(~union([*stored.values(), *truth.values()]), by_px=2),
        screenshot=ARTIFACTS_DIR / f"editor-{task.example.seed}.png",
    )


def test_a_personal_access_token_reads_images_where_legacy_tokens_are_off(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    token = api.create_personal_access_token()
    with (
        running_backend(
            label_studio_url=label_studio.url,
            token=token,
            cache_dir=tmp_path,
            log_path=ARTIFACTS_DIR / "backend-personal-access-token.log",
        ) as backend,
        api_with_personal_access_token(label_studio.url, token) as own_api,
    ):
        own_api.allow_legacy_tokens(False)
        try:
            (task,) = seed_project(
                own_api, _BOATS, backend_url=backend.url, examples=[LANDSCAPE]
            )
            own_api.retrieve_predictions(task.project_id)
            (prediction,) = own_api.predictions(task.id)
        finally:
            own_api.allow_legacy_tokens(True)
            own_api.revoke_personal_access_token(token)

    assert label_mask(prediction, "boat", LANDSCAPE.size_yx).any()


def _setup_version(
    backend: Backend, label_studio: LabelStudio, task: SeededTask
) -> str:
    """Ask `/setup` as Label Studio does."""
    body = {
        "project": f"{task.project_id}.1700000000",
        "schema": task.project.label_config,
        "hostname": label_studio.url,
        "access_token": label_studio.legacy_token,
        "extra_params": None,
    }
    version: str = backend.post("/setup", body)["model_version"]
    return version


def _predict_request(tasks: list[SeededTask]) -> dict[str, Any]:
    """The body that Label Studio sends for tasks of one project."""
    return {
        "tasks": [task.task for task in tasks],
        "project": f"{tasks[0].project_id}.1700000000",
        "label_config": tasks[0].project.label_config,
        "params": {"login": None, "password": None, "context": None},
    }
