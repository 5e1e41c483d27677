"""Strokes of the editor over a mask; beside the editor itself: `tests/e2e`."""

from typing import Any

import numpy as np
import pytest

from backend.errors import BadMask
from backend.regions.rle import encode_rle
from backend.regions.seen import seen_regions
from backend.regions.strokes import draw_strokes

SIZE_YX = (30, 50)


def touch(*points_px: float, width_px: float = 6, kind: str = "add") -> dict[str, Any]:
    """x and y in turn, as a draft has them."""
    rows, columns = SIZE_YX
    relative = [
        100 * number / (rows if place % 2 else columns)
        for place, number in enumerate(points_px)
    ]
    return {
        "type": kind,
        "points": list(points_px),
        "relativePoints": relative,
        "strokeWidth": 25,
        "relativeStrokeWidth": 100 * width_px / columns,
    }


def drawn(*touches: dict[str, Any], before: np.ndarray | None = None) -> np.ndarray:
    alpha = np.zeros(SIZE_YX, np.uint8) if before is None else before
    return draw_strokes(alpha, list(touches), SIZE_YX)


def test_a_stroke_is_a_band_with_round_ends() -> None:
    alpha = drawn(touch(10, 15, 40, 15))

    assert (alpha[12:18, 10:40] == 255).all()
    assert not alpha[:12].any()
    assert not alpha[18:].any()
    half = np.pi * 3**2 / 2
    assert alpha[:, :10].sum() / 255 == pytest.approx(half, rel=0.03)
    assert alpha[:, 40:].sum() / 255 == pytest.approx(half, rel=0.03)


def test_a_click_of_the_brush_is_a_disc() -> None:
    alpha = drawn(touch(20, 15, 20, 15, width_px=9))

    assert alpha.sum() / 255 == pytest.approx(np.pi * 4.5**2, rel=0.01)


def test_a_stroke_with_corners_covers_no_pixel_twice() -> None:
    there_and_back = drawn(touch(10, 15.3, 30, 15.3, 10, 15.3))
    there = drawn(touch(10, 15.3, 30, 15.3))

    np.testing.assert_array_equal(there_and_back, there)


def test_strokes_are_drawn_in_their_order_over_the_mask() -> None:
    full = np.full(SIZE_YX, 255, np.uint8)

    erased = drawn(touch(0, 15, 50, 15, kind="eraser"), before=full)
    drawn_again = drawn(
        touch(0, 15, 50, 15, kind="eraser"), touch(0, 15, 25, 15), before=full
    )

    assert not erased[12:18].any()
    assert (erased[18:] == 255).all()
    assert (drawn_again[12:18, :25] == 255).all()
    assert not drawn_again[12:18, 29:].any()


def test_edges_that_are_half_covered_twice_are_covered_for_three_quarters() -> None:
    twice = drawn(touch(-9, 14.5, 60, 14.5), touch(-9, 14.5, 60, 14.5))

    assert twice[11, 25] == pytest.approx(0.75 * 255, abs=2)


def test_a_stroke_beside_the_picture_changes_nothing() -> None:
    assert not drawn(touch(200, 200, 300, 300)).any()
    assert not draw_strokes(np.zeros(SIZE_YX, np.uint8), [], SIZE_YX).any()


@pytest.mark.parametrize(
    "touches",
    [
        pytest.param(["x"], id="text"),
        pytest.param([{"relativePoints": [1, 2, 3]}], id="odd-count"),
        pytest.param([{"relativePoints": ["a", "b"]}], id="no-numbers"),
        pytest.param([{"relativePoints": None}], id="none"),
        pytest.param([{"relativePoints": [1, float("nan")]}], id="nan"),
        pytest.param([{"relativePoints": [1, 1e300]}], id="far"),
        pytest.param(
            [{"relativePoints": [1, 1], "relativeStrokeWidth": "thick"}], id="width"
        ),
        pytest.param(
            [{"relativePoints": [1, 1], "relativeStrokeWidth": -1}], id="negative"
        ),
        pytest.param([{"relativePoints": [1.0] * 400_000}], id="too-many"),
    ],
)
def test_what_is_no_stroke_is_refused(touches: Any) -> None:
    with pytest.raises(BadMask):
        draw_strokes(np.zeros(SIZE_YX, np.uint8), touches, SIZE_YX)


def test_strokes_that_take_too_long_to_draw_are_refused() -> None:
    size_yx = (4000, 6000)
    wide = {"relativePoints": [1.0, 1.0] * 200, "relativeStrokeWidth": 90}
    with pytest.raises(BadMask, match="more strokes, or wider ones"):
        draw_strokes(np.zeros(size_yx, np.uint8), [wide], size_yx)


def brush(value: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "image",
        "original_width": SIZE_YX[1],
        "original_height": SIZE_YX[0],
        "value": {"format": "rle", "brushlabels": ["cat"], **value},
    } | changed


def test_a_region_of_a_draft_is_its_mask_with_the_strokes_over_it() -> None:
    mask = np.zeros(SIZE_YX, np.bool_)
    mask[5:25, 5:45] = True
    eraser = touch(0, 15, 50, 15, kind="eraser")

    region = seen_regions([brush({"rle": encode_rle(mask), "touches": [eraser]})])["r"]

    expected = mask.copy()
    expected[12:18] = False
    np.testing.assert_array_equal(region.mask(), expected)


def test_a_region_drawn_by_hand_has_strokes_alone() -> None:
    region = seen_regions([brush({"touches": [touch(10, 15, 40, 15)]})])["r"]

    found = region.mask()
    assert found is not None
    assert found[12:18, 10:40].all()
