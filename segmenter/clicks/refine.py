"""All clicks on an object in, its mask out.

The level of a pixel says how surely it is the object: above 0 it is, and 1 or -1 is
certain. It starts from what the label's map says and from the person's corrections of
that; boxes and clicks move it, and colours sharpen it. Axis letters: Y, X pixels of
the working picture, or of the image where it says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.cell_graph import CellGraph, make_graph
from segmenter.clicks.boxes import add_box, inside_box
from segmenter.clicks.canvas import Canvas, make_canvas
from segmenter.clicks.checks import check_request
from segmenter.clicks.enlarging import enlarge_level, enlarge_mask, shrink_mask
from segmenter.clicks.evidence import Evidence, doubt_beyond, hold_clicks
from segmenter.clicks.parts import clicked_parts
from segmenter.clicks.placing import PlacedClicks, place_clicks
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
# What clicks have told is kept for the next one, unless it is more than this.
_MOST_EVIDENCE_BYTES: Final = 1 << 24
# On an empty canvas there are two: of the label's map, and of the same with doubt.
_EVIDENCE_KEPT: Final = 2
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
    canvas = make_canvas(pixels)
    with canvas.lock:
        problem = _Problem(
            canvas=canvas,
            maps=maps,
            placed=place_clicks(clicks, size_yx, canvas.size_yx),
            inside=[inside_box(box, size_yx, canvas.size_yx) for box in boxes[-1:]],
            has_label=label is not None,
            has_start=start is not None,
        )
        known = _known(canvas, maps, label, threshold, presence_threshold)
        if start is None:
            mask = _find(problem, known, pixels)
        else:
            mask = _correct(problem, known, start, pixels)
    for click in clicks:
        mask[int(click.y), int(click.x)] = click.is_positive
    return mask


def _known(
    canvas: Canvas,
    maps: ScoreMaps | None,
    label: int | None,
    threshold: float,
    presence_threshold: float,
) -> _Floats:
    """What the maps say before any click, kept for the next click on the picture."""
    key = None
    if maps is not None and label is not None:
        said = (maps.maps.tobytes(), maps.presence.tobytes())
        key = (*said, label, threshold, presence_threshold)
    if key not in canvas.levels:
        canvas.levels.clear()
        canvas.levels[key] = label_level(
            canvas.guide_of_maps,
            maps,
            label,
            threshold=threshold,
            presence_threshold=presence_threshold,
            size_yx=canvas.size_yx,
        )
    return canvas.levels[key]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """What was clicked on a picture.

    Attributes:
        canvas: the working picture.
        maps: of the image, or None.
        placed: the clicks.
        inside: bool (Y, X), the box, if there is one.
        has_label: whether the object's label is known.
        has_start: whether there was a mask before.
    """

    canvas: Canvas
    maps: ScoreMaps | None
    placed: PlacedClicks
    inside: Sequence[_Bools]
    has_label: bool
    has_start: bool

    @cached_property
    def graph(self) -> CellGraph | None:
        """Of the image's cells; None where there are no features."""
        if self.maps is None or self.maps.features is None:
            return None
        return make_graph(self.maps.features)

    @property
    def grid_yx(self) -> tuple[int, int]:
        """Rows and columns of the cells."""
        if self.maps is None:
            shrink = _CELLS / max(self.canvas.size_yx)
            rows, columns = (max(1, round(n * shrink)) for n in self.canvas.size_yx)
            return rows, columns
        cells = self.maps.maps if self.maps.features is None else self.maps.features
        return cells.shape[1], cells.shape[2]

    @property
    def seeds(self) -> _Bools:
        """Where the object is for certain, or somewhere within: bool (Y, X)."""
        hits = self.placed.hits(self.canvas.size_yx)
        return np.asarray(np.logical_or.reduce([hits, *self.inside]))

    def solve(self, level: _Floats) -> tuple[_Floats, _Floats]:
        """The level after box and clicks, and the same sharpened: float32 (Y, X)."""
        rows, columns = self.grid_yx
        cell_px = max(self.canvas.size_yx[0] / rows, self.canvas.size_yx[1] / columns)
        for one in self.inside:
            level = add_box(
                level, one, self.canvas, self.graph, has_start=self.has_start
            )
        evidence = self._evidence(level, cell_px)
        sharp = self._sharpened(evidence.result)
        sharp = evidence.thin.sharpen(sharp, evidence.result, self.placed)
        return evidence.result, hold_clicks(sharp, self.placed, self.canvas, cell_px)

    def _evidence(self, level: _Floats, cell_px: float) -> Evidence:
        """Of all clicks; those that were there last time need not be taken anew."""
        kept = self.canvas.evidence
        begun = (level.tobytes(), self.graph, cell_px, self.has_label, self._has_seen)
        evidence = kept.pop(begun, None)
        if evidence is None or not self.placed.begins_with(evidence.clicks):
            evidence = Evidence(
                level,
                self.canvas,
                self.graph,
                cell_px=cell_px,
                has_label=self.has_label,
                has_start=self._has_seen,
            )
        for count in range(len(evidence.clicks), len(self.placed)):
            evidence.add(self.placed.first(count + 1))
        if evidence.nbytes <= _MOST_EVIDENCE_BYTES:
            while len(kept) >= _EVIDENCE_KEPT:
                kept.pop(next(iter(kept)))
            kept[begun] = evidence
        return evidence

    @property
    def _has_seen(self) -> bool:
        """Whether a mask or a box was there before the first click."""
        return self.has_start or bool(self.inside)

    def _sharpened(self, level: _Floats) -> _Floats:
        """Pixels of one colour agree more, and edges lie on the picture's."""
        alike = self.canvas.mean_of_alike((level * _STEEPNESS_ALIKE).clip(-1, 1))
        level = level + np.float32(_SHARE_ALIKE_01) * (alike - level)
        return self.canvas.guide.follow(
            (level * _STEEPNESS_EDGES).clip(-1, 1), self.grid_yx
        )


def _find(problem: _Problem, known: _Floats, pixels: NDArray[np.uint8]) -> _Bools:
    """A new object, on an empty canvas: the part that was clicked."""
    _, level = problem.solve(known)
    part = clicked_parts(level > 0, problem.seeds)
    if problem.has_label and problem.graph is not None and not problem.inside:
        _, doubted = problem.solve(
            doubt_beyond(known, problem.placed, problem.canvas, problem.graph)
        )
        smaller = clicked_parts(doubted > 0, problem.seeds)
        if part.sum() > _SEVERAL * smaller.sum():
            part, level = smaller, doubted
    return enlarge_level(np.where(part, level, -np.abs(level)), part, pixels)


def _correct(
    problem: _Problem, known: _Floats, start: _Bools, pixels: NDArray[np.uint8]
) -> _Bools:
    """The start, with what was raised added and what was lowered taken away.

    Where the start is not what the maps say, it is certain. What a person has not
    touched yet may move both ways around a click, for better edges.
    """
    seen = shrink_mask(start, problem.canvas.size_yx)
    differs = (known > 0) != seen
    before = np.where(differs, np.where(seen, np.float32(1), np.float32(-1)), known)
    after, level = problem.solve(before)
    raised, lowered = after - before > _LEAST_MOVE, before - after > _LEAST_MOVE
    # Lines of a pixel or two are another rounding, not a correction.
    if not cv2.erode(differs.astype(np.uint8), np.ones((3, 3), np.uint8)).any():
        raised = lowered = raised | lowered
    found = enlarge_level(level, raised | lowered, pixels)
    added = found & enlarge_mask(raised, start.shape)
    taken = ~found & enlarge_mask(lowered, start.shape)
    if not problem.inside and not problem.placed.signs.max() > 0:
        # Who only takes away is given nothing, not even a better edge.
        added = np.zeros_like(start)
    return np.asarray((start | added) & ~taken)
