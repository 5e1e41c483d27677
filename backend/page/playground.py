"""A picture, labels and thresholds in, what `/predict` would draw out, to look at.

The way is that of every request: label config, plan, score maps out of the cache or
one pass, control maps, painting; and for clicks the whole predictor. What Label Studio
would store is decoded again for what is shown, so that both are the same to the pixel.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
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
from backend.page.images import colour_of, mask_address
from backend.page.recent import Recent
from backend.regions import Canvas, maps_of_labels, paint, seen_regions
from backend.types import (
    Control,
    FetchedImage,
    ImageFile,
    Label,
    LabelStudioAccess,
    Task,
    Turn,
)
from segmenter import ScoreMaps

_MEBIBYTE: Final = 1024 * 1024
_PICTURES_KEPT: Final = 32
_PICTURES_BYTES: Final = 64 * _MEBIBYTE
_SCENES_KEPT: Final = 64
_SCENES_BYTES: Final = 64 * _MEBIBYTE
# Of a region in memory, beside its run lengths.
_REGION_BYTES: Final = 1000
_ANY_DATA: Final = {IMAGE_FIELD: "the picture"}
_NOWHERE: Final = LabelStudioAccess(url=None)
_URGENT: Final = Turn(is_urgent=True)

Result = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A picture that somebody has chosen.

    Attributes:
        file: as it was read.
        data: of the task that it is of; None for one of its own.
        project: Label Studio's number of the task's project, as text.
    """

    file: ImageFile
    data: Mapping[str, Any] | None = None
    project: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A picture with what was found in it; never changed, a click makes another.

    Attributes:
        picture: name of the picture.
        config: label config that it was drawn with.
        controls: that drew, with the maps of their labels.
        regions: as Label Studio would store them.
        item_index: page of the task; None for tasks of one picture.
    """

    picture: str
    config: str
    controls: tuple[tuple[Control, ScoreMaps], ...]
    regions: tuple[Result, ...]
    item_index: int | None = None

    @property
    def n_bytes(self) -> int:
        """Of it in memory, about."""
        maps = sum(maps.maps.nbytes for _, maps in self.controls)
        runs = sum(8 * len(r.get("value", {}).get("rle", ())) for r in self.regions)
        return maps + runs + _REGION_BYTES * len(self.regions)


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldFile:
    """A fetcher whose only file was read already, whatever the address.

    Attributes:
        file: that it reads.
        decoder: decodes it.
    """

    file: ImageFile
    decoder: Callable[..., FetchedImage]

    def fetch(self, address: str, **_: Any) -> FetchedImage:
        """See `Fetcher`."""
        return self.decode(self.file)

    def read(self, address: str, **_: Any) -> ImageFile:
        """See `Fetcher`."""
        return self.file

    def is_at_hand(self, address: str) -> bool:
        """See `Fetcher`."""
        return True

    def decode(self, file: ImageFile, **_: Any) -> FetchedImage:
        """See `Fetcher`."""
        return self.decoder(file, turn=_URGENT)


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

    def first_address(self, data: Mapping[str, Any], config: str) -> str:
        """Where the first picture of a task is.

        Raises:
            BackendError: if the label config or the data cannot be read.
        """
        controls = self._predictor.plan(config).config.for_task(data)
        opened = PendingTask(index=0, task=Task(id=None, data=data))
        return next(jobs_of(opened, controls)).address

    def decode(self, picture: Picture) -> FetchedImage:
        """Its pixels; whoever gets them releases them."""
        return self._predictor.fetcher.decode(picture.file, turn=_URGENT)

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
        told = self._told(scene)
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
        told = self._told(replace(scene, regions=(*kept, *found)))
        return told | {"changed": bool(found), "seconds": time.monotonic() - started}

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

    def _told(self, scene: Scene) -> dict[str, Any]:
        masks = _masks(scene)
        n_before = 0
        controls = []
        for number, (control, maps) in enumerate(scene.controls):
            labels = [
                _label_told(
                    (number, index), control, maps, masks, colour_of(n_before + index)
                )
                for index in range(len(control.labels))
            ]
            n_before += len(labels)
            controls.append(
                {
                    "name": control.from_name,
                    "shape": control.shape,
                    "threshold": control.cut.threshold_01,
                    "presence_threshold": control.cut.presence_threshold_01,
                    "boundaries": control.cut.boundaries,
                    "labels": labels,
                }
            )
        return {"scene": self.scenes.put(scene, scene.n_bytes), "controls": controls}


def _label_told(
    place: tuple[int, int],
    control: Control,
    maps: ScoreMaps,
    masks: Mapping[tuple[str, str], tuple[NDArray[np.bool_], list[float]]],
    colour: tuple[int, int, int],
) -> dict[str, Any]:
    index = place[1]
    label = control.labels[index]
    told = {
        "name": label.name,
        "prompts": list(label.prompts),
        "presence": float(maps.presence[index]),
        "peak": float(maps.peaks[index]),
        "colour": "#" + bytes(colour).hex(),
        "map": f"{place[0]}/{index}",
        **_limits(control, label),
    }
    found = masks.get((control.from_name, label.name))
    if found is None:
        return told | {"share": 0.0, "score": None, "mask": None}
    mask, scores = found
    return told | {
        "share": float(mask.mean()),
        "score": sum(scores) / len(scores) if scores else None,
        "mask": mask_address(mask, colour),
    }


def _limits(control: Control, label: Label) -> dict[str, float]:
    cut = control.cut
    own, presence = label.threshold_01, label.presence_threshold_01
    return {
        "threshold": cut.threshold_01 if own is None else own,
        "presence_threshold": (
            cut.presence_threshold_01 if presence is None else presence
        ),
    }


def _masks(
    scene: Scene,
) -> dict[tuple[str, str], tuple[NDArray[np.bool_], list[float]]]:
    """By tag and label: all that is covered, and the scores of what covers it."""
    scores = {r["id"]: r["score"] for r in scene.regions if "score" in r}
    found: dict[tuple[str, str], tuple[NDArray[np.bool_], list[float]]] = {}
    for region in seen_regions(scene.regions).values():
        mask = region.mask()
        if mask is None:
            continue
        own = [scores[region.id]] if region.id in scores else []
        for label in region.labels:
            before = found.get((region.from_name, label))
            found[region.from_name, label] = (
                (mask, own) if before is None else (before[0] | mask, before[1] + own)
            )
    return found


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
