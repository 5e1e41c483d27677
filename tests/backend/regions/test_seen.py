"""What a person sees of an annotation, and an object drawn anew over it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.regions import new_region_id, redraw, seen_regions
from backend.regions.rle import encode_rle
from backend.types import Control, CutOptions, ImageTag, Label

SIZE_YX = (20, 30)
LABEL = Label(name="cat", prompts=("cat",))


def control(shape: str = "brush", **changed: Any) -> Control:
    fields: dict[str, Any] = {
        "from_name": "tag",
        "image": ImageTag(name="image", value="$image"),
        "shape": shape,
        "labels": (LABEL,),
        "cut": CutOptions(threshold_01=0.5, polygon_tolerance_01=1e-6),
        "mode": "fast",
    }
    return Control(**fields | changed)


def block(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE_YX, np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def stored(mask: np.ndarray, **changed: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "image",
        "original_width": SIZE_YX[1],
        "original_height": SIZE_YX[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_rle(mask), "brushlabels": ["cat"]},
    } | changed


def drawn_anew(mask: np.ndarray, **changed: Any) -> list[dict[str, Any]]:
    fields: dict[str, Any] = {
        "control": control(),
        "label": LABEL,
        "region_id": "r",
        "score": 0.5,
        "item_index": None,
        "at_yx": None,
        "before": None,
    }
    return redraw(mask, **fields | changed)


def test_a_region_is_seen_with_its_labels_and_mask() -> None:
    mask = block(2, 3, 9, 12)

    (region,) = seen_regions([stored(mask)]).values()

    assert (region.id, region.from_name, region.labels) == ("r", "tag", ("cat",))
    np.testing.assert_array_equal(region.mask(), mask)


def test_a_picture_that_was_turned_in_the_editor_has_upright_regions() -> None:
    mask = block(2, 3, 9, 12)

    (region,) = seen_regions([stored(mask, image_rotation=90)]).values()

    np.testing.assert_array_equal(region.mask(), mask)


def test_a_region_that_cannot_be_read_is_left_out_and_the_others_are_not() -> None:
    broken = stored(block(0, 0, 1, 1), id="broken", original_width="wide")
    no_mask = stored(block(0, 0, 1, 1), id="no-mask", original_width=31)

    found = seen_regions([broken, no_mask, "text", None, stored(block(1, 1, 5, 5))])

    assert sorted(found) == ["no-mask", "r"]
    assert found["no-mask"].mask() is None


def test_the_content_changes_with_a_stroke_and_with_nothing_else() -> None:
    first = stored(block(2, 3, 9, 12))
    touched = {**first, "value": first["value"] | {"touches": [{}]}}
    moved = {**first, "score": 0.3}

    contents = [seen_regions([one])["r"].content for one in (first, moved, touched)]

    assert contents[0] == contents[1] != contents[2]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["id", "type", "value", "item_index", "original_width"]),
            st.none() | st.text(max_size=3) | st.integers() | st.lists(st.integers()),
        ),
        max_size=4,
    )
)
def test_whatever_is_stored_seeing_it_raises_nothing(results: Any) -> None:
    for region in seen_regions(results).values():
        region.mask()


def test_an_object_keeps_what_was_said_about_it() -> None:
    """The editor replaces a region by an accepted one with all that it bears."""
    before = stored(block(2, 3, 9, 12), meta={"text": ["a remark"]})
    before["value"]["brushlabels"] = ["cat", "pet"]
    choice = {
        **before,
        "type": "choices",
        "from_name": "quality",
        "value": {**before["value"], "touches": [], "choices": ["good"]},
    }
    region = seen_regions([before, choice])["r"]
    mask = block(2, 3, 15, 12)

    drawn, said = drawn_anew(mask, before=region)

    assert drawn["meta"] == {"text": ["a remark"]}
    assert drawn["value"]["brushlabels"] == ["cat", "pet"]
    assert (said["id"], said["type"], said["from_name"]) == ("r", "choices", "quality")
    assert said["value"]["choices"] == ["good"]
    assert said["value"]["rle"] == drawn["value"]["rle"] == encode_rle(mask)
    assert "touches" not in said["value"]


def test_a_key_point_that_bears_the_mask_is_not_drawn_anew() -> None:
    """Accepted with a label that stays selected, a mask gets such a result."""
    mask = stored(block(2, 3, 9, 12))
    twin = {**mask, "type": "keypointlabels", "from_name": "kp"}
    region = seen_regions([mask, twin])["r"]

    (drawn,) = drawn_anew(block(2, 3, 15, 12), before=region)

    assert drawn["type"] == "brushlabels"


def test_a_polygon_is_of_the_part_that_was_clicked() -> None:
    mask = block(1, 1, 15, 15) | block(3, 20, 9, 28)

    (clicked,) = drawn_anew(mask, control=control("polygon"), at_yx=(5, 22))
    (largest,) = drawn_anew(mask, control=control("polygon"))

    np.testing.assert_array_equal(
        seen_regions([clicked])["r"].mask(), block(3, 20, 9, 28)
    )
    np.testing.assert_array_equal(
        seen_regions([largest])["r"].mask(), block(1, 1, 15, 15)
    )


def test_a_brush_beside_labels_is_drawn_with_two_results_of_one_id() -> None:
    pair = drawn_anew(
        block(1, 1, 5, 5), control=control(labels_from_name="labels"), item_index=2
    )

    assert [result["type"] for result in pair] == ["brush", "labels"]
    assert {(result["id"], result["item_index"]) for result in pair} == {("r", 2)}


@pytest.mark.parametrize(
    "changed",
    [
        {"task_id": 8},
        {"label": Label(name="dog", prompts=("dog",))},
        {"item_index": 1},
        {"place": [1.0, 2.01]},
        {"control": control(from_name="other")},
    ],
)
def test_objects_have_ids_of_their_own(changed: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "task_id": 7,
        "control": control(),
        "label": LABEL,
        "item_index": 0,
        "place": [1.0, 2.0],
        "taken": {},
    }

    assert new_region_id(**fields) == new_region_id(**fields)
    assert new_region_id(**fields) != new_region_id(**fields | changed)


def test_an_id_that_is_anothers_is_not_given_again() -> None:
    fields: dict[str, Any] = {
        "task_id": 7,
        "control": control(),
        "label": LABEL,
        "item_index": 0,
        "place": [1.0, 2.0],
    }
    first = new_region_id(**fields, taken={})
    second = new_region_id(**fields, taken={first: None})

    assert (
        len({first, second, new_region_id(**fields, taken={first: 1, second: 1})}) == 3
    )
