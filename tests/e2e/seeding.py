"""Fill a Label Studio with projects, backend connected, and have them predicted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from segmenter.pocket.scenes import Scene
from tests.e2e.backend_process import Backend
from tests.e2e.examples import Example, ExampleProject, Picture, encode_file
from tests.e2e.label_studio_api import LabelStudioApi

_LOG_TAIL_CHARACTERS: Final = 2000
_UPLOADING_CONFIG: Final = '<View><Image name="image" value="$image"/></View>'


@dataclass(frozen=True, kw_only=True, eq=False)
class SeededTask:
    """One uploaded example, as Label Studio knows it.

    Attributes:
        task: the task as the API gave it before any prediction.
    """

    project: ExampleProject
    project_id: int
    example: Example
    scene: Scene
    task: dict[str, Any]

    @property
    def id(self) -> int:
        """Label Studio's task id."""
        return int(self.task["id"])


def seed_project(
    api: LabelStudioApi,
    project: ExampleProject,
    *,
    backend_url: str,
    examples: Iterable[Example] | None = None,
    label_config: str | None = None,
) -> list[SeededTask]:
    """Create one project, upload its pictures and connect the backend.

    Args:
        api: Label Studio.
        project: what to create.
        backend_url: what to connect.
        examples: upload only these; None uploads all.
        label_config: in place of the project's own.
    """
    config = label_config or project.label_config
    project_id = api.create_project(project.title, config)
    scenes: dict[Example, Scene] = {}
    for example in project.examples if examples is None else examples:
        scenes[example] = project.scene(example)
        content = encode_file(example, scenes[example].image)
        api.import_file(project_id, example.file_name, content)
    api.connect_backend(project_id, backend_url)
    tasks = api.tasks(project_id)
    return [
        SeededTask(
            project=project,
            project_id=project_id,
            example=example,
            scene=scene,
            task=_task_of(example, tasks),
        )
        for example, scene in scenes.items()
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedTask:
    """A task after one "Retrieve predictions".

    Attributes:
        prediction: the one prediction that Label Studio has stored.
    """

    project_id: int
    id: int
    prediction: Mapping[str, Any]

    @property
    def regions(self) -> Sequence[Mapping[str, Any]]:
        """The prediction's results."""
        regions: Sequence[Mapping[str, Any]] = self.prediction["result"]
        return regions


def predict_task(
    api: LabelStudioApi,
    backend: Backend,
    label_config: str,
    data: Mapping[str, Any],
    *,
    title: str = "One task",
) -> PredictedTask:
    """Make a project with one task and have the backend predict it.

    Args:
        api: Label Studio.
        backend: what to connect.
        label_config: the project's.
        data: the task's; pictures, and pictures in lists, are uploaded and
            replaced by their addresses.
        title: the project's, for a person who looks at it.

    Raises:
        LookupError: nothing is stored; it holds the end of the backend's log.
    """
    # A config of several data keys accepts no uploads, so it comes after them.
    project_id = api.create_project(title, _UPLOADING_CONFIG)
    uploaded = {key: _upload(api, project_id, value) for key, value in data.items()}
    api.set_label_config(project_id, label_config)
    api.import_tasks(project_id, [uploaded])
    (task,) = predict_project(api, backend, project_id)
    return task


def predict_project(
    api: LabelStudioApi, backend: Backend, project_id: int
) -> list[PredictedTask]:
    """Connect the backend and have it predict all tasks of a project, by id.

    Raises:
        LookupError: a task is without prediction; it holds the end of the log.
    """
    api.connect_backend(project_id, backend.url)
    api.retrieve_predictions(project_id)
    return [
        PredictedTask(
            project_id=project_id,
            id=int(task["id"]),
            prediction=only_prediction(api, backend, int(task["id"])),
        )
        for task in api.tasks(project_id)
    ]


def only_prediction(
    api: LabelStudioApi, backend: Backend, task_id: int
) -> dict[str, Any]:
    """A task's one prediction.

    Raises:
        LookupError: it has none, or several; it holds the end of the backend's log.
    """
    predictions = api.predictions(task_id)
    if len(predictions) != 1:
        raise LookupError(
            f"Task {task_id} has {len(predictions)} predictions. End of "
            f"{backend.log_path}:\n{backend.log[-_LOG_TAIL_CHARACTERS:]}"
        )
    return predictions[0]


def _upload(api: LabelStudioApi, project_id: int, value: Any) -> Any:
    if isinstance(value, Picture):
        return api.upload_file(project_id, value.example.file_name, value.content)
    if isinstance(value, list):
        return [_upload(api, project_id, item) for item in value]
    return value


def _task_of(example: Example, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    (task,) = (t for t in tasks if t["data"]["image"].endswith(example.file_name))
    return task
