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

from backend.rle import encode_rle
from backend.values import Control, Label

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


def brush_region(
    *,
    control: Control,
    label: Label,
    mask: NDArray[np.bool_],
    score: float,
    region_id: str,
) -> dict[str, Any]:
    """Write one mask as a region of a `BrushLabels` control.

    Args:
        control: whose brush it is.
        label: what the mask is of; the region answers with its name.
        mask: bool (Y, X), at the size of the upright image. The editor draws by
            the size of the image alone: a smaller mask would be shredded.
        score: shown beside the region, in [0, 1]; rounded to 4 digits.
        region_id: unique within the result; see the function of that name.

    Returns:
        A region, ready for JSON.

    Raises:
        BadMask: if the mask cannot be encoded.
        ValueError: if the score is outside [0, 1] or not a number.
    """
    rle = encode_rle(mask)
    rows, columns = mask.shape
    return {
        "id": region_id,
        "type": "brushlabels",
        "from_name": control.from_name,
        "to_name": control.to_name,
        "score": _rounded(score),
        "original_width": columns,
        "original_height": rows,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": rle, "brushlabels": [label.name]},
    }


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
