"""Clicks in, what they change of an object's level out.

Every click has a kernel, what it says of each pixel: 1 where it lies, 0 where it says
nothing. Their weights are solved together, so that no click is paid for twice and the
level is what was asked for where each one lies. Twice over: first along the graph of
cells, then, for what that leaves, in place and colour. Axis letters: N clicks; Y, X
working pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.clicks.canvas import Canvas
from segmenter.clicks.graph import CellGraph
from segmenter.types import Click

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]

# Steps of the walk from the first click on an empty canvas, where a label's map helps
# to find the object and where nothing does. Later ones go as far as what is wrong: a
# walk of n steps gets about the root of n cells from where it starts.
_FIRST_STEPS: Final = 4
_FIRST_STEPS_NO_LABEL: Final = 24
_STEPS_BY_SQUARE: Final = 0.75
_MOST_STEPS: Final = 24
# What a walk from the clicks reaches: counts as reached from this share of what is
# found at the click, and what is not reached at all loses so much.
_STEPS_WITHIN: Final = 24
_GAIN_WITHIN: Final = 3.0
_LOSS_BEYOND: Final = 0.6
# A click lies in the middle of what is wrong, which therefore reaches no farther from
# it than the mask's edge, or some times that where it is long.
_REACH_OF_EDGE: Final = 2.0
_LEAST_REACH_CELLS: Final = 0.5
_LEAST_EDGE_CELLS: Final = 0.5
# What has the click's colour may be farther: thin things are wrong in many places.
_LEAST_REACH_ALIKE_CELLS: Final = 1.0
# In place and colour: how far, and how different in Lab.
_REACH_CELLS: Final = 4.0
_REACH_LAB: Final = 10.0
# A kernel that says little of the click's own place is trusted little: its weight is
# r k / (k^2 + this) rather than r / k.
_DOUBT_GRAPH: Final = 0.3
_DOUBT_COLOUR: Final = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedClicks:
    """Clicks on a working picture.

    Attributes:
        places_01: (y, x) of each, in [0, 1] of the image.
        at: rows and columns of the working pixels that they lie in, int (N,) each.
        signs: float32 (N,), 1 or -1.
    """

    places_01: tuple[tuple[float, float], ...]
    at: tuple[NDArray[np.intp], NDArray[np.intp]]
    signs: _Floats

    def __len__(self) -> int:
        """How many."""
        return len(self.signs)

    def hits(self, work_yx: tuple[int, int]) -> _Bools:
        """The working pixels with a positive click: bool (Y, X)."""
        hits = np.zeros(work_yx, np.bool_)
        hits[self.at] = self.signs > 0
        return hits

    def first(self, count: int) -> "PlacedClicks":
        """The oldest so many."""
        return PlacedClicks(
            places_01=self.places_01[:count],
            at=(self.at[0][:count], self.at[1][:count]),
            signs=self.signs[:count],
        )


def place_clicks(
    clicks: Sequence[Click], size_yx: tuple[int, int], work_yx: tuple[int, int]
) -> PlacedClicks:
    """Find clicks on an image of one size on its working picture of another."""
    places_01 = tuple((c.y / size_yx[0], c.x / size_yx[1]) for c in clicks)
    rows, columns = (
        np.array([int(place[i] * work_yx[i]) for place in places_01], np.intp).clip(
            0, work_yx[i] - 1
        )
        for i in (0, 1)
    )
    return PlacedClicks(
        places_01=places_01,
        at=(rows, columns),
        signs=np.array([1 if c.is_positive else -1 for c in clicks], np.float32),
    )


def add_clicks(
    level: _Floats,
    clicks: PlacedClicks,
    canvas: Canvas,
    graph: CellGraph | None,
    *,
    cell_px: float,
    has_label: bool,
    has_start: bool,
) -> _Floats:
    """The level after all clicks: float32 (Y, X).

    Args:
        level: float32 (Y, X), before the first one.
        clicks: oldest first.
        canvas: the working picture.
        graph: of the image's cells; None to go by place and colour alone.
        cell_px: working pixels that a cell is wide.
        has_label: whether the level comes from a label's map.
        has_start: whether the person saw a mask before the first click.
    """
    n_steps = _FIRST_STEPS if has_label else _FIRST_STEPS_NO_LABEL
    along, nearby = [], []
    result = level
    for index in range(len(clicks)):
        row, column = clicks.at[0][index], clicks.at[1][index]
        squares = canvas.distances(row, column)
        near = near_alike = np.ones_like(level)
        if index or has_start:
            edge_px = _distance_to_edge(result, row, column, clicks.signs[index])
            edge_px = max(edge_px, _LEAST_EDGE_CELLS * cell_px)
            n_steps = _steps_to(edge_px / cell_px)
            reach_px = _REACH_OF_EDGE * edge_px
            near = _falloff(squares, reach_px + _LEAST_REACH_CELLS * cell_px)
            near_alike = _falloff(
                squares, reach_px + _LEAST_REACH_ALIKE_CELLS * cell_px
            )
        if graph is not None:
            walk = graph.spread(*clicks.places_01[index], n_steps=n_steps)
            along.append(canvas.guide.follow(walk).clip(0, 1) * near)
        colours = canvas.differences(row, column) / np.float32(2 * _REACH_LAB**2)
        nearby.append(
            np.exp(-colours) * _falloff(squares, _REACH_CELLS * cell_px) * near_alike
        )
        known = clicks.first(index + 1)
        result = level
        if along:
            result = _settled(result, known, np.stack(along), _DOUBT_GRAPH)
        result = _settled(result, known, np.stack(nearby), _DOUBT_COLOUR)
    return result


def doubt_beyond(
    level: _Floats, clicks: PlacedClicks, canvas: Canvas, graph: CellGraph
) -> _Floats:
    """Lower a label's level where no walk from a positive click comes: float32 (Y, X).

    Of two objects of one label, the map shows both and a click means one.
    """
    reached = np.zeros_like(level)
    for index in np.flatnonzero(clicks.signs > 0):
        walk = graph.spread(*clicks.places_01[index], n_steps=_STEPS_WITHIN)
        reached = np.maximum(reached, canvas.guide.follow(walk))
    beyond = 1 - (reached * np.float32(_GAIN_WITHIN)).clip(0, 1)
    return np.asarray(level - np.float32(_LOSS_BEYOND) * beyond, np.float32)


def hold_clicks(
    level: _Floats, clicks: PlacedClicks, canvas: Canvas, cell_px: float
) -> _Floats:
    """Bring back what smoothing took from the clicks, close by: float32 (Y, X)."""
    if not len(clicks):
        return level
    kernels = [
        np.exp(-canvas.differences(row, column) / np.float32(2 * _REACH_LAB**2))
        * _falloff(canvas.distances(row, column), cell_px)
        for row, column in zip(*clicks.at, strict=True)
    ]
    return _settled(level, clicks, np.stack(kernels), _DOUBT_COLOUR, wanted=0.1)


def _settled(
    level: _Floats,
    clicks: PlacedClicks,
    kernels: _Floats,
    doubt: float,
    *,
    wanted: float = 1.0,
) -> _Floats:
    """Add kernels, (N, Y, X), so that the level at each click is as wanted.

    Tikhonov's solution, which stays small where kernels say little of the clicks'
    places or contradict each other.
    """
    missing = clicks.signs * np.maximum(
        wanted - clicks.signs * level[clicks.at], np.float32(0)
    )
    gram = kernels[:, clicks.at[0], clicks.at[1]].T
    weights = (1 + doubt) * np.linalg.solve(
        gram.T @ gram + doubt * np.eye(len(clicks)), gram.T @ missing
    )
    added = np.tensordot(weights.astype(np.float32), kernels, axes=1)
    return np.asarray(level + added, np.float32)


def _falloff(squares: _Floats, reach_px: float) -> _Floats:
    """A Gaussian of squared distances."""
    return np.asarray(np.exp(squares / np.float32(-2 * reach_px**2)), np.float32)


def _steps_to(edge_cells: float) -> int:
    """Steps of a walk that is to go so far."""
    return int(np.clip(round(_STEPS_BY_SQUARE * edge_cells**2), 1, _MOST_STEPS))


def _distance_to_edge(level: _Floats, row: int, column: int, sign: float) -> float:
    """Pixels from a click on what is wrong to where the mask ends or begins.

    0 for a click on what is right already; large where there is no edge.
    """
    wrong = level * sign <= 0
    if not wrong[row, column]:
        return 0.0
    if wrong.all():
        return float(sum(level.shape))
    distances = cv2.distanceTransform(wrong.astype(np.uint8), cv2.DIST_L2, 3)
    return float(distances[row, column])
