"""Whether the Data Manager sorts and filters by the score of our predictions.

Its column holds scores of the project's model version alone, and connecting a backend
sets that to the backend's title. Looks only: lists for reviewers predict nothing.
"""

import json
from typing import Any, Final
from urllib.parse import urlencode

from backend.doctor.findings import Check, ok, skipped, warning
from backend.doctor.project import NO_PROJECT, Project
from backend.label_studio import LabelStudioClient, Reply

FLAG: Final = "ff_front_dev_1682_model_version_dropdown_070622_short"
_LIST_TIMEOUT_S: Final = 60.0


def check_score(
    client: LabelStudioClient | None,
    project: Project | None,
    version: str | None,
    *,
    no_project: str = NO_PROJECT,
) -> Check[None]:
    """Ask as the Data Manager does.

    Args:
        client: None where Label Studio's API is closed.
        project: whose Data Manager it is.
        version: of these settings' predictions for it, None where it is not known.
        no_project: why there is none.
    """
    subject = "score"
    if client is None or project is None:
        yield skipped(subject, no_project)
        return
    if version is None:
        yield skipped(subject, "the model version of these settings is not known")
        return
    n_held = _count(client, project, _holds(version))
    n_scored = _count(client, project, _holds(version), _HAS_SCORE)
    if n_held is None or n_scored is None:
        yield skipped(subject, "the Data Manager's list is not shown")
    elif not n_held:
        yield ok(subject, f"no task holds a prediction of {version} yet")
    elif n_scored:
        yield ok(
            subject, f"the Data Manager sorts and filters {n_scored} tasks by score"
        )
    else:
        yield warning(
            subject,
            f"the Data Manager's prediction score is empty, and sorting by it does "
            f"nothing: the project's model version is {project.shown_version!r}, its "
            f"predictions are of {version}",
            f"Choose {version} under Settings > Annotation, as `diffsegmenter "
            f"preannotate --project {project.id}` does at its end, or start Label "
            f"Studio with {FLAG}=true.",
        )


def _count(
    client: LabelStudioClient, project: Project, *filters: dict[str, Any]
) -> int | None:
    query = {"filters": {"conjunction": "and", "items": filters}}
    text = urlencode(
        {
            "project": project.id,
            "page": 1,
            "page_size": 1,
            "review": "true",
            "query": json.dumps(query, separators=(",", ":")),
        }
    )
    reply = client.get(f"/api/tasks?{text}", timeout_s=_LIST_TIMEOUT_S)
    body = reply.body if isinstance(reply, Reply) and reply.status == 200 else None
    total = body.get("total") if isinstance(body, dict) else None
    return total if isinstance(total, int) else None


def _holds(version: str) -> dict[str, Any]:
    return {
        "filter": "filter:tasks:predictions_model_versions",
        "operator": "contains",
        "type": "List",
        "value": [version],
    }


_HAS_SCORE: Final = {
    "filter": "filter:tasks:predictions_score",
    "operator": "empty",
    "type": "Number",
    "value": "false",
}
