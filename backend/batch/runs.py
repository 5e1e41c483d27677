"""A run of `preannotate`: by workers, or right here.

Label Studio alone knows what is done. A run that was stopped, or whose records in
Redis are lost, is begun again by asking it what is left.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from backend.batch.chunk_runner import ChunkRunner
from backend.batch.chunks import Chunk, Report, retry_delay_s
from backend.batch.job_queue import JobQueue
from backend.batch.listing import RunSpec, TaskPage, find_tasks, job_size
from backend.batch.run_records import ListingEnded, Progress, RunRecords
from backend.label_studio import ProjectTasks

logger = logging.getLogger(__name__)

_CONCURRENCY: Final = 2
# A run in which nothing has happened for so long is looked through for lost jobs.
_QUIET_S: Final = 15.0
_LOOK_S: Final = 0.5
_MAINTENANCE_S: Final = 5.0
_SHOW_S: Final = 1.0
NEWER: Final = (
    "The project's label config was changed, or its labels taught, in the middle of "
    "the run; listing again, for %s."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class QueuedRun:
    """A run that workers do, wherever they are.

    Attributes:
        queue: of the model that is to predict.
        records: of runs.
        tasks: of the project.
        spec: what is to be done.
        version: of the predictions.
    """

    queue: JobQueue
    records: RunRecords
    tasks: ProjectTasks
    spec: RunSpec
    version: str
    # Tells this process from others that would list the same tasks.
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    # Of a tab or a list of tasks, by run: a tab may show others once some are done.
    _named: list[int] = field(default_factory=list)

    def begin(self, lost: Progress | None = None) -> str:
        """Begin, or go on with the project's run for the same if it lasts.

        Args:
            lost: how far a run for the same was when Redis lost its records. What it
                had found counts against the limit already.

        Returns:
            The run's id. Its tasks are still to be listed, see `list_tasks`.

        Raises:
            redis.RedisError: if Redis cannot be used.
        """
        left, relisted_to = self.spec.limit, 0
        if lost is not None and lost.left is not None:
            left = lost.left
            relisted_to = max(lost.relisted_to, lost.listed_to)
        return self.records.begin(
            self.spec.project_id,
            self.version,
            self.spec.scope,
            goes_on=self._is_for_this,
            lister=self.token,
            left=left if self.spec.is_for_all else None,
            relisted_to=relisted_to,
        )

    def _is_for_this(self, progress: Progress) -> bool:
        """Whether a run that goes on does what is wanted."""
        is_same = (progress.version, progress.scope) == (self.version, self.spec.scope)
        is_listed_elsewhere = progress.lister not in {"", self.token}
        return (
            is_same
            and not progress.is_over
            and not progress.is_ended
            # Only what is listed by id can be listed in two parts.
            and (progress.is_listed or is_listed_elsewhere or self.spec.is_for_all)
        )

    def list_tasks(self, run_id: str, stop: threading.Event) -> bool:
        """Queue what is to do; workers begin with it meanwhile.

        Args:
            run_id: of a run; what it has listed before is not listed again.
            stop: ends this early; calling it again goes on.

        Returns:
            Whether nothing is left to list. If not, this was stopped, or another
            process is at it: call again, in case that one is killed.

        Raises:
            LabelStudioError: if Label Studio does not answer, or refuses.
            redis.RedisError: if Redis cannot be used.
        """
        if not self.records.take_listing(run_id, self.token):
            return False
        progress = self.records.progress(run_id)
        # None: lost meanwhile; whoever watches begins another.
        if progress is None or progress.is_listed or progress.is_ended:
            return True
        try:
            is_listed = self._list(run_id, progress, stop)
        except ListingEnded:
            return False
        if is_listed:
            self.records.end_listing(run_id)
        return is_listed

    def _list(self, run_id: str, progress: Progress, stop: threading.Event) -> bool:
        """Queue what is found; whether that is all."""
        size = 0
        for page in self._pages(progress):
            size = size or job_size(page.n_remaining)
            self.records.extend(
                run_id,
                len(page.task_ids),
                page.listed_to,
                lister=self.token,
                n_counted=sum(id_ > progress.relisted_to for id_ in page.task_ids),
                is_last=not self.spec.is_for_all,
                queue=partial(self._queue, run_id, page, size),
            )
            if stop.is_set():
                return False
        return True

    def _pages(self, progress: Progress) -> Iterator[TaskPage]:
        """Tasks still to be listed."""
        spec = self.spec
        if spec.is_for_all:
            if spec.limit is not None and progress.left is not None:
                spec = replace(spec, limit=progress.left)
            yield from find_tasks(
                self.tasks,
                spec,
                self.version,
                after_id=progress.listed_to,
                free_to=progress.relisted_to,
            )
            return
        # All at once: they could not be found again in two parts.
        if not self._named:
            for page in find_tasks(self.tasks, spec, self.version):
                self._named.extend(page.task_ids)
        if self._named:
            ids = tuple(self._named)
            yield TaskPage(task_ids=ids, n_remaining=len(ids))

    def _queue(
        self, run_id: str, page: TaskPage, size: int, place: int, pipeline: Any
    ) -> None:
        """Have tasks done whose places in the run begin with `place`."""
        chunk = Chunk(
            project_id=self.spec.project_id,
            task_ids=page.task_ids,
            version=self.version,
            replaces=self.spec.replaces,
            run_id=run_id,
            places=tuple(range(place, place + len(page.task_ids))),
        )
        self.queue.add_within(pipeline, list(chunk.in_parts(size)))

    def watch(self, run_id: str) -> Iterator[Progress | None]:
        """How far the run is, twice a second, until it is over.

        Yields:
            The progress, None where the records of the run are gone.

        Raises:
            redis.RedisError: if Redis cannot be used; calling it again goes on.
        """
        changed, kept_house = time.monotonic(), 0.0
        before: Progress | None = None
        while True:
            progress = self.records.progress(run_id)
            yield progress
            if progress is None:
                return
            if progress.is_over:
                self.records.forget(run_id)
                return
            now = time.monotonic()
            if progress != before:
                changed, before = now, progress
            if now - kept_house > _MAINTENANCE_S:
                self.queue.maintain()
                if not progress.is_listed:
                    self.records.keep_listing(run_id, self.token)
                kept_house = now
            if now - changed > _QUIET_S:
                self.queue.forget_lost_jobs(run_id)
                changed = now
            time.sleep(_LOOK_S)

    def cancel(self, run_id: str) -> None:
        """Call the run off; what is stored stays."""
        self.records.cancel(run_id)
        self.queue.remove_jobs(run_id)


@dataclass(kw_only=True, eq=False)
class LocalRun:
    """A run in this process, where there is no queue.

    Attributes:
        work: does it.
        tasks: of the project.
        spec: what is to be done.
        version: of the predictions; another one once the project's label config was
            changed in the middle of the run.
        show: told of every progress.
        pause_s: how long tasks rest that were given up so often.
        failures: why tasks were given up, by task id.
        progress: how far it is.
    """

    work: ChunkRunner
    tasks: ProjectTasks
    spec: RunSpec
    version: str
    show: Callable[[Progress], None]
    pause_s: Callable[[int], float] = retry_delay_s
    failures: dict[int, str] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    _newer_version: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Do all there is to do; ends early when the work's `stop` is set.

        Raises:
            LabelStudioError: if Label Studio does not answer, or refuses.
            WeightsNotFound: if the model cannot be loaded.
        """
        while True:
            self._run_once()
            if self._newer_version is None or self.work.stop.is_set():
                return
            logger.warning(NEWER, self._newer_version)
            self.version, self._newer_version = self._newer_version, None

    def _run_once(self) -> None:
        """Do all there is to do for one version."""
        self.failures.clear()
        self.progress = Progress(version=self.version)
        again: list[Chunk] = []
        listed = 0
        for some in find_tasks(self.tasks, self.spec, self.version):
            self._tell(total=listed + some.n_remaining)
            listed += len(some.task_ids)
            chunk = Chunk(
                project_id=self.spec.project_id,
                task_ids=some.task_ids,
                version=self.version,
                replaces=self.spec.replaces,
            )
            again += self._do_all(chunk.in_parts(job_size(some.n_remaining)))
            if self._is_to_end():
                return
        self._tell(is_listed=True)
        while again and not self._is_to_end():
            self._rest(again)
            again = self._do_all(again)
        self._tell(waiting_to_retry=0, retry_in_s=None)

    def _is_to_end(self) -> bool:
        return self.work.stop.is_set() or self._newer_version is not None

    def _rest(self, again: Sequence[Chunk]) -> None:
        """Wait until it is time for another try, and show for how long."""
        n_waiting = sum(len(chunk.task_ids) for chunk in again)
        until = time.monotonic() + self.pause_s(again[0].attempts)
        while True:
            left_s = max(0.0, until - time.monotonic())
            self._tell(waiting_to_retry=n_waiting, retry_in_s=left_s or None)
            if not left_s or self.work.stop.wait(min(left_s, _SHOW_S)):
                return

    def _do_all(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Do chunks, two at a time: one stores while the other has the model."""
        with ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="hand") as pool:
            return [again for left in pool.map(self._do, chunks) for again in left]

    def _do(self, chunk: Chunk) -> list[Chunk]:
        """Do a chunk; what is waiting to retry."""
        if self._newer_version is not None:
            return []
        unfinished = self.work.run(chunk, self._note)
        if unfinished.newer_version is not None:
            self._newer_version = unfinished.newer_version
            return []
        again, given_up = unfinished.next_attempt(chunk)
        if given_up.failures:
            self._note(given_up)
        return [] if again is None else [again]

    def _note(self, report: Report) -> None:
        with self._lock:
            self.failures.update(report.failures)
            self._tell(
                done=self.progress.done + len(report.done),
                failed=len(self.failures),
                gone=self.progress.gone + len(report.gone),
            )

    def _tell(self, **changes: float | None) -> None:
        self.progress = replace(self.progress, **changes)  # type: ignore[arg-type]
        self.show(self.progress)
