"""A box around an object in, the object's level out.

What is in the box and not like what lies outside of it. Axis letters: Y, X working
pixels.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.cell_graph import CellGraph
from segmenter.clicks.canvas import Canvas
from segmenter.types import Box

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]

_STEPS: Final = 8
# Who draws a box says that something is in it, whatever the map says.
_OFFSET: Final = 0.55
_LEAST_KNOWN: Final = -0.3


def inside_box(box: Box, size_yx: tuple[int, int], work_yx: tuple[int, int]) -> _Bools:
    """The working pixels in a box on the image; at least one: bool (Y, X)."""
    inside = np.zeros(work_yx, np.bool_)
    spans = []
    for low, high, size, work in zip(
        (box.top, box.left), (box.bottom, box.right), size_yx, work_yx, strict=True
    ):
        first = min(max(0, round(low / size * work)), work - 1)
        spans.append(slice(first, max(first + 1, round(high / size * work))))
    inside[tuple(spans)] = True
    return inside


def add_box(
    level: _Floats,
    inside: _Bools,
    canvas: Canvas,
    graph: CellGraph | None,
    *,
    has_start: bool,
) -> _Floats:
    """The level after a box: float32 (Y, X).

    Args:
        level: float32 (Y, X), before it.
        inside: bool (Y, X), the box.
        canvas: the working picture.
        graph: of the image's cells, or None.
        has_start: whether there is a mask that the box is to add to; else what lies
            outside the box is not the object.
    """
    outside = np.float32(1) - inside.astype(np.float32)
    unlike = canvas.mean_of_alike(outside)
    if graph is not None:
        cells = cv2.resize(outside, graph.grid_yx[::-1], interpolation=cv2.INTER_AREA)
        walk = graph.walk(np.asarray(cells, np.float32).ravel(), _STEPS).reshape(
            graph.grid_yx
        )
        unlike = np.maximum(unlike, canvas.guide.follow(walk).clip(0, 1))
    within = np.maximum(level, _LEAST_KNOWN) + np.float32(_OFFSET) - unlike
    if has_start:
        return np.where(inside, np.maximum(level, within), level)
    return np.where(inside, within, np.float32(-1))
