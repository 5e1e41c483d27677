"""Scenes of the pocket world, what is asked of them, and how well it was answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from segmenter import ScoreMaps, SegmenterOptions, cut_masks
from segmenter.backbones.unet import UNetBackbone, load_unet
from segmenter.evaluation.boundaries import BoundaryCounts
from segmenter.evaluation.counts import (
    THRESHOLDS,
    IouCounts,
    SweepCounts,
    to_class_map,
)
from segmenter.masks.cutting import find_winners
from segmenter.pocket.scenes import Scene
from segmenter.pocket.words import WORDS
from segmenter.predictor import Segmenter
from segmenter.presence import Captioner, ImageText, load_captioner, load_image_text
from segmenter.presence.calibration import Calibration, load_calibration
from segmenter.source import ModelSource

N_CLASSES: Final = 1 + len(WORDS)
_AT_ONCE: Final = 8
# fmt: off
_UNKNOWN: Final = (
    "zork", "blim", "quaffle", "dren", "vusk", "plotz",
    "grom", "snerf", "tazzle", "yib", "morv", "kepple",
)
# fmt: on


@dataclass(frozen=True, kw_only=True, eq=False)
class Pocket:
    """The bundled models, loaded once for many segmenters."""

    parts: UNetBackbone
    captioner: Captioner
    image_text: ImageText
    calibration: Calibration

    def segmenter(
        self, options: SegmenterOptions, parts: UNetBackbone | None = None
    ) -> Segmenter:
        """One under these options."""
        return Segmenter(
            parts or self.parts,
            options,
            captioner=lambda: self.captioner,
            image_text=lambda: self.image_text,
            calibration=self.calibration,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A scene and the labels that are looked for in it."""

    scene: Scene
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """A question and what a segmenter said."""

    question: Question
    maps: ScoreMaps


def load_pocket() -> Pocket:
    """The bundled models on the CPU, which is where they live."""
    source, cpu = ModelSource.parse("pocket"), torch.device("cpu")
    return Pocket(
        parts=load_unet(source, device=cpu, dtype=torch.float32),
        captioner=load_captioner(source, device=cpu),
        image_text=load_image_text(source, device=cpu),
        calibration=load_calibration(source),
    )


def unknown_names() -> dict[str, str]:
    """Names that no model knows, by the words, half of all, that they stand for."""
    chosen = np.random.default_rng(14).permutation(WORDS)[: len(_UNKNOWN)]
    return dict(zip(map(str, chosen), _UNKNOWN, strict=True))


def masks_of(scene: Scene) -> dict[str, NDArray[np.bool_]]:
    """What a person leaves of a scene: bool (Y, X) by word."""
    pairs = zip(scene.words, scene.visible, strict=True)
    return {word: mask for word, mask in pairs if mask.any()}


def ask_about(scenes: Sequence[Scene], *, n_absent: int) -> list[Question]:
    """Each scene's own words, and so many others among them."""
    questions = []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng(number)
        others = [str(w) for w in rng.permutation(WORDS) if w not in scene.words]
        asked = [*scene.words, *others[:n_absent]]
        labels = tuple(asked[place] for place in rng.permutation(len(asked)))
        questions.append(Question(scene=scene, labels=labels))
    return questions


def answer(
    segmenter: Segmenter,
    questions: Sequence[Question],
    options: SegmenterOptions | None = None,
) -> list[Answer]:
    """Score maps of every question, under the segmenter's own options if none."""
    answers = []
    for start in range(0, len(questions), _AT_ONCE):
        some = questions[start : start + _AT_ONCE]
        scored = segmenter.score(
            [question.scene.image for question in some],
            [question.labels for question in some],
            options=options,
        )
        answers += [
            Answer(question=question, maps=maps)
            for question, maps in zip(some, scored, strict=True)
        ]
    return answers


def best_threshold(answers: Sequence[Answer], options: SegmenterOptions) -> float:
    """The threshold with the highest mIoU on these answers."""
    sweep, truth = SweepCounts(N_CLASSES), IouCounts(N_CLASSES)
    for one in answers:
        scene = one.question.scene
        winners, scores = find_winners(
            one.maps,
            presence_threshold=options.presence_threshold,
            pixels=scene.image if options.boundaries == "guided" else None,
        )
        numbers = [0, *(1 + WORDS.index(label) for label in one.maps.labels)]
        sweep.add(scene.class_map, np.array(numbers)[winners + 1], scores)
        truth.add(scene.class_map, scene.class_map)
    return THRESHOLDS[int(sweep.means(truth.truth_pixels()).argmax())]


def judge(
    answers: Sequence[Answer], options: SegmenterOptions, threshold: float
) -> tuple[float, float]:
    """Mean IoU with background, and boundary F."""
    areas, edges = IouCounts(N_CLASSES), BoundaryCounts(N_CLASSES)
    for one in answers:
        scene = one.question.scene
        cut = cut_masks(
            one.maps,
            threshold=threshold,
            presence_threshold=options.presence_threshold,
            pixels=scene.image if options.boundaries == "guided" else None,
        )
        found = to_class_map(cut, WORDS)
        areas.add(scene.class_map, found)
        edges.add(scene.class_map, found)
    return areas.mean(), edges.mean()
