"""Tasks in, their predictions out, as they get ready: the order of the steps.

The only file that knows it: images, score maps, regions, check. Images are fetched
while others are segmented, and taken up as they arrive. Every task stands alone.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from backend.cache import FinishedStore
from backend.inference.batcher import DeadlineExceeded
from backend.inference.failure_log import FailureLog
from backend.inference.finished import KnownPage, are_of_config, page_key
from backend.inference.metrics import Metrics
from backend.inference.plan import Plan
from backend.inference.prefetch import (
    FetchResult,
    Job,
    PendingTask,
    Prefetcher,
    jobs_of,
    without_traceback,
)
from backend.inference.scorer import Query, Scorer, Segmenter
from backend.inference.validation import gathered, valid_prediction
from backend.regions import Canvas, paint
from backend.types import (
    Control,
    FetchedImage,
    ImageFile,
    LabelStudioAccess,
    Task,
    Turn,
    TypedPrompt,
)
from segmenter import Heads, Mode, ScoreMaps

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskOutcome:
    """What became of one task.

    Attributes:
        index: of the task among those that were given.
        prediction: as Label Studio stores it, None where there is none.
        failures: why there is none; without tracebacks. Empty where there is one.
    """

    index: int
    prediction: dict[str, Any] | None
    failures: tuple[Exception, ...] = ()


class Fetcher(Protocol):
    """What predictions need of an image fetcher."""

    def fetch(
        self,
        address: str,
        *,
        access: LabelStudioAccess,
        task_id: int | None = None,
        turn: Turn = ...,
        max_age_s: float = ...,
    ) -> FetchedImage:
        """Pixels behind an address, for as long as they are not released."""

    def read(
        self,
        address: str,
        *,
        access: LabelStudioAccess,
        task_id: int | None = None,
        turn: Turn = ...,
        max_age_s: float = ...,
    ) -> ImageFile:
        """The file behind an address."""

    def is_at_hand(self, address: str) -> bool:
        """Whether reading it waits for nobody."""

    def decode(self, file: ImageFile, *, turn: Turn = ...) -> FetchedImage:
        """Its pixels, for as long as they are not released."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What all tasks of one request share.

    Attributes:
        plan: how the project is predicted.
        access: how to reach Label Studio's images.
        segmenter: loaded.
        deadline: on the pipeline's clock; nothing is begun after it.
        is_urgent: somebody waits for this one task.
        rank: goes before what has a higher one.
        typed: to be looked for in place of the labels.
        occasion: makes region ids of this request alone. The editor replaces a region
            whose id comes again, and with it what somebody has corrected since: what
            was asked for by hand has ids of its own each time.
        stop: ends the work after the image at hand when it is set.
        failures: sums up alike failures in the log.
    """

    plan: Plan
    access: LabelStudioAccess
    segmenter: Segmenter
    deadline: float
    is_urgent: bool = False
    rank: int = 0
    typed: TypedPrompt | None = None
    occasion: str | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    failures: FailureLog = field(default_factory=FailureLog)

    def controls_of(self, task: Task) -> tuple[Control, ...]:
        """What is to be drawn on the task's images."""
        return self.plan.config.for_task(task.data, self.typed)

    def heads_of(self, mode: Mode) -> Heads | None:
        """What was learned of labels that are read so; nothing of what was typed."""
        return None if self.typed else self.plan.heads.get(mode)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pipeline:
    """Gives tasks their predictions.

    Attributes:
        fetcher: reads task images.
        scorer: makes score maps.
        metrics: counters.
        clock: monotonic seconds.
        grace_s: seconds beyond a run's deadline, to draw what the model was at work on.
        finished: regions that were drawn before; None for none.
    """

    fetcher: Fetcher
    scorer: Scorer
    metrics: Metrics
    clock: Callable[[], float]
    grace_s: float
    finished: FinishedStore | None = None

    def outcomes(self, tasks: Sequence[Task], run: Run) -> Iterator[TaskOutcome]:
        """Outcomes as they get ready; none for tasks that no time was left for."""
        over = threading.Event()
        turn = Turn(
            is_wanted=lambda: not over.is_set(), is_urgent=run.is_urgent, rank=run.rank
        )

        def fetch(job: Job) -> FetchedImage | KnownPage:
            with self.metrics.stage("fetch"):
                file = self.fetcher.read(
                    job.address, access=run.access, task_id=job.task.task.id, turn=turn
                )
            known = None if run.typed else self._known(job, file.digest, run.plan)
            if known is not None:
                return known
            with self.metrics.stage("decode"):
                return self.fetcher.decode(file, turn=turn)

        prefetcher = Prefetcher(
            tasks,
            run.controls_of,
            fetch,
            at_once=run.segmenter.images_per_pass,
        )
        with ExitStack() as stack:
            stack.callback(over.set)
            stack.enter_context(run.failures)
            stack.enter_context(prefetcher)
            while not prefetcher.is_empty and not run.stop.is_set():
                for task in prefetcher.take_failed():
                    yield from self._finish(task, run)
                left_s = run.deadline - self.clock()
                if left_s <= 0:
                    return
                results = prefetcher.take_results(left_s)
                for task in self._score_and_paint(results, run):
                    yield from self._finish(task, run)

    def _score_and_paint(
        self, results: list[FetchResult[FetchedImage | KnownPage]], run: Run
    ) -> Iterator[PendingTask]:
        """Score and paint what has arrived; tasks whose last image that was.

        `results` is empty, and its images are released, when the first is given.
        """
        queries: dict[tuple[Job, Mode], Query] = {}
        for result in results:
            job = result.job
            if isinstance(result.image, Exception):
                job.task.failures.append(result.image)
            elif isinstance(result.image, KnownPage):
                job.task.regions[job.number] = result.image.regions
            elif not job.task.failures:
                queries |= {
                    (job, mode): query_of(
                        job,
                        mode,
                        result.image,
                        # Whoever has opened this one task may click next.
                        for_clicks=run.is_urgent,
                        needs_layers=run.heads_of(mode) is not None,
                    )
                    for mode in job.prompts
                }
        scored = self.scorer.score(
            list(queries.values()),
            run.segmenter,
            run.deadline,
            is_urgent=run.is_urgent,
            rank=run.rank,
        )
        for (job, mode), maps in zip(queries, scored, strict=True):
            if run.stop.is_set():
                return
            self._paint(job, mode, queries[job, mode].image, maps, run)
        tasks = [result.job.task for result in results]
        # Before anybody waits: for the next images, which may need their room, or for
        # whoever takes the outcomes.
        queries.clear()
        _release(results)
        for task in tasks:
            task.jobs_left -= 1
            if not task.jobs_left:
                yield task

    def _paint(
        self,
        job: Job,
        mode: Mode,
        image: FetchedImage,
        maps: ScoreMaps | Exception,
        run: Run,
    ) -> None:
        """Draw what all controls of this mode find on the job's image."""
        task = job.task
        task.fresh[job.number] = self._key(job, image.digest, run.plan)
        if isinstance(maps, DeadlineExceeded):
            task.failures.append(maps)
            return
        if isinstance(maps, Exception):
            task.failures.append(without_traceback(maps, task.task.id))
            return
        canvas = Canvas(
            task_id=task.task.id,
            item_index=job.item_index,
            pixels=image.pixels,
            occasion=run.occasion,
        )
        regions = task.regions.setdefault(job.number, [])
        try:
            for control in job.controls:
                if control.mode != mode:
                    continue
                if self.clock() >= run.deadline + self.grace_s:
                    task.failures.append(DeadlineExceeded())
                    return
                with self.metrics.stage("painting"):
                    regions += paint(control, maps, canvas, run.heads_of(mode))
        # The border to what draws: a fault there costs this task and not its batch.
        except Exception as error:
            task.failures.append(without_traceback(error, task.task.id))

    def _finish(self, task: PendingTask, run: Run) -> Iterator[TaskOutcome]:
        """The outcome of a task; none if time ran out on it."""
        failures = [e for e in task.failures if not isinstance(e, DeadlineExceeded)]
        if not failures and task.failures:
            return
        answer: dict[str, Any] | None = None
        if not failures:
            try:
                answer = self._gather(task, run)
            # The border to the SDK's validator.
            except Exception as error:
                failures.append(without_traceback(error, task.task.id))
        for failure in failures:
            run.failures.add(task.task.id, failure)
        if answer is not None:
            logger.info("Task %s: %d regions.", task.task.id, len(answer["result"]))
        self.metrics.tasks.labels("predicted" if answer else "failed").inc()
        yield TaskOutcome(index=task.index, prediction=answer, failures=tuple(failures))

    def _gather(self, task: PendingTask, run: Run) -> dict[str, Any] | None:
        """The task's prediction, None where Label Studio would take none of it."""
        regions = [
            region for number in sorted(task.regions) for region in task.regions[number]
        ]
        if not task.fresh:
            # Checked before they were kept.
            return gathered(regions, run.plan.version)
        answer, n_invalid = valid_prediction(
            regions,
            run.plan.config,
            model_version=run.plan.version,
            task_id=task.task.id,
        )
        self.metrics.invalid_regions.inc(n_invalid)
        # What was typed has ids of its own each time.
        if self.finished is not None and run.typed is None and not n_invalid:
            for number, key in task.fresh.items():
                self.finished.put(key, task.regions[number])
        return answer

    def known_answer(
        self, task: Task, plan: Plan, access: LabelStudioAccess
    ) -> dict[str, Any] | None:
        """The prediction of a task all of whose images were drawn before.

        None as well where an image would have to be waited for, and where anything is
        wrong: `outcomes` finds that again, and says so.
        """
        if self.finished is None:
            return None
        opened = PendingTask(index=0, task=task)
        regions: list[dict[str, Any]] = []
        try:
            for job in jobs_of(opened, plan.config.for_task(task.data)):
                if not self.fetcher.is_at_hand(job.address):
                    return None
                file = self.fetcher.read(job.address, access=access, task_id=task.id)
                known = self._known(job, file.digest, plan)
                if known is None:
                    return None
                regions += known.regions
        # The border to the task's data.
        except Exception:
            return None
        self.metrics.tasks.labels("predicted").inc()
        logger.info("Task %s: %d regions.", task.id, len(regions))
        return gathered(regions, plan.version)

    def _known(self, job: Job, image_digest: str, plan: Plan) -> KnownPage | None:
        """What was drawn before on the same image for the same task."""
        if self.finished is None:
            return None
        regions = self.finished.get(
            self._key(job, image_digest, plan),
            lambda kept: are_of_config(kept, plan.config, plan.version),
        )
        self.metrics.note_kept("answers", is_found=regions is not None)
        if regions is None:
            return None
        self.metrics.images_known.inc()
        return KnownPage(regions=regions)

    def _key(self, job: Job, image_digest: str, plan: Plan) -> str:
        return page_key(job, image_digest, plan, self.scorer.maps_name)


def query_of(
    job: Job,
    mode: Mode,
    image: FetchedImage,
    *,
    for_clicks: bool = False,
    needs_layers: bool = False,
) -> Query:
    """What is asked of an image; the same for a task and for clicks on it."""
    return Query(
        image=image,
        prompts=job.prompts[mode],
        mode=mode,
        presence_threshold_01=job.presence_threshold_01(mode),
        for_clicks=for_clicks,
        needs_layers=needs_layers,
    )


def _release(results: list[FetchResult[FetchedImage | KnownPage]]) -> None:
    """Let go of images, all at once."""
    for result in results:
        if isinstance(result.image, FetchedImage):
            result.image.release()
    results.clear()
