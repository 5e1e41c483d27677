"""Annotations as Label Studio 1.23.2 tells them, with all that it says of a person."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from backend.regions import parts
from backend.regions.results import write_region
from backend.types import Control, CutOptions, ImageTag, Label

# What no store of ours may hold.
PERSON: Final = ("Jane Annotator", "jane@example.org", "jane-user-4711")
CREATED_AT: Final = "2026-11-20T08:00:00.250000Z"


def region(
    mask: np.ndarray,
    label: str = "red",
    *,
    shape: str = "brush",
    region_id: str = "r1",
    from_name: str = "tag",
    to_name: str = "image",
    labels_from_name: str | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """One result; of a polygon or box the mask's largest part."""
    results = write_region(
        parts(mask)[0] if shape in ("polygon", "rectangle") else mask,
        control=Control(
            from_name=from_name,
            image=ImageTag(name=to_name, value="$image"),
            shape=shape,
            labels=(),
            cut=CutOptions(threshold_01=0.5, polygon_tolerance_01=0),
            mode="fast",
            labels_from_name=labels_from_name,
        ),
        label=Label(name=label, prompts=(label,)),
        size_yx=(mask.shape[0], mask.shape[1]),
        score=0.9,
        region_id=region_id,
    )
    return {**results[-1], "origin": "manual", **changes}


def annotation(
    result: Sequence[Mapping[str, Any]],
    *,
    annotation_id: int = 31,
    minute: int = 0,
    **changes: Any,
) -> dict[str, Any]:
    """An annotation of webhooks and of the API alike."""
    name, mail, user = PERSON
    return {
        "id": annotation_id,
        "result": list(result),
        "created_username": f" {name}, {user}",
        "created_ago": "0 minutes",
        "completed_by": {"id": 4711, "email": mail, "first_name": name},
        "updated_by": mail,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-11-28T21:00:00.000000Z",
        "updated_at": f"2026-11-28T21:{minute:02d}:00.500000Z",
        "draft_created_at": None,
        "lead_time": 12.5,
        "prediction": {},
        "result_count": len(result),
        "unique_id": "0b2c",
        "bulk_created": False,
        "task": 5,
        "project": 7,
        "parent_prediction": None,
        "parent_annotation": None,
        **changes,
    }


def payload(
    annotated: Mapping[str, Any],
    *,
    config: str,
    data: Mapping[str, Any],
    action: str = "ANNOTATION_CREATED",
    task_id: int = 5,
    project_id: int = 7,
) -> dict[str, Any]:
    """What a webhook sends about it."""
    name, mail, _ = PERSON
    return {
        "action": action,
        "annotation": dict(annotated),
        "project": {
            "id": project_id,
            "title": "pictures",
            "label_config": config,
            "created_at": CREATED_AT,
            "created_by": {"id": 4711, "first_name": name, "email": mail},
            "model_version": "",
        },
        "task": {"id": task_id, "data": dict(data), "updated_by": [{"user_id": 4711}]},
    }


def deleted(*annotation_ids: int, project_id: int = 7) -> dict[str, Any]:
    """What a webhook sends about annotations that are gone."""
    return {
        "action": "ANNOTATIONS_DELETED",
        "annotations": [{"id": one} for one in annotation_ids],
        "project": {"id": project_id, "created_at": CREATED_AT},
    }
