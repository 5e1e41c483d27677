"""Clicks and boxes as the editor of Label Studio 1.23.2 sends them, and their tasks."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backend.inference import Predictor
from backend.label_studio import parse_predict
from backend.regions import seen_regions
from backend.types import LabelStudioAccess
from tests.fakes import picture

SIZE_YX: Final = (40, 60)
# Red, white and blue, each of 20 columns.
STRIPES: Final = picture("red", "white", "blue", size_yx=SIZE_YX)
CLICKABLE: Final = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="red"/><Label value="blue"/>'
    '</BrushLabels><KeyPointLabels name="kp" toName="image" smart="true">'
    '<Label value="red"/><Label value="blue"/></KeyPointLabels>'
    '<RectangleLabels name="box" toName="image" smart="true"><Label value="red"/>'
    '<Label value="blue"/></RectangleLabels></View>'
)


def point(
    y: float, x: float, label: str = "red", *, name: str = "p", **changed: Any
) -> dict[str, Any]:
    """A click on a place of `STRIPES`, in pixels."""
    value = {
        "x": 100 * x / SIZE_YX[1],
        "y": 100 * y / SIZE_YX[0],
        "width": 0.22,
        "labels": [label],
        "keypointlabels": [label],
    }
    return {
        "id": name,
        "type": "keypointlabels",
        "from_name": "kp",
        "to_name": "image",
        "origin": "manual",
        "is_positive": True,
        "original_width": SIZE_YX[1],
        "original_height": SIZE_YX[0],
        "image_rotation": 0,
        "value": value,
    } | changed


def box(
    corners: tuple[float, float, float, float],
    label: str = "red",
    *,
    rotation: float = 0,
    name: str = "b",
    **changed: Any,
) -> dict[str, Any]:
    """A rectangle on `STRIPES`: top, left, bottom, right in pixels."""
    top, left, bottom, right = corners
    value = {
        "x": 100 * left / SIZE_YX[1],
        "y": 100 * top / SIZE_YX[0],
        "width": 100 * (right - left) / SIZE_YX[1],
        "height": 100 * (bottom - top) / SIZE_YX[0],
        "rotation": rotation,
        "rectanglelabels": [label],
    }
    return {
        "id": name,
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "origin": "manual",
        "original_width": SIZE_YX[1],
        "original_height": SIZE_YX[0],
        "image_rotation": 0,
        "value": value,
    } | changed


def task_with(
    *,
    draft: Sequence[Mapping[str, Any]] | None = None,
    annotation: Sequence[Mapping[str, Any]] | None = None,
    prediction: Sequence[Mapping[str, Any]] = (),
    stored_at: str = "2026-11-28T19:00:00Z",
    image: str = STRIPES,
    user: str = "a@example.com",
) -> dict[str, Any]:
    """A task as the interactive request has it."""
    draft_row = {"id": 5, "user": user, "updated_at": stored_at, "result": draft}
    return {
        "id": 7,
        "data": {"image": image},
        "drafts": [] if draft is None else [draft_row],
        "annotations": []
        if annotation is None
        else [{"id": 3, "updated_at": stored_at, "result": annotation}],
        "predictions": [{"id": 1, "model_version": "v", "result": list(prediction)}],
    }


def ask_clicks(
    predictor: Predictor,
    *prompts: Mapping[str, Any],
    task: Mapping[str, Any] | None = None,
    config: str = CLICKABLE,
    access: LabelStudioAccess | None = None,
) -> dict[str, Any]:
    """The answer to prompts, oldest first."""
    body = {
        "tasks": [task or task_with()],
        "label_config": config,
        "project": "7.1795346673",
        "params": {"context": {"result": list(prompts)}},
    }
    asked = parse_predict(body)
    (answer,) = predictor.predict(asked, access or LabelStudioAccess(url=None))
    assert isinstance(answer, dict)
    return answer


def pre_annotated(
    predictor: Predictor, config: str = CLICKABLE, image: str = STRIPES
) -> list[dict[str, Any]]:
    """The regions that the task has before anybody clicks."""
    body = {"tasks": [{"id": 7, "data": {"image": image}}], "label_config": config}
    asked = parse_predict({**body, "project": "7.1795346673"})
    (answer,) = predictor.predict(asked, LabelStudioAccess(url=None))
    assert isinstance(answer, dict)
    regions: list[dict[str, Any]] = answer["result"]
    return regions


def masks(results: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.bool_]]:
    """What each region covers, by its id."""
    found = {name: region.mask() for name, region in seen_regions(results).items()}
    return {name: mask for name, mask in found.items() if mask is not None}


def columns(first: int, last: int) -> NDArray[np.bool_]:
    """The mask of some columns of `STRIPES`."""
    mask = np.zeros(SIZE_YX, np.bool_)
    mask[:, first:last] = True
    return mask
