"""What the editor asks with in, key points and rectangles of one object out. Pure.

The editor sends all regions of a smart tool that have one label and await an answer,
oldest first, and the task with all that is stored of it. Coordinates are percent of
the upright picture, whatever way the person has turned it: `image_rotation` is of the
view.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Result = Mapping[str, Any]

_POINTS: Final = ("keypointlabels", "keypoint")
_BOXES: Final = ("rectanglelabels", "rectangle")
# Of the clicks of one question: more than a person makes, and each costs time.
_MOST_POINTS: Final = 100
# Types of results whose value holds labels under that name.
_LABELS: Final = ("keypointlabels", "rectanglelabels", "labels")


@dataclass(frozen=True, kw_only=True)
class PointPrompt:
    """A click of a person.

    Attributes:
        x_percent: of the picture's width, from 0 to 100.
        y_percent: of its height.
        is_positive: False where it takes from the mask.
    """

    x_percent: float
    y_percent: float
    is_positive: bool


@dataclass(frozen=True, kw_only=True)
class ClickRequest:
    """All that a person has shown of one object and that is not accepted yet.

    Attributes:
        ids: of the regions that the prompts are, which end with their acceptance.
        from_name: the tag with the label.
        to_name: the image.
        item_index: page of a multi-page image, 0 for others.
        label: as the tag answers it; None where the person chose none.
        points: oldest first, the newest hundred.
        box: the value of the newest rectangle, of numbers; None where there is none.
        seen: the results that the person sees, as far as they are stored: of the
            draft, of an annotation, or of predictions.
        state: names what `seen` was stored as; another after each time of storing.
        user: who has the draft, None where it is not known.
    """

    ids: frozenset[str]
    from_name: str
    to_name: str
    item_index: int
    label: str | None
    points: tuple[PointPrompt, ...]
    box: Mapping[str, float] | None
    seen: Sequence[Result] = field(default=(), repr=False)
    state: str = ""
    user: str | None = None

    @property
    def first_positive(self) -> PointPrompt | None:
        """The oldest click that wants something, None where there is none."""
        return next((point for point in self.points if point.is_positive), None)


def parse_clicks(context: Any, task: Any) -> ClickRequest | None:
    """Read a question that is asked with clicks or boxes; None for any other.

    Args:
        context: of the request.
        task: the one element of its `tasks`.
    """
    results = objects_in(context, "result")
    prompts = [
        found for drawn in results if (found := _prompt(drawn, results)) is not None
    ]
    if not prompts:
        return None
    newest = prompts[-1]
    alike = [prompt for prompt in prompts if prompt.is_with(newest)]
    points = [prompt.point for prompt in alike if prompt.point is not None]
    boxes = [prompt.box for prompt in alike if prompt.box is not None]
    seen, state, user = _seen(task)
    return ClickRequest(
        ids=frozenset(prompt.id for prompt in alike),
        from_name=newest.from_name,
        to_name=newest.to_name,
        item_index=newest.item_index,
        label=newest.label,
        points=tuple(points[-_MOST_POINTS:]),
        box=boxes[-1] if boxes else None,
        seen=seen,
        state=state,
        user=user,
    )


@dataclass(frozen=True, kw_only=True)
class _Prompt:
    """One region that is a question."""

    id: str
    from_name: str
    to_name: str
    item_index: int
    label: str | None
    point: PointPrompt | None = None
    box: Mapping[str, float] | None = None

    def is_with(self, other: "_Prompt") -> bool:
        """Whether it is about the same object: of one label on one picture."""
        names = ("from_name", "to_name", "item_index", "label")
        return all(getattr(self, name) == getattr(other, name) for name in names)


def _prompt(drawn: Result, results: Sequence[Result]) -> _Prompt | None:
    """What a result asks; None for one that nobody drew by hand, or is no question."""
    kind, value, to_name = (drawn.get(name) for name in ("type", "value", "to_name"))
    if kind not in _POINTS + _BOXES or drawn.get("origin") != "manual":
        return None
    if not isinstance(value, Mapping) or not isinstance(to_name, str):
        return None
    is_point = kind in _POINTS
    numbers = _numbers(value, ("x", "y") if is_point else ("x", "y", "width", "height"))
    if numbers is None:
        return None
    # The tool beside a <Labels> has its label in another result of its region.
    region = [drawn, *(r for r in results if r.get("id") == drawn.get("id"))]
    named = next(_labelled(region), (str(drawn.get("from_name")), None))
    index = drawn.get("item_index")
    prompt = _Prompt(
        id=str(drawn.get("id")),
        from_name=named[0],
        to_name=to_name,
        item_index=index if isinstance(index, int) and index > 0 else 0,
        label=named[1],
        point=_point(numbers, drawn) if is_point else None,
        box=None if is_point else numbers | {"rotation": _rotation(value)},
    )
    return prompt if prompt.point or prompt.box else None


def _point(numbers: Mapping[str, float], drawn: Result) -> PointPrompt | None:
    x, y = numbers["x"], numbers["y"]
    if not (0 <= x <= 100 and 0 <= y <= 100):
        return None
    return PointPrompt(
        x_percent=x, y_percent=y, is_positive=drawn.get("is_positive") is not False
    )


def _numbers(value: Result, names: Sequence[str]) -> dict[str, float] | None:
    found = {name: value.get(name) for name in names}
    if not all(_is_number(number) for number in found.values()):
        return None
    return {name: float(number) for name, number in found.items() if number is not None}


def _rotation(value: Result) -> float:
    degrees = value.get("rotation")
    return float(degrees) if degrees is not None and _is_number(degrees) else 0.0


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 1e6 and math.isfinite(value)


def _labelled(group: Sequence[Result]) -> Iterator[tuple[str, str | None]]:
    """Names of a tag and of the label that it gives the region."""
    for result in group:
        kind, value = result.get("type"), result.get("value")
        if kind not in _LABELS or not isinstance(value, Mapping):
            continue
        names = value.get(kind)
        if isinstance(names, list) and names:
            yield str(result.get("from_name")), str(names[0])


def _seen(task: Any) -> tuple[Sequence[Result], str, str | None]:
    """What the person sees as far as it is stored: results, state and user.

    A draft is up to 5 s behind. Of several drafts and annotations the one that was
    stored last is taken: the request does not say whose editor asks.
    """
    stored = [("draft", one) for one in objects_in(task, "drafts")]
    stored += [("annotation", one) for one in objects_in(task, "annotations")]
    stored = [one for one in stored if not one[1].get("was_cancelled")]
    if stored:
        kind, newest = max(stored, key=lambda one: str(one[1].get("updated_at") or ""))
        user = newest.get("user") or newest.get("completed_by")
        name = str(user) if isinstance(user, str | int) and kind == "draft" else None
        return objects_in(newest, "result"), _state(kind, newest), name
    predictions = objects_in(task, "predictions")
    newest = max(predictions, key=_number_of, default={})
    return objects_in(newest, "result"), _state("prediction", newest), None


def objects_in(holder: Any, name: str) -> list[Result]:
    """The objects in a list of JSON that may be anything; none where it is no list."""
    found = holder.get(name) if isinstance(holder, Mapping) else None
    return (
        [one for one in found if isinstance(one, Mapping)]
        if isinstance(found, list)
        else []
    )


def _number_of(stored: Result) -> int:
    number = stored.get("id")
    return number if isinstance(number, int) else 0


def _state(kind: str, stored: Result) -> str:
    return f"{kind} {stored.get('id')} {stored.get('updated_at')}"
