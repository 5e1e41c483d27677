"""What paper mode's liberties change: `python -m tests.bench.bench_liberties`.

On the pocket model and its test split, never evidence about Stable Diffusion. Labels
are the objects in the scene; thresholds are paper mode's own. The latent's sample is
drawn with several seeds, the mean with the same ones (they draw the noise as well).
Scenes of three times the model's side show what shrinking does.
"""

import argparse
import logging
from dataclasses import replace
from statistics import mean, stdev
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from segmenter import SegmenterOptions, cut_masks
from segmenter.pocket.scenes import TEST_SEED_START, render_scene
from tests.bench.pocket_scenes import (
    Answer,
    Pocket,
    answer,
    ask_about,
    judge,
    load_pocket,
)

# Captions would add their own chaos: a word more or less is another prompt.
PAPER: Final = SegmenterOptions(mode="paper", caption=False)


def main() -> None:
    """Measure both liberties and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    pocket = load_pocket()
    table = Table(
        "side, px",
        "paper mode: mIoU",
        "as published: mIoU",
        "pixels that differ",
        "between seeds of paper mode",
        title=f"Pocket test split, {arguments.scenes} scenes, {arguments.seeds} seeds",
    )
    for side in (128, 384):
        table.add_row(str(side), *compare(pocket, side, arguments))
    Console(width=110).print(table)


def compare(pocket: Pocket, side: int, arguments: argparse.Namespace) -> list[str]:
    """The cells of one row."""
    scenes = [
        render_scene(TEST_SEED_START + number, size_yx=(side, side))
        for number in range(arguments.scenes)
    ]
    questions = ask_about(scenes, n_absent=0)
    runs: dict[bool, list[list[Answer]]] = {False: [], True: []}
    for as_published, found in runs.items():
        for seed in range(arguments.seeds):
            options = replace(PAPER, seed=seed, as_published=as_published)
            found.append(answer(pocket.segmenter(options), questions))
    cells = []
    for found in runs.values():
        areas = [judge(one, PAPER, PAPER.threshold)[0] for one in found]
        spread = f" +- {stdev(areas):.3f}" if len(areas) > 1 else ""
        cells.append(f"{mean(areas):.3f}{spread}")
    ours, published = runs[False], runs[True]
    apart = mean(differing(a, b) for a, b in zip(ours, published, strict=True))
    seeds = mean(differing(ours[0], other) for other in ours[1:] or ours)
    return [*cells, f"{apart:.2%}", f"{seeds:.2%}"]


def differing(first: list[Answer], second: list[Answer]) -> float:
    """Share of pixels that two runs give to different labels."""
    return mean(
        float(np.mean(_labels(one) != _labels(other)))
        for one, other in zip(first, second, strict=True)
    )


def _labels(one: Answer) -> np.ndarray:
    return cut_masks(one.maps, threshold=PAPER.threshold).label_map


if __name__ == "__main__":
    main()
