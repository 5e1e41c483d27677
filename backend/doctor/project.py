"""Checks of what the token sees in Label Studio: projects and their tasks.

Nothing is changed there: no task is opened, which could ask for predictions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from backend.doctor.findings import Check, Finding, ok, problem, skipped, warning
from backend.label_studio import LabelStudioClient, Reply

NO_PROJECT: Final = "no project is chosen with --project"
_PROJECTS_SHOWN: Final = 10


@dataclass(frozen=True, kw_only=True)
class Project:
    """What the checks need to know of a project.

    Attributes:
        id: Label Studio's number.
        title: its name.
        label_config: labeling XML.
        shows_predictions: whether annotators get predictions to see.
        predicts_when_listed: whether even a list of its tasks asks for predictions.
        shown_version: its model version: of predictions, or a backend's title.
    """

    id: int
    title: str
    label_config: str
    shows_predictions: bool
    predicts_when_listed: bool
    shown_version: str = ""


def find_project(
    client: LabelStudioClient | None, project_id: int | None
) -> Check[Project | None]:
    """Read the project, or name those that the token sees."""
    if client is None:
        yield skipped("project", "Label Studio's API is not open to this command")
        return None
    if project_id is None:
        yield _list_projects(client)
        return None
    reply = client.get(f"/api/projects/{project_id}")
    body = reply.body if isinstance(reply, Reply) and reply.status == 200 else None
    if not isinstance(body, dict):
        seen = f"project {project_id} is not shown to the token's user"
        yield problem(
            "project",
            f"{seen} ({reply.reason})",
            "Choose one that is, or have the user added to its workspace.",
            _list_projects(client).seen,
        )
        return None
    project = Project(
        id=project_id,
        title=str(body.get("title") or ""),
        label_config=str(body.get("label_config") or ""),
        shows_predictions=body.get("show_collab_predictions") is not False,
        predicts_when_listed=body.get("evaluate_predictions_automatically") is True,
        shown_version=str(body.get("model_version") or ""),
    )
    yield ok("project", f"{project.id} {project.title!r}")
    return project


def why_no_project(client: LabelStudioClient | None, project_id: int | None) -> str:
    """What to say where `find_project` returns none."""
    if project_id is None:
        return NO_PROJECT
    if client is None:
        return "Label Studio's API is not open to this command"
    return f"project {project_id} was not found"


def first_task(
    client: LabelStudioClient, project: Project, task_id: int | None
) -> Mapping[str, Any] | str:
    """A task as `/predict` would get it, or why there is none."""
    path = f"/api/tasks?project={project.id}&page=1&page_size=1&resolve_uri=false"
    if task_id is not None:
        path += f'&query={{"selectedItems":{{"all":false,"included":[{task_id}]}}}}'
    if project.predicts_when_listed:
        # Lists for reviewers are the only ones that then ask for no prediction.
        path += "&review=true"
    reply = client.get(path, timeout_s=30)
    body = reply.body if isinstance(reply, Reply) and reply.status == 200 else None
    tasks = body.get("tasks") if isinstance(body, dict) else None
    task = tasks[0] if isinstance(tasks, list) and tasks else None
    if isinstance(task, dict) and isinstance(task.get("data"), dict):
        return task
    if body is None:
        return f"its tasks are not shown ({reply.reason})"
    return "it has no task" if task_id is None else f"it has no task {task_id}"


def _list_projects(client: LabelStudioClient) -> Finding:
    reply = client.get(f"/api/projects?include=id,title&page_size={_PROJECTS_SHOWN}")
    body = reply.body if isinstance(reply, Reply) and reply.status == 200 else None
    rows = body.get("results") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        return problem(
            "project", f"projects are not shown ({reply.reason})", "Use another token."
        )
    names = [
        f"{row.get('id')} {str(row.get('title'))!r}"
        for row in rows
        if isinstance(row, dict)
    ]
    count = body.get("count") if isinstance(body, dict) else None
    if not names:
        return warning(
            "project",
            "the token's user sees no project",
            "Create one in Label Studio, or use the token of another user.",
        )
    return ok(
        "project",
        f"{count} seen: {', '.join(names)}",
        "Add --project NUMBER to check one of them.",
    )
