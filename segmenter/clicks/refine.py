"""All clicks on an object in, its mask out. Pure.

The level of a pixel says how surely it is the object: above 0 it is, and 1 or -1 is
certain. It starts from what the label's map says and from the person's corrections of
that; boxes and clicks move it, and colours sharpen it. Axis letters: Y, X pixels of
the working picture, or of the image where it says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.clicks.boxes import add_box, inside_box
from segmenter.clicks.canvas import Canvas, make_canvas
from segmenter.clicks.checks import check_request
from segmenter.clicks.enlarging import enlarge_level, enlarge_mask, shrink_mask
from segmenter.clicks.evidence import (
    add_clicks,
    doubt_beyond,
    hold_clicks,
    place_clicks,
)
from segmenter.clicks.graph import CellGraph, make_graph
from segmenter.clicks.parts import clicked_parts
from segmenter.clicks.prior import label_level
from segmenter.types import Box, Click, ScoreMaps

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]

# Cells along the long side where there are no maps.
_CELLS: Final = 32
# Sharpening: how steeply a level becomes certain, among pixels of one colour and at
# edges, and what the first of the two is worth.
_STEEPNESS_ALIKE: Final = 3.0
_SHARE_ALIKE_01: Final = 0.5
_STEEPNESS_EDGES: Final = 10.0
# What moved less was not meant.
_LEAST_MOVE: Final = 0.01
# A label's map shows several objects if its part is so many times as large as what
# hangs together with the clicks.
_SEVERAL: Final = 1.6


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
        pixels: uint8 (rows, columns, 3), RGB, upright.
        clicks: oldest first. Each holds where it lies.
        boxes: around the object, the newest decides: without a start nothing outside
            it is the object, with one it adds what it holds.
        start: bool (rows, columns), what the person sees now; None for an empty
            canvas. It stays as it is wherever no click or box has a say. Where it is
            not what the maps say (a correction, or one part of several) it takes more
            to change it.
        maps: of the image; None where the model is not to be had. Without their
            features a click reaches less far.
        label: index into `maps.labels` of the object's label; None for no name known.
        threshold: the background's score, as masks are cut with.
        presence_threshold: as masks are cut with.

    Returns:
        bool (rows, columns); may be empty.

    Raises:
        BadClick: if a click lies outside the image, or a box holds none of it.
        ValueError: if start or maps are of another size, or there is no such label.
    """
    size_yx = (pixels.shape[0], pixels.shape[1])
    check_request(size_yx, clicks, boxes, start, maps, label)
    if not clicks and not boxes:
        return np.zeros(size_yx, np.bool_) if start is None else start.copy()
    view = _View.of(pixels, maps)
    seen = None if start is None else shrink_mask(start, view.canvas.size_yx)
    before = _known(view, maps, label, threshold, presence_threshold)
    is_corrected = False
    if seen is not None:
        certain = np.where(seen, np.float32(1), np.float32(-1))
        corrected = (before > 0) != seen
        is_corrected = bool(
            cv2.erode(corrected.astype(np.uint8), np.ones((3, 3), np.uint8)).any()
        )
        before = np.where(corrected, certain, before)
    placed = place_clicks(clicks, size_yx, view.canvas.size_yx)
    inside = [inside_box(box, size_yx, view.canvas.size_yx) for box in boxes[-1:]]

    def solve(level: _Floats) -> tuple[_Floats, _Floats]:
        """The level after boxes and clicks, and the same sharpened."""
        for one in inside:
            level = add_box(
                level, one, view.canvas, view.graph, has_start=seen is not None
            )
        level = add_clicks(
            level,
            placed,
            view.canvas,
            view.graph,
            cell_px=view.cell_px,
            has_label=label is not None,
            has_start=seen is not None or bool(boxes),
        )
        sharp = _sharpened(level, view)
        return level, hold_clicks(sharp, placed, view.canvas, view.cell_px)

    after, level = solve(before)
    if start is not None:
        mask = _join(start, level, after - before, pixels, both_ways=not is_corrected)
    else:
        seeds = np.logical_or.reduce([placed.hits(view.canvas.size_yx), *inside])
        part = clicked_parts(level > 0, seeds)
        if label is not None and view.graph is not None and not inside:
            doubted = doubt_beyond(before, placed, view.canvas, view.graph)
            _, other = solve(doubted)
            smaller = clicked_parts(other > 0, seeds)
            if part.sum() > _SEVERAL * smaller.sum():
                part, level = smaller, other
        mask = enlarge_level(np.where(part, level, -np.abs(level)), part, pixels)
    for click in clicks:
        mask[int(click.y), int(click.x)] = click.is_positive
    return mask


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """What is known of an image whatever is clicked.

    Attributes:
        canvas: the working picture.
        graph: of its cells; None where there are no features.
        grid_yx: rows and columns of cells.
        cell_px: working pixels that a cell is wide.
    """

    canvas: Canvas
    graph: CellGraph | None
    grid_yx: tuple[int, int]
    cell_px: float

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], maps: ScoreMaps | None) -> "_View":
        canvas = make_canvas(pixels)
        rows, columns = canvas.size_yx
        shrink = _CELLS / max(rows, columns)
        grid_yx = (max(1, round(rows * shrink)), max(1, round(columns * shrink)))
        if maps is not None:
            cells = maps.maps if maps.features is None else maps.features
            grid_yx = (cells.shape[1], cells.shape[2])
        return cls(
            canvas=canvas,
            graph=None
            if maps is None or maps.features is None
            else make_graph(maps.features),
            grid_yx=grid_yx,
            cell_px=max(rows / grid_yx[0], columns / grid_yx[1]),
        )


def _known(
    view: _View,
    maps: ScoreMaps | None,
    label: int | None,
    threshold: float,
    presence_threshold: float,
) -> _Floats:
    """What the maps say before any click, kept for the next click on the picture."""
    levels = view.canvas.levels
    key = None
    if maps is not None and label is not None:
        said = (maps.maps.tobytes(), maps.presence.tobytes())
        key = (*said, label, threshold, presence_threshold)
    if key not in levels:
        levels.clear()
        levels[key] = label_level(
            view.canvas.guide_of_maps,
            maps,
            label,
            threshold=threshold,
            presence_threshold=presence_threshold,
            size_yx=view.canvas.size_yx,
        )
    return levels[key]


def _sharpened(level: _Floats, view: _View) -> _Floats:
    """Pixels of one colour agree more, and edges lie on the picture's."""
    alike = view.canvas.mean_of_alike((level * _STEEPNESS_ALIKE).clip(-1, 1))
    level = level + np.float32(_SHARE_ALIKE_01) * (alike - level)
    return view.canvas.guide.follow(
        (level * _STEEPNESS_EDGES).clip(-1, 1), view.grid_yx
    )


def _join(
    start: _Bools,
    level: _Floats,
    moved: _Floats,
    pixels: NDArray[np.uint8],
    *,
    both_ways: bool,
) -> _Bools:
    """The start, with what was raised added and what was lowered taken away.

    Both ways, what was moved at all may be either, for better edges.
    """
    size_yx = (pixels.shape[0], pixels.shape[1])
    raised, lowered = moved > _LEAST_MOVE, moved < -_LEAST_MOVE
    if both_ways:
        raised = lowered = raised | lowered
    found = enlarge_level(level, raised | lowered, pixels)
    added = found & enlarge_mask(raised, size_yx)
    taken = ~found & enlarge_mask(lowered, size_yx)
    return np.asarray((start | added) & ~taken)
