"""The order of the steps: a parsed request in, Label Studio predictions out.

The only file that knows it: config, images, cache, segmenter, cut, encode. Every
task stands alone: what goes wrong with one is logged, counted and answered with
an empty list for that task, so that Label Studio asks for it again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.cache import Cache, score_key
from backend.errors import BackendError, ImageNotFound
from backend.label_config import read_controls
from backend.metrics import Metrics
from backend.regions import brush_region, prediction, region_id
from backend.score_codec import UnreadableScores, decode_score_maps, encode_score_maps
from backend.tasks import PredictRequest
from backend.values import Control, FetchedImage, LabelStudioAccess, Task
from segmenter import ScoreMaps, SegmenterError, cut_masks

logger = logging.getLogger(__name__)

# Images in memory at once: bounds memory, and how late the deadline is noticed.
_CHUNK: Final = 8

Answer = dict[str, Any] | list[Any]


class MapMaker(Protocol):
    """What this file needs of a segmenter."""

    def score(
        self, images: Sequence[NDArray[np.uint8]], labels: Sequence[Sequence[str]]
    ) -> list[ScoreMaps]:
        """Score maps of every image."""


class Fetcher(Protocol):
    """What this file needs of an image fetcher."""

    def fetch(
        self, address: str, *, access: LabelStudioAccess, task_id: int | None = None
    ) -> FetchedImage:
        """Pixels behind an address."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    """One image of one task, and the controls that paint on it."""

    task: Task
    controls: tuple[Control, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """Each prompt once, in the order of the config."""
        return tuple(
            dict.fromkeys(
                label.prompt for control in self.controls for label in control.labels
            )
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """What all tasks of one request share."""

    controls: tuple[Control, ...]
    access: LabelStudioAccess
    segmenter: MapMaker
    deadline: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scored:
    """A job's outcome: score maps, or why there are none (None: no time left)."""

    maps: ScoreMaps | None
    failure: Exception | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class PreAnnotator:
    """Answers predict requests.

    Attributes:
        segmenter: gives the loaded segmenter; may load it first, and may raise
            `WeightsNotFound`.
        fetcher: reads task images.
        cache: score maps between requests.
        metrics: counters.
        maps_fingerprint: of weights and all options that change a score map.
        model_version: the string that `/setup` answers as well.
        threshold: background score where neither label nor control sets one.
        budget_s: seconds after which the rest of a request's tasks is left.
        clock: monotonic seconds.
    """

    segmenter: Callable[[], MapMaker]
    fetcher: Fetcher
    cache: Cache
    metrics: Metrics
    maps_fingerprint: str
    model_version: str
    threshold: float
    budget_s: float
    clock: Callable[[], float] = time.monotonic

    def predict(
        self, request: PredictRequest, access: LabelStudioAccess
    ) -> list[Answer]:
        """One answer per task, in order: a prediction, or [] where it failed.

        Raises:
            BadLabelConfig: if the config has nothing to segment.
            WeightsNotFound: if the model cannot be loaded.
        """
        # Before the segmenter, which may have to load first: the caller waits for
        # that as well.
        deadline = self.clock() + self.budget_s
        run = _Run(
            controls=read_controls(request.label_config),
            access=access,
            segmenter=self.segmenter(),
            deadline=deadline,
        )
        answers: list[Answer | None] = []
        # Not a `with` block: at the deadline nothing waits for slow downloads.
        pool = ThreadPoolExecutor(_CHUNK, thread_name_prefix="fetch")
        try:
            for tasks in _chunks(request.tasks, _CHUNK):
                if self.clock() >= deadline:
                    break
                answers += self._answer_chunk(tasks, run, pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        answers += [None] * (len(request.tasks) - len(answers))
        left = answers.count(None)
        if left:
            self.metrics.tasks.labels("out_of_time").inc(left)
            logger.warning(
                "%d of %d tasks were not reached within %.0f s; ask for them again "
                "(what is done is cached), or send fewer tasks at once.",
                left,
                len(request.tasks),
                self.budget_s,
            )
        if request.is_interactive:
            return [answer or self._prediction([]) for answer in answers]
        return [answer or [] for answer in answers]

    def _answer_chunk(
        self,
        tasks: Sequence[Task],
        run: _Run,
        pool: ThreadPoolExecutor,
    ) -> list[Answer | None]:
        """One answer per task, None for those that no time was left for."""
        jobs = [job for task in tasks for job in _jobs(task, run.controls)]
        started = self.clock()
        images = list(pool.map(lambda job: self._fetch(job, run.access), jobs))
        scored = self._score(jobs, images, run)
        per_task = len(jobs) // len(tasks)
        answers: list[Answer | None] = []
        for index, task in enumerate(tasks):
            own = slice(index * per_task, (index + 1) * per_task)
            answers.append(self._answer(task, jobs[own], scored[own]))
        logger.info("%d tasks in %.2f s.", len(tasks), self.clock() - started)
        return answers

    def _fetch(
        self, job: _Job, access: LabelStudioAccess
    ) -> FetchedImage | BackendError:
        address = job.task.data.get(job.controls[0].data_key)
        try:
            if not isinstance(address, str) or not address.strip():
                raise ImageNotFound(
                    f"The task's data has no text in {job.controls[0].data_key!r}, "
                    f"where the label config's <Image> looks; it has "
                    f"{sorted(job.task.data)}."
                )
            return self.fetcher.fetch(address, access=access, task_id=job.task.id)
        except BackendError as error:
            return error

    def _score(
        self,
        jobs: Sequence[_Job],
        images: Sequence[FetchedImage | BackendError],
        run: _Run,
    ) -> list[_Scored]:
        keys = {
            place: score_key(
                image_digest=image.digest,
                prompts=job.prompts,
                model=self.maps_fingerprint,
            )
            for place, (job, image) in enumerate(zip(jobs, images, strict=True))
            if isinstance(image, FetchedImage)
        }
        cached = self.cache.get_many(list(keys.values()))
        known = dict(zip(keys, cached, strict=True))
        fresh: dict[str, ScoreMaps] = {}
        results = []
        for place, (job, image) in enumerate(zip(jobs, images, strict=True)):
            if isinstance(image, BackendError):
                results.append(_Scored(maps=None, failure=image))
                continue
            key = keys[place]
            maps = fresh.get(key) or _unpack(known[place], job.prompts, image)
            if maps is None:
                results.append(self._segment(job, image, key, run))
            else:
                results.append(_Scored(maps=maps))
            if results[-1].maps is not None:
                fresh[key] = results[-1].maps
        return results

    def _segment(self, job: _Job, image: FetchedImage, key: str, run: _Run) -> _Scored:
        if self.clock() >= run.deadline:
            return _Scored(maps=None)
        try:
            (maps,) = run.segmenter.score([image.pixels], [job.prompts])
            self.metrics.images_segmented.inc()
            return _Scored(maps=self._remember(key, maps, image))
        # The border to the model: running out of GPU memory, scores that are not
        # numbers, or a fault in a library below cost this image and not its batch.
        except (SegmenterError, RuntimeError, ValueError, MemoryError) as error:
            return _Scored(maps=None, failure=error)

    def _remember(self, key: str, maps: ScoreMaps, image: FetchedImage) -> ScoreMaps:
        """Store, and go on with what was stored.

        Packing rounds. Cutting the packed copy now makes today's answer and the
        one from the cache the same to the pixel.
        """
        packed = encode_score_maps(maps.maps, maps.presence, maps.labels, maps.size_yx)
        self.cache.put(key, packed)
        return _unpack(packed, maps.labels, image) or maps

    def _answer(
        self, task: Task, jobs: Sequence[_Job], scored: Sequence[_Scored]
    ) -> Answer | None:
        failures = [outcome.failure for outcome in scored if outcome.failure]
        for failure in failures:
            logger.warning(
                "Task %s is left unpredicted: %s",
                task.id,
                failure,
                exc_info=None if isinstance(failure, BackendError) else failure,
            )
        if failures:
            self.metrics.tasks.labels("failed").inc()
            return []
        regions: list[dict[str, Any]] = []
        for job, outcome in zip(jobs, scored, strict=True):
            if outcome.maps is None:
                return None
            regions += self._regions(job, outcome.maps)
        self.metrics.tasks.labels("predicted").inc()
        return self._prediction(regions)

    def _regions(self, job: _Job, maps: ScoreMaps) -> Iterator[dict[str, Any]]:
        for control in job.controls:
            places = [maps.labels.index(label.prompt) for label in control.labels]
            common = control.threshold_01 or self.threshold
            cut = cut_masks(
                replace(
                    maps,
                    labels=tuple(label.name for label in control.labels),
                    maps=maps.maps[places],
                    presence=maps.presence[places],
                ),
                threshold=common,
                label_thresholds=[label.threshold_01 for label in control.labels],
            )
            painted = False
            for index, label in enumerate(control.labels):
                mask = cut.mask(index)
                if not mask.any():
                    continue
                painted = True
                yield brush_region(
                    control=control,
                    label=label,
                    mask=mask,
                    score=float(np.clip(cut.scores[index], 0, 1)),
                    region_id=region_id(
                        job.task.id, control.from_name, control.to_name, label.name
                    ),
                )
            if not painted:
                best = int(cut.best.argmax())
                logger.info(
                    "Task %s: nothing found for %s. Best was %r with %.2f; the "
                    "threshold is %.2f.",
                    job.task.id,
                    control.from_name,
                    control.labels[best].prompt,
                    cut.best[best],
                    control.labels[best].threshold_01 or common,
                )

    def _prediction(self, regions: Sequence[dict[str, Any]]) -> dict[str, Any]:
        scores = [region["score"] for region in regions]
        return prediction(
            regions,
            model_version=self.model_version,
            score=sum(scores) / len(scores) if scores else 0.0,
        )


def _jobs(task: Task, controls: tuple[Control, ...]) -> list[_Job]:
    """One job per image of the task; controls on the same image share it."""
    keys = dict.fromkeys(control.data_key for control in controls)
    return [
        _Job(task=task, controls=tuple(c for c in controls if c.data_key == key))
        for key in keys
    ]


def _unpack(
    packed: bytes | None, prompts: Sequence[str], image: FetchedImage
) -> ScoreMaps | None:
    """Score maps out of cached bytes; anything doubtful is a miss."""
    if packed is None:
        return None
    try:
        cached = decode_score_maps(packed)
    except UnreadableScores as error:
        logger.warning(
            "A cached value was not readable and counts as a miss: %s", error
        )
        return None
    if len(cached.maps) != len(prompts) or cached.size_yx != image.pixels.shape[:2]:
        return None
    return ScoreMaps(
        labels=tuple(prompts),
        maps=cached.maps,
        presence=cached.presence,
        size_yx=cached.size_yx,
    )


def _chunks(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]
