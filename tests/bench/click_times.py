"""What a click costs, beside a pass of a model as large as Stable Diffusion 1.5."""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from segmenter import Click, ScoreMaps, SegmenterOptions, refine_mask
from segmenter import cell_graph as graph
from segmenter.clicks import canvas
from segmenter.predictor import Segmenter
from tests.bench.sd15 import SIDE_PX, label_names, stable_diffusion_15

_REPEATS: Final = 7
_LARGE_YX: Final = (3000, 4000)


def print_times(
    console: Console,
    image: NDArray[np.uint8],
    maps: ScoreMaps,
    options: SegmenterOptions,
) -> None:
    """Of the first click on an image and of further ones, on one thread."""
    table = Table(title="One click, CPU time of one thread", box=None)
    for heading in (
        "picture",
        "first click on it, ms",
        "a further one, ms",
        "the fifth, ms",
        "five at once, ms",
        "kept an image, kB",
        "further click / pass",
    ):
        table.add_column(heading)
    pictures = {
        "128 x 128, pocket": (image, maps, None),
        "512 x 512, SD 1.5 size": _sd15(_scaled(image, (SIDE_PX, SIDE_PX)), options),
    }
    for name, (pixels, found, pass_s) in pictures.items():
        table.add_row(name, *_row(pixels, found, options, pass_s))
    large = _scaled(image, _LARGE_YX)
    found = ScoreMaps(
        labels=maps.labels,
        maps=maps.maps,
        presence=maps.presence,
        size_yx=_LARGE_YX,
        features=maps.features,
    )
    table.add_row("3000 x 4000, pocket", *_row(large, found, options, None))
    console.print(table)


def _row(
    pixels: NDArray[np.uint8],
    maps: ScoreMaps,
    options: SegmenterOptions,
    pass_s: float | None,
) -> list[str]:
    rows, columns = pixels.shape[:2]
    places = ((0.5, 0.5), (0.3, 0.4), (0.7, 0.6), (0.2, 0.8), (0.8, 0.2))
    clicks = [
        Click(y=y * rows, x=x * columns, is_positive=index % 2 == 0)
        for index, (y, x) in enumerate(places)
    ]

    def click(count: int) -> None:
        refine_mask(
            pixels,
            clicks=clicks[:count],
            start=start,
            maps=maps,
            label=0,
            threshold=options.threshold,
            presence_threshold=options.presence_threshold,
        )

    def forget_all() -> None:
        canvas._canvas_of.cache_clear()
        graph._graph_of.cache_clear()

    def forget_clicks() -> None:
        canvas.make_canvas(pixels).evidence.clear()
        graph.make_graph(features)._walks.clear()

    def after(count: int) -> None:
        forget_clicks()
        click(count)

    start = np.zeros((rows, columns), np.bool_)
    start[rows // 4 : rows // 2, columns // 4 : columns // 2] = True
    features = maps.features
    assert features is not None
    further_s = _median_s(lambda: click(2), lambda: after(1))
    return [
        f"{1000 * _median_s(lambda: click(1), forget_all):.1f}",
        f"{1000 * further_s:.1f}",
        f"{1000 * _median_s(lambda: click(5), lambda: after(4)):.1f}",
        f"{1000 * _median_s(lambda: click(5), forget_clicks):.1f}",
        f"{features.nbytes / 1000:.0f} + {maps.maps.nbytes / 1000:.0f}",
        "" if pass_s is None else f"{further_s / pass_s:.4f}",
    ]


def _median_s(work: Callable[[], None], before: Callable[[], None]) -> float:
    times = []
    for _ in range(_REPEATS):
        before()
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return median(times)


def _sd15(
    image: NDArray[np.uint8], options: SegmenterOptions
) -> tuple[NDArray[np.uint8], ScoreMaps, float]:
    """The picture, its maps by random weights, and the seconds of that pass."""
    parts = stable_diffusion_15(torch.device("cpu"), torch.float32)
    segmenter = Segmenter(parts, replace(options, presence="off"))
    labels = label_names(5)
    segmenter.score([image], [labels])
    started = time.process_time()
    (maps,) = segmenter.score([image], [labels])
    return image, maps, time.process_time() - started


def _scaled(image: NDArray[np.uint8], size_yx: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(
        cv2.resize(image, size_yx[::-1], interpolation=cv2.INTER_CUBIC), np.uint8
    )
