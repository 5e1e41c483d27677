"""Fill a Label Studio with the example projects, backend connected."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from segmenter.pocket.scenes import Scene
from tests.e2e.examples import Example, ExampleProject, encode_file
from tests.e2e.label_studio_api import LabelStudioApi


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
) -> list[SeededTask]:
    """Create one project, upload its pictures and connect the backend.

    Args:
        api: Label Studio.
        project: what to create.
        backend_url: what to connect.
        examples: upload only these; None uploads all.
    """
    project_id = api.create_project(project.title, project.label_config)
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


def _task_of(example: Example, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    (task,) = (t for t in tasks if t["data"]["image"].endswith(example.file_name))
    return task
