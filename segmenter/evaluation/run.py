"""Images of a data set in, one record of each out: the loop of an evaluation.

An image that cannot be read or counted becomes a `Failure` and never stops the loop.
Axis letters: Y, X image pixels.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from segmenter.evaluation.boundaries import BoundaryCounts
from segmenter.evaluation.class_lists import ClassList
from segmenter.evaluation.counts import IGNORED, IouCounts, SweepCounts
from segmenter.evaluation.errors import BadSample, EvaluationError
from segmenter.evaluation.palettes import PaletteCheck
from segmenter.evaluation.records import Failure, ImageRecord, Record
from segmenter.evaluation.voc_folder import VocFolder
from segmenter.evaluation.work import WorkCounts
from segmenter.masks import find_winners, merge_prompts
from segmenter.options import SegmenterOptions
from segmenter.types import ScoreMaps

if TYPE_CHECKING:
    from segmenter.predictor import Segmenter

Labels = Literal["all", "present"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked of the segmenter, and what is counted of its answers.

    Attributes:
        labels: "all" asks for every class in every image, so that the presence
            filter decides; "present" for those that the truth shows.
        absent: beside "present", so many more of which the image shows none.
        batch_size: images that the segmenter is given at once.
        work_saved: whether to count what the masks save a person; it takes time.
    """

    labels: Labels = "all"
    absent: int = 0
    batch_size: int = 4
    work_saved: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ValueError: if it is asked for absent classes beside all of them.
        """
        if self.absent and self.labels == "all":
            raise ValueError(
                f"{self.absent} absent classes beside all of them: there are none. "
                f"Ask for the present labels, or for no absent ones."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """One image, ready to be asked about.

    Attributes:
        name: without suffix.
        pixels: uint8 (Y, X, 3), RGB.
        truth: uint8 (Y, X), class numbers.
        shown: the classes of the truth, background apart.
        asked: the classes to look for, in their order.
    """

    name: str
    pixels: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    shown: list[int]
    asked: list[int]


def evaluate(
    names: Sequence[str],
    folder: VocFolder,
    classes: ClassList,
    segmenter: "Segmenter",
    plan: Plan,
    *,
    options: SegmenterOptions | None = None,
) -> Iterator[Record]:
    """Segment and count image after image.

    Args:
        names: of images of the folder.
        folder: where images and truth are.
        classes: what the truth's numbers stand for.
        segmenter: of the model.
        plan: what to ask for.
        options: how, and at which thresholds, masks are cut; None for the segmenter's.

    Yields:
        One record per name. Within a batch, failures come first.

    Raises:
        EvaluationError: if a batch is too large for the device's memory.
        BadLabel: if a class has a prompt that gives nothing to read.
    """
    options = options or segmenter.options
    palettes = PaletteCheck(is_voc=classes.title == "voc21")
    for start in range(0, len(names), plan.batch_size):
        samples = []
        for name in names[start : start + plan.batch_size]:
            try:
                samples.append(_read(name, folder, classes, plan, palettes))
            except BadSample as e:
                yield Failure(name=name, reason=str(e))
        if samples:
            yield from _count_batch(samples, classes, segmenter, plan, options)


def _read(
    name: str,
    folder: VocFolder,
    classes: ClassList,
    plan: Plan,
    palettes: PaletteCheck,
) -> _Sample:
    pixels, truth = folder.read_image(name), folder.read_truth(name)
    if truth.shape != pixels.shape[:2]:
        raise BadSample(
            f"The image {name} has {pixels.shape[0]} x {pixels.shape[1]} pixels (rows "
            f"x columns) and its truth {truth.shape[0]} x {truth.shape[1]}; they must "
            f"be of one size.{_on_its_side(pixels, truth)}"
        )
    found = _find_classes(name, truth, classes)
    palette = folder.read_palette(name)
    if palette is not None and (problem := palettes.problem(name, found, palette)):
        raise BadSample(problem)
    shown = [number for number in found if number > 0]
    return _Sample(
        name=name,
        pixels=pixels,
        truth=truth,
        shown=shown,
        asked=choose_labels(name, shown, len(classes), plan),
    )


def _on_its_side(pixels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> str:
    """What to add where the truth has the image's size, turned."""
    if truth.shape != pixels.shape[1::-1]:
        return ""
    return (
        " Perhaps the image is stored on its side and turned by its EXIF orientation, "
        "which is not heeded here: save it upright."
    )


def _find_classes(name: str, truth: NDArray[np.uint8], classes: ClassList) -> list[int]:
    """The numbers in a truth, ascending, without what is ignored."""
    found: list[int] = np.unique(truth[truth != IGNORED]).tolist()
    if not found:
        raise BadSample(
            f"The truth of {name} is {IGNORED} everywhere, which stands for pixels "
            f"that do not count; nothing is left. If it is the mask of an object, "
            f"write its class's number in place of {IGNORED}."
        )
    if found[-1] >= len(classes):
        raise BadSample(
            f"The truth of {name} holds class {found[-1]} and the list "
            f"{classes.title} ends with {len(classes) - 1}; pass the data set's own "
            f"list as --classes."
        )
    return found


def choose_labels(
    name: str, shown: Sequence[int], n_classes: int, plan: Plan
) -> list[int]:
    """Which classes to ask for in one image, in their order.

    Absent ones are drawn by the image's name: every run asks for the same, and one
    that asks for more of them asks for these too.
    """
    if plan.labels == "all":
        return list(range(1, n_classes))
    others = [number for number in range(1, n_classes) if number not in shown]
    others.sort(key=lambda number: hashlib.sha256(f"{number} {name}".encode()).digest())
    return sorted([*shown, *others[: plan.absent]])


def _count_batch(
    samples: Sequence[_Sample],
    classes: ClassList,
    segmenter: "Segmenter",
    plan: Plan,
    options: SegmenterOptions,
) -> Iterator[ImageRecord]:
    started = time.perf_counter()
    scored = _score(samples, classes, segmenter, options)
    seconds = (time.perf_counter() - started) / len(samples)
    for sample, maps in zip(samples, scored, strict=True):
        yield _count(sample, maps, seconds, classes, options, plan)


def _score(
    samples: Sequence[_Sample],
    classes: ClassList,
    segmenter: "Segmenter",
    options: SegmenterOptions,
) -> list[ScoreMaps]:
    """Score maps of the prompts of what each image is asked for."""
    prompts = [
        [prompt for _, of_class in _prompts_of(sample, classes) for prompt in of_class]
        for sample in samples
    ]
    try:
        pixels = [sample.pixels for sample in samples]
        return segmenter.score(pixels, prompts, options=options)
    except RuntimeError as e:
        # torch says it so on every device, with a class for some of them.
        if "out of memory" not in str(e):
            raise
        raise EvaluationError(
            f"The device's memory is too small for {len(samples)} images at once; "
            f"give a smaller --batch-size. What is counted is kept."
        ) from e


def _count(
    sample: _Sample,
    scored: ScoreMaps,
    seconds: float,
    classes: ClassList,
    options: SegmenterOptions,
    plan: Plan,
) -> ImageRecord:
    started = time.perf_counter()
    maps = merge_prompts(
        scored,
        _prompts_of(sample, classes),
        presence_threshold=options.presence_threshold,
    )
    label_map, scores = find_winners(
        maps,
        presence_threshold=options.presence_threshold,
        pixels=sample.pixels if options.boundaries == "guided" else None,
    )
    seconds += time.perf_counter() - started
    winners = np.array([0, *sample.asked], np.uint8)[label_map + 1]
    predicted = np.where(scores > np.float32(options.threshold), winners, 0)
    iou = IouCounts(len(classes))
    sweep = SweepCounts(len(classes))
    boundaries = BoundaryCounts(len(classes))
    iou.add(sample.truth, predicted)
    sweep.add(sample.truth, winners, scores)
    boundaries.add(sample.truth, predicted)
    work = WorkCounts(len(classes))
    if plan.work_saved:
        work.add(sample.truth, predicted)
    return ImageRecord(
        name=sample.name,
        seconds=seconds,
        asked=sample.asked,
        presence=maps.presence.tolist(),
        shown=sample.shown,
        iou=iou.rows(),
        sweep=sweep.rows(),
        boundaries=boundaries.rows(),
        work=work.rows() if plan.work_saved else None,
    )


def _prompts_of(
    sample: _Sample, classes: ClassList
) -> list[tuple[str, tuple[str, ...]]]:
    return [classes.prompts_of[number - 1] for number in sample.asked]
