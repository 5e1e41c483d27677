"""What masks save a person's brush: `python -m tests.bench.bench_work_saved`.

On the pocket model, never evidence about Stable Diffusion. The test split, scenes of 1
to 4 objects with seeds from 1,200,000 up. Nothing is chosen on these scenes. The brush
is that of `evaluate --work-saved` (see `segmenter.evaluation.brush`).

The rows with "corrected" are of the same scenes after as many others were corrected, in
each of which all 24 words are looked for as well: heads are fitted to them and applied.
Each stream has other scenes, behind those that are measured. Of unknown names, 12 of
the words are renamed to what no model knows.

`--masks FOLDER` measures other masks of the same scenes beside today's: a file SEED.png
for each, 8-bit grey, 0 for background, otherwise 1 + the label's index in `WORDS`.
`--write FOLDER` writes today's masks in that form, those with all 24 words asked.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from segmenter import (
    ScoreMaps,
    SegmenterOptions,
    apply_heads,
    cut_masks,
    fit_heads,
    make_example,
)
from segmenter.evaluation.counts import to_class_map
from segmenter.evaluation.work import WorkCounts, WorkSaved
from segmenter.pocket import WORDS, Scene, render_scene
from segmenter.predictor import Segmenter
from tests.bench.pocket_scenes import (
    N_CLASSES,
    answer,
    ask_about,
    load_pocket,
    masks_of,
    unknown_names,
)

FIRST_SEED: Final = 1_200_000
_OPTIONS: Final = SegmenterOptions()
_ALL: Final = "all 24"
# Beside a scene's own words.
_N_ABSENT: Final = {"the scene's words": 0, "and five others": 5, _ALL: len(WORDS)}
_N_RESAMPLES: Final = 2000

Classes = NDArray[np.uint8]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--corrected", type=int, default=20)
    parser.add_argument("--streams", type=int, default=3)
    parser.add_argument("--masks", type=Path, action="append", default=[])
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    # As a server's worker: one thread.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.scenes)
    scenes = [render_scene(seed) for seed in seeds]
    others = {str(folder): read_masks(folder, seeds) for folder in arguments.masks}
    segmenter = load_pocket().segmenter(_OPTIONS)
    table = _table(f"Pocket test split, {len(scenes)} scenes")
    for asked, n_absent in _N_ABSENT.items():
        read = _read(segmenter, scenes, n_absent=n_absent)
        found = _cut(read, scenes)
        table.add_row(asked, *cells(scenes, found))
    streams = [
        [
            render_scene(seeds.stop + n * arguments.corrected + k)
            for k in range(arguments.corrected)
        ]
        for n in range(arguments.streams)
    ]
    for title, names in ((_ALL, {}), ("12 of them unknown", unknown_names())):
        if names:
            read = _read(segmenter, scenes, names=names)
            table.add_row(title, *cells(scenes, _cut(read, scenes)))
        for stream in streams:
            corrected = zip(_read(segmenter, stream, names=names), stream, strict=True)
            heads = fit_heads(
                [make_example(maps, masks_of(scene)) for maps, scene in corrected]
            )
            taught = _cut([apply_heads(maps, heads) for maps in read], scenes)
            n_taught = sum(one.weight_01 > 0 for one in heads.labels)
            table.add_row(
                f"{title}, {len(stream)} corrected, {n_taught} taught",
                *cells(scenes, taught),
            )
    if arguments.write:
        write_masks(arguments.write, seeds, found)
    for name, masks in others.items():
        table.add_row(name, *cells(scenes, masks))
    Console(width=170).print(table)


def _read(
    segmenter: Segmenter,
    scenes: Sequence[Scene],
    *,
    n_absent: int = len(WORDS),
    names: Mapping[str, str] = MappingProxyType({}),
) -> list[ScoreMaps]:
    """Score maps by words, some of which are looked for by another name."""
    questions = ask_about(scenes, n_absent=n_absent)
    named = [
        replace(one, labels=tuple(names.get(word, word) for word in one.labels))
        for one in questions
    ]
    return [
        replace(found.maps, labels=one.labels)
        for found, one in zip(answer(segmenter, named), questions, strict=True)
    ]


def _cut(read: Sequence[ScoreMaps], scenes: Sequence[Scene]) -> list[Classes]:
    """The masks of every scene, in the numbering of its class map."""
    cuts = [
        cut_masks(
            maps,
            threshold=_OPTIONS.threshold,
            presence_threshold=_OPTIONS.presence_threshold,
            pixels=scene.image,
        )
        for maps, scene in zip(read, scenes, strict=True)
    ]
    return [to_class_map(cut, WORDS) for cut in cuts]


def cells(scenes: Sequence[Scene], found: Sequence[Classes]) -> list[str]:
    """What masks of the scenes save, as a row of the table."""
    counts = [count(scene, one) for scene, one in zip(scenes, found, strict=True)]
    work = add_up(counts)
    low, high = interval_of_strokes_saved(counts)
    n_absent = sum(
        len(np.setdiff1d(one, scene.class_map))
        for scene, one in zip(scenes, found, strict=True)
    )
    return [
        f"{work.regions} ({n_absent})",
        f"{_percent(work.accepted_090)} / {_percent(work.accepted_095)}",
        _percent(work.images_untouched),
        f"{work.mended.strokes} / {work.from_blank.strokes}",
        f"{_percent(work.strokes_saved)} ({100 * low:.1f} to {100 * high:.1f})",
        _percent(work.length_saved),
        f"{work.mended.given_up} / {work.from_blank.given_up}",
    ]


def count(scene: Scene, found: Classes) -> WorkCounts:
    """One scene's regions and strokes."""
    counts = WorkCounts(N_CLASSES)
    counts.add(scene.class_map, found)
    return counts


def add_up(counts: Sequence[WorkCounts]) -> WorkSaved:
    """The figures of many scenes."""
    total = WorkCounts(N_CLASSES)
    for one in counts:
        total.add_rows(one.rows())
    return total.saved()


def interval_of_strokes_saved(counts: Sequence[WorkCounts]) -> tuple[float, float]:
    """The 95 % interval over scenes, by the bootstrap; at most 1."""
    saved = [one.saved() for one in counts]
    strokes = np.array([(s.mended.strokes, s.from_blank.strokes) for s in saved])
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(strokes), size=(_N_RESAMPLES, len(strokes)))
    mended, blank = strokes[drawn].sum(axis=1).T
    low, high = np.percentile(1 - mended / blank, (2.5, 97.5))
    return float(low), float(high)


def read_masks(folder: Path, seeds: Sequence[int]) -> list[Classes]:
    """The class maps of a folder's SEED.png."""
    return [np.asarray(Image.open(folder / f"{seed}.png"), np.uint8) for seed in seeds]


def write_masks(folder: Path, seeds: Sequence[int], masks: Sequence[Classes]) -> None:
    """What `read_masks` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, mask in zip(seeds, masks, strict=True):
        Image.fromarray(mask).save(folder / f"{seed}.png")


def _table(title: str) -> Table:
    table = Table(title=title, box=None)
    for heading in (
        "asked",
        "regions (not there)",
        "accepted at .90 / .95, %",
        "images untouched, %",
        "strokes: mask / blank",
        "strokes saved, % (95 % interval)",
        "length saved, %",
        "given up",
    ):
        table.add_column(heading)
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
