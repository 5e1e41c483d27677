"""Regions in, a prediction that Label Studio's strict validation takes out."""

import logging
import re
from collections.abc import Sequence
from typing import Any, Final

from backend.label_config import LabelConfig
from backend.regions import prediction

logger = logging.getLogger(__name__)

# How the SDK's validator begins a complaint about one region.
_REGION_NUMBER: Final = re.compile(r"Region (\d+):")


def valid_prediction(
    regions: Sequence[dict[str, Any]],
    config: LabelConfig,
    *,
    model_version: str,
    task_id: int | None,
) -> tuple[dict[str, Any] | None, int]:
    """The prediction of one task, less the regions that would be refused.

    One of them would cost the whole batch in Label Studio.

    Args:
        regions: as painted.
        config: whose tags they are of.
        model_version: of the prediction.
        task_id: for the log.

    Returns:
        The prediction, None where even the rest would be refused; and how many
        complaints there were, which is 0 but for a bug of ours.
    """
    answer = gathered(regions, model_version)
    problems = config.problems(answer)
    if not problems:
        return answer, 0
    logger.error(
        "Task %s: regions that Label Studio would refuse are left out; please report "
        "this with the label config: %s",
        task_id,
        "; ".join(problem[:300] for problem in problems),
    )
    bad = {
        regions[int(found[1])]["id"]
        for problem in problems
        if (found := _REGION_NUMBER.match(problem))
    }
    answer = gathered([r for r in regions if r["id"] not in bad], model_version)
    return (None if config.problems(answer) else answer), len(problems)


def gathered(regions: Sequence[dict[str, Any]], model_version: str) -> dict[str, Any]:
    """The prediction of regions that need no check, scored by their mean."""
    # What a person said about a region has none.
    scores = [region["score"] for region in regions if "score" in region]
    return prediction(
        regions,
        model_version=model_version,
        score=sum(scores) / len(scores) if scores else 0.0,
    )
