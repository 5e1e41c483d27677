"""Shapes and sizes of pictures: `python -m tests.bench.bench_shapes`.

Pocket test split, rendered at several shapes and sizes (the model was trained on
128 x 128), and as collages of scenes, large pictures of small objects. Squashed as
published, with the aspect kept, and read through windows; labels are the objects in
the picture, thresholds fast mode's own.
"""

import argparse
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from segmenter import SegmenterOptions
from segmenter.pocket.scenes import TEST_SEED_START, Scene, render_scene
from tests.bench.pocket_scenes import (
    Pocket,
    Question,
    answer,
    ask_about,
    judge,
    load_pocket,
)

_SIDE_PX: Final = 128


def main() -> None:
    """Measure every picture kind under every way to read it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=100)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    console = Console(width=120)
    pocket, ways = load_pocket(), recipes()
    table = Table(
        title=f"mIoU / boundary F / ms an image, {arguments.scenes} pictures each"
    )
    for heading in ("pictures", *ways):
        table.add_column(heading)
    kinds = pictures(arguments.scenes)
    for name, scenes in track(kinds.items(), console=console, transient=True):
        questions = ask_about(scenes, n_absent=0)
        table.add_row(name, *(measure(pocket, way, questions) for way in ways.values()))
    console.print(table)


def recipes() -> Mapping[str, SegmenterOptions]:
    """Ways to read a picture."""
    keep = SegmenterOptions()
    squash = replace(keep, aspect="squash")
    return {
        "squash": squash,
        "keep": keep,
        "squash, 4 windows": replace(squash, max_windows=4),
        "keep, 4 windows": replace(keep, max_windows=4),
        "keep, 9 windows": replace(keep, max_windows=9),
    }


def pictures(count: int) -> dict[str, list[Scene]]:
    """The same seeds in every kind; names give columns first, as users do."""
    sizes = ((128, 128), (96, 192), (192, 96), (96, 288), (256, 256), (384, 384))
    kinds = {
        f"{columns} x {rows}": [
            render_scene(TEST_SEED_START + i, size_yx=(rows, columns))
            for i in range(count)
        ]
        for rows, columns in sizes
    }
    for n_rows, n_columns in ((1, 2), (2, 2), (3, 3)):
        n_tiles = n_rows * n_columns
        kinds[f"{n_columns} x {n_rows} scenes"] = [
            collage(TEST_SEED_START + i * n_tiles, (n_rows, n_columns))
            for i in range(max(1, count // n_tiles))
        ]
    return kinds


def collage(first_seed: int, tiles_yx: tuple[int, int]) -> Scene:
    """Scenes side by side in one picture; equal objects of several count as one."""
    n_rows, n_columns = tiles_yx
    scenes = [render_scene(first_seed + i) for i in range(n_rows * n_columns)]
    size_yx = (n_rows * _SIDE_PX, n_columns * _SIDE_PX)
    image = np.zeros((*size_yx, 3), np.uint8)
    visible: dict[str, np.ndarray] = {}
    for number, scene in enumerate(scenes):
        top, left = (side * _SIDE_PX for side in divmod(number, n_columns))
        place = (slice(top, top + _SIDE_PX), slice(left, left + _SIDE_PX))
        image[place] = scene.image
        for word, mask in zip(scene.words, scene.visible, strict=True):
            visible.setdefault(word, np.zeros(size_yx, bool))[place] |= mask
    return Scene(
        image=image, words=tuple(visible), visible=np.stack(list(visible.values()))
    )


def measure(
    pocket: Pocket, options: SegmenterOptions, questions: list[Question]
) -> str:
    """One cell."""
    segmenter = pocket.segmenter(options)
    started = time.perf_counter()
    answers = answer(segmenter, questions)
    milliseconds = 1000 * (time.perf_counter() - started) / len(questions)
    area, edge = judge(answers, options, options.threshold)
    return f"{area:.3f} / {edge:.3f} / {milliseconds:.0f}"


if __name__ == "__main__":
    main()
