"""Configs with several controls or pictures: each region where it belongs."""

from typing import Any, Final

import pytest

from tests.e2e.backend_process import Backend
from tests.e2e.examples import CATS_AND_DOGS, Example, render_picture, side_by_side
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import (
    decode_region,
    intersection_over_union,
    label_mask,
    region_labels,
)
from tests.e2e.seeding import PredictedTask, predict_task

pytestmark = pytest.mark.e2e

_IOU_FLOOR: Final = 0.6
_PICTURES: Final = [render_picture(e, "cat", "dog") for e in CATS_AND_DOGS]
_MEADOW: Final = Example(seed=1_000_244, size_yx=(112, 144))
_BOAT: Final = Example(seed=1_000_047, size_yx=(128, 112))


def test_two_controls_of_one_image_share_a_label_and_one_inference(
    api: LabelStudioApi, backend: Backend
) -> None:
    config = (
        '<View><Header value="Meadow"/><Image name="image" value="$image"/>'
        '<View><BrushLabels name="all" toName="image">'
        '<Label value="horse"/><Label value="tree"/></BrushLabels></View>'
        '<BrushLabels name="trees" toName="image"><Label value="tree"/></BrushLabels>'
        '<Choices name="weather" toName="image"><Choice value="dry"/></Choices></View>'
    )
    # In no other test, so that no cache knows it.
    picture = render_picture(_MEADOW, "horse", "tree")
    segmented = backend.metric("diffsegmenter_images_segmented_total")

    task = predict_task(api, backend, config, {"image": picture}, title="Two controls")

    assert _drawn(task) == {("all", "horse"), ("all", "tree"), ("trees", "tree")}
    for from_name, label in _drawn(task):
        stored = label_mask(
            task.prediction, label, picture.size_yx, from_name=from_name
        )
        iou = intersection_over_union(stored, picture.truth[label])
        assert iou > _IOU_FLOOR, (from_name, label)
    assert backend.metric("diffsegmenter_images_segmented_total") == segmented + 1


@pytest.mark.parametrize(
    ("controls", "left_name", "right_name"),
    [
        pytest.param(
            '<BrushLabels name="l" toName="left"><Label value="cat"/></BrushLabels>'
            '<BrushLabels name="r" toName="right"><Label value="cat"/></BrushLabels>',
            "l",
            "r",
            id="a-control-each",
        ),
        pytest.param(
            '<BrushLabels name="t" toName="left,right">'
            '<Label value="cat"/></BrushLabels>',
            "t",
            "t",
            id="one-control-for-both",
        ),
    ],
)
def test_two_image_tags_have_regions_of_their_own_picture_and_size(
    api: LabelStudioApi,
    backend: Backend,
    controls: str,
    left_name: str,
    right_name: str,
) -> None:
    config = (
        '<View><Image name="left" value="$before"/><Image name="right" value="$after"/>'
        f"{controls}</View>"
    )
    wide, tall = _PICTURES[1:]

    task = predict_task(
        api, backend, config, {"before": wide, "after": tall}, title="Two images"
    )

    assert {(r["from_name"], r["to_name"]) for r in task.regions} == {
        (left_name, "left"),
        (right_name, "right"),
    }
    for to_name, picture in (("left", wide), ("right", tall)):
        stored = label_mask(task.prediction, "cat", picture.size_yx, to_name=to_name)
        iou = intersection_over_union(stored, picture.truth["cat"])
        assert iou > _IOU_FLOOR, to_name


def test_each_page_of_a_value_list_has_its_own_index_size_and_masks(
    api: LabelStudioApi, backend: Backend
) -> None:
    config = (
        '<View><Image name="image" valueList="$pages"/>'
        '<BrushLabels name="tag" toName="image">'
        '<Label value="cat"/><Label value="dog"/></BrushLabels></View>'
    )

    task = predict_task(api, backend, config, {"pages": _PICTURES}, title="Pages")

    assert {r["item_index"] for r in task.regions} == set(range(len(_PICTURES)))
    assert len({r["id"] for r in task.regions}) == len(task.regions)
    for index, picture in enumerate(_PICTURES):
        for label, truth in picture.truth.items():
            stored = label_mask(
                task.prediction, label, picture.size_yx, item_index=index
            )
            assert intersection_over_union(stored, truth) > _IOU_FLOOR, (index, label)


def test_a_control_for_parts_draws_each_of_two_boats_and_the_other_draws_one_region(
    api: LabelStudioApi, backend: Backend
) -> None:
    config = (
        '<View><Image name="image" value="$image"/>'
        '<BrushLabels name="parts" toName="image" model_regions="part">'
        '<Label value="boat"/></BrushLabels>'
        '<BrushLabels name="whole" toName="image"><Label value="boat"/></BrushLabels>'
        "</View>"
    )
    picture = side_by_side(render_picture(_BOAT, "boat"))
    size_yx = picture.size_yx

    task = predict_task(api, backend, config, {"image": picture}, title="Parts")

    parts = [
        decode_region(region, size_yx)
        for region in task.regions
        if region["from_name"] == "parts"
    ]
    whole = label_mask(task.prediction, "boat", size_yx, from_name="whole")
    assert len([r for r in task.regions if r["from_name"] == "whole"]) == 1
    assert len(parts) == 2
    assert sum(part.astype(int) for part in parts).max() == 1, "the parts overlap"
    assert ((parts[0] | parts[1]) == whole).all()
    assert intersection_over_union(whole, picture.truth["boat"]) > _IOU_FLOOR


@pytest.mark.parametrize(
    ("tool", "tool_type"),
    [
        pytest.param("Brush", "brush", id="brush"),
        pytest.param("Polygon", "polygon", id="polygon"),
        pytest.param("Rectangle", "rectangle", id="rectangle"),
        pytest.param("Bitmask", "bitmask", id="bitmask"),
    ],
)
def test_labels_beside_a_bare_tool_are_answered_in_pairs_of_one_id(
    api: LabelStudioApi, backend: Backend, tool: str, tool_type: str
) -> None:
    config = (
        '<View><Image name="image" value="$image"/>'
        '<Labels name="labels" toName="image"><Label value="cat"/></Labels>'
        f'<{tool} name="tool" toName="image"/></View>'
    )
    picture = _PICTURES[1]

    task = predict_task(
        api, backend, config, {"image": picture}, title=f"Labels {tool}"
    )

    tools, labels = task.regions[::2], task.regions[1::2]
    assert {(r["from_name"], r["type"]) for r in tools} == {("tool", tool_type)}
    assert {(r["from_name"], r["type"]) for r in labels} == {("labels", "labels")}
    assert [r["id"] for r in tools] == [r["id"] for r in labels]
    for drawn, named in zip(tools, labels, strict=True):
        assert named["value"] == {**drawn["value"], "labels": ["cat"]}
    stored = label_mask(task.prediction, "cat", picture.size_yx)
    # A box holds more than the object.
    floor = _IOU_FLOOR if tool != "Rectangle" else 0.4
    assert intersection_over_union(stored, picture.truth["cat"]) > floor


def _drawn(task: PredictedTask) -> set[tuple[Any, ...]]:
    return {(r["from_name"], *region_labels(r)) for r in task.regions}
