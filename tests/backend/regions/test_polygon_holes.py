from itertools import product

import numpy as np
import pytest

from backend.regions.polygon_holes import bridge_holes
from tests.masks import winding_numbers

SIZE_YX = (10, 14)
SHELL = [(0, 0), (14, 0), (14, 10), (0, 10)]
LEFT = [(2, 2), (5, 2), (5, 8), (2, 8)]
RIGHT = [(8, 4), (11, 4), (11, 6), (8, 6)]
HOLES_THAT_MEET = [
    pytest.param([LEFT, RIGHT], id="one behind the other"),
    pytest.param([RIGHT, [(8, 1), (9, 1), (9, 2), (8, 2)]], id="two at one edge"),
    pytest.param([LEFT, [(5, 8), (7, 8), (7, 9), (5, 9)]], id="corner at corner"),
    pytest.param([[(2, 1), (6, 9), (2, 9)], [(4, 5), (8, 3), (8, 7)]], id="on an edge"),
    pytest.param([[(4, 3), (8, 7), (4, 7)], [(7, 6), (9, 1), (9, 8)]], id="on a slope"),
    pytest.param(
        [[(3, 5), (6, 2), (5, 5)], [(3, 5), (5, 6), (6, 8)]], id="at one leftmost"
    ),
    pytest.param([[(0, 5), (3, 3), (3, 7)]], id="on the shell"),
    pytest.param([[(0, 0), (3, 1), (1, 3)]], id="in the shell's corner"),
    pytest.param([], id="none"),
]


def inside(corners: list[tuple[int, int]]) -> np.ndarray:
    return winding_numbers([(float(x), float(y)) for x, y in corners], SIZE_YX) != 0


@pytest.mark.parametrize("holes", HOLES_THAT_MEET)
@pytest.mark.parametrize("order", [1, -1])
def test_cut_open_leaves_the_holes_out_whichever_way_rings_run(
    holes: list, order: int
) -> None:
    for steps in product([1, -1], repeat=1 + len(holes)):
        rings = [
            np.array(ring[::step])
            for ring, step in zip([SHELL, *holes], steps, strict=True)
        ]

        opened = bridge_holes([rings[0], *rings[1:][::order]])

        expected = inside(SHELL)
        for hole in holes:
            expected &= ~inside(hole)
        np.testing.assert_array_equal(winding_numbers(opened, SIZE_YX), expected)


def test_cut_open_joins_each_hole_to_what_lies_left_of_it() -> None:
    ring = bridge_holes([np.array(each) for each in (SHELL, RIGHT, LEFT)])

    edges = set(zip(ring, [*ring[1:], ring[0]], strict=True))
    bridges = {edge for edge in edges if edge[::-1] in edges}
    assert bridges == {
        ((0, 2), (2, 2)),
        ((2, 2), (0, 2)),
        ((5, 4), (8, 4)),
        ((8, 4), (5, 4)),
    }


def test_cut_open_leaves_one_edge_for_several_holes_in_their_order() -> None:
    low, high = np.array(RIGHT), np.array([(7, 1), (8, 1), (8, 2)])

    ring = bridge_holes([np.array(SHELL), low, high])

    left_edge = [point for point in ring if point[0] == 0]
    assert left_edge == [(0, 0), (0, 10), (0, 4), (0, 4), (0, 1), (0, 1)]


def test_cut_open_repeats_no_point_at_once_where_rings_touch() -> None:
    shell, hole = np.array(SHELL), np.array([(0, 0), (3, 1), (1, 3)])

    ring = bridge_holes([shell, hole])

    assert len(ring) == 7
    assert ring.count((0, 0)) == 2
    assert all(a != b for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))
