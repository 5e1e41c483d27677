"""What Label Studio tells of an annotation in, what we need of it out, and its bytes.

Only named fields are taken over: an annotation bears the name and e-mail of whoever
made it, and those are not to lie in any store of ours. Run lengths are packed, which
makes an event a quarter as long, and the answer to a webhook as much quicker. Pure.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, Self, TypeGuard

from backend.feedback.types import moment_us
from backend.regions import control_tags
from backend.types import Task

EventKind = Literal["annotated", "deleted", "train"]

_ACTIONS: Final[Mapping[Any, EventKind]] = {
    "ANNOTATION_CREATED": "annotated",
    "ANNOTATION_UPDATED": "annotated",
    "ANNOTATIONS_DELETED": "deleted",
    "START_TRAINING": "train",
}
_ABOUT_REGIONS: Final = (
    *("id", "type", "from_name", "to_name", "value", "origin", "item_index"),
    *("original_width", "original_height"),
)
_LARGEST_ID: Final = 2**63 - 1
_LONGEST_CONFIG: Final = 1_000_000
_MOST_DELETED: Final = 100_000
_PACKED: Final = "packed_rle"
_ODD: Final = (AttributeError, KeyError, TypeError, ValueError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in Label Studio, to be worked on behind its webhook.

    Attributes:
        kind: an annotation was submitted (for the first time or not), annotations were
            deleted, or somebody wants what was corrected to count.
        project: Label Studio's number, as text.
        created_s: when the project was made, in whole seconds since 1970; 0 where
            that is not told.
        label_config: labeling XML, as it is now.
        task_id: of the task that was annotated.
        data: of the task.
        annotation: its id.
        updated_at: when it was submitted last, as Label Studio writes it.
        result: regions and whatever else was submitted.
        lead_time_s: that it took, where that is told.
        parent_prediction: id of the prediction that it began with, None for none.
        tells_parent: whether that is told at all.
        is_skipped: whether the person skipped the task, which teaches nothing.
        deleted: ids of annotations.
    """

    kind: EventKind
    project: str
    created_s: int = 0
    label_config: str = ""
    task_id: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    annotation: int = 0
    updated_at: str = ""
    result: tuple[Mapping[str, Any], ...] = ()
    lead_time_s: float | None = None
    parent_prediction: int | None = None
    tells_parent: bool = False
    is_skipped: bool = False
    deleted: tuple[int, ...] = ()

    @property
    def task(self) -> Task:
        """The task, as `/predict` would get it."""
        return Task(id=self.task_id, data=self.data)

    @property
    def project_key(self) -> str:
        """The project as Label Studio names it in `/setup` and `/predict`."""
        return f"{self.project}.{self.created_s}"

    def to_bytes(self) -> bytes:
        """The same for a store."""
        # Not `asdict`, which copies every number of every run.
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["result"] = list(map(_packed, self.result))
        return json.dumps(fields, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: if it is something else.
        """
        try:
            fields = json.loads(data)
            if fields["kind"] not in _ACTIONS.values():
                raise ValueError(f"an event {fields['kind']!r:.20}")
            fields["result"] = unpack_results(fields["result"])
            fields["deleted"] = tuple(fields["deleted"])
            return cls(**fields)
        except _ODD as error:
            raise ValueError(f"not an event ({error})") from error

    @property
    def id(self) -> str:
        """The same for the same event, however often it is sent."""
        if self.kind == "deleted":
            ids = json.dumps(self.deleted).encode()
            return f"deleted:{self.project}:{sha256(ids).hexdigest()[:16]}"
        if self.kind == "train":
            return f"train:{self.project}"
        return f"annotated:{self.project}:{self.annotation}:{self.updated_at}"


class UnusableEvent(ValueError):
    """An event of a known kind that nothing can be made of; one line."""


def parse_event(payload: Any) -> Event | None:
    """Read the body of a webhook.

    Returns:
        None for events of other kinds.

    Raises:
        UnusableEvent: if it is one of ours and lacks what it needs.
    """
    if not isinstance(payload, Mapping):
        return None
    action = payload.get("action")
    kind = _ACTIONS.get(action) if isinstance(action, str) else None
    if kind is None:
        return None
    project = _object(payload, "project")
    number = _id(project, "project")
    if kind == "train":
        return Event(kind=kind, project=str(number), **_of_project(project))
    if kind == "deleted":
        rows = payload.get("annotations")
        ids = [_id(row, "annotation") for row in _listed(rows)]
        if not 0 < len(ids) <= _MOST_DELETED:
            raise UnusableEvent(f"it names {len(ids)} deleted annotations")
        return Event(kind=kind, project=str(number), deleted=tuple(sorted(set(ids))))
    return annotated_event(
        _object(payload, "annotation"),
        _object(payload, "task"),
        project=project,
    )


def annotated_event(
    annotation: Mapping[str, Any],
    task: Mapping[str, Any],
    *,
    project: Mapping[str, Any],
) -> Event:
    """The event of an annotation as Label Studio's API and webhooks tell it.

    Args:
        annotation: with "id", "updated_at" and "result".
        task: with "id" and "data".
        project: with "id" and "label_config".

    Raises:
        UnusableEvent: if one of them is not there.
    """
    updated_at, data = annotation.get("updated_at"), task.get("data")
    parent = annotation.get("parent_prediction")
    if not isinstance(updated_at, str) or not moment_us(updated_at):
        raise UnusableEvent("its annotation has no updated_at")
    if not isinstance(data, Mapping):
        raise UnusableEvent("its task has no data")
    return Event(
        kind="annotated",
        project=str(_id(project, "project")),
        task_id=_id(task, "task"),
        data=data,
        annotation=_id(annotation, "annotation"),
        updated_at=updated_at,
        result=_regions(_listed(annotation.get("result"))),
        lead_time_s=_seconds(annotation.get("lead_time")),
        parent_prediction=parent if _is_id(parent) else None,
        tells_parent="parent_prediction" in annotation,
        is_skipped=annotation.get("was_cancelled") is True,
        **_of_project(project),
    )


def pack_results(results: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Regions for JSON, less all that is no region's."""
    return list(map(_packed, _regions(results)))


def unpack_results(packed: Any) -> tuple[Mapping[str, Any], ...]:
    """Read what `pack_results` gave.

    Raises:
        ValueError: if it is something else.
    """
    try:
        return tuple(map(_unpacked, packed))
    except _ODD as error:
        raise ValueError(f"no regions ({error})") from error


def _of_project(project: Mapping[str, Any]) -> dict[str, Any]:
    config, made = project.get("label_config"), project.get("created_at")
    if isinstance(config, str) and len(config) > _LONGEST_CONFIG:
        raise UnusableEvent(f"its label config has {len(config):,} characters")
    return {
        "label_config": config if isinstance(config, str) else "",
        "created_s": moment_us(made) // 1_000_000 if isinstance(made, str) else 0,
    }


def _object(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = payload.get(name)
    if not isinstance(found, Mapping):
        raise UnusableEvent(f"it has no {name}")
    return found


def _id(row: Any, name: str) -> int:
    found = row.get("id") if isinstance(row, Mapping) else None
    if not _is_id(found):
        raise UnusableEvent(f"its {name} has no id")
    return found


def _is_id(value: Any) -> TypeGuard[int]:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and 0 < value <= _LARGEST_ID


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e12 else None


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _regions(results: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """What draws regions, or labels them: no remarks, and no clicks' key points."""
    kinds = {kind for tag in control_tags().values() for kind in tag.kinds_read}
    return tuple(
        {name: result[name] for name in _ABOUT_REGIONS if name in result}
        for result in results
        if isinstance(result, Mapping)
        and isinstance(kind := result.get("type"), str)
        and kind in kinds | {"labels"}
    )


def _packed(result: Mapping[str, Any]) -> Mapping[str, Any]:
    value = result.get("value")
    if not isinstance(value, Mapping) or not isinstance(value.get("rle"), list):
        return result
    try:
        packed = b64encode(bytes(value["rle"])).decode("ascii")
    except (TypeError, ValueError):
        return result  # no run lengths; whoever decodes them says so
    rest = {name: one for name, one in value.items() if name != "rle"}
    return {**result, "value": rest, _PACKED: packed}


def _unpacked(result: dict[str, Any]) -> dict[str, Any]:
    packed = result.pop(_PACKED, None)
    if packed is not None:
        result["value"]["rle"] = list(b64decode(packed, validate=True))
    return result
