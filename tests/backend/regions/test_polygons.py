import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.regions.components import Part, parts
from backend.regions.polygons import outline
from tests.clock import no_longer_than
from tests.examples import at_most
from tests.masks import masks, noise, picture, wavy, winding_numbers

ROUNDING_PX = 1e-9
# Between two samples of a line, so that what they miss is known.
STEP_PX = 0.125

dense = np.zeros((13, 17), bool)
dense[::2] = True
dense[:, ::2] = True

CASES = {
    "one pixel": picture("...", ".#."),
    "row": picture("#######"),
    "column": picture(*"#######"),
    "ring": picture("####", "#..#", "####"),
    "ring in ring": picture(
        "#######",
        "#.....#",
        "#.###.#",
        "#.#.#.#",
        "#.###.#",
        "#.....#",
        "#######",
    ),
    "dense": dense,
    "holes that meet at a corner": picture("#####", "#.###", "##.##", "###.#", "#####"),
    "hole that meets the outside at a corner": picture("###.", "#.##", "####"),
    "closed at a corner only": picture(".###.", ".#.#.", ".##..", "..###"),
    "diagonal staircase": picture("##...", ".##..", "..##.", "...##"),
    "everything": np.ones((3, 5), bool),
    "smooth": wavy(60, 90),
    "GEOS 3.11 puts a hole outside the shell": picture(
        "#.#.",
        "####",
        "...#",
        ".###",
        "#.#.",
        "####",
        "##..",
    ),
}
TOLERANCES_PX = [0, 0.5, 0.75, 1, 2.5, 5, 1000]

cases = [
    pytest.param(mask, tolerance_px, id=f"{name}-{tolerance_px}")
    for name, mask in CASES.items()
    for tolerance_px in TOLERANCES_PX
]


def true_outline(part: Part) -> shapely.Geometry:
    """The border of the union of the part's pixels, as squares of side 1."""
    y, x = np.argwhere(part.pixels).T + np.array(part.box_yxyx[:2])[:, np.newaxis]
    return shapely.union_all(shapely.box(x, y, x + 1, y + 1)).boundary


def without_bridges(ring: list[tuple[float, float]]) -> shapely.Geometry:
    """The edges of a ring but those that are walked both ways."""
    edges = set(zip(ring, [*ring[1:], ring[0]], strict=True))
    kept = [edge for edge in edges if edge[::-1] not in edges]
    return shapely.MultiLineString(kept)


def farthest_px(line: shapely.Geometry, other: shapely.Geometry) -> float:
    samples = shapely.points(shapely.get_coordinates(shapely.segmentize(line, STEP_PX)))
    return float(shapely.distance(samples, other).max())


def check(mask: np.ndarray, tolerance_px: float) -> None:
    for part in parts(mask):
        ring = outline(part, tolerance_px=tolerance_px)

        exact, drawn = true_outline(part), without_bridges(ring)
        assert farthest_px(exact, drawn) <= tolerance_px + ROUNDING_PX
        assert farthest_px(drawn, exact) <= tolerance_px + ROUNDING_PX

        turns = winding_numbers(ring, mask.shape)
        # 0 and 1 only: non-zero fill and even-odd fill are the same.
        assert set(turns.flat) <= {0, 1}
        y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
        must_agree = shapely.distance(shapely.points(x, y), exact) > tolerance_px
        np.testing.assert_array_equal(
            turns[must_agree] != 0, part.on_canvas(mask.shape)[must_agree]
        )

        assert len(set(ring)) >= 3
        assert area_px(ring) > 0
        assert all(a != b for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))


def area_px(ring: list[tuple[float, float]]) -> float:
    """By the formula that exporters use on Label Studio's points."""
    x, y = np.array(ring).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@pytest.mark.parametrize(("mask", "tolerance_px"), cases)
def test_outline_passes_the_mask_within_the_tolerance(
    mask: np.ndarray, tolerance_px: float
) -> None:
    check(mask, tolerance_px)


@settings(deadline=None, max_examples=at_most(300))
@given(masks() | noise(), st.floats(0, 12))
def test_outline_passes_any_mask_within_any_tolerance(
    mask: np.ndarray, tolerance_px: float
) -> None:
    check(mask, tolerance_px)


@settings(deadline=None, max_examples=at_most(200))
@given(masks() | noise(longest_px=20))
def test_outline_without_tolerance_encloses_the_part_and_nothing_else(
    mask: np.ndarray,
) -> None:
    for part in parts(mask):
        ring = outline(part, tolerance_px=0)

        np.testing.assert_array_equal(
            winding_numbers(ring, mask.shape), part.on_canvas(mask.shape)
        )
        assert area_px(ring) == pytest.approx(part.area_px)


def test_outline_runs_along_the_edges_of_pixels_clockwise() -> None:
    (part,) = parts(picture(".....", "..##.", "....."))

    ring = outline(part, tolerance_px=0)

    assert ring == [(2, 1), (4, 1), (4, 2), (2, 2)]


def test_outline_joins_a_hole_by_the_same_way_there_and_back() -> None:
    (part,) = parts(picture("....", "....", ".###", ".#.#", ".###"))

    ring = outline(part, tolerance_px=0)

    shell, bridge = [(1, 2), (4, 2), (4, 5), (1, 5)], [(1, 3), (2, 3)]
    hole = [(2, 3), (2, 4), (3, 4), (3, 3)]
    assert ring == [*shell, *bridge, *hole[1:], *bridge[::-1]]


def test_outline_of_a_smooth_object_has_few_points_and_most_of_its_area() -> None:
    mask = wavy(480, 640)
    (part,) = parts(mask)

    ring = outline(part, tolerance_px=0.002 * math.hypot(*mask.shape))

    drawn = winding_numbers(ring, mask.shape) != 0
    assert len(ring) < 160
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.98


def test_outline_has_few_points_although_it_touches_itself() -> None:
    mask = wavy(480, 640)
    without = len(outline(parts(mask)[0], tolerance_px=1.6))
    mask[100:112, 301:313] = mask[112:124, 289:301] = False
    (part,) = parts(mask)

    ring = outline(part, tolerance_px=1.6)

    assert len(ring) < without + 30


def test_outline_of_a_small_part_stays_where_the_tolerance_could_swallow_it() -> None:
    (part,) = parts(picture("....", "..#.", "...."))

    ring = outline(part, tolerance_px=1000)

    assert area_px(ring) >= 0.5
    assert {(min(a), max(b)) for a, b in [zip(*ring, strict=True)]} == {(2, 2)}


def test_outline_goes_through_more_holes_than_python_recurses() -> None:
    mask = np.ones((3, 6001), bool)
    mask[1, 1::2] = False
    (part,) = parts(mask)

    ring = outline(part, tolerance_px=0)

    assert area_px(ring) == pytest.approx(part.area_px)


def test_outline_keeps_every_corner_of_noise_rather_than_keep_people_waiting() -> None:
    mask = np.ones((205, 207), bool)
    mask[2:-1:2, 2:-1:2] = False
    mask[0, ::4] = False
    (part,) = parts(mask)

    with no_longer_than(20):
        simplified = outline(part, tolerance_px=2)

    assert simplified == outline(part, tolerance_px=0)


@pytest.mark.parametrize("tolerance_px", [-0.1, math.nan, math.inf])
def test_outline_refuses_a_tolerance_that_is_none(tolerance_px: float) -> None:
    (part,) = parts(np.ones((2, 3), bool))

    with pytest.raises(ValueError, match="tolerance_px is"):
        outline(part, tolerance_px=tolerance_px)
