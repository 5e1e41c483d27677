"""A picture of a task in, what its regions depend on out, as one key.

Everything that changes a region, its id and its score among it, changes the key: the
version of the predictions, the picture's bytes, the task's id, the page, and the
controls as the task's own data has them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backend.inference.plan import Plan
from backend.inference.prefetch import Job
from backend.label_config import LabelConfig
from backend.regions import prediction
from segmenter import Mode


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownPage:
    """An image whose regions were drawn before; it was not decoded.

    Attributes:
        regions: as they were answered, checked.
    """

    regions: list[dict[str, Any]]


def page_key(
    job: Job, image_digest: str, plan: Plan, maps_name: Callable[[Mode], str]
) -> str:
    """Name the regions of one picture.

    Args:
        job: the picture, and what draws on it.
        image_digest: hex digest of the picture's bytes.
        plan: how the project is predicted.
        maps_name: of a mode; see `Scorer.maps_name`.

    Returns:
        64 hex digits; anything else asked, another key.
    """
    modes = sorted({control.mode for control in job.controls})
    parts = [
        plan.version,
        [
            (mode, maps_name(mode), heads.fingerprint if heads else None)
            for mode in modes
            for heads in [plan.heads.get(mode)]
        ],
        image_digest,
        job.task.task.id,
        job.item_index,
        [control.spelling for control in job.controls],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def are_of_config(
    regions: Sequence[dict[str, Any]], config: LabelConfig, version: str
) -> bool:
    """Whether regions that others have kept are what Label Studio takes."""
    scores = [region.get("score") for region in regions]
    if not all(isinstance(one, float | int) and 0 <= one <= 1 for one in scores):
        return False
    if not all(isinstance(region.get("id"), str) for region in regions):
        return False
    return not config.problems(prediction(regions, model_version=version, score=0))
