"""Whole predict requests, and what to make of their answers."""

from typing import Any

import numpy as np
from label_studio_sdk.converter import brush
from numpy.typing import NDArray

from backend.inference import Answer, Predictor
from backend.label_studio import parse_predict
from backend.types import LabelStudioAccess
from tests.fakes import (
    RED_AND_BLUE,
    picture,
)

NOWHERE = LabelStudioAccess(url=None)


PICTURE = picture("red", "blue", "white")
# A row of reds and their scores: 1, 0.8, 0.6, 0.4, 0.2, 0.
FADING = np.zeros((1, 6, 3), np.uint8)
FADING[0, :, 0] = [255, 204, 153, 102, 51, 0]


def ask(
    predictor: Predictor,
    *addresses: Any,
    config: str = RED_AND_BLUE,
    access: LabelStudioAccess = NOWHERE,
    **fields: Any,
) -> list[Answer]:
    """Predict one task per address, ids from 1."""
    tasks = [
        {"id": number, "data": {"image": address}}
        for number, address in enumerate(addresses, start=1)
    ]
    body = {"tasks": tasks, "label_config": config, **fields}
    return predictor.predict(parse_predict(body), access)


def ask_one(predictor: Predictor, address: str, config: str) -> list[dict[str, Any]]:
    """The regions of one task."""
    (answer,) = ask(predictor, address, config=config)
    assert isinstance(answer, dict), "the task failed"
    regions: list[dict[str, Any]] = answer["result"]
    return regions


def mask_of(region: dict[str, Any]) -> NDArray[np.bool_]:
    """What Label Studio's own decoder makes of a region."""
    size_yx = region["original_height"], region["original_width"]
    alpha = brush.decode_rle(region["value"]["rle"]).reshape(*size_yx, 4)[:, :, 3]
    assert set(np.unique(alpha)) <= {0, 255}
    return np.asarray(alpha == 255)


def names_of(regions: list[dict[str, Any]]) -> list[str]:
    return [name for region in regions for name in region["value"]["brushlabels"]]


def outcomes(predictor: Predictor) -> dict[str, float]:
    """The task counter, by outcome."""
    return {
        sample.labels["outcome"]: sample.value
        for metric in predictor.metrics.tasks.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
