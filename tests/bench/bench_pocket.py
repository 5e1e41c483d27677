"""How good the pocket model's masks are: `python tests/bench/bench_pocket.py`.

Test split: scenes with seeds from 1,000,000 up, never trained on. Labels are the
objects in the scene. One threshold per method, chosen on training scenes.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from segmenter import ScoreMaps, SegmenterOptions, cut_masks
from segmenter.evaluate import IouCounts, to_class_map
from segmenter.pocket.scenes import TEST_SEED_START, Scene, render_scene
from segmenter.pocket.words import WORDS
from segmenter.predictor import Segmenter
from segmenter.source import ModelSource
from segmenter.weights import DiffusionParts, load_captioner, load_diffusion

THRESHOLDS: Final = tuple(np.arange(0.20, 0.80, 0.02).round(2).tolist())

Scored = list[tuple[Scene, ScoreMaps]]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--training-scenes", type=int, default=60)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    console = Console(width=110)
    table = Table(title="mIoU with background, pocket test split")
    for heading in ("method", "threshold", "one object", "2-4 objects", "own default"):
        table.add_column(heading)
    for name, segmenter in _methods(arguments.model).items():
        training = [
            *_score(segmenter, _one_object(0, arguments.training_scenes), console),
            *_score(segmenter, _several(0, arguments.training_scenes), console),
        ]
        threshold = max(THRESHOLDS, key=lambda t: miou(training, t))
        test = [
            _score(segmenter, scenes(TEST_SEED_START, arguments.scenes), console)
            for scenes in (_one_object, _several)
        ]
        table.add_row(
            name,
            f"{threshold:.2f}",
            *(f"{miou(scored, threshold):.3f}" for scored in test),
            " / ".join(
                f"{miou(scored, segmenter.options.threshold):.3f}" for scored in test
            ),
        )
    console.print(table)


def miou(scored: Scored, threshold: float) -> float:
    """Mean IoU over the classes, background included."""
    counts = IouCounts(1 + len(WORDS))
    for scene, maps in scored:
        cut = cut_masks(maps, threshold=threshold)
        counts.add(scene.class_map, to_class_map(cut, WORDS))
    return counts.mean()


def _methods(model: str) -> dict[str, Segmenter]:
    source = ModelSource.parse(model)
    cpu = torch.device("cpu")
    parts = load_diffusion(source, device=cpu, dtype=torch.float32)
    captioner = load_captioner(source, device=cpu)
    paper = SegmenterOptions()

    def variant(parts: DiffusionParts, **changes: object) -> Segmenter:
        return Segmenter(parts, replace(paper, **changes), captioner=captioner)

    return {
        "paper mode": variant(parts),
        "cross-attention alone": variant(parts, self_attention_products=0),
        "paper mode, no caption": variant(parts, caption=False),
        "random weights": variant(_randomised(parts)),
    }


def _randomised(parts: DiffusionParts) -> DiffusionParts:
    """The same U-Net and text encoder in shape, with fresh weights."""
    torch.manual_seed(0)
    unet = type(parts.unet).from_config(parts.unet.config).eval()
    text_encoder = type(parts.text_encoder)(parts.text_encoder.config).eval()
    return replace(parts, unet=unet, text_encoder=text_encoder)


def _one_object(first_seed: int, n_scenes: int) -> list[Scene]:
    return [render_scene(first_seed + i, n_objects=1) for i in range(n_scenes)]


def _several(first_seed: int, n_scenes: int) -> list[Scene]:
    """Scenes of two to four objects; seeds go on behind those of `_one_object`."""
    start = first_seed + n_scenes
    return [render_scene(start + i, n_objects=2 + i % 3) for i in range(n_scenes)]


def _score(segmenter: Segmenter, scenes: Sequence[Scene], console: Console) -> Scored:
    return [
        (scene, segmenter.score([scene.image], [scene.words])[0])
        for scene in track(scenes, transient=True, console=console)
    ]


if __name__ == "__main__":
    main()
