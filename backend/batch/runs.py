"""Which tasks a run of `preannotate` is for, and the run: by workers, or right here.

Label Studio alone knows what is done. A run that was stopped, or whose records in
Redis are lost, is begun again by asking it what is left.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from backend.batch.chunk_runner import ChunkRunner, Report, retry_delay_s
from backend.batch.chunks import Chunk
from backend.batch.job_queue import JobQueue
from backend.batch.run_records import Progress, RunRecords
from backend.label_studio import PAGE_SIZE, Page, ProjectTasks

logger = logging.getLogger(__name__)

# Tasks per job: few enough that every worker of a small project gets some and that
# little is done twice after a crash, many enough that a job costs nothing beside them.
_SMALLEST_JOB: Final = 16
_LARGEST_JOB: Final = 128
_CONCURRENCY: Final = 2
_JOBS_WANTED: Final = 200
# A run in which nothing has happened for so long is looked through for lost jobs.
_QUIET_S: Final = 15.0
_LOOK_S: Final = 0.5
_MAINTENANCE_S: Final = 5.0


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
    tasks: ProjectTasks, spec: RunSpec, version: str, *, after_id: int = 0
) -> Iterator[TaskPage]:
    """Tasks that lack a prediction of the version, as far as that is cheap to know.

    A tab, and tasks that are named, come as they are: workers pass over what is done.
    With `replaces`, all tasks of the project come, because those that hold the version
    may hold earlier ones as well.

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
    left = spec.limit
    if left is not None and left <= 0:
        return
    for page in pages:
        if left is None:
            yield page
            continue
        ids = page.task_ids[:left]
        yield replace(page, task_ids=ids, n_remaining=min(page.n_remaining, left))
        left -= len(ids)
        if left <= 0:
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

    def begin(self) -> str:
        """Begin, or go on with the project's run for the same if it lasts.

        Returns:
            The run's id. Its tasks are still to be listed, see `list_tasks`.

        Raises:
            redis.RedisError: if Redis cannot be used.
        """
        run_id = self.records.current(self.spec.project_id)
        if run_id is not None:
            progress = self.records.progress(run_id)
            if progress is not None and self._is_for_this(progress):
                return run_id
        return self.records.begin(self.spec.project_id, self.version, self.spec.scope)

    def _is_for_this(self, progress: Progress) -> bool:
        """Whether a run that goes on does what is wanted."""
        is_same = (progress.version, progress.scope) == (self.version, self.spec.scope)
        # Only what is listed by id can be listed in two parts.
        return (
            is_same
            and not progress.is_over
            and not progress.is_canceled
            and (progress.is_listed or self.spec.is_for_all)
        )

    def list_tasks(self, run_id: str, stop: threading.Event) -> None:
        """Queue what is to do; workers begin with it meanwhile.

        Args:
            run_id: of a run; what it has listed before is not listed again.
            stop: ends this early; calling it again goes on.

        Raises:
            LabelStudioError: if Label Studio does not answer, or refuses.
            redis.RedisError: if Redis cannot be used.
        """
        progress = self.records.progress(run_id)
        if progress is None:  # lost meanwhile; whoever watches begins another
            return
        after_id = progress.listed_to if self.spec.is_for_all else 0
        if progress.is_listed:
            return
        spec = self.spec
        if spec.limit is not None:
            spec = replace(spec, limit=spec.limit - progress.total)
        found = find_tasks(self.tasks, spec, self.version, after_id=after_id)
        size = 0
        for some in found:
            size = size or job_size(some.n_remaining)
            place = self.records.extend(run_id, len(some.task_ids), some.listed_to)
            chunk = Chunk(
                project_id=self.spec.project_id,
                task_ids=some.task_ids,
                version=self.version,
                replaces=self.spec.replaces,
                run_id=run_id,
                places=tuple(range(place, place + len(some.task_ids))),
            )
            self.queue.add(list(chunk.in_parts(size)))
            if stop.is_set():
                return
        self.records.end_listing(run_id)

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
        version: of the predictions.
        show: told of every progress.
        pause_s: how long tasks rest that were given up so often.
        failures: why tasks were given up, by task id.
    """

    work: ChunkRunner
    tasks: ProjectTasks
    spec: RunSpec
    version: str
    show: Callable[[Progress], None]
    pause_s: Callable[[int], float] = retry_delay_s
    failures: dict[int, str] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Do all there is to do; ends early when the work's `stop` is set.

        Raises:
            LabelStudioError: if Label Studio does not answer, or refuses.
            WeightsNotFound: if the model cannot be loaded.
        """
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
            if self.work.stop.is_set():
                return
        self._tell(is_listed=True)
        while again and not self.work.stop.is_set():
            self._tell(waiting_to_retry=sum(len(chunk.task_ids) for chunk in again))
            self.work.stop.wait(self.pause_s(again[0].attempts))
            again = self._do_all(again)
        self._tell(waiting_to_retry=0)

    def _do_all(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Do chunks, two at a time: one stores while the other has the model."""
        with ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="hand") as pool:
            return [again for left in pool.map(self._do, chunks) for again in left]

    def _do(self, chunk: Chunk) -> list[Chunk]:
        """Do a chunk; what is waiting to retry."""
        again, given_up = self.work.run(chunk, self._note).next_attempt(chunk)
        if given_up.failures:
            self._note(given_up)
        return [] if again is None else [again]

    def _note(self, report: Report) -> None:
        with self._lock:
            self.failures.update(report.failures)
            done = self.progress.done + len(report.done)
            self._tell(done=done, failed=len(self.failures))

    def _tell(self, **changes: int) -> None:
        self.progress = replace(self.progress, **changes)  # type: ignore[arg-type]
        self.show(self.progress)
