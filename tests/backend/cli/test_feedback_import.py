"""`diffsegmenter feedback import` against a stand-in, with the pocket model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli import build_app
from backend.feedback import FeedbackStore, open_feedback_store
from segmenter import Example
from segmenter.pocket.scenes import render_scene
from tests.backend.feedback.annotations import annotation, region
from tests.fakes import brush_config, data_uri, encoded
from tests.label_studio_stand_in import TOKEN, LabelStudioStandIn

RunCommand = Callable[..., Any]
CONFIG = brush_config('<Label value="cat"/><Label value="zork" model_prompt=""/>')


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return open_feedback_store(None, tmp_path)


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project(label_config=CONFIG)


@pytest.fixture
def run(studio: LabelStudioStandIn, project_id: int, tmp_path: Path) -> RunCommand:
    def run_it(**variables: str) -> Any:
        environment = {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": TOKEN,
            "CACHE_DIR": str(tmp_path),
            "REDIS_URL": "",
            "DEVICE": "cpu",
            "COLUMNS": "200",
            "LEARN_AFTER": "3",
            **variables,
        }
        return CliRunner().invoke(
            build_app(),
            ["feedback", "import", "--project", str(project_id)],
            env=environment,
            catch_exceptions=False,
        )

    return run_it


def annotate(
    studio: LabelStudioStandIn, project_id: int, seed: int, address: str | None = None
) -> int:
    """A scene in which somebody has painted the first thing as a zork."""
    scene = render_scene(seed, n_objects=2)
    (task_id,) = studio.add_tasks(project_id, address or data_uri(encoded(scene.image)))
    submitted = annotation([region(np.asarray(scene.visible[0]), "zork")])
    del submitted["id"], submitted["task"]
    return studio.annotate(task_id, submitted.pop("result"), **submitted)


def test_import_learns_from_what_is_there_and_lets_it_count(
    studio: LabelStudioStandIn,
    project_id: int,
    run: RunCommand,
    store: FeedbackStore,
) -> None:
    ids = [annotate(studio, project_id, 700_000 + seed) for seed in range(4)]

    result = run()

    assert result.exit_code == 0, result.output
    assert f"Project {project_id}: 4 annotations read, of 4" in result.output
    found = store.corrections(str(project_id))
    assert [one.annotation for one in found] == ids
    example = Example.from_bytes(found[0].examples[0])
    assert example.labels == ("cat", "zork")
    assert [bool(cover.any()) for cover in example.covers] == [False, True]
    taught = store.heads(str(project_id))
    assert taught is not None
    assert taught.n_corrections == 4

    del studio.annotations[ids[0]]
    again = run()

    assert "1 that are gone were forgotten" in again.output
    assert [one.annotation for one in store.corrections(str(project_id))] == ids[1:]
    after = store.heads(str(project_id))
    assert after is not None
    assert after.n_corrections == 3


def test_import_leaves_it_to_start_training_where_the_operator_wants_that(
    studio: LabelStudioStandIn,
    project_id: int,
    run: RunCommand,
    store: FeedbackStore,
) -> None:
    annotate(studio, project_id, 700_000)

    assert run(LEARN_AFTER="0").exit_code == 0

    assert len(store.corrections(str(project_id))) == 1
    assert store.heads(str(project_id)) is None


def test_import_says_what_could_not_be_read_and_exits_1(
    studio: LabelStudioStandIn,
    project_id: int,
    run: RunCommand,
    store: FeedbackStore,
) -> None:
    annotate(studio, project_id, 700_000, address="/data/upload/1/gone.png")

    result = run()

    assert result.exit_code == 1
    assert "Not read, or not whole" in result.output
    assert "gone.png" in result.output or "404" in result.output
    assert store.corrections(str(project_id))[0].is_pending


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"LEARNING": "off"}, "LEARNING is off"),
        ({"LABEL_STUDIO_API_KEY": ""}, "Set LABEL_STUDIO_API_KEY"),
        ({"LABEL_STUDIO_API_KEY": "0" * 40}, "Correct LABEL_STUDIO_API_KEY"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "Check that it runs"),
    ],
)
def test_import_that_cannot_begin_says_why_and_exits_2(
    variables: dict[str, str],
    says: str,
    studio: LabelStudioStandIn,
    project_id: int,
    run: RunCommand,
) -> None:
    annotate(studio, project_id, 700_000)

    result = run(**variables)

    assert result.exit_code == 2
    assert says in result.output
