"""Brush, bitmask, polygon and rectangle of one config, cut from one inference."""

from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.backend_process import Backend
from tests.e2e.examples import CATS_AND_DOGS, render_picture
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import (
    bounding_box,
    decode_region,
    intersection_over_union,
    label_mask,
    region_labels,
)
from tests.e2e.seeding import PredictedTask, predict_task

pytestmark = pytest.mark.e2e

_IOU_FLOOR: Final = 0.6
# On its side in the file, upright by its EXIF orientation.
_PICTURE: Final = render_picture(replace(CATS_AND_DOGS[2], turned=True), "cat", "dog")
_CONTROLS: Final = {
    "brush": "BrushLabels",
    "bitmask": "BitmaskLabels",
    "polygon": "PolygonLabels",
    "rectangle": "RectangleLabels",
}


@pytest.fixture(scope="module")
def task(api: LabelStudioApi, backend: Backend) -> PredictedTask:
    """A picture of a cat and a dog, drawn by all four controls."""
    labels = '<Label value="cat"/><Label value="dog"/>'
    controls = "".join(
        f'<{tag} name="{name}" toName="image">{labels}</{tag}>'
        for name, tag in _CONTROLS.items()
    )
    config = f'<View><Image name="image" value="$image"/>{controls}</View>'
    return predict_task(api, backend, config, {"image": _PICTURE}, title="Four shapes")


def test_every_control_draws_both_labels_in_its_own_type(task: PredictedTask) -> None:
    drawn = {(r["from_name"], r["type"], *region_labels(r)) for r in task.regions}

    assert drawn == {
        (name, tag.lower(), label)
        for name, tag in _CONTROLS.items()
        for label in ("cat", "dog")
    }
    assert len({r["id"] for r in task.regions}) == len(task.regions)


@pytest.mark.parametrize("from_name", ["brush", "bitmask", "polygon"])
@pytest.mark.parametrize("label", ["cat", "dog"])
def test_a_shape_agrees_with_the_true_mask(
    task: PredictedTask, from_name: str, label: str
) -> None:
    stored = _mask(task, from_name, label)

    assert intersection_over_union(stored, _PICTURE.truth[label]) > _IOU_FLOOR


@pytest.mark.parametrize("label", ["cat", "dog"])
def test_the_largest_rectangle_agrees_with_the_true_masks_box(
    task: PredictedTask, label: str
) -> None:
    largest = max(_regions(task, "rectangle", label), key=np.sum)

    truth = bounding_box(_PICTURE.truth[label])
    assert intersection_over_union(largest, truth) > _IOU_FLOOR


@pytest.mark.parametrize("label", ["cat", "dog"])
def test_all_shapes_are_cut_from_the_same_mask(task: PredictedTask, label: str) -> None:
    brush = _mask(task, "brush", label)

    np.testing.assert_array_equal(_mask(task, "bitmask", label), brush)
    assert intersection_over_union(_mask(task, "polygon", label), brush) > 0.95
    rectangles = _regions(task, "rectangle", label)
    assert not (brush & ~np.logical_or.reduce(rectangles)).any()
    for rectangle in rectangles:
        np.testing.assert_array_equal(bounding_box(brush & rectangle), rectangle)


def _regions(
    task: PredictedTask, from_name: str, label: str
) -> list[NDArray[np.bool_]]:
    return [
        decode_region(region, _PICTURE.size_yx)
        for region in task.regions
        if region["from_name"] == from_name and label in region_labels(region)
    ]


def _mask(task: PredictedTask, from_name: str, label: str) -> NDArray[np.bool_]:
    return label_mask(task.prediction, label, _PICTURE.size_yx, from_name=from_name)
