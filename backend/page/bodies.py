"""JSON of the page's requests in, values out; what is wrong is told. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from backend.errors import BadRequest
from backend.label_studio import PointPrompt

# Of one object: more than a person makes.
_MOST_CLICKS: Final = 100
_BOX: Final = ("x", "y", "width", "height")


def attributes_in(body: Mapping[str, Any]) -> dict[str, str]:
    """Attributes of controls that the sliders write; the label config's reader judges.

    Raises:
        BadRequest: if one is neither a number nor a word.
    """
    found = {}
    for name in ("threshold", "presence_threshold", "boundaries"):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadRequest(f"{name} is a {type(value).__name__}; send a number.")
        shown = value if isinstance(value, str) else f"{value:g}"
        attribute = "score_threshold" if name == "threshold" else name
        found[f"model_{attribute}"] = shown
    return found


def points_in(body: Mapping[str, Any]) -> list[PointPrompt]:
    """Clicks on one object, oldest first.

    Raises:
        BadRequest: if they cannot be read, or are too many.
    """
    points = body.get("points", [])
    if not isinstance(points, list) or len(points) > _MOST_CLICKS:
        raise BadRequest(f"points are a list of at most {_MOST_CLICKS} clicks.")
    return [
        PointPrompt(
            x_percent=_percent(point, "x"),
            y_percent=_percent(point, "y"),
            is_positive=point.get("is_positive") is not False,
        )
        for point in points
    ]


def box_in(body: Mapping[str, Any]) -> dict[str, float] | None:
    """The box around an object, in percent; None for none.

    Raises:
        BadRequest: if it cannot be read.
    """
    box = body.get("box")
    if box is None:
        return None
    return {name: _percent(box, name) for name in _BOX} | {"rotation": 0.0}


def _percent(holder: Any, name: str) -> float:
    value = holder.get(name) if isinstance(holder, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{name} is missing; send a percentage from 0 to 100.")
    if not 0 <= value <= 100:
        raise BadRequest(f"{name} is {value}; send a percentage from 0 to 100.")
    return float(value)


def text_in(body: Any, name: str) -> str:
    """A text of the request.

    Raises:
        BadRequest: if there is none of that name.
    """
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise BadRequest(f"{name} is missing; send a text.")
    return value


def number_in(body: Any, name: str) -> int:
    """A number of Label Studio's, above 0.

    Raises:
        BadRequest: if there is none of that name.
    """
    value = body.get(name) if isinstance(body, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequest(f"{name} is {value!r}; send a number of Label Studio's.")
    return value
