"""Clicks in, what they change of an object's level out.

Every click has a kernel, what it says of each pixel: 1 where it lies, 0 where it says
nothing. Their weights are solved together, so that no click is paid for twice and the
level is what was asked for where each one lies. Three times over: among thin things,
then, for what that leaves, along the graph of cells, then in place and colour. Axis
letters: N clicks; Y, X working pixels.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.cell_graph import CellGraph
from segmenter.clicks.canvas import Canvas
from segmenter.clicks.placing import NO_CLICKS, PlacedClicks, distance_to_edge, falloff
from segmenter.clicks.thin import ThinThings

_Floats = NDArray[np.float32]

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
_DOUBT_THIN: Final = 0.1
_WORTH_THIN: Final = 0.8
_DOUBT_GRAPH: Final = 0.3
_DOUBT_COLOUR: Final = 0.02


class Evidence:
    """What the clicks on one object have told, oldest first."""

    def __init__(
        self,
        level: _Floats,
        canvas: Canvas,
        graph: CellGraph | None,
        *,
        cell_px: float,
        has_label: bool,
        has_start: bool,
    ) -> None:
        """Begin before the first click.

        Args:
            level: float32 (Y, X), as it is then.
            canvas: the working picture.
            graph: of the image's cells; None to go by place and colour alone.
            cell_px: working pixels that a cell is wide.
            has_label: whether the level comes from a label's map.
            has_start: whether the person saw a mask before the first click.
        """
        self.result = level
        self.clicks = NO_CLICKS
        self.thin: Final = ThinThings(level, canvas, cell_px)
        self._before: Final = level
        self._canvas: Final = canvas
        self._graph: Final = graph
        self._cell_px: Final = cell_px
        self._has_start: Final = has_start
        self._first_steps: Final = _FIRST_STEPS if has_label else _FIRST_STEPS_NO_LABEL
        self._along: Final[list[_Floats]] = []
        self._nearby: Final[list[_Floats]] = []
        self._fine: Final[dict[int, _Floats]] = {}

    @property
    def nbytes(self) -> int:
        """What is kept of the clicks."""
        kernels = (*self._along, *self._nearby, *self._fine.values())
        return sum(kernel.nbytes for kernel in kernels)

    def add(self, clicks: PlacedClicks) -> None:
        """Take the newest of these clicks; the others are those taken before."""
        index = len(clicks) - 1
        place = int(clicks.at[0][index]), int(clicks.at[1][index])
        squares = self._canvas.distances(*place)
        near = near_alike = np.ones_like(self._before)
        n_steps = self._first_steps
        if index or self._has_start:
            kernel = self.thin.hear(self.result, clicks)
            if kernel is not None:
                self._fine[index] = np.float32(_WORTH_THIN) * kernel
            edge_px = distance_to_edge(self.result, *place, clicks.signs[index])
            edge_px = max(edge_px, _LEAST_EDGE_CELLS * self._cell_px)
            n_steps = _steps_to(edge_px / self._cell_px)
            near, near_alike = (
                falloff(squares, _REACH_OF_EDGE * edge_px + least * self._cell_px)
                for least in (_LEAST_REACH_CELLS, _LEAST_REACH_ALIKE_CELLS)
            )
        if self._graph is not None:
            walk = self._graph.spread(*clicks.places_01[index], n_steps=n_steps)
            self._along.append(self._canvas.guide.follow(walk).clip(0, 1) * near)
        alike = _alike(self._canvas, *place)
        within = falloff(squares, _REACH_CELLS * self._cell_px)
        self._nearby.append(alike * within * near_alike)
        self.clicks = clicks
        self.result = self._solved(clicks)

    def _solved(self, clicks: PlacedClicks) -> _Floats:
        """The level after all clicks: float32 (Y, X)."""
        result = self._before
        if self._fine:
            told = clicks.only(np.array([*self._fine]))
            kernels = np.stack([*self._fine.values()])
            result = settle(result, told, kernels, _DOUBT_THIN)
        if self._along:
            result = settle(result, clicks, np.stack(self._along), _DOUBT_GRAPH)
        return settle(result, clicks, np.stack(self._nearby), _DOUBT_COLOUR)


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
        _alike(canvas, row, column) * falloff(canvas.distances(row, column), cell_px)
        for row, column in zip(*clicks.at, strict=True)
    ]
    return settle(level, clicks, np.stack(kernels), _DOUBT_COLOUR, wanted=0.1)


def _alike(canvas: Canvas, row: int, column: int) -> _Floats:
    """How far each pixel has the colour of one of them: float32 (Y, X)."""
    squares = canvas.differences(row, column)
    return np.asarray(np.exp(squares / np.float32(-2 * _REACH_LAB**2)), np.float32)


def settle(
    level: _Floats,
    clicks: PlacedClicks,
    kernels: _Floats,
    doubt: float,
    *,
    wanted: float = 1.0,
) -> _Floats:
    """Add kernels, (N, Y, X), so that the level at each click is as wanted.

    Tikhonov's solution, which stays small where kernels say little of the clicks'
    places or contradict each other. A click that would have to say the opposite of
    what it is, so that the others fit, says nothing.
    """
    missing = clicks.signs * np.maximum(
        wanted - clicks.signs * level[clicks.at], np.float32(0)
    )
    gram = kernels[:, clicks.at[0], clicks.at[1]].T
    weights = np.zeros(len(clicks))
    used = np.arange(len(clicks))
    while used.size:
        own = gram[:, used]
        solved = (1 + doubt) * np.linalg.solve(
            own.T @ own + doubt * np.eye(len(used)), own.T @ missing
        )
        agrees = solved * clicks.signs[used] >= 0
        if agrees.all():
            weights[used] = solved
            break
        used = used[agrees]
    added = np.tensordot(weights.astype(np.float32), kernels, axes=1)
    return np.asarray(level + added, np.float32)


def _steps_to(edge_cells: float) -> int:
    """Steps of a walk that is to go so far."""
    return int(np.clip(round(_STEPS_BY_SQUARE * edge_cells**2), 1, _MOST_STEPS))
