"""Clicks on one object in, its region out: the order of the steps.

Score maps from the cache or one pass, what the person sees, which object is meant, its
new mask, its region. An answer takes the place of a region of its id, so it is of the
object's own id, and nothing else is answered.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from backend.errors import BackendError
from backend.inference.batcher import DeadlineExceeded
from backend.inference.clicked_object import ClickedObject, Mask, NoAnswer
from backend.inference.pipeline import Fetcher, query_of
from backend.inference.plan import Plan
from backend.inference.prefetch import Job, PendingTask, jobs_of, without_traceback
from backend.inference.recent_answers import RecentAnswers, on_canvas
from backend.inference.scorer import Scorer, Segmenter
from backend.inference.validation import valid_prediction
from backend.label_config import ClickTarget
from backend.label_studio import ClickRequest
from backend.regions import maps_of_labels, redraw, seen_regions
from backend.types import FetchedImage, LabelStudioAccess, Task, Turn
from segmenter import ScoreMaps, SegmenterError

logger = logging.getLogger(__name__)

# Of a picture's file: how long ago it may have been read for an earlier click.
FILE_MAX_AGE_S: Final = 300.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What somebody asks, and of what.

    Attributes:
        task: whose picture it is.
        clicks: what was shown.
        plan: how the project is predicted.
        project: Label Studio's name for it, None when absent.
        access: how to reach Label Studio's images.
    """

    task: Task
    clicks: ClickRequest
    plan: Plan
    project: str | None
    access: LabelStudioAccess


@dataclass(frozen=True, kw_only=True, eq=False)
class ClickAnswerer:
    """Answers clicks and boxes.

    Attributes:
        fetcher: reads task images.
        scorer: makes score maps, or finds them.
        recent: what was answered lately.
        read_features: told which picture was clicked on without what its pass knew
            beside the maps.
    """

    fetcher: Fetcher
    scorer: Scorer
    recent: RecentAnswers
    read_features: Callable[[Task, Plan, LabelStudioAccess], None]

    def answer(
        self, asked: Question, segmenter: Callable[[], Segmenter], deadline: float
    ) -> dict[str, Any]:
        """The prediction with the object's region.

        Args:
            asked: the question.
            segmenter: loads the model where it is needed; may raise
                `DeadlineExceeded` and `SegmenterError`.
            deadline: on the scorer's clock.

        Raises:
            NoAnswer: if there is none; nothing else is raised.
        """
        try:
            return self._answer(asked, segmenter, deadline)
        except NoAnswer:
            raise
        except (BackendError, SegmenterError) as error:
            raise NoAnswer(str(error)) from None
        except DeadlineExceeded:
            raise NoAnswer(
                "the model is not ready, or not free, within PREDICT_BUDGET_S"
            ) from None
        # The border to what draws: a fault there costs this click and nothing else.
        except Exception as error:
            without_traceback(error, asked.task.id)
            raise NoAnswer(f"{type(error).__name__}, see above") from None

    def _answer(
        self, asked: Question, segmenter: Callable[[], Segmenter], deadline: float
    ) -> dict[str, Any]:
        started = time.monotonic()
        target = _target(asked)
        job = _job(asked, target)
        image = self.fetcher.fetch(
            job.address,
            access=asked.access,
            task_id=asked.task.id,
            turn=Turn(is_urgent=True),
            max_age_s=FILE_MAX_AGE_S,
        )
        try:
            maps = self._maps(asked, job, target, image, segmenter, deadline)
            drawn = self._draw(asked, target, job, image, maps)
        finally:
            image.release()
        answer, _ = valid_prediction(
            drawn,
            asked.plan.config,
            model_version=asked.plan.version,
            task_id=asked.task.id,
        )
        if answer is None:
            raise NoAnswer("Label Studio would refuse the region")
        logger.info(
            "Task %s: %s of %r answered with the region %s in %.3f s.",
            asked.task.id,
            _described(asked.clicks),
            target.label.name,
            drawn[0]["id"],
            time.monotonic() - started,
        )
        return answer

    def _maps(
        self,
        asked: Question,
        job: Job,
        target: ClickTarget,
        image: FetchedImage,
        segmenter: Callable[[], Segmenter],
        deadline: float,
    ) -> ScoreMaps:
        """The control's labels in the image, with no pass where one was made."""
        mode = target.control.mode
        heads = asked.plan.heads.get(mode)
        query = query_of(
            job, mode, image, for_clicks=True, needs_layers=heads is not None
        )
        maps: ScoreMaps | Exception | None = self.scorer.cached(query)
        if isinstance(maps, ScoreMaps) and self.scorer.lacks_features(query):
            # This click does without; the next need not.
            self.read_features(asked.task, asked.plan, asked.access)
        if maps is None:
            (maps,) = self.scorer.score([query], segmenter(), deadline, is_urgent=True)
        if isinstance(maps, Exception):
            raise maps
        return maps_of_labels(target.control, maps, heads)

    def _draw(
        self,
        asked: Question,
        target: ClickTarget,
        job: Job,
        image: FetchedImage,
        maps: ScoreMaps,
    ) -> list[dict[str, Any]]:
        key = f"{asked.access.url} {asked.project} {asked.task.id}"
        stored = seen_regions(asked.clicks.seen)
        seen = on_canvas(stored, self.recent.get(key), asked.clicks)
        found = ClickedObject(
            task_id=asked.task.id,
            clicks=asked.clicks,
            target=target,
            pixels=image.pixels,
            maps=maps,
            seen=seen,
        )
        before = found.region()
        start = None if before is None else before.mask()
        mask = found.solve(before, start)
        if not mask.any():
            raise NoAnswer("nothing would be left of the object")
        name = found.new_id() if before is None else before.id
        point = asked.clicks.first_positive
        drawn = redraw(
            mask,
            control=target.control,
            label=target.label,
            region_id=name,
            score=_score(maps, target.index, mask),
            item_index=job.item_index,
            at_yx=None if point is None else found.pixel(point),
            before=before,
        )
        if asked.task.id is not None:
            self.recent.put(
                key,
                seen_regions(drawn)[name],
                asked=asked.clicks,
                start=start,
                content=stored[name].content if name in stored else "",
            )
        return drawn


def _target(asked: Question) -> ClickTarget:
    clicks = asked.clicks
    target = asked.plan.config.click_target(
        asked.task.data,
        from_name=clicks.from_name,
        to_name=clicks.to_name,
        label=clicks.label,
    )
    if isinstance(target, str):
        raise NoAnswer(target)
    return target


def _job(asked: Question, target: ClickTarget) -> Job:
    pending = PendingTask(index=0, task=asked.task)
    for job in jobs_of(pending, asked.plan.config.for_task(asked.task.data)):
        is_page = (job.item_index or 0) == asked.clicks.item_index
        if is_page and target.control in job.controls:
            return job
    raise NoAnswer(
        f"the task has no picture {asked.clicks.item_index} on {asked.clicks.to_name!r}"
    )


def _score(maps: ScoreMaps, index: int, mask: Mask) -> float:
    """Mean score of the label inside the mask, in [0, 1]."""
    scores = maps.maps[index].astype(np.float32)
    share = cv2.resize(
        mask.astype(np.float32), scores.shape[::-1], interpolation=cv2.INTER_AREA
    ).reshape(scores.shape)
    total = float(share.sum())
    return float(np.clip((scores * share).sum() / total, 0, 1)) if total else 0.0


def _described(clicks: ClickRequest) -> str:
    n_positive = sum(point.is_positive for point in clicks.points)
    parts = [
        f"{n_positive} clicks" if n_positive else "",
        f"{len(clicks.points) - n_positive} negative clicks"
        if len(clicks.points) > n_positive
        else "",
        "a box" if clicks.box is not None else "",
    ]
    return " and ".join(filter(None, parts))
