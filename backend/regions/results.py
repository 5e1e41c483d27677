"""Masks in, what Label Studio stores and draws out.

Pure functions: no clock, no random number, so that asking twice gives the same
answer, which Label Studio does when two people open one task. Field names are
Label Studio's; the order of the steps and the thresholds are not known here.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.regions.components import Part
from backend.regions.control_tags import control_tags
from backend.types import Control, Label

ID_CHARACTERS = 10
SCORE_DIGITS = 4


def region_id(*parts: object) -> str:
    """Name a region after what it is of, such as task id, control and label.

    Args:
        parts: strings, numbers, None, or lists of them. Their kind counts: 1 and
            "1" differ, and so do ("ab", "c") and ("a", "bc").

    Returns:
        10 characters of A-Z, a-z, 0-9, `-` and `_`, the same in every process.
        Label Studio merges the regions of one result that share an id, so the
        parts must tell those apart.

    Raises:
        TypeError: if a part is of another kind and so has no stable spelling.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return urlsafe_b64encode(digest).decode()[:ID_CHARACTERS]


def write_region(
    shape: Part | NDArray[np.bool_],
    *,
    control: Control,
    label: Label,
    size_yx: tuple[int, int],
    score: float,
    region_id: str,
    item_index: int | None = None,
) -> list[dict[str, Any]]:
    """Write one region as the editor itself would.

    Args:
        shape: what the region covers, in pixels of the upright image. Brushes and
            bitmasks take a part or a whole mask, bool (Y, X), of any number of
            parts; polygons and rectangles take a part, since they have one outline.
        control: what draws it. Of its `cut` only the polygons' tolerance counts.
        label: what the region is of; it answers with the label's name.
        size_yx: (rows, columns) of the upright image. The editor draws a brush by
            the size of the image alone: a smaller mask would be shredded.
        score: shown beside the region, in [0, 1]; rounded to 4 digits.
        region_id: unique within the prediction; see the function of that name.
        item_index: page of a multi-page image, counted from 0; None for an image
            without pages.

    Returns:
        The results that make up the region, ready for JSON. One of a control that
        has labels. Two, with one id, of a control whose labels are in a `<Labels>`
        tag: the shape, then the shape again with its label.

    Raises:
        BadMask: if the mask cannot be encoded.
        ValueError: if the score is outside [0, 1] or not a number, if the shape
            does not fit `size_yx`, or if it is a mask where a part is needed.
    """
    tag = control_tags()[control.shape]
    drawn = tag.encode(shape, size_yx, control.cut)
    rows, columns = size_yx
    about: dict[str, Any] = {
        "id": region_id,
        "to_name": control.image.name,
        "score": _rounded(score),
        "original_width": columns,
        "original_height": rows,
        "image_rotation": 0,
    }
    if item_index is not None:
        about["item_index"] = item_index

    if control.labels_from_name is None:
        kind = tag.labels_type
        answers = [(control.from_name, kind, drawn | {kind: [label.name]})]
    else:
        answers = [
            (control.from_name, control.shape, drawn),
            (control.labels_from_name, "labels", drawn | {"labels": [label.name]}),
        ]
    return [
        about | {"from_name": from_name, "type": kind, "value": value}
        for from_name, kind, value in answers
    ]


def prediction(
    regions: Sequence[dict[str, Any]], *, model_version: str, score: float
) -> dict[str, Any]:
    """Gather the regions of one task into the answer for it.

    Args:
        regions: as they are to be listed; none is an answer too, and a final one.
        model_version: the string that `/setup` answers; with any other, Label
            Studio would ask for the task for ever.
        score: shown on the prediction's tab and sorted by, in [0, 1]; rounded to
            4 digits.

    Returns:
        One element of `results`, ready for JSON.

    Raises:
        ValueError: if the score is outside [0, 1] or not a number, since Label
            Studio would then refuse the whole batch.
    """
    return {
        "model_version": model_version,
        "score": _rounded(score),
        "result": list(regions),
    }


def _rounded(score: float) -> float:
    if not 0 <= score <= 1:
        raise ValueError(f"score is {score}; it must be a number from 0 to 1")
    return round(float(score), SCORE_DIGITS)
