"""Attributes of a label config's tags in, what they ask of the backend out. Pure.

Attributes of Label Studio that it shares with other backends keep their spelling
(`model_score_threshold`, `predicted_values`, `model_skip`); ours begin with
`model_` as well, because the editor ignores those.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

from backend.errors import BadLabelConfig
from backend.types import CutOptions, Label
from segmenter import MODES, Mode

EXAMPLE: Final = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="tag" toName="image">
    <Label value="cat"/>
    <Label value="dog"/>
  </BrushLabels>
</View>"""

_SKIPS: Final = frozenset({"true", "1", "yes", "on"})
# The second spelling is other backends' fallback, which projects may hold.
_THRESHOLD_ATTRIBUTES: Final = ("model_score_threshold", "score_threshold")
_PRESENCE_ATTRIBUTE: Final = "model_presence_threshold"
_JUST_ABOVE_0: Final = math.nextafter(0, 1)
_JUST_ABOVE_1: Final = math.nextafter(1, 2)


def refusal(what: str) -> BadLabelConfig:
    """The refusal of a label config, with one that works."""
    return BadLabelConfig(f"The label config {what}. One that works:\n{EXAMPLE}")


def is_skipped(attributes: Mapping[str, Any]) -> bool:
    """Say whether the tag is to be left to the annotators (`model_skip`)."""
    return str(attributes.get("model_skip", "")).strip().lower() in _SKIPS


def read_label(name: str, attributes: Mapping[str, Any], where: str) -> Label | None:
    """Read one label: what it answers with, its prompts and its threshold.

    `model_prompt` is one text; else each of the comma-separated `predicted_values`
    is one; else the value is.

    Args:
        name: what regions answer with.
        attributes: of the `<Label>`, or the entry of a dynamic label.
        where: the label, for messages.

    Returns:
        None if no prompt has a readable character.

    Raises:
        BadLabelConfig: if its threshold is no number between 0 and 1.
    """
    for texts in (
        [_text(attributes.get("model_prompt"))],
        _several(attributes.get("predicted_values")),
        [_text(attributes.get("value")) or name],
    ):
        readable = [text.strip() for text in texts if _is_readable(text)]
        if readable:
            break
    else:
        return None
    prompts = tuple(dict.fromkeys(readable))
    return Label(
        name=name,
        prompts=prompts,
        threshold_01=_read_threshold(attributes, where),
        presence_threshold_01=_read_presence_threshold(attributes, where),
    )


def read_mode(attributes: Mapping[str, Any], default: Mode, where: str) -> Mode:
    """Read how the segmenter is to read a control's labels (`model_mode`).

    Raises:
        BadLabelConfig: if there is no such mode.
    """
    asked = str(attributes.get("model_mode") or "").strip()
    for mode in MODES:
        if asked == mode:
            return mode
    if asked:
        raise _bad("model_mode", asked, where, " or ".join(MODES))
    return default


def read_cut_options(
    attributes: Mapping[str, Any], defaults: CutOptions, where: str
) -> CutOptions:
    """Read how a control's regions are to be cut.

    Args:
        attributes: of the control.
        defaults: what holds for what it does not say.
        where: the control, for messages.

    Raises:
        BadLabelConfig: naming the attribute, its value and what it may be.
    """
    changes: dict[str, Any] = {}
    for attribute, (field, read, expects) in _CUT_ATTRIBUTES.items():
        text = str(attributes.get(attribute) or "").strip()
        if not text:
            continue
        changes[field] = value = read(text)
        if value is None:
            raise _bad(attribute, text, where, expects)
    threshold = _read_threshold(attributes, where)
    if threshold is not None:
        changes["threshold_01"] = threshold
    presence_threshold = _read_presence_threshold(attributes, where)
    if presence_threshold is not None:
        changes["presence_threshold_01"] = presence_threshold
    return replace(defaults, **changes)


def unknown_attributes(tags: Sequence[Mapping[str, Any]]) -> list[str]:
    """Attributes that look like ours and are not, each with what may be meant."""
    known = {
        *_CUT_ATTRIBUTES,
        *_THRESHOLD_ATTRIBUTES,
        _PRESENCE_ATTRIBUTE,
        *_OTHER_ATTRIBUTES,
    }
    named = {str(name) for attributes in tags for name in attributes}
    strange = sorted(name for name in named - known if name.startswith("model_"))
    found = []
    for name in strange:
        # What all of them begin with tells none from another.
        endings = [one.removeprefix("model_") for one in sorted(known)]
        nearest = get_close_matches(
            name.removeprefix("model_"), endings, n=1, cutoff=0.5
        )
        found.append(name + (f" (did you mean model_{nearest[0]}?)" if nearest else ""))
    return found


def _read_threshold(attributes: Mapping[str, Any], where: str) -> float | None:
    return _read_first(
        attributes,
        _THRESHOLD_ATTRIBUTES,
        _number(_JUST_ABOVE_0, 1),
        "a number between 0 and 1, for example 0.5",
        where,
    )


def _read_presence_threshold(attributes: Mapping[str, Any], where: str) -> float | None:
    return _read_first(
        attributes,
        (_PRESENCE_ATTRIBUTE,),
        _number(0, _JUST_ABOVE_1),
        "a probability from 0 to 1, such as 0.5",
        where,
    )


def _read_first(
    attributes: Mapping[str, Any],
    names: Sequence[str],
    read: Callable[[str], float | None],
    expects: str,
    where: str,
) -> float | None:
    """The number in the first of the attributes that is not blank, if any is."""
    for name in names:
        value = attributes.get(name)
        if value is None or not str(value).strip():
            continue
        number = read(str(value))
        if number is None:
            raise _bad(name, value, where, expects)
        return number
    return None


def _number(least: float, below: float) -> Callable[[str], float | None]:
    """Reads a number in [least, below)."""

    def read(text: str) -> float | None:
        try:
            number = float(text)
        except ValueError:
            return None
        is_within = math.isfinite(number) and least <= number < below
        return number if is_within else None

    return read


def _one_of(*names: str) -> Callable[[str], str | None]:
    return lambda text: text if text in names else None


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None


_CUT_ATTRIBUTES: Final[
    Mapping[str, tuple[str, Callable[[str], float | str | None], str]]
] = {
    "model_overlap": (
        "overlap",
        _one_of("exclusive", "independent"),
        "exclusive or independent",
    ),
    "model_boundaries": ("boundaries", _one_of("off", "guided"), "off or guided"),
    "model_regions": ("regions", _one_of("label", "part"), "label or part"),
    "model_min_area": (
        "min_area_01",
        _number(0, 1),
        "a share of the image from 0 to 1, for example 0.001",
    ),
    "model_max_regions": ("max_regions", _count, "a whole number above 0"),
    "model_polygon_tolerance": (
        "polygon_tolerance_01",
        _number(1e-6, 1),
        "a share of the image's diagonal between 0 and 1, for example 0.002",
    ),
}


# Read elsewhere in this file, or by other backends, whose projects hold them.
_OTHER_ATTRIBUTES: Final = frozenset(
    {
        "model_add_bboxes",
        "model_conf",
        "model_index",
        "model_iou",
        "model_mode",
        "model_obb",
        "model_path",
        "model_point_threshold",
        "model_prompt",
        "model_skip",
        "model_tracker",
    }
)


def _bad(attribute: str, value: object, where: str, expects: str) -> BadLabelConfig:
    return refusal(f"has {attribute}={str(value)!r} on {where}; give {expects}")


def _several(value: object) -> list[str]:
    """Texts with commas between; a list of texts in a task's data."""
    if isinstance(value, list):
        return [_text(entry) for entry in value]
    return _text(value).split(",")


def _text(value: object) -> str:
    """A text or number as text; other kinds, which a task's data may hold, as none."""
    return str(value) if isinstance(value, str | int | float) else ""


def _is_readable(text: str) -> bool:
    return any(character.isprintable() for character in text.strip())
