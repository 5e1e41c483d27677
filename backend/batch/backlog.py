"""What the server has put off: work that nobody waits for any more, or not yet.

Tasks that a request left for want of time are computed ahead, so that whoever asks
again finds them in the cache; new tasks are pre-annotated where the operator wants it.
Workers do it where there are any. Else a thread of this process does, behind every
request: whatever somebody waits for goes first at the model.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Queue
from typing import Any, Final

import redis

from backend.batch.chunk_runner import ChunkRunner
from backend.batch.chunks import Chunk
from backend.batch.job_queue import JobQueue
from backend.batch.listing import RunSpec, job_size
from backend.batch.runs import LocalRun
from backend.errors import BackendError
from backend.inference import Predictor
from backend.label_studio import PredictRequest, ProjectTasks
from backend.types import LabelStudioAccess, Task
from segmenter import SegmenterError

logger = logging.getLogger(__name__)

# Tasks that may wait here, with their data; whoever asks for more asks again.
_MOST_WAITING: Final = 20_000
# New tasks that may wait here, as their numbers alone; who sends webhooks is not known.
_MOST_NEW_WAITING: Final = 200_000
# Of one project, so that a forged event does not take the room of all others.
_MOST_NEW_OF_PROJECT: Final = 50_000
# Nobody asks for results that come later than that.
_PRECOMPUTE_LIMIT_S: Final = 3600.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Backlog:
    """Does work in the background, one piece after the other. Never blocks, or raises.

    Attributes:
        predictor: predicts, and whose cache is filled.
        queue: of workers, None where there is no Redis.
        work: stores predictions; None where this process cannot.
    """

    predictor: Predictor
    queue: JobQueue | None = None
    work: ChunkRunner | None = None
    _pieces: Queue[Callable[[], None]] = field(default_factory=Queue)
    _waiting: set[tuple[Any, ...]] = field(default_factory=set)
    _new: set[tuple[int, int]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin with what waits, and with what comes."""
        thread = threading.Thread(target=self._run, name="backlog", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way ends after the image at hand."""
        self._stop.set()
        if self.work is not None:
            self.work.stop.set()
        self._pieces.put(_do_nothing)

    def join(self, timeout_s: float) -> None:
        """Wait for the end of what was under way when it was stopped."""
        for thread in self._threads:
            thread.join(timeout_s)

    @property
    def n_waiting(self) -> int:
        """How many tasks wait, or are under way."""
        with self._lock:
            return len(self._waiting) + len(self._new)

    def precompute(
        self,
        tasks: Sequence[Task],
        request: PredictRequest,
        access: LabelStudioAccess,
    ) -> None:
        """Have results of these tasks in the cache soon.

        Args:
            tasks: those of the request that it had no time for.
            request: for whose label config.
            access: as the request had.
        """

        def name(task: Task) -> tuple[str | None, int | None, int]:
            return request.project, task.id, hash(request.label_config)

        with self._lock:
            room = _MOST_WAITING - len(self._waiting)
            new = [task for task in tasks if name(task) not in self._waiting]
            new = new[: max(0, room)]
            self._waiting.update(map(name, new))
        if not new:
            return

        def done(task: Task) -> None:
            with self._lock:
                self._waiting.discard(name(task))

        self._pieces.put(lambda: self._precompute(new, request, access, done))

    def pre_annotate(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Have predictions of these tasks stored; nothing without `work`."""
        if self.work is None or not task_ids:
            return
        with self._lock:
            ids = tuple(
                task_id
                for task_id in dict.fromkeys(task_ids)
                if (project_id, task_id) not in self._new
            )
            of_project = sum(project == project_id for project, _ in self._new)
            if (
                len(self._new) + len(ids) > _MOST_NEW_WAITING
                or of_project + len(ids) > _MOST_NEW_OF_PROJECT
            ):
                logger.warning(
                    "Project %s: %d new tasks are not queued, because too many wait "
                    "already; run `diffsegmenter preannotate` for them.",
                    project_id,
                    len(ids),
                )
                return
            self._new.update((project_id, task_id) for task_id in ids)
        if not ids:
            return

        def pre_annotate() -> None:
            try:
                self._pre_annotate(project_id, ids)
            finally:
                with self._lock:
                    self._new.difference_update((project_id, id_) for id_ in ids)

        self._pieces.put(pre_annotate)

    def _run(self) -> None:
        while True:
            piece = self._pieces.get()
            if self._stop.is_set():
                return
            try:
                piece()
            except (BackendError, SegmenterError, redis.RedisError) as error:
                logger.warning("Background work failed: %s", error)
            # The thread must outlive whatever one piece of work meets.
            except Exception:
                logger.exception("Unexpected error in background work.")

    def _precompute(
        self,
        tasks: Sequence[Task],
        request: PredictRequest,
        access: LabelStudioAccess,
        done: Callable[[Task], None],
    ) -> None:
        try:
            project_id = _project_id(request.project)
            # Workers read tasks and images as the environment says.
            if access.from_environment and project_id and self.has_workers():
                version = self.predictor.model_version(
                    request.label_config, request.project
                )
                ids = [task.id for task in tasks if task.id is not None]
                self._enqueue(project_id, ids, version, stores=False)
                return
            outcomes = self.predictor.predict_in_background(
                tasks,
                self.predictor.plan(request.label_config, request.project),
                access,
                limit_s=_PRECOMPUTE_LIMIT_S,
                stop=self._stop,
            )
            n_done = 0
            for outcome in outcomes:
                done(tasks[outcome.index])
                n_done += 1
        finally:
            for task in tasks:
                done(task)
        logger.info(
            "Project %s: %d of %d tasks are precomputed.",
            request.project,
            n_done,
            len(tasks),
        )

    def _pre_annotate(self, project_id: int, ids: tuple[int, ...]) -> None:
        assert self.work is not None
        tasks = ProjectTasks(
            self.work.client,
            project_id,
            retry_for_s=self.work.retry_for_s,
            stop=self._stop,
        )
        version = self.predictor.model_version(
            tasks.info().label_config, str(project_id)
        )
        if self.has_workers():
            self._enqueue(project_id, ids, version, stores=True)
            return
        run = LocalRun(
            work=self.work,
            tasks=tasks,
            spec=RunSpec(project_id=project_id, task_ids=ids),
            version=version,
            show=lambda progress: None,
        )
        run.run()
        logger.info(
            "Project %s: %d of %d new tasks are pre-annotated.",
            project_id,
            run.progress.done,
            len(ids),
        )
        if run.failures:
            logger.warning(
                "Project %s: %d new tasks have no prediction; the first: %s",
                project_id,
                len(run.failures),
                next(iter(run.failures.values())),
            )

    def has_workers(self) -> bool:
        """Whether there are workers who do what is queued."""
        if self.queue is None:
            return False
        try:
            return self.queue.n_workers() > 0
        except redis.RedisError:
            return False

    def _enqueue(
        self, project_id: int, ids: Sequence[int], version: str, *, stores: bool
    ) -> None:
        assert self.queue is not None
        chunk = Chunk(
            project_id=project_id,
            task_ids=tuple(ids),
            version=version,
            stores=stores,
        )
        chunks = list(chunk.in_parts(job_size(len(ids))))
        # Somebody has asked for what is computed ahead, and asks again soon.
        self.queue.add(chunks, at_front=not stores)
        logger.info(
            "Project %s: queued %d tasks for the workers.", project_id, len(ids)
        )


def _do_nothing() -> None:
    """Wakes who waits for a piece of work."""


def _project_id(project: str | None) -> int | None:
    """Label Studio's number out of its "<id>.<created_at>"."""
    number = (project or "").partition(".")[0]
    return int(number) if number.isdecimal() else None
