"""Images without a model: random layers in which each label's cells have a mark."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from segmenter import Example, ScoreMaps, make_example
from segmenter.layer_grid import WIDTHS, grids, pack_groups

LABELS = ("zork", "blim", "never")
SIZE_YX = (40, 60)
GRID_YX = (10, 15)


def planted(
    number: int, shows: tuple[str, ...], *, grid_yx: tuple[int, int] = GRID_YX
) -> tuple[ScoreMaps, dict[str, NDArray[np.bool_]]]:
    """An image of whose labels words know nothing, and its truth."""
    rng = np.random.default_rng(number)
    groups = [
        rng.normal(size=(width, *size)).astype(np.float32)
        for width, size in zip(WIDTHS, grids(grid_yx), strict=True)
    ]
    masks = {}
    for label in shows:
        rows, columns = grid_yx[0] // 2, grid_yx[1] // 2
        top = int(rng.integers(0, grid_yx[0] - rows + 1))
        left = int(rng.integers(0, grid_yx[1] - columns + 1))
        small = np.zeros(grid_yx, np.bool_)
        small[top : top + rows, left : left + columns] = True
        mark = np.random.default_rng(1000 + LABELS.index(label)).normal(size=WIDTHS[0])
        groups[0][:, small] += 1.5 * mark[:, None]
        step = (SIZE_YX[0] // grid_yx[0], SIZE_YX[1] // grid_yx[1])
        masks[label] = small.repeat(step[0], axis=0).repeat(step[1], axis=1)
    maps = ScoreMaps(
        labels=LABELS,
        maps=rng.random((len(LABELS), 20, 30)).astype(np.float16),
        presence=np.full(len(LABELS), 0.01, np.float32),
        size_yx=SIZE_YX,
        layers=pack_groups(groups),
    )
    return maps, masks


@cache
def examples() -> tuple[Example, ...]:
    """Four that show zork, two of them blim too, and four that show neither."""
    shown = [("zork",), ("zork", "blim"), ("zork", "blim"), ("zork",), *[()] * 4]
    return tuple(
        make_example(*planted(number, shows)) for number, shows in enumerate(shown)
    )
