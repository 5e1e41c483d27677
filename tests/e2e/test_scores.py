"""The Data Manager sorts and filters by our scores, and what the label stream shows."""

from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import pytest

from backend.doctor import Finding, examine
from backend.settings import Settings
from segmenter.pocket.scenes import Scene, render_scene
from segmenter.pocket.words import WORDS
from tests.e2e.backend_process import Backend
from tests.e2e.batches import Batch
from tests.e2e.examples import PROJECTS, ExampleProject
from tests.e2e.label_studio import (
    LabelStudio,
    label_studio_process,
    new_label_studio,
)
from tests.e2e.label_studio_api import LabelStudioApi, api_with_legacy_token
from tests.e2e.masks import intersection_over_union, label_mask, region_labels
from tests.e2e.processes import ARTIFACTS_DIR
from tests.e2e.seeding import seed_project
from tests.fakes import brush_config, data_uri, encoded, striped

pytestmark = pytest.mark.e2e

_SCENES: Final = max(PROJECTS, key=lambda project: len(project.examples))
_MANY_SCENES: Final = range(1_010_000, 1_010_030)
# In IoU: the best-scored third than the worst-scored.
_BETTER_BY: Final = 0.15
_SCORE: Final = "predictions_score"
_FLAG: Final = "ff_front_dev_1682_model_version_dropdown_070622_short"


def project_of(
    api: LabelStudioApi,
    label_studio: LabelStudio,
    backend: Backend,
    folder: Path,
    scenes: ExampleProject = _SCENES,
) -> Batch:
    """A project that is connected to the backend; the command has its settings."""
    (first, *_) = seed_project(api, scenes, backend_url=backend.url)
    blank = data_uri(encoded(striped("white", size_yx=(64, 64))))
    api.import_many(first.project_id, [{"image": blank}])
    return Batch(
        api=api,
        project_id=first.project_id,
        environment={
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": label_studio.legacy_token,
            "CACHE_DIR": str(folder / "cache"),
            "REDIS_URL": "",
            "COLUMNS": "200",
        },
    )


def scores_of(batch: Batch) -> dict[int, float]:
    """The score of each task's prediction."""
    return {int(row["task"]): float(row["score"]) for row in batch.predictions()}


def sorted_by_score(batch: Batch, sign: str = "") -> list[int]:
    """What a tab shows that somebody has sorted by the score's column."""
    nothing = {"conjunction": "and", "items": []}
    tab = batch.api.create_tab(
        batch.project_id, nothing, ordering=[f"{sign}tasks:{_SCORE}"]
    )
    return batch.api.tasks_in_tab(batch.project_id, tab)


def filtered_by_score(batch: Batch, operator: str, value: Any) -> set[int]:
    """What a tab shows that somebody has filtered by the score."""
    item = {
        "filter": f"filter:tasks:{_SCORE}",
        "operator": operator,
        "type": "Number",
        "value": value,
    }
    tab = batch.api.create_tab(
        batch.project_id, {"conjunction": "and", "items": [item]}
    )
    return set(batch.api.tasks_in_tab(batch.project_id, tab))


def assert_sorts_and_filters(batch: Batch) -> None:
    scores = scores_of(batch)
    assert len(set(scores.values())) > 2, "nothing to sort"
    for sign in ("", "-"):
        shown = [scores[task_id] for task_id in sorted_by_score(batch, sign)]
        assert len(shown) == len(scores)
        assert shown == sorted(shown, reverse=sign == "-")
    middle = median(scores.values())
    assert filtered_by_score(batch, "less", middle) == {
        task_id for task_id, score in scores.items() if score < middle
    }


def score_finding(batch: Batch) -> Finding:
    """What the doctor says of it."""
    findings = examine(
        Settings.from_env(dict(batch.environment)), project_id=batch.project_id
    )
    return next(finding for finding in findings if finding.subject == "score")


def test_tasks_are_sorted_and_filtered_by_score_once_the_project_shows_the_version(
    api: LabelStudioApi, label_studio: LabelStudio, backend: Backend, tmp_path: Path
) -> None:
    batch = project_of(api, label_studio, backend, tmp_path)
    connected = api.model_version(batch.project_id)

    batch.run("--no-set-version")
    before = filtered_by_score(batch, "empty", "false")
    complaint = score_finding(batch)
    again = batch.run()
    (version,) = {row["model_version"] for row in batch.predictions()}

    assert connected == "DiffSegmenter"
    assert before == set()
    assert complaint.level == "warning"
    assert f"{_FLAG}=true" in str(complaint.remedy)
    assert "Nothing to do" in again
    assert "the Data Manager sorts and filters by their score" in again
    assert api.model_version(batch.project_id) == version
    assert_sorts_and_filters(batch)
    assert score_finding(batch).level == "ok"


def test_the_label_stream_shows_what_is_stored_and_predicts_nothing_more(
    api: LabelStudioApi, label_studio: LabelStudio, backend: Backend, tmp_path: Path
) -> None:
    batch = project_of(api, label_studio, backend, tmp_path)
    batch.run()
    old = [task["id"] for task in api.tasks(batch.project_id)]
    seen = api.next_task(batch.project_id)
    picture = data_uri(encoded(striped("red", "blue", size_yx=(64, 66))))
    (new,) = api.import_tasks(batch.project_id, [{"image": picture}])
    for task_id in old:
        api.annotate(task_id)

    by_version = api.next_task(batch.project_id)
    api.show_version(batch.project_id, "DiffSegmenter")
    by_title = api.next_task(batch.project_id)

    version = backend_version(batch)
    assert [row["model_version"] for row in seen["predictions"]] == [version]
    assert by_version["id"] == by_title["id"] == new["id"]
    assert by_version["predictions"] == []
    assert [row["model_version"] for row in by_title["predictions"]] == [version]


def backend_version(batch: Batch) -> str:
    """What Label Studio was told by the connected backend."""
    (row,) = batch.api.backends(batch.project_id)
    return str(row["model_version"])


def test_with_the_flag_the_score_is_there_under_the_backends_title(
    backend: Backend, tmp_path: Path
) -> None:
    own = new_label_studio(folder=tmp_path / "data")
    with (
        label_studio_process(
            own,
            log_path=ARTIFACTS_DIR / "label-studio-flag.log",
            environment={_FLAG: "true"},
        ),
        api_with_legacy_token(own.url, own.legacy_token) as api,
    ):
        batch = project_of(api, own, backend, tmp_path)
        batch.run("--no-set-version")

        assert api.model_version(batch.project_id) == "DiffSegmenter"
        assert_sorts_and_filters(batch)
        assert score_finding(batch).level == "ok"


def test_a_version_that_somebody_chose_is_left(
    api: LabelStudioApi, label_studio: LabelStudio, backend: Backend, tmp_path: Path
) -> None:
    batch = project_of(api, label_studio, backend, tmp_path)
    (task_id, *_) = [task["id"] for task in api.tasks(batch.project_id)]
    api.store_prediction(task_id, "yolo-8")
    api.show_version(batch.project_id, "yolo-8")

    said = batch.run()

    assert "shows predictions of 'yolo-8'" in said
    assert api.model_version(batch.project_id) == "yolo-8"


def test_sorting_by_score_puts_the_worst_first(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    """Of scenes with one to four objects, all 24 words asked for."""
    config = brush_config("".join(f'<Label value="{word}"/>' for word in WORDS))
    project_id = api.create_project("Scenes", config)
    scenes = {seed: render_scene(seed) for seed in _MANY_SCENES}
    api.import_many(
        project_id,
        [{"image": data_uri(encoded(scene.image))} for scene in scenes.values()],
    )
    batch = Batch(
        api=api,
        project_id=project_id,
        environment={
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": label_studio.legacy_token,
            "CACHE_DIR": str(tmp_path / "cache"),
            "REDIS_URL": "",
            "COLUMNS": "200",
        },
    )
    batch.run("--set-version")
    predictions = {int(row["task"]): row for row in batch.predictions()}
    ious = {
        int(task["id"]): mean_iou(predictions[int(task["id"])], scene)
        for task, scene in zip(api.tasks(project_id), scenes.values(), strict=True)
    }

    shown = [ious[task_id] for task_id in sorted_by_score(batch)]

    third = len(shown) // 3
    worst, best = np.mean(shown[:third]), np.mean(shown[-third:])
    assert worst <= best - _BETTER_BY, (worst, best, shown)


def mean_iou(prediction: dict[str, Any], scene: Scene) -> float:
    """Of all words that are drawn; 0 for one that the scene does not show."""
    truth = dict(zip(scene.words, scene.visible, strict=True))
    size_yx = (scene.image.shape[0], scene.image.shape[1])
    drawn = {label for r in prediction["result"] for label in region_labels(r)}
    nothing = np.zeros(size_yx, np.bool_)
    return float(
        np.mean(
            [
                intersection_over_union(
                    label_mask(prediction, label, size_yx), truth.get(label, nothing)
                )
                for label in drawn
            ]
            or [0.0]
        )
    )
