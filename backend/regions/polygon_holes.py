"""A shell and its holes in, one ring that encloses the same out.

A polygon of Label Studio is one ring of points. So each hole is joined to what
lies left of it by a bridge: the ring goes there, around the hole and back the
same way, which encloses nothing. Bridges are horizontal and leave a hole at its
leftmost corner, so they cross neither a ring nor each other.

Rings are int64 (n, 2), points (x, y), n at least 3, the first not repeated.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ring: TypeAlias = NDArray[np.int64]
Point: TypeAlias = tuple[float, float]

# A hole may start on an edge of another ring, where the rounding of the crossing
# must not make the bridge pass by that edge.
_ROUNDING_PX = 1e-9


@dataclass(frozen=True, kw_only=True)
class _Bridge:
    """A way from a point of an edge to the hole that starts right of it."""

    edge: int
    foot: Point
    hole: int


def bridge_holes(rings: list[Ring]) -> list[Point]:
    """Join a shell and its holes into one ring.

    Args:
        rings: the shell, then the holes, running either way. They may touch each
            other but not cross, and the shell holds all.

    Returns:
        The points of one closed ring, the first not repeated, none repeated in
        direct succession. It runs clockwise on the screen, where y grows down:
        its winding number is 1 in the shell but for the holes, and 0 in those
        and outside. Bridges may end between two corners, in a whole row; every
        other point is a corner of the rings.
    """
    shell, *holes = rings
    holes = [_from_leftmost(_turned(hole, clockwise=False)) for hole in holes]
    ordered = [_turned(shell, clockwise=True), *sorted(holes, key=_first_corner)]
    bridges = _bridges(ordered) if holes else []
    points = _joined(ordered, bridges)
    return [point for point, following in pairwise(points) if point != following]


def signed_area(ring: Ring) -> float:
    """Area in pixels, positive for a ring that runs clockwise on the screen."""
    x, y = ring[:, 0], ring[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _turned(ring: Ring, *, clockwise: bool) -> Ring:
    return ring if (signed_area(ring) > 0) is clockwise else ring[::-1]


def _first_corner(ring: Ring) -> tuple[int, int]:
    return int(ring[0, 0]), int(ring[0, 1])


def _from_leftmost(ring: Ring) -> Ring:
    """The same ring, starting at its leftmost corner, the uppermost of several."""
    return np.roll(ring, -np.lexsort((ring[:, 1], ring[:, 0]))[0], axis=0)


def _bridges(rings: list[Ring]) -> list[_Bridge]:
    """One bridge for each hole, to a ring that starts left of it.

    What starts further left is joined already, so all are joined to the shell in
    the end. A ring that only touches the hole's leftmost corner may be one that
    starts later; it does not count.
    """
    ring_of = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    xs, ys, edges = _crossings(rings)
    bridges: list[_Bridge] = []
    for hole in range(1, len(rings)):
        x, y = _first_corner(rings[hole])
        row, end = np.searchsorted(ys, [y, y + 1])
        nearest = row + np.searchsorted(xs[row:end], x + _ROUNDING_PX) - 1
        while ring_of[edges[nearest]] >= hole:
            nearest -= 1
        foot = (min(float(xs[nearest]), float(x)), float(y))
        bridges.append(_Bridge(edge=int(edges[nearest]), foot=foot, hole=hole))
    return bridges


def _crossings(
    rings: list[Ring],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Where edges meet the rows in which holes start, by row, from left to right.

    Edges are numbered through all rings; edge i starts at corner i. A horizontal
    edge counts as its first corner.

    Returns:
        float64 x, int64 y and int64 edge of each crossing.
    """
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    falls = (starts[:, 1] <= ends[:, 1])[:, np.newaxis]
    tops, bottoms = np.where(falls, starts, ends), np.where(falls, ends, starts)

    rows = np.unique([ring[0, 1] for ring in rings[1:]])
    first = np.searchsorted(rows, tops[:, 1])
    counts = np.searchsorted(rows, bottoms[:, 1], side="right") - first
    edges = np.repeat(np.arange(len(starts)), counts)
    nth = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts)
    ys = rows[first[edges] + nth]

    (x0, y0), (x1, y1) = tops[edges].T, bottoms[edges].T
    xs = x0 + (x1 - x0) * ((ys - y0) / np.maximum(y1 - y0, 1))
    order = np.lexsort((xs, ys))
    return xs[order], ys[order], edges[order]


def _joined(rings: list[Ring], bridges: list[_Bridge]) -> Iterator[Point]:
    """Walk the shell; at each bridge, walk the hole and come back."""
    leaving: defaultdict[int, list[_Bridge]] = defaultdict(list)
    for bridge in bridges:
        leaving[bridge.edge].append(bridge)
    first_edges = np.cumsum([0, *(len(ring) for ring in rings)])

    # A stack of our own: holes can hang in a chain longer than Python recurses.
    walks = [_walk(rings[0], 0, leaving)]
    while walks:
        step = next(walks[-1], None)
        if step is None:
            walks.pop()
        elif isinstance(step, _Bridge):
            hole = step.hole
            walks.append(_walk(rings[hole], int(first_edges[hole]), leaving))
        else:
            yield step


def _walk(
    ring: Ring, first_edge: int, leaving: defaultdict[int, list[_Bridge]]
) -> Iterator[Point | _Bridge]:
    """The corners of a ring and back to the first, and the bridges on the way."""
    corners = [(float(x), float(y)) for x, y in ring]
    for edge, corner in enumerate(corners, first_edge):
        yield corner
        bridges = leaving.get(edge, [])
        for bridge in sorted(bridges, key=lambda each: abs(each.foot[1] - corner[1])):
            yield bridge.foot
            yield bridge
            yield bridge.foot
    yield corners[0]
