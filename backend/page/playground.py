"""A picture, labels and thresholds in, what `/predict` would draw out, to look at.

The way is that of every request: label config, plan, score maps out of the cache or
one pass, control maps, painting; and for clicks the whole predictor. What Label Studio
would store is decoded again for what is shown, so that both are the same to the pixel.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from werkzeug.exceptions import ServiceUnavailable

from backend.inference import (
    DeadlineExceeded,
    Job,
    PendingTask,
    Plan,
    Predictor,
    jobs_of,
    query_of,
)
from backend.label_studio import ClickRequest, PointPrompt, PredictRequest
from backend.page.config import IMAGE_FIELD, for_any_picture, with_attributes
from backend.page.recent import Recent
from backend.page.scenes import (
    URGENT,
    HeldFile,
    Picture,
    Result,
    Scene,
    controls_in,
)
from backend.regions import Canvas, maps_of_labels, paint
from backend.types import (
    Control,
    FetchedImage,
    LabelStudioAccess,
    Task,
)
from segmenter import ScoreMaps

_MEBIBYTE: Final = 1024 * 1024
_PICTURES_KEPT: Final = 32
_PICTURES_BYTES: Final = 64 * _MEBIBYTE
_SCENES_KEPT: Final = 64
_SCENES_BYTES: Final = 64 * _MEBIBYTE
_ANY_DATA: Final = {IMAGE_FIELD: "the picture"}
_NOWHERE: Final = LabelStudioAccess(url=None)


class Playground:
    """Pictures and scenes of whoever looks at the page. Any thread may call."""

    def __init__(self, predictor: Predictor) -> None:
        """Draw as `predictor` does; nothing of it is kept among finished answers."""
        # A copy, with a memory for label configs of its own: each step of a slider is
        # one.
        self._predictor = replace(predictor, finished=None)
        self.pictures: Recent[Picture] = Recent(
            most=_PICTURES_KEPT, most_bytes=_PICTURES_BYTES
        )
        self.scenes: Recent[Scene] = Recent(most=_SCENES_KEPT, most_bytes=_SCENES_BYTES)

    def add(self, picture: Picture) -> dict[str, Any]:
        """Keep a picture; its name and its size in pixels.

        Raises:
            ImageError: if it cannot be decoded.
        """
        image = self.decode(picture)
        rows, columns = image.pixels.shape[:2]
        image.release()
        name = self.pictures.put(picture, len(picture.file.data))
        return {"picture": name, "width": columns, "height": rows}

    def decode(self, picture: Picture) -> FetchedImage:
        """Its pixels; whoever gets them releases them."""
        return self._predictor.fetcher.decode(picture.file, turn=URGENT)

    def draw(
        self, picture_name: object, config: str, attributes: Mapping[str, str]
    ) -> dict[str, Any]:
        """Draw what a label config finds in a picture.

        Args:
            picture_name: as it was added.
            config: labeling XML.
            attributes: to be written on its controls first, see `with_attributes`.

        Raises:
            BadLabelConfig: if there is nothing to segment.
            ServiceUnavailable: if the model is not ready, or not free in time.
            SegmenterError: if it cannot be loaded.
        """
        started = time.monotonic()
        picture = self.pictures.get(picture_name)
        # Read before it is changed: who reads it refuses what only harms.
        controls = self._predictor.plan(config).config.controls
        config = with_attributes(config, {c.from_name for c in controls}, attributes)
        plan, job, n_pictures = self._opened(picture, config)
        scene, n_passes = self._drawn(str(picture_name), config, picture, plan, job)
        told = self._kept(scene)
        return told | {
            "config": config,
            "variables": _variables(scene.controls[0][0]),
            "notes": [*plan.config.notes, *_note_of(n_pictures)],
            "passes": n_passes,
            "seconds": time.monotonic() - started,
        }

    def click(
        self,
        scene_name: object,
        *,
        control: str,
        label: str,
        points: Sequence[PointPrompt],
        box: Mapping[str, float] | None,
    ) -> dict[str, Any]:
        """Redraw one object as the editor's clicks do; the scene is left as it is.

        Args:
            scene_name: in which somebody has clicked.
            control: name of the tag that draws the object.
            label: of the object.
            points: all clicks on it, oldest first.
            box: around it, in percent; None for none.
        """
        started = time.monotonic()
        scene = self.scenes.get(scene_name)
        picture = self.pictures.get(scene.picture)
        image_name = next(
            (c.image.name for c, _ in scene.controls if c.from_name == control), ""
        )
        clicks = ClickRequest(
            ids=frozenset(),
            from_name=control,
            to_name=image_name,
            item_index=scene.item_index or 0,
            label=label,
            points=tuple(points),
            box=box,
            seen=scene.regions,
        )
        asked = PredictRequest(
            tasks=(_task(picture),),
            label_config=self._runnable(picture, scene.config),
            project=picture.project,
            is_interactive=True,
            clicks=clicks,
            asked_with="the page",
        )
        held = HeldFile(file=picture.file, decoder=self._predictor.fetcher.decode)
        (answer,) = replace(self._predictor, fetcher=held).predict(asked, _NOWHERE)
        assert isinstance(answer, dict)
        found = answer["result"]
        names = {region["id"] for region in found}
        kept = [region for region in scene.regions if region["id"] not in names]
        told = self._kept(replace(scene, regions=(*kept, *found)))
        return told | {"changed": bool(found), "seconds": time.monotonic() - started}

    def _kept(self, scene: Scene) -> dict[str, Any]:
        """Keep a scene; its name and what is in it."""
        name = self.scenes.put(scene, scene.n_bytes)
        return {"scene": name, "controls": controls_in(scene)}

    def _opened(self, picture: Picture, config: str) -> tuple[Plan, Job, int]:
        """How it is predicted, the first picture, and how many the task has."""
        task = _task(picture)
        plan = self._predictor.plan(self._runnable(picture, config), picture.project)
        opened = PendingTask(index=0, task=task)
        jobs = list(jobs_of(opened, plan.config.for_task(task.data)))
        return plan, jobs[0], len(jobs)

    def _runnable(self, picture: Picture, config: str) -> str:
        return config if picture.data is not None else for_any_picture(config)

    def _drawn(
        self, name: str, config: str, picture: Picture, plan: Plan, job: Job
    ) -> tuple[Scene, int]:
        """The scene, and how many passes of the model it took."""
        image = self.decode(picture)
        controls: list[tuple[Control, ScoreMaps]] = []
        regions: list[Result] = []
        n_passes = 0
        try:
            canvas = Canvas(
                task_id=None, pixels=image.pixels, item_index=job.item_index
            )
            for mode in job.prompts:
                heads = plan.heads.get(mode)
                query = query_of(
                    job, mode, image, for_clicks=True, needs_layers=heads is not None
                )
                maps = self._predictor.scorer.cached(query)
                if maps is None:
                    maps, n_passes = self._scored(query), n_passes + 1
                for control in job.controls:
                    if control.mode == mode:
                        own = maps_of_labels(control, maps, heads)
                        controls.append((control, own))
                        regions += paint(control, maps, canvas, heads)
        finally:
            image.release()
        scene = Scene(
            picture=name,
            config=config,
            controls=tuple(controls),
            regions=tuple(regions),
            item_index=job.item_index,
        )
        return scene, n_passes

    def _scored(self, query: Any) -> ScoreMaps:
        """One pass of the model, among those of all requests."""
        predictor = self._predictor
        deadline = predictor.clock() + predictor.budget_s
        if not predictor.max_pending.acquire(blocking=False):
            raise _busy()
        try:
            segmenter = predictor.segmenter(predictor.budget_s)
            (maps,) = predictor.scorer.score(
                [query], segmenter, deadline, is_urgent=True
            )
        except DeadlineExceeded as error:
            raise _busy() from error
        finally:
            predictor.max_pending.release()
        if isinstance(maps, DeadlineExceeded):
            raise _busy()
        if isinstance(maps, Exception):
            raise maps
        return maps


def _task(picture: Picture) -> Task:
    # Without its number: what is tried here is no answer to whoever has it open.
    return Task(id=None, data=_ANY_DATA if picture.data is None else picture.data)


def _variables(control: Control) -> str:
    """The thresholds of a control as environment variables, for all that do not say."""
    cut = control.cut
    return (
        f"MODEL_SCORE_THRESHOLD={cut.threshold_01:g}\n"
        f"PRESENCE_THRESHOLD={cut.presence_threshold_01:g}\n"
        f"BOUNDARIES={cut.boundaries}\n"
    )


def _note_of(n_pictures: int) -> Iterator[str]:
    if n_pictures > 1:
        yield f"The task has {n_pictures} pictures; the first is shown."


def _busy() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The model is still loading, or busy. Try again in a few seconds.",
        retry_after=5,
    )
