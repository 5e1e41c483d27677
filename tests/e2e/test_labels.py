"""What a label config says of its labels, the whole way into Label Studio's store.

Label Studio checks every prediction against the label config: a wrong name
anywhere and the task has no prediction at all.
"""

from typing import Any, Final

import pytest

from tests.e2e.backend_process import Backend
from tests.e2e.examples import CATS_AND_DOGS, render_picture
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import intersection_over_union, label_mask, region_labels, union
from tests.e2e.seeding import PredictedTask, predict_task

pytestmark = pytest.mark.e2e

_IOU_FLOOR: Final = 0.6
_PICTURE: Final = render_picture(CATS_AND_DOGS[0], "cat", "dog")
_CAT: Final = _PICTURE.truth["cat"]
_DOG: Final = _PICTURE.truth["dog"]


def test_a_region_answers_with_the_alias_and_is_prompted_by_the_value(
    api: LabelStudioApi, backend: Backend
) -> None:
    config = _brush('<Label value="cat" alias="animal-1"/><Label value="dog"/>')

    task = predict_task(api, backend, config, {"image": _PICTURE}, title="Alias")

    assert _answered(task) == {"animal-1", "dog"}
    assert _iou(task, "animal-1", _CAT) > _IOU_FLOOR
    assert _iou(task, "dog", _DOG) > _IOU_FLOOR


def test_predicted_values_are_prompts_of_which_a_label_owns_all_findings(
    api: LabelStudioApi, backend: Backend
) -> None:
    config = _brush('<Label value="Haustier" predicted_values="cat, dog"/>')

    task = predict_task(api, backend, config, {"image": _PICTURE}, title="Values")

    assert _answered(task) == {"Haustier"}
    assert _iou(task, "Haustier", union([_CAT, _DOG])) > _IOU_FLOOR


def test_labels_in_any_language_are_prompted_by_their_model_prompt(
    api: LabelStudioApi, backend: Backend
) -> None:
    config = _brush(
        '<Label value="Große Katze" model_prompt="cat"/>'
        '<Label value="犬" model_prompt="dog"/>'
    )

    task = predict_task(api, backend, config, {"image": _PICTURE}, title="Prompts")

    assert _answered(task) == {"Große Katze", "犬"}
    assert _iou(task, "Große Katze", _CAT) > _IOU_FLOOR
    assert _iou(task, "犬", _DOG) > _IOU_FLOOR


def test_labels_of_the_tasks_own_data_are_stored(
    api: LabelStudioApi, backend: Backend
) -> None:
    config = (
        '<View><Image name="image" value="$image"/>'
        '<BrushLabels name="tag" toName="image" value="$labels"/></View>'
    )
    labels = [{"value": "cat"}, {"value": "dog", "background": "#00aa00"}]
    data = {"image": _PICTURE, "labels": labels}

    task = predict_task(api, backend, config, data, title="Dynamic labels")

    assert _answered(task) == {"cat", "dog"}
    assert _iou(task, "cat", _CAT) > _IOU_FLOOR


def test_beside_labels_of_the_config_the_tasks_own_are_left_out_and_it_is_said(
    api: LabelStudioApi, backend: Backend
) -> None:
    # Label Studio would refuse the whole prediction for a single "cat".
    config = (
        '<View><Image name="image" value="$image"/>'
        '<BrushLabels name="tag" toName="image" value="$labels">'
        '<Label value="dog"/></BrushLabels></View>'
    )
    data = {"image": _PICTURE, "labels": [{"value": "cat"}]}
    logged = len(backend.log)

    task = predict_task(api, backend, config, data, title="Both kinds of labels")

    assert _answered(task) == {"dog"}
    assert _iou(task, "dog", _DOG) > _IOU_FLOOR
    assert "$labels" in backend.log[logged:]


def test_a_label_and_a_control_that_are_skipped_draw_nothing(
    api: LabelStudioApi, backend: Backend
) -> None:
    config = (
        '<View><Image name="image" value="$image"/>'
        '<BrushLabels name="tag" toName="image">'
        '<Label value="cat" model_skip="true"/><Label value="dog"/></BrushLabels>'
        '<RectangleLabels name="box" toName="image" model_skip="true">'
        '<Label value="dog"/></RectangleLabels></View>'
    )

    task = predict_task(api, backend, config, {"image": _PICTURE}, title="Skip")

    assert {(r["from_name"], *region_labels(r)) for r in task.regions} == {
        ("tag", "dog")
    }


def _brush(labels: str) -> str:
    return (
        '<View><Image name="image" value="$image"/>'
        f'<BrushLabels name="tag" toName="image">{labels}</BrushLabels></View>'
    )


def _answered(task: PredictedTask) -> set[str]:
    return {label for region in task.regions for label in region_labels(region)}


def _iou(task: PredictedTask, label: str, truth: Any) -> float:
    stored = label_mask(task.prediction, label, _PICTURE.size_yx)
    return intersection_over_union(stored, truth)
