"""Who is in the picture: `python -m tests.bench.bench_presence`.

Pocket test split; labels are the objects in the scene among five that are not there,
then five that are not there alone, of which no region should come. Each filter at its
own line.
"""

import argparse
import logging
from dataclasses import replace
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from segmenter import SegmenterOptions, cut_masks
from segmenter.pocket.scenes import TEST_SEED_START, render_scene
from segmenter.predictor import Segmenter
from tests.bench.pocket_scenes import (
    Answer,
    Question,
    answer,
    ask_about,
    load_pocket,
)

_ABSENT: Final = 5


def main() -> None:
    """Measure every filter and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=200)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    console = Console(width=110)
    scenes = [render_scene(TEST_SEED_START + i) for i in range(arguments.scenes)]
    mixed = ask_about(scenes, n_absent=_ABSENT)
    absent = [
        Question(
            scene=one.scene,
            labels=tuple(word for word in one.labels if word not in one.scene.words),
        )
        for one in mixed
    ]
    table = Table(title=f"Pocket test split, {arguments.scenes} scenes")
    for heading in (
        "filter",
        "line",
        "precision",
        "recall",
        "F1",
        "exact set",
        "empty pictures left empty",
    ):
        table.add_column(heading)
    for name, segmenter in track(filters().items(), console=console, transient=True):
        line = segmenter.options.presence_threshold
        table.add_row(
            name,
            f"{line:.1f}",
            *(f"{value:.3f}" for value in agreement(answer(segmenter, mixed), line)),
            f"{share_left_empty(answer(segmenter, absent), segmenter):.3f}",
        )
    console.print(table)


def filters() -> dict[str, Segmenter]:
    """Every way to tell who is there."""
    pocket = load_pocket()
    fast, paper = SegmenterOptions(), SegmenterOptions(mode="paper")
    unread = replace(pocket.calibration, by_text_and_maps=None)
    return {
        "off": pocket.segmenter(replace(fast, presence="off")),
        "paper's": pocket.segmenter(replace(paper, presence="paper")),
        "calibrated, image-text model alone": replace(
            pocket, calibration=unread
        ).segmenter(fast),
        "calibrated, with the maps (fast mode)": pocket.segmenter(fast),
    }


def agreement(answers: list[Answer], line: float) -> tuple[float, float, float, float]:
    """Precision, recall, F1, and the share of scenes whose set is exactly right."""
    hits = said = there = exact = 0
    for one in answers:
        found = one.maps.presence >= line
        truth = np.array(
            [label in one.question.scene.words for label in one.maps.labels]
        )
        hits += int((found & truth).sum())
        said += int(found.sum())
        there += int(truth.sum())
        exact += int((found == truth).all())
    precision, recall = hits / max(said, 1), hits / max(there, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return precision, recall, f1, exact / len(answers)


def share_left_empty(answers: list[Answer], segmenter: Segmenter) -> float:
    """The share of pictures with none of the labels that get no region."""
    options = segmenter.options
    empty = 0
    for one in answers:
        cut = cut_masks(
            one.maps,
            threshold=options.threshold,
            presence_threshold=options.presence_threshold,
        )
        empty += int((cut.label_map < 0).all())
    return empty / len(answers)


if __name__ == "__main__":
    main()
