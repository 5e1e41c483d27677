"""What each ingredient of a recipe is worth: `python -m tests.bench.bench_ablation`.

On the pocket model, never evidence about Stable Diffusion. The test split, scenes with
seeds from 1,000,000 up, never trained on. Labels are the objects in the scene, then
the same among five that are not there. One threshold per row and label list, chosen on
training scenes; the last column but one is at the default one.
"""

import argparse
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Final

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from segmenter import SegmenterOptions
from segmenter.backbones.unet import UNetBackbone
from segmenter.pocket.scenes import TEST_SEED_START, render_scene
from segmenter.pocket.words import WORDS
from tests.bench.pocket_scenes import (
    Pocket,
    answer,
    ask_about,
    best_threshold,
    judge,
    load_pocket,
)

_ABSENT: Final = (0, 5)
_TRAINING_SEED: Final = 0


def main() -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--training-scenes", type=int, default=80)
    parser.add_argument("--rows", nargs="*", help="Words of the rows to measure.")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    console = Console(width=120)
    pocket = load_pocket()
    rows = {
        name: options
        for name, options in recipes().items()
        if not arguments.rows or any(word in name for word in arguments.rows)
    }
    table = Table(title=f"Pocket test split, {arguments.scenes} scenes")
    for heading in (
        "recipe",
        "present: mIoU",
        "boundary F",
        "and 5 absent: mIoU",
        "boundary F",
        "at default",
        "ms an image",
    ):
        table.add_column(heading)
    for name, options in track(rows.items(), console=console, transient=True):
        table.add_row(
            name,
            *measure(pocket, options, arguments.scenes, arguments.training_scenes),
        )
    shape = random_parts(pocket.parts)
    if not arguments.rows:
        table.add_row(
            "fast, random weights of the same shape",
            *measure(
                pocket,
                SegmenterOptions(),
                arguments.scenes,
                arguments.training_scenes,
                parts=shape,
            ),
        )
    console.print(table)


def recipes() -> Mapping[str, SegmenterOptions]:
    """Fast mode from nothing but attention to the whole of it, then alternatives."""
    fast = SegmenterOptions()
    bare = replace(
        fast,
        self_attention_products=0,
        competition=False,
        presence="off",
        boundaries="off",
    )
    spread = replace(bare, self_attention_products=1)
    compete = replace(spread, competition=True)
    present = replace(compete, presence="calibrated")
    paper = SegmenterOptions(mode="paper")
    return {
        "cross-attention alone": bare,
        "+ self-attention": spread,
        "+ competition": compete,
        "+ presence": present,
        "+ boundaries = fast mode": fast,
        "fast + background words": replace(
            fast, background_words=("sky", "grass", "wall", "floor", "shadow")
        ),
        "fast + the other 24 words as background": replace(
            fast, background_words=WORDS
        ),
        "fast + second product": replace(fast, self_attention_products=2),
        "fast, all self-attention layers": replace(fast, self_attention_layers="all"),
        "fast, paper's level weights": replace(fast, level_weights=paper.level_weights),
        "fast + caption": replace(fast, caption=True),
        "fast, presence by paper's filter": replace(fast, presence="paper"),
        "fast, presence off": replace(fast, presence="off"),
        "paper mode": paper,
        "paper + paper's presence filter": replace(paper, presence="paper"),
        "paper + presence + boundaries": replace(
            paper, presence="paper", boundaries="guided"
        ),
        "paper, no self-attention": replace(paper, self_attention_products=0),
        "paper, no captions": replace(paper, caption=False),
    }


def measure(
    pocket: Pocket,
    options: SegmenterOptions,
    n_scenes: int,
    n_training: int,
    parts: UNetBackbone | None = None,
) -> list[str]:
    """The cells of one row."""
    segmenter = pocket.segmenter(options, parts)
    cells, defaults, times = [], [], []
    for n_absent in _ABSENT:
        training, test = (
            ask_about(
                [render_scene(first + i) for i in range(count)], n_absent=n_absent
            )
            for first, count in (
                (_TRAINING_SEED, n_training),
                (TEST_SEED_START, n_scenes),
            )
        )
        threshold = best_threshold(answer(segmenter, training), options)
        started = time.perf_counter()
        answers = answer(segmenter, test)
        times.append((time.perf_counter() - started) / n_scenes)
        area, edge = judge(answers, options, threshold)
        cells += [f"{area:.3f} ({threshold:.2f})", f"{edge:.3f}"]
        defaults.append(f"{judge(answers, options, options.threshold)[0]:.3f}")
    return [*cells, " / ".join(defaults), f"{1000 * median(times):.0f}"]


def random_parts(parts: UNetBackbone) -> UNetBackbone:
    """The same U-Net in shape, with fresh weights."""
    torch.manual_seed(0)
    unet = type(parts.unet).from_config(parts.unet.config)
    return replace(parts, unet=unet.eval().requires_grad_(False))


if __name__ == "__main__":
    main()
