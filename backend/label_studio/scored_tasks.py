"""A project's tasks by the score of their predictions, as the Data Manager sorts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from backend.errors import LabelStudioUnavailable
from backend.label_studio.client import LabelStudioClient, Reply

_SCORE: Final = "predictions_score"
_HAS_SCORE: Final = {
    "filter": f"filter:tasks:{_SCORE}",
    "operator": "empty",
    "type": "Number",
    "value": "false",
}


@dataclass(frozen=True, kw_only=True)
class ScoredTask:
    """A task with a score.

    Attributes:
        id: Label Studio's number.
        score_01: of its prediction, in [0, 1] for ours.
        data: as imported.
    """

    id: int
    score_01: float
    data: Mapping[str, Any]


def worst_tasks(
    client: LabelStudioClient, project_id: int, *, most: int
) -> list[ScoredTask]:
    """The tasks whose predictions have the lowest scores, the lowest first.

    None where the Data Manager shows no scores: where the project's model version is
    not that of its predictions.

    Raises:
        LabelStudioUnavailable: if that cannot be had now.
    """
    query = {
        "filters": {"conjunction": "and", "items": [_HAS_SCORE]},
        "ordering": [f"tasks:{_SCORE}"],
    }
    text = urlencode(
        {
            "project": project_id,
            "page": 1,
            "page_size": most,
            "resolve_uri": "false",
            # A reviewer's list does not tell scores. No prediction is asked for in
            # this one either: its tasks have some.
            "review": "false",
            "query": json.dumps(query, separators=(",", ":")),
        }
    )
    reply = client.get(f"/api/tasks?{text}")
    if not isinstance(reply, Reply) or reply.status != 200:
        raise LabelStudioUnavailable(
            f"Label Studio does not list the tasks of project {project_id} "
            f"({reply.reason})."
        )
    rows = reply.body.get("tasks") if isinstance(reply.body, dict) else None
    return [
        ScoredTask(
            id=int(row["id"]), score_01=float(row[_SCORE]), data=row.get("data") or {}
        )
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and isinstance(row.get(_SCORE), int | float)
    ]
