"""Numbers of Label Studio's tasks in, their first pictures out.

Asks the Label Studio of the operator's environment and no other: addresses that came
with a request are not asked for what no request brings.
"""

from dataclasses import dataclass
from typing import Final

from backend.errors import BadRequest
from backend.inference import PendingTask, Predictor, jobs_of
from backend.label_studio import (
    LabelStudioClient,
    LabelStudioConnections,
    ProjectTasks,
    ScoredTask,
    worst_tasks,
)
from backend.types import ImageFile, LabelStudioAccess, Task

# Somebody waits, and can ask again.
_RETRY_FOR_S: Final = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskReader:
    """Reads pictures that people name. Any thread may call.

    Attributes:
        predictor: whose fetcher reads, and who knows label configs.
        connections: how to reach Label Studio.
    """

    predictor: Predictor
    connections: LabelStudioConnections

    def read_address(self, address: str) -> ImageFile:
        """The file at an address, as if a task named it.

        Raises:
            ImageError: if it cannot be had.
        """
        return self.predictor.fetcher.read(address, access=self.connections.get(None))

    def read(self, project: int, task_id: int) -> tuple[ImageFile, Task, str]:
        """A task's first picture, the task, and its project's label config.

        Raises:
            BadRequest: if there is no such task, or nothing is known of where to ask.
            BackendError: if label config, data or picture cannot be read.
        """
        access = self._access()
        tasks = ProjectTasks(
            LabelStudioClient(access), project, retry_for_s=_RETRY_FOR_S
        )
        config = tasks.info().label_config
        found = tasks.fetch([task_id])
        if not found:
            raise BadRequest(f"Project {project} has no task {task_id}.")
        controls = self.predictor.plan(config).config.for_task(found[0].data)
        job = next(jobs_of(PendingTask(index=0, task=found[0]), controls))
        file = self.predictor.fetcher.read(job.address, access=access, task_id=task_id)
        return file, found[0], config

    def worst(self, project: int, *, most: int) -> list[ScoredTask]:
        """Tasks with the lowest scores.

        Raises:
            BadRequest: if nothing is known of where to ask.
            LabelStudioError: if they cannot be had.
        """
        return worst_tasks(LabelStudioClient(self._access()), project, most=most)

    def url_for_people(self, project: int) -> str:
        """Where people find Label Studio, as far as it is known."""
        return self.connections.learned_url(project) or self._access().url or ""

    def _access(self) -> LabelStudioAccess:
        access = self.connections.get(None)
        if not access.from_environment or access.token is None:
            raise BadRequest(
                "Tasks are read from the Label Studio of the environment. Set "
                "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, and start again."
            )
        return access
