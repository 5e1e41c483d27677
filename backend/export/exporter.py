"""A project's annotated tasks in, one data set in a folder out.

Tasks come in pages, and of each only its annotations. What cannot be read costs its
task alone, whole, and is told with the reason: a picture without one of its regions
would teach that nothing is there.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backend.errors import BackendError, LabelStudioError, LabelStudioRefusal
from backend.export.classes import Classes
from backend.export.data_set import Choice, DataSet, ExportReport, ExportSpec, Row
from backend.label_config import DrawnTags
from backend.label_studio import ProjectTasks
from backend.types import FetchedImage, Task

logger = logging.getLogger(__name__)

_TASKS_AT_ONCE: Final = 200
# Requests under way while pictures are encoded; their answers may be large.
_AHEAD: Final = 4
_UNAUTHORIZED: Final = frozenset({401, 403})


@dataclass(frozen=True, kw_only=True, eq=False)
class Exporter:
    """Exports of one project.

    Attributes:
        tasks: the project's.
        tags: of its label config.
        fetch: (address of an image, task's id) to its pixels; raises `ImageError`.
        show: told (tasks dealt with, tasks that failed, tasks found so far).
    """

    tasks: ProjectTasks
    tags: DrawnTags
    fetch: Callable[[str, int], FetchedImage]
    show: Callable[[int, int, int], None] = lambda seen, failed, total: None

    def write(self, spec: ExportSpec, folder: Path) -> ExportReport:
        """Write what is asked for into an empty folder.

        Raises:
            LabelStudioError: if Label Studio is away for too long, or lets nobody in.
            OSError: if the folder cannot be written.
        """
        classes = Classes(self.tags.labels)
        data_set = DataSet(spec, folder, classes, tags=self.tags, fetch=self.fetch)
        report = ExportReport()
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="annotations") as pool:
            for seen, (task_id, arrived, total) in enumerate(
                self._arriving(pool, spec.view_id), start=1
            ):
                self._deal_with(task_id, arrived, data_set, report)
                self.show(seen, len(report.failures), total)
        data_set.finish()
        report.new_labels = classes.not_configured
        return report

    def _deal_with(
        self,
        task_id: int,
        arrived: Future[tuple[Task, list[Row]]],
        data_set: DataSet,
        report: ExportReport,
    ) -> None:
        """Write one task, or note why not."""
        try:
            task, annotations = arrived.result()
            chosen = _choose(annotations, data_set.spec.annotations)
            if not chosen:
                report.without_annotation += 1
                return
            data_set.add(task, chosen, report)
        except LabelStudioRefusal as refusal:
            if refusal.status in _UNAUTHORIZED:
                raise
            report.failures[task_id] = str(refusal)
        except (LabelStudioError, OSError):
            raise
        except BackendError as error:
            report.failures[task_id] = str(error)
        # The border to what people and programs have stored: it costs this task alone.
        except Exception as error:
            logger.exception("Unexpected error while exporting task %s.", task_id)
            report.failures[task_id] = f"Unexpected error: {error!r}"

    def _arriving(
        self, pool: ThreadPoolExecutor, view_id: int | None
    ) -> Iterator[tuple[int, Future[tuple[Task, list[Row]]], int]]:
        """Tasks by id with what was asked of each, and how many are known of."""
        under_way: deque[tuple[int, Future[tuple[Task, list[Row]]], int]] = deque()
        for tasks, total in self._pages(view_id):
            for task in tasks:
                assert task.id is not None
                asked = pool.submit(self._with_annotations, task)
                under_way.append((task.id, asked, total))
                if len(under_way) > _AHEAD:
                    yield under_way.popleft()
        yield from under_way

    def _with_annotations(self, task: Task) -> tuple[Task, list[Row]]:
        assert task.id is not None
        return task, self.tasks.annotations_of(task.id)

    def _pages(self, view_id: int | None) -> Iterator[tuple[list[Task], int]]:
        """Tasks, some at a time, and how many there are in all."""
        if view_id is not None:
            ids = sorted(self.tasks.tasks_in_tab(view_id))
            yield from ((tasks, len(ids)) for tasks in self._fetched(ids))
            return
        n_seen, page = 0, self.tasks.annotated()
        while page.task_ids:
            total = n_seen + page.n_remaining
            yield from ((tasks, total) for tasks in self._fetched(page.task_ids))
            n_seen += len(page.task_ids)
            page = self.tasks.annotated(after_id=page.task_ids[-1])

    def _fetched(self, ids: Sequence[int]) -> Iterator[list[Task]]:
        for start in range(0, len(ids), _TASKS_AT_ONCE):
            yield self.tasks.fetch(ids[start : start + _TASKS_AT_ONCE])


def _choose(annotations: Sequence[Row], choice: Choice) -> list[Row]:
    if choice == "all":
        return list(annotations)
    wanted = [
        row for row in annotations if choice == "latest" or row.get("ground_truth")
    ]
    # Label Studio's times have one form, so that texts compare as times do.
    wanted.sort(key=lambda row: (str(row.get("updated_at") or ""), int(row["id"])))
    return wanted[-1:]
