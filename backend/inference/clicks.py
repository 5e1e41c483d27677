"""Clicks on one object in, its region out: the order of the steps.

Score maps from the cache or one pass, what the person sees, which object is meant, its
new mask, its region. An answer takes the place of a region of its id, so it is of the
object's own id, and nothing else is answered.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.errors import BackendError
from backend.inference.batcher import DeadlineExceeded
from backend.inference.pipeline import Fetcher
from backend.inference.prefetch import Job, PendingTask, jobs_of, without_traceback
from backend.inference.recent_answers import RecentAnswers, on_canvas
from backend.inference.scorer import Query, Scorer, Segmenter
from backend.inference.validation import valid_prediction
from backend.label_config import ClickTarget, LabelConfig
from backend.label_studio import ClickRequest, PointPrompt
from backend.regions import (
    SeenRegion,
    control_tags,
    new_region_id,
    redraw,
    seen_regions,
)
from backend.types import FetchedImage, LabelStudioAccess, Task, Turn
from segmenter import (
    Box,
    Click,
    ScoreMaps,
    SegmenterError,
    merge_prompts,
    refine_mask,
)

logger = logging.getLogger(__name__)

Mask = NDArray[np.bool_]

# Of a picture's file: how long ago it may have been read for an earlier click.
FILE_MAX_AGE_S: Final = 300.0
# Share of the smaller of two masks that both have, from which on they are one object.
_SAME_OBJECT_01: Final = 0.5


class NoAnswer(Exception):
    """Why a question is answered without a region; one line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What somebody asks, and of what.

    Attributes:
        task: whose picture it is.
        clicks: what was shown.
        config: of the project.
        version: of the answer.
        project: Label Studio's name for it, None when absent.
        access: how to reach Label Studio's images.
    """

    task: Task
    clicks: ClickRequest
    config: LabelConfig
    version: str
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
    read_features: Callable[[Task, LabelConfig, LabelStudioAccess], None]

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
        started = time.monotonic()
        try:
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
                asked.config,
                model_version=asked.version,
                task_id=asked.task.id,
            )
        except (BackendError, SegmenterError) as error:
            raise NoAnswer(str(error)) from None
        except DeadlineExceeded:
            raise NoAnswer(
                "the model is not ready, or not free, within PREDICT_BUDGET_S"
            ) from None
        # The border to what draws: a fault there costs this click and nothing else.
        except Exception as error:
            if isinstance(error, NoAnswer):
                raise
            without_traceback(error, asked.task.id)
            raise NoAnswer(f"{type(error).__name__}, see above") from None
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
        query = click_query(job, image, target)
        maps: ScoreMaps | Exception | None = self.scorer.cached(query)
        if isinstance(maps, ScoreMaps) and self.scorer.lacks_features(query):
            # This click does without; the next need not.
            self.read_features(asked.task, asked.config, asked.access)
        if maps is None:
            (maps,) = self.scorer.score([query], segmenter(), deadline, is_urgent=True)
        if isinstance(maps, Exception):
            raise maps
        control = target.control
        own = merge_prompts(
            maps,
            [(label.name, label.prompts) for label in control.labels],
            presence_threshold=control.cut.presence_threshold_01,
            label_presence_thresholds=[
                label.presence_threshold_01 for label in control.labels
            ],
        )
        return replace(own, features=maps.features)

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
        work = _Work(asked=asked, target=target, image=image, maps=maps, seen=seen)
        before = work.object()
        start = None if before is None else before.mask()
        mask = work.solve(before, start)
        if not mask.any():
            raise NoAnswer("nothing would be left of the object")
        name = work.new_id() if before is None else before.id
        point = asked.clicks.first_positive
        drawn = redraw(
            mask,
            control=target.control,
            label=target.label,
            region_id=name,
            score=_score(maps, target.index, mask),
            item_index=job.item_index,
            at_yx=None if point is None else work.pixel(point),
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


def click_query(job: Job, image: FetchedImage, target: ClickTarget) -> Query:
    """The very question that the pre-annotation asks, so that its answer is kept."""
    mode = target.control.mode
    return Query(
        image=image,
        prompts=job.prompts[mode],
        mode=mode,
        presence_threshold_01=job.presence_threshold_01(mode),
        for_clicks=True,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """One question with all that its answer depends on."""

    asked: Question
    target: ClickTarget
    image: FetchedImage
    maps: ScoreMaps
    seen: Mapping[str, SeenRegion]

    def object(self) -> SeenRegion | None:
        """The region that is meant; None for an object without one.

        The one below the first click. Beside it a click is on the same object if it
        alone would find mostly the same; the person then shows what is missing.

        Raises:
            NoAnswer: if there is only something to take away, and nothing is there.
        """
        clicks = self.asked.clicks
        own = self._with_masks(same_label=True)
        positive = clicks.first_positive
        if positive is not None:
            return _below(own, self.pixel(positive)) or self._alike(own, positive)
        if clicks.box is not None:
            return self._alike(own, None)
        for negative in clicks.points:
            found = _below(own, self.pixel(negative))
            if found is not None:
                return found
        raise NoAnswer(f"a negative click in no mask of {self.target.label.name!r}")

    def solve(self, before: SeenRegion | None, start: Mask | None) -> Mask:
        """The object's mask by all clicks; others keep what is theirs."""
        clicks = self.asked.clicks
        mask = self._refine(clicks.points, is_boxed=True, start=start)
        if self.target.control.cut.overlap == "exclusive":
            mine = start if start is not None else np.zeros_like(mask)
            wanted = [self.pixel(point) for point in clicks.points if point.is_positive]
            for other, theirs in self._with_masks(same_label=False):
                is_other = before is None or other.id != before.id
                # Who clicks on another's pixels wants them.
                if is_other and not any(theirs[place] for place in wanted):
                    mask &= mine | ~theirs
        return mask

    def new_id(self) -> str:
        """Of an object that nothing is drawn of."""
        clicks = self.asked.clicks
        positive, box = clicks.first_positive, clicks.box or {}
        place = (
            [positive.x_percent, positive.y_percent]
            if positive is not None
            else [box[name] for name in ("x", "y", "width", "height")]
        )
        return new_region_id(
            task_id=self.asked.task.id,
            control=self.target.control,
            label=self.target.label,
            item_index=clicks.item_index,
            place=place,
            taken=self.seen,
        )

    def pixel(self, point: PointPrompt) -> tuple[int, int]:
        """Row and column of the pixel that a click is on."""
        click = self._click(point)
        return int(click.y), int(click.x)

    def _click(self, point: PointPrompt) -> Click:
        rows, columns = self.maps.size_yx
        return Click(
            y=min(point.y_percent / 100 * rows, rows - 0.5),
            x=min(point.x_percent / 100 * columns, columns - 0.5),
            is_positive=point.is_positive,
        )

    def _alike(
        self, own: "list[tuple[SeenRegion, Mask]]", click: PointPrompt | None
    ) -> SeenRegion | None:
        """The region that a click, or the box, alone finds most of."""
        if not own:
            return None
        alone = self._refine(
            () if click is None else (click,), is_boxed=click is None, start=None
        )
        shares = [(_shared_01(alone, mask), region) for region, mask in own]
        share, region = max(shares, key=lambda pair: pair[0])
        return region if share >= _SAME_OBJECT_01 else None

    def _refine(
        self, points: tuple[PointPrompt, ...], *, is_boxed: bool, start: Mask | None
    ) -> Mask:
        label, cut = self.target.label, self.target.control.cut
        box = self.asked.clicks.box if is_boxed else None
        mask = refine_mask(
            self.image.pixels,
            clicks=[self._click(point) for point in points],
            boxes=[] if box is None else [_around(box, self.maps.size_yx)],
            start=start,
            maps=self.maps,
            label=self.target.index,
            threshold=_first(label.threshold_01, cut.threshold_01),
            presence_threshold=_first(
                label.presence_threshold_01, cut.presence_threshold_01
            ),
        )
        if box is not None and box["rotation"] % 360:
            inside = _inside(box, self.maps.size_yx)
            mask = mask & (inside if start is None else inside | start)
        return mask

    def _with_masks(self, *, same_label: bool) -> "list[tuple[SeenRegion, Mask]]":
        """What is drawn on this image with the same tag, of the label or of any."""
        clicks = self.asked.clicks
        name = self.target.label.name
        found = [
            (region, region.mask())
            for region in self.seen.values()
            if region.from_name == self.target.control.from_name
            and (region.to_name, region.item_index)
            == (clicks.to_name, clicks.item_index)
            and region.size_yx == self.maps.size_yx
            and (not same_label or name in region.labels)
        ]
        return [(region, mask) for region, mask in found if mask is not None]


def _target(asked: Question) -> ClickTarget:
    clicks = asked.clicks
    target = asked.config.click_target(
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
    for job in jobs_of(pending, asked.config.for_task(asked.task.data)):
        is_page = (job.item_index or 0) == asked.clicks.item_index
        if is_page and target.control in job.controls:
            return job
    raise NoAnswer(
        f"the task has no picture {asked.clicks.item_index} on {asked.clicks.to_name!r}"
    )


def _below(
    regions: "list[tuple[SeenRegion, Mask]]", pixel: tuple[int, int]
) -> SeenRegion | None:
    """The region at a pixel that is drawn last, and so lies above the others."""
    found = [region for region, mask in regions if mask[pixel]]
    return found[-1] if found else None


def _shared_01(one: Mask, other: Mask) -> float:
    smaller = min(int(one.sum()), int(other.sum()))
    return int((one & other).sum()) / smaller if smaller else 0.0


def _around(box: Mapping[str, float], size_yx: tuple[int, int]) -> Box:
    """The upright rectangle around one that may be turned, within the image."""
    rows, columns = size_yx
    read = control_tags()["rectangle"].corners
    assert read is not None
    corners = read(box, size_yx)
    left, top = np.clip(corners.min(axis=0), 0, (columns, rows))
    right, bottom = np.clip(corners.max(axis=0), 0, (columns, rows))
    if not (left < right and top < bottom):
        raise NoAnswer("the box lies outside of the picture")
    return Box(top=top, left=left, bottom=bottom, right=right)


def _inside(box: Mapping[str, float], size_yx: tuple[int, int]) -> Mask:
    read = control_tags()["rectangle"].decode
    assert read is not None
    return read(box, size_yx)


def _score(maps: ScoreMaps, index: int, mask: Mask) -> float:
    """Mean score of the label inside the mask, in [0, 1]."""
    scores = maps.maps[index].astype(np.float32)
    share = cv2.resize(
        mask.astype(np.float32), scores.shape[::-1], interpolation=cv2.INTER_AREA
    ).reshape(scores.shape)
    total = float(share.sum())
    return float(np.clip((scores * share).sum() / total, 0, 1)) if total else 0.0


def _first(own: float | None, default: float) -> float:
    return default if own is None else own


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
