"""Request JSON in, tasks out. Pure.

Tolerant of what Label Studio may add, strict about what nothing can be done
without.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from backend.errors import BadRequest
from backend.label_studio.clicks import ClickRequest, objects_in, parse_clicks
from backend.types import Task, TypedPrompt

_LARGEST_ID: Final = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What `/predict` asks for.

    Attributes:
        tasks: in the request's order; an element that is no object becomes a task
            without data, so that the answer keeps its count.
        label_config: labeling XML.
        project: Label Studio's `<id>.<created_at>`, None when absent.
        is_interactive: whether somebody waits for this one answer in the editor.
        typed: what that somebody typed to be segmented; None for a click or a box.
        clicks: what that somebody clicked on or drew a box around; None for a text.
        is_prewarm: whether the editor only tells that it has opened the task.
        asked_with: what that somebody did, in words, for the log.
    """

    tasks: tuple[Task, ...]
    label_config: str
    project: str | None
    is_interactive: bool
    typed: TypedPrompt | None = None
    clicks: ClickRequest | None = None
    is_prewarm: bool = False
    asked_with: str = ""


@dataclass(frozen=True, kw_only=True)
class SetupRequest:
    """What `/setup` tells.

    Attributes:
        project: as in `PredictRequest`.
        label_config: labeling XML, possibly empty in a new project.
        hostname: Label Studio's own idea of its address, None when absent.
        access_token: legacy token of the project's creator, None when absent.
    """

    project: str | None
    label_config: str
    hostname: str | None
    access_token: str | None

    def __repr__(self) -> str:
        """Without the token."""
        return f"SetupRequest(project={self.project!r}, hostname={self.hostname!r})"


def parse_predict(payload: Any) -> PredictRequest:
    """Read the body of `POST /predict`.

    Raises:
        BadRequest: if it is no object, or has no tasks or no label config.
    """
    body = _object(payload, "/predict")
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not tasks:
        raise BadRequest(
            f"The request has no tasks: 'tasks' is {_kind(tasks)}, it must be a list "
            f'with at least one {{"id": ..., "data": {{...}}}}.'
        )
    label_config = body.get("label_config")
    if not isinstance(label_config, str) or not label_config.strip():
        raise BadRequest(
            f"The request has no label config: 'label_config' is "
            f"{_kind(label_config)}, it must be the project's labeling XML."
        )
    params = body.get("params")
    context = params.get("context") if isinstance(params, Mapping) else None
    return PredictRequest(
        tasks=tuple(_task(element) for element in tasks),
        label_config=label_config,
        project=_text(body.get("project")),
        is_interactive=bool(context),
        typed=_typed_prompt(context),
        clicks=parse_clicks(context, tasks[0]),
        is_prewarm=isinstance(context, Mapping) and context.get("event") == "prewarm",
        asked_with=_asked_with(context),
    )


def parse_setup(payload: Any) -> SetupRequest:
    """Read the body of `POST /setup`; every field may be missing.

    Raises:
        BadRequest: if the body is no object.
    """
    body = _object(payload, "/setup")
    schema = body.get("schema")
    return SetupRequest(
        project=_text(body.get("project")),
        label_config=schema if isinstance(schema, str) else "",
        hostname=_text(body.get("hostname")),
        access_token=_text(body.get("access_token")),
    )


@dataclass(frozen=True, kw_only=True)
class NewTasks:
    """Tasks that somebody has just made.

    Attributes:
        project_id: Label Studio's number.
        task_ids: of the tasks.
    """

    project_id: int
    task_ids: tuple[int, ...]


def parse_new_tasks(payload: Any) -> NewTasks | None:
    """Read an event of Label Studio; None for all events but TASKS_CREATED."""
    if not isinstance(payload, Mapping) or payload.get("action") != "TASKS_CREATED":
        return None
    project, tasks = payload.get("project"), payload.get("tasks")
    project_id = project.get("id") if isinstance(project, Mapping) else None
    if not _is_id(project_id) or not isinstance(tasks, list):
        return None
    ids = [task.get("id") for task in tasks if isinstance(task, Mapping)]
    return NewTasks(project_id=project_id, task_ids=tuple(filter(_is_id, ids)))


def _typed_prompt(context: Any) -> TypedPrompt | None:
    """What was typed last into a `<TextArea>` of the image, as Grounding SAM reads it.

    A text about a region comes with that region, under one id: it describes.
    """
    regions = objects_in(context, "result")
    if not regions or any(region.get("type") != "textarea" for region in regions):
        return None
    value = regions[-1].get("value")
    texts = value.get("text") if isinstance(value, Mapping) else None
    lines = [texts] if isinstance(texts, str) else texts
    last = lines[-1] if isinstance(lines, list) and lines else None
    from_name, to_name = regions[-1].get("from_name"), regions[-1].get("to_name")
    if not (isinstance(last, str) and last.strip()):
        return None
    if not (isinstance(from_name, str) and isinstance(to_name, str)):
        return None
    return TypedPrompt(from_name=from_name, to_name=to_name, text=last.strip())


def _asked_with(context: Any) -> str:
    """Say in words what the newest region of the editor's question is."""
    regions = objects_in(context, "result")
    if not regions:
        return "a question without regions"
    kind, from_name = (
        _text(regions[-1].get("type")),
        _text(regions[-1].get("from_name")),
    )
    return f"{kind or 'a region'} of {from_name!r}"


def _is_id(value: Any) -> TypeGuard[int]:
    """Whether it can be a key of Label Studio's database, which breaks on others."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and 0 < value <= _LARGEST_ID


def _task(element: Any) -> Task:
    if not isinstance(element, Mapping):
        return Task(id=None, data={})
    data = element.get("data")
    task_id = element.get("id")
    return Task(
        id=task_id if isinstance(task_id, int) else None,
        data=data if isinstance(data, Mapping) else {},
    )


def _object(payload: Any, endpoint: str) -> Mapping[str, Any]:
    if not isinstance(payload, Mapping):
        raise BadRequest(
            f"{endpoint} got {_kind(payload)}; send a JSON object with "
            f"Content-Type: application/json."
        )
    return payload


def _text(value: Any) -> str | None:
    """A text in one line, since it is logged; None for other kinds."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return " ".join(str(value).split()) or None
    return None


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list | str | dict) and not value:
        return f"an empty {type(value).__name__}"
    return f"a {type(value).__name__}"
