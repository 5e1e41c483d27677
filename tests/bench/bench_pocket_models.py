"""The two bundled models side by side: `python -m tests.bench.bench_pocket_models`.

Scenes with seeds from 1,700,000 up, never trained on nor tuned by; the threshold of
each row is chosen on scenes from 60,000 up, which neither model was trained on and
which are none of the test split. Evidence about nothing but these two.
"""

import argparse
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from segmenter import find_recipe, load_segmenter, recipe_options
from segmenter.backbones import load_backbone
from segmenter.modes import FastMode, Passes, Request
from segmenter.pocket.scenes import render_scene
from segmenter.pocket.words import WORDS
from segmenter.predictor import Segmenter
from segmenter.source import BUNDLED_MODELS, ModelSource
from tests.bench.pocket_scenes import (
    Question,
    answer,
    ask_about,
    best_threshold,
    judge,
)

_TEST_SEED: Final = 1_700_000
_TUNING_SEED: Final = 60_000
_OBLONG_YX: Final = (128, 192)
_ABSENT: Final = 5


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked of a scene.

    Attributes:
        n_absent: labels beside those in the picture.
        has_filter: whether absent labels are sorted out.
        size_yx: of the pictures.
    """

    n_absent: int
    has_filter: bool = True
    size_yx: tuple[int, int] = (128, 128)

    def questions(self, first_seed: int, count: int) -> list[Question]:
        """Scenes from a seed up, and what is asked of them."""
        scenes = [
            render_scene(first_seed + i, size_yx=self.size_yx) for i in range(count)
        ]
        return ask_about(scenes, n_absent=self.n_absent)


TASKS: Final[Mapping[str, Task]] = {
    "present": Task(n_absent=0),
    "and 5 absent": Task(n_absent=_ABSENT),
    "and 5 absent, no filter": Task(n_absent=_ABSENT, has_filter=False),
    "all 24": Task(n_absent=len(WORDS)),
    "present, 3 : 2": Task(n_absent=0, size_yx=_OBLONG_YX),
}


def main() -> None:
    """Measure both models under every task."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=80)
    parser.add_argument("--tuning-scenes", type=int, default=40)
    parser.add_argument("--models", nargs="*", default=list(BUNDLED_MODELS))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    console = Console(width=120)
    table = Table(title=f"mIoU / boundary F (threshold), {arguments.scenes} scenes")
    table.add_column("labels")
    columns = []
    for model in arguments.models:
        table.add_column(model)
        segmenter = load_segmenter(model, device="cpu")
        cells = [
            measure(segmenter, task, arguments.scenes, arguments.tuning_scenes)
            for task in track(TASKS.values(), console=console, transient=True)
        ]
        cells.append(f"{separation(model, arguments.scenes):.3f}")
        columns.append(cells)
    rows = [*TASKS, "AUC of the maps' evidence, present : 5 absent"]
    for name, *cells in zip(rows, *columns, strict=True):
        table.add_row(name, *cells)
    console.print(table)


def measure(segmenter: Segmenter, task: Task, n_scenes: int, n_tuning: int) -> str:
    """One cell of the table."""
    options = segmenter.options
    if not task.has_filter:
        options = replace(options, presence="off")
    tuning = answer(segmenter, task.questions(_TUNING_SEED, n_tuning), options)
    threshold = best_threshold(tuning, options)
    started = time.perf_counter()
    answers = answer(segmenter, task.questions(_TEST_SEED, n_scenes), options)
    took_ms = 1000 * (time.perf_counter() - started) / n_scenes
    area, edge = judge(answers, options, threshold)
    return f"{area:.3f} / {edge:.3f} ({threshold:.2f}), {took_ms:.0f} ms"


def separation(model: str, n_scenes: int) -> float:
    """How well the maps alone tell labels that are there from five that are not."""
    source, cpu = ModelSource.parse(model), torch.device("cpu")
    backbone = load_backbone(source, device=cpu, dtype=torch.float32)
    options = recipe_options(find_recipe(source), "fast", {"presence": "off"})
    fast = FastMode(Passes(backbone, options))
    questions = TASKS["and 5 absent"].questions(_TEST_SEED, n_scenes)
    found: list[float] = []
    truth: list[bool] = []
    for question in questions:
        request = Request(image=question.scene.image, labels=question.labels)
        (reading,) = fast.read([request])
        found += reading.evidence.tolist()
        truth += [label in question.scene.words for label in question.labels]
    return area_under_curve(np.array(found), np.array(truth))


def area_under_curve(found: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Share of pairs, one present and one absent, in which the present one has more."""
    present, absent = found[truth][:, None], found[~truth]
    return float(((present > absent) + 0.5 * (present == absent)).mean())


if __name__ == "__main__":
    main()
