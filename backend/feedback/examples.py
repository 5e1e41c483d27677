"""A task and what a person says of its images in, examples to learn from out.

The image as `/predict` would read it, its maps and layers from the cache or one pass.
What cannot be had now is no error: it is told, and tried again later.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from backend.errors import BackendError
from backend.feedback.corrections import Drawing, Place
from backend.feedback.store import MOST_EXAMPLE_BYTES
from backend.inference import (
    DeadlineExceeded,
    Job,
    PendingTask,
    Predictor,
    jobs_of,
    query_of,
)
from backend.regions import maps_of_labels
from backend.types import Control, LabelStudioAccess, Task
from segmenter import ScoreMaps, SegmenterError, make_example

logger = logging.getLogger(__name__)

# Of one task: an example takes 100 to 200 kB.
_MOST_IMAGES: Final = 6
# For a model that is loading, or busy; then it is tried again later.
_BUDGET_S: Final = 240.0
# A file that was read for whoever annotated, and is still kept, is the same.
_FILE_MAX_AGE_S: Final = 6 * 3600.0
# Behind all requests; as the first of what else nobody waits for.
_RANK: Final = 1


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What could be made of a task.

    Attributes:
        packed: `segmenter.Example.to_bytes()` of each image.
        image_digests: of the same images.
        model: name of what read them, see `Scorer.maps_name`.
        missing: why one could not be made now; None where all could.
    """

    packed: tuple[bytes, ...] = ()
    image_digests: tuple[str, ...] = ()
    model: str = ""
    missing: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ExampleMaker:
    """Makes examples with what answers predict requests."""

    predictor: Predictor

    def make(
        self,
        task: Task,
        controls: Sequence[Control],
        drawings: Mapping[Place, Drawing],
        access: LabelStudioAccess,
    ) -> Examples:
        """One example for each image of the task; of a few, those that were drawn on.

        Where controls read labels in different modes, those of the first one's mode
        are taught: examples of two modes cannot be learned from together.

        Raises:
            BackendError: if the task's data is wrong; trying again is of no use.
        """
        mode = controls[0].mode
        scorer = self.predictor.scorer
        deadline = scorer.clock() + _BUDGET_S
        mine = tuple(control for control in controls if control.mode == mode)
        jobs = list(jobs_of(PendingTask(index=0, task=task), mine))
        jobs.sort(key=lambda job: not _drawing(drawings, job).masks)
        made: list[tuple[int, str, bytes]] = []
        missing: str | None = None
        for job in jobs[:_MOST_IMAGES]:
            try:
                digest, maps = self._read(job, access, deadline)
            except (BackendError, SegmenterError) as error:
                missing = str(error)
            except DeadlineExceeded:
                missing = "the model is not ready, or not free"
            else:
                if maps.layers is None:
                    logger.warning(
                        "Task %s: its image gives no example, since the model tells "
                        "nothing of it but score maps.",
                        task.id,
                    )
                    continue
                packed = _example(maps, _drawing(drawings, job), task.id)
                n_bytes = len(packed) + sum(len(one) for _, _, one in made)
                if n_bytes > MOST_EXAMPLE_BYTES:
                    logger.info(
                        "Task %s gives %d examples; there is no room for another of "
                        "%d bytes.",
                        *(task.id, len(made), len(packed)),
                    )
                    break
                made.append((job.number, digest, packed))
        made.sort()
        return Examples(
            packed=tuple(packed for _, _, packed in made),
            image_digests=tuple(digest for _, digest, _ in made),
            model=scorer.maps_name(mode),
            missing=missing,
        )

    def _read(
        self, job: Job, access: LabelStudioAccess, deadline: float
    ) -> tuple[str, ScoreMaps]:
        """The image's digest and one map for each label, with layers."""
        parts = self.predictor
        (mode,) = job.prompts
        image = parts.fetcher.fetch(
            job.address,
            access=access,
            task_id=job.task.task.id,
            max_age_s=_FILE_MAX_AGE_S,
        )
        try:
            query = query_of(job, mode, image, needs_layers=True)
            maps: ScoreMaps | Exception | None = parts.scorer.cached(query)
            if maps is None:
                segmenter = parts.segmenter(deadline - parts.scorer.clock())
                (maps,) = parts.scorer.score([query], segmenter, deadline, rank=_RANK)
        finally:
            image.release()
        if isinstance(maps, Exception):
            raise maps
        return image.digest, maps_of_labels(_together(job.controls), maps)


def _drawing(drawings: Mapping[Place, Drawing], job: Job) -> Drawing:
    place = (job.controls[0].image.name, job.item_index or 0)
    return drawings.get(place, Drawing())


def _together(controls: Sequence[Control]) -> Control:
    """The labels of all controls of an image, each once, as of one control."""
    labels = {label.name: label for control in controls for label in control.labels}
    return replace(controls[0], labels=tuple(labels.values()))


def _example(maps: ScoreMaps, drawing: Drawing, task_id: int | None) -> bytes:
    masks = {
        label: mask
        for label, mask in drawing.masks.items()
        if mask.shape == maps.size_yx and label in maps.labels
    }
    unknown = set(drawing.unknown) | (drawing.masks.keys() - masks.keys())
    if unknown & set(maps.labels):
        logger.info(
            "Task %s: it is not known where %s are; of them nothing is learned here.",
            task_id,
            ", ".join(sorted(map(repr, unknown & set(maps.labels)))),
        )
    kept = [at for at, label in enumerate(maps.labels) if label not in unknown]
    known = replace(
        maps,
        labels=tuple(maps.labels[at] for at in kept),
        maps=maps.maps[kept],
        presence=maps.presence[kept],
    )
    return make_example(known, masks).to_bytes()
