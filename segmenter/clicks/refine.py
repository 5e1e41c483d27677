"""All clicks on an object in, its mask out. Pure.

The level of every pixel says how far it is from being the object's edge: above 0 is
the object. It starts from what the label's map says and the person's corrections of
that, clicks move it, and colours sharpen it. Axis letters: Y, X pixels of the image,
or where it says so of the working picture.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.clicks.canvas import Canvas, make_canvas
from segmenter.clicks.checks import check_request
from segmenter.clicks.evidence import add_clicks, hold_clicks, place_clicks
from segmenter.clicks.graph import make_graph
from segmenter.clicks.prior import label_level
from segmenter.types import Box, Click, ScoreMaps

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]

# Without a map there are no cells; as many as the pocket model has.
_CELLS: Final = 32
# Sharpening: how quickly a level counts as certain, for pixels of one colour and then
# at edges, and what the first of the two is worth.
_STEEPNESS_ALIKE: Final = 3.0
_SHARE_ALIKE_01: Final = 0.5
_STEEPNESS_EDGES: Final = 10.0


def refine_mask(
    pixels: NDArray[np.uint8],
    *,
    clicks: Sequence[Click] = (),
    boxes: Sequence[Box] = (),
    start: _Bools | None,
    maps: ScoreMaps | None,
    label: int | None,
    threshold: float,
    presence_threshold: float,
) -> _Bools:
    """Solve all clicks and boxes on one object anew.

    Args:
        pixels: uint8 (Y, X, 3), RGB, upright.
        clicks: oldest first.
        boxes: around the object, the newest decides: without a start nothing outside
            it is the object, with one it adds what it holds.
        start: bool (Y, X), what the person sees now; None for an empty canvas.
        maps: of the image; None where the model is not to be had.
        label: index into `maps.labels` of the object's label; None for no name known.
        threshold: the background's score, as masks are cut with.
        presence_threshold: as masks are cut with.

    Returns:
        bool (Y, X); may be empty. Where no click changes anything, the start.

    Raises:
        BadClick: if a click lies outside the image, or a box holds none of it.
        ValueError: if start or maps are of another size, or there is no such label.
    """
    size_yx = (pixels.shape[0], pixels.shape[1])
    check_request(size_yx, clicks, boxes, start, maps, label)
    canvas = make_canvas(pixels)
    placed = place_clicks(clicks, size_yx, canvas.size_yx)
    level = label_level(
        canvas.guide,
        maps,
        label,
        threshold=threshold,
        presence_threshold=presence_threshold,
        size_yx=canvas.size_yx,
    )
    if start is not None:
        before = _area(start, canvas.size_yx) > 0.5
        level = np.where((level > 0) == before, level, np.where(before, 1, -1))
        level = level.astype(np.float32)
    grid_yx = _grid_yx(maps, canvas)
    cell_px = max(canvas.size_yx[0] / grid_yx[0], canvas.size_yx[1] / grid_yx[1])
    features = None if maps is None else maps.features
    level = add_clicks(
        level,
        placed,
        canvas,
        None if features is None else make_graph(features),
        cell_px=cell_px,
        has_label=label is not None,
        has_start=start is not None,
    )
    alike = canvas.mean_of_alike((level * _STEEPNESS_ALIKE).clip(-1, 1))
    level = level + np.float32(_SHARE_ALIKE_01) * (alike - level)
    level = canvas.guide.follow((level * _STEEPNESS_EDGES).clip(-1, 1), grid_yx)
    level = hold_clicks(level, placed, canvas, cell_px=cell_px / 1)
    result = _enlarged(level, size_yx) > 0
    for click in clicks:
        result[int(click.y), int(click.x)] = click.is_positive
    return result


def _grid_yx(maps: ScoreMaps | None, canvas: Canvas) -> tuple[int, int]:
    """Cells that the picture is thought in."""
    if maps is not None:
        grid = maps.maps if maps.features is None else maps.features
        return grid.shape[1], grid.shape[2]
    shrink = _CELLS / max(canvas.size_yx)
    rows, columns = (max(1, round(side * shrink)) for side in canvas.size_yx)
    return rows, columns


def _area(mask: _Bools, work_yx: tuple[int, int]) -> _Floats:
    """Share of each working pixel that a mask covers."""
    small = cv2.resize(
        mask.astype(np.float32), work_yx[::-1], interpolation=cv2.INTER_AREA
    )
    return np.asarray(small, np.float32).reshape(work_yx)


def _enlarged(level: _Floats, size_yx: tuple[int, int]) -> _Floats:
    large = cv2.resize(level, size_yx[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32).reshape(size_yx)
