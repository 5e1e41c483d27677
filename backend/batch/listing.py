"""Which tasks a run of `preannotate` is for, found in Label Studio page by page."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from backend.label_studio import PAGE_SIZE, Page, ProjectTasks

# Tasks per job: few enough that every worker of a small project gets some and that
# little is done twice after a crash, many enough that a job costs nothing beside them.
_SMALLEST_JOB: Final = 16
_LARGEST_JOB: Final = 128
_JOBS_WANTED: Final = 200


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What somebody wants pre-annotated.

    Attributes:
        project_id: Label Studio's number.
        view_id: only what this tab of the Data Manager shows; None for all.
        task_ids: only these; None for all.
        limit: at most so many tasks; None for no limit.
        replaces: whether our earlier versions' predictions go once the new are there.
    """

    project_id: int
    view_id: int | None = None
    task_ids: tuple[int, ...] | None = None
    limit: int | None = None
    replaces: bool = False

    @property
    def scope(self) -> str:
        """The same for the same tasks."""
        ids = ",".join(map(str, self.task_ids or ()))
        named = hashlib.sha256(ids.encode()).hexdigest()[:16] if ids else "all"
        return f"{self.view_id}:{named}:{self.limit}:{self.replaces}"

    @property
    def is_whole(self) -> bool:
        """Whether it is for all tasks of the project."""
        return self.is_for_all and self.limit is None

    @property
    def lists_done(self) -> bool:
        """Whether its tasks are found even when they are done."""
        return self.replaces or not self.is_for_all

    @property
    def is_for_all(self) -> bool:
        """Whether it is for the project's tasks as they are found, by id."""
        return self.view_id is None and self.task_ids is None


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """Some more tasks of a run.

    Attributes:
        task_ids: in order; none is found twice.
        n_remaining: how many there are from here on, these among them.
        listed_to: id of the last where tasks are found by id, else 0.
    """

    task_ids: tuple[int, ...]
    n_remaining: int
    listed_to: int = 0


def find_tasks(
    tasks: ProjectTasks,
    spec: RunSpec,
    version: str,
    *,
    after_id: int = 0,
    free_to: int = 0,
) -> Iterator[TaskPage]:
    """Tasks that lack a prediction of the version, as far as that is cheap to know.

    A tab, and tasks that are named, come as they are: workers pass over what is done.
    With `replaces`, all tasks of the project come, because those that hold the version
    may hold earlier ones as well.

    Args:
        tasks: of the project.
        spec: what is to be done.
        version: of the predictions.
        after_id: begin with the next, where tasks are found by id.
        free_to: id up to which tasks do not count against the spec's limit.

    Raises:
        LabelStudioError: if Label Studio does not answer, or refuses.
    """
    if spec.is_for_all:
        pages = _pages_by_id(tasks, spec, version, after_id)
    else:
        named = spec.task_ids
        if named is None:
            named = tuple(tasks.tasks_in_tab(spec.view_id or 0))
        pages = _slices(tuple(dict.fromkeys(named)))
    yield from pages if spec.limit is None else _limited(pages, spec.limit, free_to)


def _limited(pages: Iterator[TaskPage], left: int, free_to: int) -> Iterator[TaskPage]:
    """At most `left` tasks, besides those with ids up to `free_to`."""
    if left <= 0 and not free_to:
        return
    for page in pages:
        n_free = sum(task_id <= free_to for task_id in page.task_ids)
        ids = page.task_ids[: n_free + max(0, left)]
        left -= len(ids) - n_free
        is_last = left <= 0 and n_free < len(page.task_ids)
        n_remaining = min(page.n_remaining, len(ids) + (0 if is_last else max(0, left)))
        if ids:
            listed_to = ids[-1] if page.listed_to else 0
            yield TaskPage(task_ids=ids, n_remaining=n_remaining, listed_to=listed_to)
        if is_last:
            return


def _pages_by_id(
    tasks: ProjectTasks, spec: RunSpec, version: str, after_id: int
) -> Iterator[TaskPage]:
    while True:
        page: Page = (
            tasks.all(after_id=after_id)
            if spec.replaces
            else tasks.tasks_without(version, after_id=after_id)
        )
        if not page.task_ids:
            return
        after_id = page.task_ids[-1]
        yield TaskPage(
            task_ids=page.task_ids, n_remaining=page.n_remaining, listed_to=after_id
        )
        if len(page.task_ids) >= page.n_remaining:
            return


def _slices(ids: Sequence[int]) -> Iterator[TaskPage]:
    for start in range(0, len(ids), PAGE_SIZE):
        part = tuple(ids[start : start + PAGE_SIZE])
        yield TaskPage(task_ids=part, n_remaining=len(ids) - start)


def job_size(n_tasks: int) -> int:
    """Tasks per job in a run of so many."""
    return min(_LARGEST_JOB, max(_SMALLEST_JOB, n_tasks // _JOBS_WANTED))
