"""Pictures that somebody is likely to click on soon in, their maps in the cache out.

In the background, one at a time, behind all requests: whoever clicks on what has not
been read yet waits for a pass of the model.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from backend.errors import BackendError
from backend.inference.batcher import DeadlineExceeded
from backend.inference.clicks import FILE_MAX_AGE_S
from backend.inference.pipeline import Fetcher, query_of
from backend.inference.plan import Plan
from backend.inference.prefetch import Job, PendingTask, jobs_of, without_traceback
from backend.inference.scorer import Scorer, Segmenter
from backend.types import LabelStudioAccess, Task, Turn
from segmenter import SegmenterError

logger = logging.getLogger(__name__)

# Tasks that may wait; the others are read when somebody clicks.
_MOST_WAITING: Final = 8


class Background:
    """One thread for what nobody waits for, with a short line before it."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._waiting: set[object] = set()
        self._lock = threading.Lock()

    def submit(self, name: object, work: Callable[[], None]) -> None:
        """Do it later, unless it waits already or the line is full."""
        with self._lock:
            if name in self._waiting or len(self._waiting) >= _MOST_WAITING:
                return
            self._waiting.add(name)

        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._waiting.discard(name)

        try:
            self._thread.submit(run)
        except RuntimeError:  # while the interpreter ends
            with self._lock:
                self._waiting.discard(name)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadingAhead:
    """Reads the pictures of tasks before somebody clicks on them.

    Attributes:
        fetcher: reads task images.
        scorer: makes score maps.
        segmenter: gives the loaded model within so many seconds.
        budget_s: for one task.
        background: where it is done.
    """

    fetcher: Fetcher
    scorer: Scorer
    segmenter: Callable[[float], Segmenter]
    budget_s: float
    background: Background = field(default_factory=Background)

    def read(self, task: Task, plan: Plan, access: LabelStudioAccess) -> None:
        """Have a task's pictures read, if they are not; returns at once."""
        self.background.submit(
            (access.url, task.id), lambda: self._read_all(task, plan, access)
        )

    def _read_all(self, task: Task, plan: Plan, access: LabelStudioAccess) -> None:
        deadline = self.scorer.clock() + self.budget_s
        try:
            controls = plan.config.for_task(task.data)
            for job in jobs_of(PendingTask(index=0, task=task), controls):
                self._read_one(job, plan, access, deadline)
        except (BackendError, SegmenterError, DeadlineExceeded) as error:
            logger.info("Task %s was not read ahead: %s", task.id, error)
        # The border of the thread.
        except Exception as error:
            without_traceback(error, task.id)

    def _read_one(
        self, job: Job, plan: Plan, access: LabelStudioAccess, deadline: float
    ) -> None:
        image = self.fetcher.fetch(
            job.address,
            access=access,
            task_id=job.task.task.id,
            turn=Turn(is_urgent=True),
            max_age_s=FILE_MAX_AGE_S,
        )
        try:
            for mode in job.prompts:
                query = query_of(
                    job, mode, image, for_clicks=True, needs_layers=mode in plan.heads
                )
                is_known = self.scorer.cached(query) is not None
                if is_known and not self.scorer.lacks_features(query):
                    continue
                wanted = replace(query, is_read_anew=is_known)
                segmenter = self.segmenter(deadline - self.scorer.clock())
                for maps in self.scorer.score([wanted], segmenter, deadline):
                    if isinstance(maps, Exception):
                        raise maps
        finally:
            image.release()
