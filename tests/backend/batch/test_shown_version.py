"""Whose predictions a project shows and sorts by, once its tasks hold new ones."""

import pytest

from backend.batch.shown_version import show_version
from backend.errors import LabelStudioRefusal
from backend.label_studio import ProjectTasks
from tests.fakes import MODEL_VERSION
from tests.label_studio_stand_in import LabelStudioStandIn

OURS = "DiffSegmenter"
THEIRS = "YOLO"
EARLIER = "diffsegmenter-colours-older"


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    """Its one task holds a prediction; a backend of ours and another are connected."""
    project_id = studio.add_project()
    (task_id,) = studio.add_pictures(project_id, 1)
    studio.store(task_id, MODEL_VERSION)
    studio.projects[project_id].backends = {OURS: EARLIER, THEIRS: "yolo-8"}
    return project_id


@pytest.fixture
def tasks(studio: LabelStudioStandIn, project_id: int) -> ProjectTasks:
    return ProjectTasks(studio.client(), project_id, retry_for_s=0)


@pytest.mark.parametrize("before", ["", OURS, EARLIER])
def test_a_version_of_ours_or_none_gives_way(
    before: str, studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    studio.projects[project_id].model_version = before

    said = show_version(tasks, MODEL_VERSION, is_partial=False)

    assert studio.projects[project_id].model_version == MODEL_VERSION
    assert f"the project's model version is {MODEL_VERSION}" in said
    assert ("PREANNOTATE_NEW_TASKS" in said) == (before == OURS)


@pytest.mark.parametrize("before", [THEIRS, "yolo-8", "a backend that is gone"])
def test_what_somebody_chose_is_left_and_said(
    before: str, studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    studio.projects[project_id].model_version = before

    said = show_version(tasks, MODEL_VERSION, is_partial=False)

    assert studio.projects[project_id].model_version == before
    assert f"shows predictions of {before!r}" in said
    assert f"choose {MODEL_VERSION!r} under Settings > Annotation" in said


@pytest.mark.parametrize("before", [OURS, EARLIER])
def test_some_tasks_do_not_take_from_the_others_what_is_shown(
    before: str, studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    studio.projects[project_id].model_version = before

    said = show_version(tasks, MODEL_VERSION, is_partial=True)

    assert studio.projects[project_id].model_version == before
    assert "--set-version" in said


def test_some_tasks_are_shown_where_nothing_was(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    show_version(tasks, MODEL_VERSION, is_partial=True)

    assert studio.projects[project_id].model_version == MODEL_VERSION


def test_a_version_that_is_shown_already_is_left_without_a_word(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    studio.projects[project_id].model_version = MODEL_VERSION

    assert show_version(tasks, MODEL_VERSION, is_partial=False) == ""
    assert studio.n_requests("PATCH") == 0


def test_a_version_without_predictions_is_refused(tasks: ProjectTasks) -> None:
    with pytest.raises(LabelStudioRefusal, match="model_version"):
        show_version(tasks, "diffsegmenter-colours-none", is_partial=False)
