"""Regions are read back as they were written, and as the editor writes them."""

import base64
import io
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import encode_rle
from PIL import Image

from backend.errors import BadMask
from backend.regions import control_tags, drawn_regions
from backend.regions.components import Part, parts
from backend.regions.polygons import fill, outline
from backend.regions.results import write_region
from backend.types import Control, CutOptions, ImageTag, Label
from tests.masks import masks, noise, wavy, winding_numbers

EXACT: Final = CutOptions(threshold_01=0.5, polygon_tolerance_01=0)
SIZE_YX: Final = (30, 50)
LABEL: Final = Label(name="dog", prompts=("dog",))


def control(shape: str, *, labels_from_name: str | None = None) -> Control:
    return Control(
        from_name="tag",
        image=ImageTag(name="photo", value="$image"),
        shape=shape,
        labels=(LABEL,),
        cut=EXACT,
        mode="fast",
        labels_from_name=labels_from_name,
    )


def written(
    shape: str, drawn: Part | np.ndarray, size_yx: tuple[int, int], **options: Any
) -> list[dict[str, Any]]:
    return write_region(
        drawn,
        control=control(shape, **options),
        label=LABEL,
        size_yx=size_yx,
        score=0.5,
        region_id="r1",
    )


def brush(alpha: np.ndarray, **changes: Any) -> dict[str, Any]:
    """As the editor submits it: every channel is alpha, edges may be half there."""
    rows, columns = alpha.shape
    pixels = np.repeat(alpha.astype(np.uint8).ravel(), 4)
    return {
        "id": "b",
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "photo",
        "original_width": columns,
        "original_height": rows,
        "image_rotation": 0,
        "value": {
            "format": "rle",
            "rle": encode_rle(pixels),
            "brushlabels": ["dog"],
        },
        **changes,
    }


def polygon(points: Any, size_yx: tuple[int, int] = SIZE_YX) -> dict[str, Any]:
    value = {"points": points, "closed": True, "polygonlabels": ["dog"]}
    return brush(np.zeros(size_yx), type="polygonlabels", value=value)


@pytest.mark.parametrize("shape", ["brush", "bitmask"])
@settings(deadline=None)
@given(mask=masks() | noise(longest_px=40))
def test_what_is_written_as_a_mask_is_read_as_the_same_mask(
    shape: str, mask: np.ndarray
) -> None:
    (region,), _ = drawn_regions(written(shape, mask, mask.shape))

    np.testing.assert_array_equal(region.mask(), mask)
    assert region.ring() is None


@settings(deadline=None)
@given(mask=masks() | noise(longest_px=40))
def test_a_polygon_without_tolerance_is_read_as_the_part_that_it_was_drawn_of(
    mask: np.ndarray,
) -> None:
    for part in parts(mask):
        (region,), _ = drawn_regions(written("polygon", part, mask.shape))

        np.testing.assert_array_equal(region.mask(), part.on_canvas(mask.shape))


@settings(deadline=None)
@given(mask=masks(longest_px=60))
def test_a_rectangle_is_read_as_the_box_of_its_part(mask: np.ndarray) -> None:
    for part in parts(mask):
        (region,), _ = drawn_regions(written("rectangle", part, mask.shape))

        y0, x0, y1, x1 = part.box_yxyx
        box = np.zeros_like(mask)
        box[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(region.mask(), box)


@pytest.mark.parametrize(
    "shape", [shape for shape, tag in control_tags().items() if tag.decode]
)
def test_every_tag_is_read_beside_a_labels_as_with_its_own(shape: str) -> None:
    (part,) = parts(wavy(*SIZE_YX))
    own = written(shape, part, SIZE_YX)
    pair = written(shape, part, SIZE_YX, labels_from_name="names")

    (alone,), _ = drawn_regions(own)
    (paired,), _ = drawn_regions(pair)

    assert (len(own), len(pair)) == (1, 2)
    assert alone.labels == paired.labels == ("dog",)
    assert alone.tag.shape == paired.tag.shape == shape
    np.testing.assert_array_equal(alone.mask(), paired.mask())


@given(
    ring=st.lists(
        st.tuples(st.integers(-8, 24), st.integers(-8, 24)), min_size=3, max_size=9
    )
)
def test_fill_follows_the_rule_of_browsers_also_for_rings_that_cross_themselves(
    ring: list[tuple[int, int]],
) -> None:
    # Off the pixels' centres, so that no edge meets one and rounding decides nothing.
    points = [(x / 2 + 2**0.5 / 9, y / 2 + 3**0.5 / 9) for x, y in ring]

    filled = fill(np.array(points), (7, 11))

    np.testing.assert_array_equal(filled, winding_numbers(points, (7, 11)) != 0)


def test_fill_does_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    (part,) = parts(wavy(*SIZE_YX))
    ring = np.array(outline(part, tolerance_px=0))
    whole = fill(ring, SIZE_YX)

    monkeypatch.setattr("backend.regions.polygons._CROSSINGS_AT_ONCE", 1)

    np.testing.assert_array_equal(fill(ring, SIZE_YX), whole)


def test_a_turned_rectangle_turns_about_its_first_corner_in_pixels() -> None:
    # 20 % of 50 columns and 20 % of 30 rows; a quarter turn swaps 10 by 6 pixels.
    value = {"x": 40, "y": 20, "width": 20, "height": 20, "rotation": 90}
    (region,), _ = drawn_regions(
        [brush(np.zeros(SIZE_YX), type="rectanglelabels", value=value)]
    )

    expected = np.zeros(SIZE_YX, bool)
    expected[6:16, 14:20] = True
    np.testing.assert_array_equal(region.mask(), expected)


def test_a_ring_is_offered_where_all_programs_fill_it_alike() -> None:
    once = [[10, 10], [90, 10], [90, 90], [10, 90]]
    beside = [[-10, 10], [90, 10], [90, 90]]
    twice = once + once
    crossing = [[10, 10], [90, 90], [90, 10], [10, 90]]

    rings = [
        drawn_regions([polygon(points)])[0][0].ring() for points in (once, crossing)
    ]
    none = [drawn_regions([polygon(points)])[0][0].ring() for points in (beside, twice)]

    np.testing.assert_allclose(rings[0], [[5, 3], [45, 3], [45, 27], [5, 27]])
    assert rings[1] is not None
    assert none == [None, None]


def test_a_soft_edge_counts_from_half_on() -> None:
    alpha = np.array([[0, 1, 127], [128, 200, 255]])
    png = io.BytesIO()
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 3] = alpha
    Image.fromarray(rgba).save(png, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    bitmask = brush(alpha, id="m", type="bitmask", value={"imageDataURL": url})

    (painted, drawn), _ = drawn_regions([brush(alpha), bitmask])

    for region in (painted, drawn):
        np.testing.assert_array_equal(region.mask(), alpha >= 128)


def test_the_key_point_that_bears_a_masks_rle_is_no_region_of_its_own() -> None:
    region = brush(wavy(*SIZE_YX) * 255)
    value = {"rle": region["value"]["rle"], "keypointlabels": ["cat"]}
    twin = {**region, "type": "keypointlabels", "from_name": "kp", "value": value}

    for results in ([region, twin], [twin, region]):
        found, others = drawn_regions(results)

        assert [(one.tag.shape, one.labels) for one in found] == [("brush", ("dog",))]
        assert not others


def test_what_is_no_mask_is_counted_by_its_type() -> None:
    point = {"id": "k", "type": "keypointlabels", "value": {"x": 1, "y": 2, "width": 1}}
    ellipse = {"id": "e", "type": "ellipselabels", "value": {}}
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    remark = {"id": "b", "type": "textarea", "value": {"text": ["torn ear"]}}

    found, others = drawn_regions(
        [
            point,
            ellipse,
            {**ellipse, "id": "f"},
            relation,
            brush(np.zeros((2, 3))),
            remark,
        ]
    )

    assert len(found) == 1
    assert others == {"keypointlabels": 1, "ellipselabels": 2, "relation": 1}


def test_regions_say_where_and_what_they_are() -> None:
    first = brush(np.zeros((2, 3)), item_index=4, to_name="second")
    several = brush(np.zeros((5, 7)), id="c")
    several["value"]["brushlabels"] = ["dog", "cat", "dog"]
    wand = brush(np.zeros((2, 3)), id="d", type="magicwand")
    wand["value"] = {"format": "rle", "rle": wand["value"]["rle"]}
    its_label = {
        **wand,
        "type": "labels",
        "value": {**wand["value"], "labels": ["tree"]},
    }

    found, _ = drawn_regions([first, several, wand, its_label])

    assert [(one.id, one.to_name, one.item_index) for one in found] == [
        ("b", "second", 4),
        ("c", "photo", 0),
        ("d", "photo", 0),
    ]
    assert [one.labels for one in found] == [("dog",), ("dog", "cat"), ("tree",)]
    assert [one.size_yx for one in found] == [(2, 3), (5, 7), (2, 3)]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        pytest.param("text", "is a str", id="no object"),
        pytest.param(brush(np.zeros((2, 3)), value=None), "has no value", id="value"),
        pytest.param(
            brush(np.zeros((2, 3)), original_width=0), "original_width '0'", id="size"
        ),
        pytest.param(
            brush(np.zeros((2, 3)), original_height="2"),
            "original_height '2'",
            id="text for a size",
        ),
        pytest.param(
            brush(np.zeros((2, 3)), original_width=10**9), "the limit is", id="huge"
        ),
        pytest.param(
            brush(np.zeros((2, 3)), item_index=-1), "item_index '-1'", id="page"
        ),
        pytest.param(
            brush(np.zeros((2, 3)), image_rotation=90), "turned by 90", id="turned"
        ),
        pytest.param(
            brush(np.zeros((2, 3)), value={"brushlabels": ["dog"]}),
            "has neither an `rle` nor strokes",
            id="no rle",
        ),
        pytest.param(
            brush(np.zeros((2, 3)), original_width=4), "stream is for", id="other size"
        ),
        pytest.param(polygon([[1, 1], [5, 5]]), "has 2 corners", id="line"),
        pytest.param(polygon("abc"), "are no points", id="no points"),
        pytest.param(polygon([1, 2, 3]), "no list of", id="numbers"),
        pytest.param(polygon([[1, 1], [2, 2], [None, 1]]), "far from", id="no number"),
        pytest.param(polygon([[1, 1], [2, 2], [1e300, 1]]), "far from", id="far away"),
        pytest.param(
            brush(np.zeros((2, 3)), type="rectangle", value={"x": "left"}),
            "not one of numbers",
            id="rectangle",
        ),
        pytest.param(
            brush(
                np.zeros((2, 3)),
                type="bitmask",
                value={"imageDataURL": "data:image/png;base64,AAAA"},
            ),
            "PNG is damaged",
            id="damaged",
        ),
        pytest.param(
            brush(np.zeros((2, 3)), type="bitmask", value={"imageDataURL": "http://x"}),
            "begins with 'http://x'",
            id="address",
        ),
    ],
)
def test_a_region_that_cannot_be_read_is_refused(result: Any, says: str) -> None:
    with pytest.raises(BadMask, match=says):
        [region.mask() for region in drawn_regions([result])[0]]


def test_a_bitmask_of_another_size_is_refused_before_it_is_decoded() -> None:
    (result,) = written("bitmask", wavy(*SIZE_YX), SIZE_YX)
    (region,), _ = drawn_regions([{**result, "original_width": 49}])

    with pytest.raises(BadMask, match=r"is 30 x 50 .* says 30 x 49"):
        region.mask()
