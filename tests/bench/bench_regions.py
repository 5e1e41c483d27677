"""What each kind of region costs: milliseconds, bytes of JSON, and what it keeps.

    python -m tests.bench.bench_regions [--rounds 9]

One mask in each size, a wavy object with a hole in it, cut and written as each of
the four controls would. The overlap (intersection over union) is that of what the
region covers with the mask; a rectangle covers its box.
"""

import argparse
import json
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from backend.regions import Canvas, control_tags, paint
from backend.types import Control, CutOptions, ImageTag, Label
from segmenter import ScoreMaps
from tests.bench.bench_rle import centred_yx

SIZES_PX = (512, 1024, 2048, 4096)
CONTROL = Control(
    from_name="tag",
    image=ImageTag(name="image", value="$image"),
    shape="brush",
    labels=(Label(name="cat", prompts=("cat",)),),
    cut=CutOptions(threshold_01=0.5),
    mode="fast",
)


def object_with_a_hole(size_px: int) -> NDArray[np.bool_]:
    y, x = centred_yx(size_px)
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    waves = 0.15 * np.sin(7 * angle) + 0.05 * np.sin(23 * angle)
    hole = np.hypot(y - 0.05, x + 0.05) < 0.08
    return (radius < 0.29 * (1 + waves)) & ~hole


def covered(region: dict[str, Any], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a region covers, in the pixels of the mask."""
    rows, columns = mask.shape
    value = region["value"]
    if region["type"] == "polygonlabels":
        points = np.array(value["points"]) / 100 * (columns, rows)
        filled = np.zeros(mask.shape, np.uint8)
        # Pixel centres lie half a pixel from the corners that polygons run along.
        cv2.fillPoly(filled, [np.round((points - 0.5) * 16).astype(np.int32)], 1, 8, 4)
        return filled > 0
    if region["type"] == "rectanglelabels":
        filled = np.zeros(mask.shape, np.uint8)
        x, y = value["x"] * columns / 100, value["y"] * rows / 100
        width, height = value["width"] * columns / 100, value["height"] * rows / 100
        filled[round(y) : round(y + height), round(x) : round(x + width)] = 1
        return filled > 0
    return mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds

    table = Table(title="One object with a hole")
    for heading in ("pixels", "control", "ms", "JSON bytes", "points", "overlap"):
        table.add_column(heading, justify="right")
    for size_px in SIZES_PX:
        mask = object_with_a_hole(size_px)
        maps = ScoreMaps(
            labels=("cat",),
            maps=mask[None].astype(np.float16),
            presence=np.ones(1, np.float32),
            size_yx=mask.shape,
        )
        canvas = Canvas(task_id=1, pixels=np.zeros((*mask.shape, 3), np.uint8))
        for shape in control_tags():
            control = replace(CONTROL, shape=shape)
            seconds = []
            for _ in range(rounds):
                start = perf_counter()
                (region,) = paint(control, maps, canvas)
                seconds.append(perf_counter() - start)
            cover = covered(region, mask)
            table.add_row(
                str(size_px),
                shape,
                f"{median(seconds) * 1000:.1f}",
                f"{len(json.dumps(region)):,}",
                str(len(region["value"].get("points", ())) or ""),
                f"{(cover & mask).sum() / (cover | mask).sum():.3f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
