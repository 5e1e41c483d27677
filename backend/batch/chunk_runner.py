"""A chunk of tasks in, their predictions in Label Studio; each task exactly once.

Label Studio keeps whatever it is sent, twice if it is sent twice, and knows nothing
of transactions over several requests. So this looks before it stores, and again
afterwards: of two predictions of one version the older stays, whoever stored them.
Two workers that do the same end at the same prediction.

Knows neither queue nor progress bar; tells `report` what is done.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from typing import Any, Final

from backend.batch.chunks import Chunk, Report, Unfinished
from backend.batch.duplicates import deduplicate
from backend.errors import (
    BackendError,
    BadLabelConfig,
    ImageError,
    ImageMaybeDeleted,
    ImageNotFound,
    ImageTooSlow,
    LabelStudioRefusal,
    LabelStudioUnavailable,
)
from backend.inference import Plan, Predictor, TaskOutcome
from backend.label_studio import LabelStudioClient, ProjectTasks
from backend.types import Task
from segmenter import SegmenterError

logger = logging.getLogger(__name__)

# Predictions in one request to Label Studio.
_BULK: Final = 64
_BULK_BYTES: Final = 16_000_000
# A request to Label Studio costs it a tenth of a second to seconds, however many
# predictions are in it. They are gathered for some times as long as the last one took.
_GATHER_TIMES: Final = 3.0
_LONGEST_GATHERING_S: Final = 15.0
# Results that wait for a slow Label Studio before the model waits as well.
_AHEAD: Final = 2 * _BULK
# A day: nothing here is in a hurry, and waiting needs a number.
_NO_LIMIT_S: Final = 86_400.0
# One prediction is at fault, or their sum is: each is tried alone.
_CONTENT_STATUSES: Final = frozenset({400, 413, 422})
_UNDRAWABLE: Final = "None of its regions is one that Label Studio takes."

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkRunner:
    """Does chunks.

    Attributes:
        predictor: makes predictions.
        client: stores them, as somebody who may change the project.
        retry_for_s: how long a Label Studio that is away is waited for.
        stop: ends the work after the image at hand when it is set.
    """

    predictor: Predictor
    client: LabelStudioClient
    retry_for_s: float = 180.0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        chunk: Chunk,
        report: Callable[[Report], None],
        goes_on: Callable[[], bool] = lambda: True,
    ) -> Unfinished:
        """Pre-annotate the chunk's tasks.

        Args:
            chunk: what to do.
            report: called with what is done as soon as it is stored, from this thread
                and from another, one call at a time.
            goes_on: asked after every image; the rest is left when it says no.

        Returns:
            What is neither done nor given up.

        Raises:
            WeightsNotFound: if the model cannot be loaded.
        """
        work = _Work(self, chunk, report, goes_on)
        if self.stop.is_set():
            return work.unfinished({})
        try:
            work.run()
        except _ProjectChanged as change:
            return Unfinished(not_started=list(work.open), newer_version=change.version)
        except LabelStudioUnavailable as away:
            if not self.stop.is_set():
                return work.unfinished(dict.fromkeys(work.open, str(away)))
        except (LabelStudioRefusal, BadLabelConfig) as refusal:
            work.report(failures=dict.fromkeys(work.open, str(refusal)))
        return work.unfinished({})


class _ProjectChanged(Exception):
    """The project gives another version than the chunk's: it was changed, or taught."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.version = version


class _Work:
    """One chunk on its way."""

    def __init__(
        self,
        parts: ChunkRunner,
        chunk: Chunk,
        report: Callable[[Report], None],
        goes_on: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._goes_on = goes_on
        self._chunk = chunk
        self._report = report
        self._lock = threading.Lock()
        self.open = dict.fromkeys(chunk.task_ids)
        self._retry: dict[int, str] = {}
        self._tasks = ProjectTasks(
            parts.client,
            chunk.project_id,
            retry_for_s=parts.retry_for_s,
            stop=parts.stop,
        )

    def run(self) -> None:
        """Do what can be done.

        Raises:
            LabelStudioError, BadLabelConfig: if the rest of the chunk cannot be done.
            _ProjectChanged: if it is to be done for another version.
        """
        plan = self._plan()
        wanted = self._still_to_do()
        outcomes = self._parts.predictor.predict_in_background(
            wanted,
            plan,
            self._parts.client.access,
            limit_s=_NO_LIMIT_S,
        )
        with closing(outcomes):
            if self._chunk.stores:
                self._store_all(wanted, outcomes)
            else:
                for outcome in self._until_stopped(outcomes):
                    self._sort(wanted[outcome.index], outcome)

    def _plan(self) -> Plan:
        """How the project is predicted, as long as that gives the chunk's version."""
        label_config = self._tasks.info().label_config
        plan = self._parts.predictor.plan(label_config, str(self._chunk.project_id))
        if plan.version != self._chunk.version:
            raise _ProjectChanged(plan.version)
        return plan

    def unfinished(self, again: Mapping[int, str]) -> Unfinished:
        """What is still open, with `again` as the reason of what has none."""
        reasons = {**again, **self._retry}
        return Unfinished(
            retry={task: reasons[task] for task in self.open if task in reasons},
            not_started=[task for task in self.open if task not in reasons],
        )

    def report(
        self,
        *,
        done: Sequence[int] = (),
        failures: Mapping[int, str] | None = None,
        gone: Sequence[int] = (),
    ) -> None:
        """Close tasks, and say so."""
        failures = failures or {}
        if not done and not failures and not gone:
            return
        with self._lock:
            for task_id in (*done, *failures, *gone):
                self.open.pop(task_id, None)
            self._report(Report(done=done, failures=dict(failures), gone=gone))

    def _still_to_do(self) -> list[Task]:
        """The chunk's tasks that exist and lack a prediction of the version."""
        ids = list(self.open)
        found = self._tasks.fetch(ids)
        existing = {task.id for task in found}
        self.report(gone=[task for task in ids if task not in existing])
        if not self._chunk.stores:
            return found
        tasks_without = self._lacking(list(self.open))
        return [task for task in found if task.id in tasks_without]

    def _lacking(self, ids: Sequence[int]) -> set[int]:
        """Those without a prediction of the version; the others are tidied and done."""
        if not ids:
            return set()
        holding = self._tasks.prediction_summaries(list(ids), self._chunk.version)
        deduplicate(
            self._tasks, self._chunk.version, holding, replaces=self._chunk.replaces
        )
        self.report(done=[task_id for task_id in ids if task_id in holding])
        return {task_id for task_id in ids if task_id not in holding}

    def _until_stopped(self, outcomes: Iterator[TaskOutcome]) -> Iterator[TaskOutcome]:
        for outcome in outcomes:
            yield outcome
            if self._parts.stop.is_set() or not self._goes_on():
                return

    def _sort(self, task: Task, outcome: TaskOutcome) -> Row | None:
        """The prediction to store; None for a task that has none, noting why."""
        assert task.id is not None
        if outcome.prediction is not None:
            if self._chunk.stores:
                return {**outcome.prediction, "task": task.id}
            self.report(done=[task.id])
            return None
        reason = "; ".join(map(_text_of, outcome.failures)) or _UNDRAWABLE
        tries = self._chunk.attempts + 1
        if any(_may_pass(failure, tries) for failure in outcome.failures):
            self._retry[task.id] = reason
        # Its picture may have been deleted together with it.
        elif any(map(_is_missing, outcome.failures)) and not self._exists(task.id):
            self.report(gone=[task.id])
        else:
            self.report(failures={task.id: reason})
        return None

    def _exists(self, task_id: int) -> bool:
        return bool(self._tasks.fetch([task_id]))

    def _store_all(
        self, wanted: Sequence[Task], outcomes: Iterator[TaskOutcome]
    ) -> None:
        """Store predictions in another thread while the model is at the next ones."""
        waiting: Queue[Row | None] = Queue(maxsize=_AHEAD)
        with ThreadPoolExecutor(1, thread_name_prefix="store") as pool:
            storing = pool.submit(self._store_what_comes, waiting)
            try:
                for outcome in self._until_stopped(outcomes):
                    row = self._sort(wanted[outcome.index], outcome)
                    if row is not None and not _put(waiting, row, storing):
                        break
            finally:
                _put(waiting, None, storing)
            storing.result()

    def _store_what_comes(self, waiting: Queue[Row | None]) -> None:
        is_over, gather_s = False, 0.0
        while not is_over:
            rows, n_bytes = [], 0
            row = waiting.get()
            until = time.monotonic() + gather_s
            while row is not None:
                rows.append(row)
                n_bytes += _weight_bytes(row)
                if len(rows) >= _BULK or n_bytes >= _BULK_BYTES:
                    break
                try:
                    row = waiting.get(timeout=max(0.0, until - time.monotonic()))
                except Empty:
                    break
            is_over = row is None
            started = time.monotonic()
            self._store({int(row["task"]): row for row in rows})
            store_s = time.monotonic() - started
            gather_s = min(_GATHER_TIMES * store_s, _LONGEST_GATHERING_S)

    def _store(self, rows: Mapping[int, Row]) -> None:
        """Store predictions, each once, however often Label Studio goes away."""
        for attempt in self._tasks.retrying():
            with attempt:
                # Somebody may have opened the task meanwhile, and a request that was
                # not answered may have been carried out. What was told before is left.
                left = self._lacking([task for task in rows if task in self.open])
                self._store_once({task: rows[task] for task in left})
                self._check(left)

    def _store_once(self, rows: Mapping[int, Row]) -> None:
        if not rows:
            return
        try:
            self._tasks.store(list(rows.values()))
        except LabelStudioRefusal as refusal:
            if refusal.status not in _CONTENT_STATUSES:
                raise
            # Regions with labels that are not in the label config any more?
            self._plan()
            if len(rows) == 1:
                (task_id,) = rows
                if self._exists(task_id):
                    self.report(failures={task_id: str(refusal)})
                else:
                    self.report(gone=[task_id])
                return
            half = len(rows) // 2
            self._store_once(dict(list(rows.items())[:half]))
            self._store_once(dict(list(rows.items())[half:]))

    def _check(self, ids: set[int]) -> None:
        """Look whether all is stored, and once."""
        still_open = [task for task in ids if task in self.open]
        for task in self._lacking(still_open):
            self._retry[task] = "Label Studio took the prediction but does not show it."


def _put(waiting: Queue[Row | None], row: Row | None, storing: "Future[None]") -> bool:
    """Whether the row was handed on; not if what stores has ended."""
    while not storing.done():
        try:
            waiting.put(row, timeout=0.2)
            return True
        except Full:
            continue
    return False


def _weight_bytes(row: Row) -> int:
    """About what a prediction weighs as JSON: numbers of the RLE, mostly."""
    return 500 + sum(
        500 + 4 * len(region.get("value", {}).get("rle", ()))
        for region in row.get("result", ())
    )


def _may_pass(error: Exception, tries: int) -> bool:
    """Whether trying again may help: a slow or broken network, a full GPU, a bug."""
    if isinstance(error, ImageMaybeDeleted):
        return tries == 1  # Once more, for a Label Studio that had but a bad moment.
    if isinstance(error, ImageError):
        return isinstance(error, ImageTooSlow) or type(error) is ImageError
    return not isinstance(error, BackendError | SegmenterError)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, ImageNotFound)


def _text_of(error: Exception) -> str:
    return str(error) or type(error).__name__
