import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.regions.components import Part, clean, parts
from tests.masks import masks, noise, picture

STRAIGHT = [(-1, 0), (1, 0), (0, -1), (0, 1)]
DIAGONAL = [(-1, -1), (-1, 1), (1, -1), (1, 1)]

any_mask = masks() | noise()
any_area = st.integers(0, 30)


def pieces(mask: np.ndarray, steps: list[tuple[int, int]]) -> list[set]:
    """The connected pieces of a mask in reading order, by walking them."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        piece, front = set(), [min(left)]
        while front:
            pixel = front.pop()
            if pixel in left:
                left.remove(pixel)
                piece.add(pixel)
                front += [(pixel[0] + y, pixel[1] + x) for y, x in steps]
        found.append(piece)
    return found


def mask_of(pixels: set, size_yx: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size_yx, bool)
    for pixel in pixels:
        mask[pixel] = True
    return mask


def test_parts_come_largest_first_with_their_box_and_their_area() -> None:
    mask = picture(
        "#..###",
        "#..#.#",
        "#.....",
    )

    large, small = parts(mask)

    assert (large.box_yxyx, large.area_px) == ((0, 3, 2, 6), 5)
    assert (small.box_yxyx, small.area_px) == ((0, 0, 3, 1), 3)
    np.testing.assert_array_equal(large.pixels, picture("###", "#.#"))
    np.testing.assert_array_equal(small.pixels, picture("#", "#", "#"))


def test_parts_that_meet_at_a_corner_are_two() -> None:
    assert len(parts(picture("##..", "##..", "..##"))) == 2


def test_parts_of_one_size_come_in_reading_order_of_their_first_pixels() -> None:
    mask = picture(
        "###.#",
        "###.#",
        "###.#",
        "....#",
        "#####",
        ".....",
        "##...",
        "##.##",
        "...##",
    )

    first_pixels = [
        tuple(np.argwhere(part.on_canvas(mask.shape))[0]) for part in parts(mask)
    ]

    assert [part.area_px for part in parts(mask)] == [9, 9, 4, 4]
    assert first_pixels == [(0, 0), (0, 4), (6, 0), (7, 3)]


@settings(deadline=None)
@given(any_mask)
def test_parts_are_the_connected_pieces_of_the_mask(mask: np.ndarray) -> None:
    found = parts(mask)

    expected = sorted(pieces(mask, STRAIGHT), key=lambda each: (-len(each), min(each)))
    assert len(found) == len(expected)
    for part, piece in zip(found, expected, strict=True):
        np.testing.assert_array_equal(
            part.on_canvas(mask.shape), mask_of(piece, mask.shape)
        )
        assert part.area_px == len(piece)
        assert part.pixels.any(axis=0).all()
        assert part.pixels.any(axis=1).all()


@pytest.mark.parametrize("size_yx", [(3, 5), (0, 5), (1, 1)])
def test_an_empty_mask_has_no_parts_and_is_clean(size_yx: tuple[int, int]) -> None:
    empty = np.zeros(size_yx, bool)

    assert parts(empty) == []
    np.testing.assert_array_equal(clean(empty, min_area_px=9), empty)


@pytest.mark.parametrize("size_yx", [(2, 9), (9, 2)])
def test_a_part_refuses_a_canvas_that_is_too_small(size_yx: tuple[int, int]) -> None:
    part = Part(box_yxyx=(1, 2, 3, 4), pixels=np.ones((2, 2), bool), area_px=4)

    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\) does not fit into"):
        part.on_canvas(size_yx)


def test_clean_drops_what_has_fewer_pixels_and_fills_what_has_fewer() -> None:
    mask = picture(
        "######....",
        "#.##.#.##.",
        "#.#..#....",
        "######.##.",
        "........#.",
    )

    cleaned = clean(mask, min_area_px=3)

    np.testing.assert_array_equal(
        cleaned,
        picture(
            "######....",
            "####.#....",
            "###..#....",
            "######.##.",
            "........#.",
        ),
    )


def test_clean_measures_a_part_without_its_holes() -> None:
    ring = picture("###", "#.#", "###")

    assert clean(ring, min_area_px=8).sum() == 9
    assert clean(ring, min_area_px=9).sum() == 0


def test_clean_leaves_a_bay_that_opens_at_a_corner_or_at_the_border() -> None:
    bays = picture(
        "#.#.###",
        "###.#.#",
        "....##.",
        "###....",
        "..#....",
        "###....",
    )

    np.testing.assert_array_equal(clean(bays, min_area_px=5), bays)


def test_clean_fills_a_hole_that_holds_only_specks() -> None:
    mask = picture(
        "#####",
        "#...#",
        "#.#.#",
        "#...#",
        "#####",
    )

    assert clean(mask, min_area_px=9).sum() == 16
    assert clean(mask, min_area_px=10).all()


def test_clean_leaves_a_hole_whole_that_has_one_pixel_of_another_label() -> None:
    mask = picture(
        "#########",
        "#..##.###",
        "#..##.###",
        "#########",
    )
    fillable = np.ones(mask.shape, bool)
    fillable[1, 2] = False

    cleaned = clean(mask, min_area_px=6, fillable=fillable)

    np.testing.assert_array_equal(
        cleaned,
        picture(
            "#########",
            "#..######",
            "#..######",
            "#########",
        ),
    )


def test_clean_fills_over_its_own_specks_although_they_are_not_background() -> None:
    mask = picture("#####", "#...#", "#.#.#", "#...#", "#####")

    assert clean(mask, min_area_px=10, fillable=~mask).all()


@settings(deadline=None)
@given(any_mask, any_area, st.none() | noise(longest_px=20))
def test_clean_is_what_its_description_says(
    mask: np.ndarray, min_area_px: int, noisy: np.ndarray | None
) -> None:
    fillable = None if noisy is None else np.resize(noisy, mask.shape)
    before = mask.copy()

    cleaned = clean(mask, min_area_px=min_area_px, fillable=fillable)

    expected = np.zeros(mask.shape, bool)
    for piece in pieces(mask, STRAIGHT):
        if len(piece) >= min_area_px:
            expected |= mask_of(piece, mask.shape)
    last_y, last_x = mask.shape[0] - 1, mask.shape[1] - 1
    for piece in pieces(~expected, STRAIGHT + DIAGONAL) if mask.any() else []:
        is_hole = all(0 < y < last_y and 0 < x < last_x for y, x in piece)
        is_fillable = fillable is None or all(fillable[p] or mask[p] for p in piece)
        if len(piece) < min_area_px and is_hole and is_fillable:
            expected |= mask_of(piece, mask.shape)
    np.testing.assert_array_equal(cleaned, expected)
    np.testing.assert_array_equal(mask, before)
    assert not np.shares_memory(cleaned, mask)


@settings(deadline=None)
@given(any_mask, any_area)
def test_cleaning_twice_is_cleaning_once(mask: np.ndarray, min_area_px: int) -> None:
    once = clean(mask, min_area_px=min_area_px)

    np.testing.assert_array_equal(clean(once, min_area_px=min_area_px), once)
