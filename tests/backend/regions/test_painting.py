"""Score maps in, regions out: what a control's options do to them."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.regions.painting import Canvas, paint
from backend.regions.rle import decode_rle
from backend.types import Control, CutOptions, ImageTag, Label
from segmenter import ScoreMaps

SIZE_YX = (20, 30)
RED = Label(name="red", prompts=("red",))
BLUE = Label(name="blue", prompts=("blue",))
CANVAS = Canvas(task_id=7, pixels=np.zeros((1, 1, 3), np.uint8))


def box(top: int, left: int, bottom: int, right: int) -> NDArray[np.float16]:
    """1 in a box, 0 around it."""
    pixels = np.zeros(SIZE_YX, np.float16)
    pixels[top:bottom, left:right] = 1
    return pixels


def maps_of(**maps: NDArray[np.float16]) -> ScoreMaps:
    return ScoreMaps(
        labels=tuple(maps),
        maps=np.stack(list(maps.values())),
        presence=np.ones(len(maps), np.float32),
        size_yx=SIZE_YX,
    )


def control(*labels: Label, shape: Any = "brush", **cut: Any) -> Control:
    return Control(
        from_name="tag",
        image=ImageTag(name="image", value="$image"),
        shape=shape,
        labels=labels or (RED,),
        cut=CutOptions(threshold_01=0.5, **cut),
        mode="fast",
    )


def mask_of(region: dict[str, Any]) -> NDArray[np.bool_]:
    return decode_rle(region["value"]["rle"], size_yx=SIZE_YX)


def boxes_of(regions: Sequence[dict[str, Any]]) -> list[tuple[int, int, int, int]]:
    """x, y, width and height in pixels."""
    rows, columns = SIZE_YX
    values = [region["value"] for region in regions]
    return [
        (
            round(value["x"] * columns / 100),
            round(value["y"] * rows / 100),
            round(value["width"] * columns / 100),
            round(value["height"] * rows / 100),
        )
        for value in values
    ]


def test_paint_lets_edges_follow_the_image_where_the_control_says_so() -> None:
    # Cells of 8 pixels know an edge at column 16; in the picture it is at 19.
    cells = np.zeros((4, 5), np.float16)
    cells[:, :2] = 1
    pixels = np.zeros((32, 40, 3), np.uint8)
    pixels[:, :19] = 200
    maps = ScoreMaps(
        labels=("red",),
        maps=cells[None],
        presence=np.ones(1, np.float32),
        size_yx=(32, 40),
    )
    canvas = Canvas(task_id=7, pixels=pixels)

    def columns(**cut: Any) -> set[int]:
        (region,) = paint(control(**cut), maps, canvas)
        mask = decode_rle(region["value"]["rle"], size_yx=(32, 40))
        return set(mask.sum(axis=1).tolist())

    assert columns(boundaries="guided") == {19}
    assert columns(boundaries="off") == {16}


TWO_BOXES = np.maximum(box(2, 3, 6, 9), box(10, 15, 19, 29))


def test_paint_draws_one_brush_region_per_label() -> None:
    (region,) = paint(control(), maps_of(red=TWO_BOXES), CANVAS)

    np.testing.assert_array_equal(mask_of(region), TWO_BOXES > 0.5)
    assert 0.9 < region["score"] <= 1


def test_paint_draws_one_region_per_connected_part_when_asked() -> None:
    regions = paint(control(regions="part"), maps_of(red=TWO_BOXES), CANVAS)

    assert [int(mask_of(region).sum()) for region in regions] == [9 * 14, 4 * 6]
    assert len({region["id"] for region in regions}) == 2


def test_paint_draws_a_rectangle_around_every_part() -> None:
    regions = paint(control(shape="rectangle"), maps_of(red=TWO_BOXES), CANVAS)

    assert boxes_of(regions) == [(15, 10, 14, 9), (3, 2, 6, 4)]


def test_paint_draws_a_polygon_around_every_part() -> None:
    regions = paint(control(shape="polygon"), maps_of(red=TWO_BOXES), CANVAS)

    corners = {tuple(map(round, point)) for point in regions[1]["value"]["points"]}
    assert corners == {(10, 10), (30, 10), (30, 30), (10, 30)}
    assert len(regions) == 2


def test_paint_scores_every_part_of_a_label_by_its_own_pixels() -> None:
    fading = np.maximum(box(2, 3, 6, 9), box(10, 15, 19, 29) * np.float16(0.75))

    regions = paint(control(regions="part"), maps_of(red=fading), CANVAS)

    (fainter, clearest) = (region["score"] for region in regions)
    assert fainter == pytest.approx(0.75 * clearest, abs=1e-3)
    (whole,) = paint(control(), maps_of(red=fading), CANVAS)
    assert clearest == whole["score"]


def test_paint_gives_a_pixel_to_its_best_label_or_to_all_of_them() -> None:
    maps = maps_of(red=box(0, 0, 20, 20), blue=box(0, 10, 20, 30) * np.float16(0.99))

    exclusive = paint(control(RED, BLUE), maps, CANVAS)
    independent = paint(control(RED, BLUE, overlap="independent"), maps, CANVAS)

    assert [int(mask_of(region).sum()) for region in exclusive] == [400, 200]
    assert [int(mask_of(region).sum()) for region in independent] == [400, 400]


def test_paint_drops_specks_and_fills_pinholes() -> None:
    pixels = np.maximum(box(2, 3, 12, 19), box(18, 28, 19, 30))
    pixels[5, 5] = 0

    (region,) = paint(control(min_area_01=3 / 600), maps_of(red=pixels), CANVAS)
    untouched = paint(control(min_area_01=0), maps_of(red=pixels), CANVAS)

    np.testing.assert_array_equal(mask_of(region), box(2, 3, 12, 19) > 0)
    np.testing.assert_array_equal(mask_of(untouched[0]), pixels > 0)


def test_paint_fills_no_hole_that_is_another_labels() -> None:
    hole = box(5, 5, 6, 6)
    maps = maps_of(red=box(2, 3, 12, 19) - hole, blue=hole)

    red, blue = paint(
        control(RED, replace(BLUE, threshold_01=0.1), min_area_01=1 / 600),
        maps,
        CANVAS,
    )
    (alone,) = paint(control(RED, BLUE, min_area_01=3 / 600), maps, CANVAS)

    assert not mask_of(red)[5, 5]
    assert mask_of(blue)[5, 5]
    assert not mask_of(alone)[5, 5]


def test_paint_keeps_the_largest_regions_in_their_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    maps = maps_of(
        red=np.maximum(box(0, 0, 2, 2), box(4, 0, 9, 5)), blue=box(12, 0, 18, 20)
    )

    regions = paint(control(RED, BLUE, regions="part", max_regions=2), maps, CANVAS)

    assert [int(mask_of(region).sum()) for region in regions] == [25, 120]
    assert "3 regions were found for tag; the 2 largest are kept" in caplog.text
    assert "MAX_REGIONS" in caplog.text


def test_paint_names_the_page_and_tells_pages_apart() -> None:
    pages = [replace(CANVAS, item_index=index) for index in (0, 1)]

    regions = [paint(control(), maps_of(red=TWO_BOXES), page)[0] for page in pages]

    assert [region["item_index"] for region in regions] == [0, 1]
    assert regions[0]["id"] != regions[1]["id"]


def test_paint_answers_labels_and_their_tool_with_one_id() -> None:
    paired = replace(control(), labels_from_name="names")
    other = replace(control(), labels_from_name="others")

    drawn, named = paint(paired, maps_of(red=TWO_BOXES), CANVAS)
    other_drawn, _ = paint(other, maps_of(red=TWO_BOXES), CANVAS)

    assert (drawn["from_name"], drawn["type"]) == ("tag", "brush")
    assert (named["from_name"], named["type"]) == ("names", "labels")
    assert named["value"]["labels"] == ["red"]
    assert drawn["id"] == named["id"] != other_drawn["id"]


def test_paint_gives_a_label_what_any_of_its_prompts_finds() -> None:
    pet = Label(name="pet", prompts=("cat", "dog"))
    maps = maps_of(cat=box(0, 0, 5, 5), cow=box(8, 8, 9, 9), dog=box(10, 10, 20, 20))

    (region,) = paint(control(pet), maps, CANVAS)

    assert int(mask_of(region).sum()) == 25 + 100


def test_paint_says_what_was_asked_when_nothing_is_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels = [Label(name=f"n{n}", prompts=("red",)) for n in range(12)]

    with caplog.at_level(logging.INFO):
        regions = paint(
            control(*labels, min_area_01=0.9), maps_of(red=TWO_BOXES), CANVAS
        )

    assert regions == []
    assert "Asked for 'n0' as 'red', " in caplog.text
    assert (
        " and 2 more. Best was 'n0', in the picture with 1.00 (needs 0.50), at its "
        "best spot with 1.00 (needs 0.50); the smallest area is 0.9000 of the image."
    ) in caplog.text
