"""A project's annotations that are there already in, what they teach in the store out.

The same that their webhooks would have taught, had they come: an import after webhooks
changes nothing, and one after they were lost makes up for them.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from backend.errors import FeedbackUnavailable, LabelStudioRefusal
from backend.feedback.events import Event, UnusableEvent, annotated_event
from backend.feedback.learner import Learner
from backend.feedback.store import MOST_CORRECTIONS
from backend.feedback.types import moment_us
from backend.label_studio import ProjectTasks
from backend.types import Task

logger = logging.getLogger(__name__)

_TASKS_AT_ONCE: Final = 50
_REQUESTS_AT_ONCE: Final = 4
_UNAUTHORIZED: Final = frozenset({401, 403})

Row = dict[str, Any]


class _Listed(NamedTuple):
    """An annotation that is there; the later ones compare higher."""

    at_us: int
    annotation: int
    task: int


@dataclass(kw_only=True)
class ImportReport:
    """How it went.

    Attributes:
        n_annotations: that the project has.
        n_read: that were read: the latest of them, as many as are kept.
        n_forgotten: kept ones that are not there any more.
        failures: why an annotation could not be read, or not whole, by its task.
        is_stopped: whether it was ended before it was through.
    """

    n_annotations: int = 0
    n_read: int = 0
    n_forgotten: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    is_stopped: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Importer:
    """Imports of one project.

    Attributes:
        tasks: the project's.
        learner: works on what its webhooks would have told.
        show: told (annotations dealt with, failed ones, annotations in all).
        stop: ends it after the image at hand when it is set.
    """

    tasks: ProjectTasks
    learner: Learner
    show: Callable[[int, int, int], None] = lambda seen, failed, total: None
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> ImportReport:
        """Learn from what is there, and forget what is not any more.

        Raises:
            LabelStudioError: if Label Studio is away for too long, or lets nobody in.
            FeedbackUnavailable: if the store cannot be used.
        """
        report = ImportReport()
        label_config = self.tasks.info().label_config
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE, "annotations") as pool:
            listed = list(self._list(pool, report))
            report.n_annotations = len(listed)
            if not self.stop.is_set():
                self._forget_gone({one.annotation for one in listed}, report)
            latest = sorted(listed)[-MOST_CORRECTIONS:]
            for event in self._events(pool, latest, label_config, report):
                self._learn(event, report)
                n_failed = len(report.failures)
                self.show(report.n_read + n_failed, n_failed, len(latest))
        report.is_stopped = self.stop.is_set()
        return report

    def _learn(self, event: Event, report: ImportReport) -> None:
        try:
            missing = self.learner.work_on(event)
        except FeedbackUnavailable:
            raise
        # The border to what people and programs have stored: it costs this one alone.
        except Exception as error:
            logger.exception("Unexpected error while learning from %s.", event.id)
            missing = f"Unexpected error: {error!r}"
        if missing is None:
            report.n_read += 1
        else:
            report.failures[event.task_id] = missing

    def _list(
        self, pool: ThreadPoolExecutor, report: ImportReport
    ) -> Iterator[_Listed]:
        """All annotations that were not skipped."""
        for task_ids in self._annotated():
            for task_id, rows in self._annotations(pool, task_ids, report):
                for row in rows:
                    at_us = moment_us(str(row.get("updated_at")))
                    yield _Listed(at_us, int(row["id"]), task_id)

    def _annotated(self) -> Iterator[Sequence[int]]:
        """Annotated tasks by id, some at a time."""
        page = self.tasks.annotated()
        while page.task_ids:
            ids = page.task_ids
            yield from _some_at_a_time(ids)
            page = self.tasks.annotated(after_id=ids[-1])

    def _annotations(
        self,
        pool: ThreadPoolExecutor,
        task_ids: Sequence[int],
        report: ImportReport,
    ) -> Iterator[tuple[int, list[Row]]]:
        """Each task's annotations; none of one that cannot be read."""
        asked = [
            (task_id, pool.submit(self.tasks.annotations_of, task_id))
            for task_id in task_ids
            if not self.stop.is_set()
        ]
        for task_id, future in asked:
            try:
                yield task_id, [dict(row) for row in future.result()]
            except LabelStudioRefusal as refusal:
                if refusal.status in _UNAUTHORIZED:
                    raise
                if refusal.status != 404:  # else deleted meanwhile
                    report.failures[task_id] = str(refusal)

    def _events(
        self,
        pool: ThreadPoolExecutor,
        latest: Sequence[_Listed],
        label_config: str,
        report: ImportReport,
    ) -> Iterator[Event]:
        """What webhooks would have told, task by task."""
        wanted = {one.annotation for one in latest}
        project = {"id": self.tasks.project_id, "label_config": label_config}
        for task_ids in _some_at_a_time(sorted({one.task for one in latest})):
            data: dict[int | None, Task] = {
                task.id: task for task in self.tasks.fetch(task_ids)
            }
            for task_id, rows in self._annotations(pool, task_ids, report):
                for row in rows:
                    if self.stop.is_set() or task_id not in data:
                        continue
                    if int(row["id"]) not in wanted:
                        continue
                    told = {"id": task_id, "data": data[task_id].data}
                    try:
                        yield annotated_event(row, told, project=project)
                    except UnusableEvent as error:
                        report.failures[task_id] = f"{error}."

    def _forget_gone(self, there: set[int], report: ImportReport) -> None:
        """Take back what is not there, as its webhook would have."""
        project = str(self.tasks.project_id)
        kept = self.learner.store.annotations(project)
        gone = []
        for annotation in [one for one in kept if one not in there]:
            row = self.tasks.annotation(annotation)
            if row is None:
                gone.append(annotation)
            elif row.get("was_cancelled"):
                task: Row = {"id": row.get("task"), "data": {}}
                told = annotated_event(row, task, project={"id": int(project)})
                self.learner.work_on(told)
        if gone:
            event = Event(kind="deleted", project=project, deleted=tuple(gone))
            self.learner.work_on(event)
            report.n_forgotten = len(gone)


def _some_at_a_time(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _TASKS_AT_ONCE):
        yield ids[start : start + _TASKS_AT_ONCE]
