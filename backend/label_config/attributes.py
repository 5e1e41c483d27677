"""Attributes of a label config's tags in, what they ask of the backend out. Pure.

Attributes of Label Studio that it shares with other backends keep their spelling
(`model_score_threshold`, `predicted_values`, `model_skip`); ours begin with
`model_` as well, because the editor ignores those.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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

_YES: Final = frozenset({"true", "1", "yes", "on"})
_NO: Final = frozenset({"false", "0", "no", "off"})
_JUST_ABOVE_0: Final = math.nextafter(0, 1)
_JUST_ABOVE_1: Final = math.nextafter(1, 2)


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One attribute of a tag: how it is read, and what the documents say of it.

    Attributes:
        names: its spellings; of those that are not blank, the first counts.
        expects: what a refusal asks for, after "give".
        help: what it changes, for `docs/label-config.md`.
        variable: the environment variable that decides where it is absent; None where
            there is none.
        field: of `CutOptions`, None for what is read by a function of its own.
        read: a text that is not blank -> its value, None if it is impossible.
    """

    names: tuple[str, ...]
    expects: str
    help: str
    variable: str | None = None
    field: str | None = None
    read: Callable[[str], Any] = str


def refusal(what: str) -> BadLabelConfig:
    """The refusal of a label config, with one that works."""
    return BadLabelConfig(f"The label config {what}. One that works:\n{EXAMPLE}")


def is_skipped(attributes: Mapping[str, Any]) -> bool:
    """Say whether the tag is to be left to the annotators (`model_skip`)."""
    return _word(attributes, "model_skip") in _YES


def is_asked_for(attributes: Mapping[str, Any]) -> bool:
    """Say whether `model_skip="false"` wants a tool drawn that else is input."""
    return _word(attributes, "model_skip") in _NO


def is_smart(attributes: Mapping[str, Any]) -> bool:
    """Say whether a tool is marked as one that asks a backend.

    Every tool does by default; who writes it down means it so.
    """
    return bool({_word(attributes, "smart"), _word(attributes, "smartonly")} & _YES)


def read_label(name: str, attributes: Mapping[str, Any], where: str) -> Label | None:
    """Read one label: what it answers with, its prompts and its threshold.

    `model_prompt` is one text; else each of the comma-separated `predicted_values`
    is one; else the value is. `model_prompt=""` alone asks for none of them.

    Args:
        name: what regions answer with.
        attributes: of the `<Label>`, or the entry of a dynamic label.
        where: the label, for messages.

    Returns:
        None if no prompt has a readable character. Without prompts if the label is
        to be learned from corrections alone.

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
        if is_wordless(attributes):
            readable = []
            break
    else:
        return None
    prompts = tuple(dict.fromkeys(readable))
    return Label(
        name=name,
        prompts=prompts,
        threshold_01=_read(_THRESHOLD, attributes, where),
        presence_threshold_01=_read(_PRESENCE_THRESHOLD, attributes, where),
    )


def is_wordless(attributes: Mapping[str, Any]) -> bool:
    """Say whether a label is one that no words describe (`model_prompt=""`)."""
    given = attributes.get("model_prompt")
    others = _several(attributes.get("predicted_values"))
    return given == "" and not any(_is_readable(text) for text in others)


def read_mode(attributes: Mapping[str, Any], default: Mode, where: str) -> Mode:
    """Read how the segmenter is to read a control's labels (`model_mode`).

    Raises:
        BadLabelConfig: if there is no such mode.
    """
    asked: Mode | None = _read(_MODE, attributes, where)
    return asked or default


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
    asked = {
        attribute.field: _read(attribute, attributes, where)
        for attribute in CONTROL_ATTRIBUTES
        if attribute.field is not None
    }
    changes: dict[str, Any] = {
        field: value for field, value in asked.items() if value is not None
    }
    return replace(defaults, **changes)


def unknown_attributes(tags: Sequence[Mapping[str, Any]]) -> list[str]:
    """Attributes that look like ours and are not, each with what may be meant."""
    ours = (*CONTROL_ATTRIBUTES, *LABEL_ATTRIBUTES)
    known = {name for one in ours for name in one.names}
    named = {str(name) for attributes in tags for name in attributes}
    strange = sorted(name for name in named - known if name.startswith("model_"))
    found = []
    for name in strange:
        if name in _FOREIGN_ATTRIBUTES:
            found.append(f"{name} (another backend's; {_FOREIGN_ATTRIBUTES[name]})")
            continue
        # What all of them begin with tells none from another.
        endings = [
            one.removeprefix("model_")
            for one in sorted(known)
            if one.startswith("model_")
        ]
        nearest = get_close_matches(
            name.removeprefix("model_"), endings, n=1, cutoff=0.5
        )
        found.append(name + (f" (did you mean model_{nearest[0]}?)" if nearest else ""))
    return found


def _read(attribute: Attribute, attributes: Mapping[str, Any], where: str) -> Any:
    """What the first of its spellings asks for that is not blank, None if none does."""
    for name in attribute.names:
        given = attributes.get(name)
        text = "" if given is None else str(given).strip()
        if not text:
            continue
        value = attribute.read(text)
        if value is None:
            raise _bad(name, text, where, attribute.expects)
        return value
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


_MODE: Final = Attribute(
    names=("model_mode",),
    variable="MODEL_MODE",
    read=_one_of(*MODES),
    expects=" or ".join(MODES),
    help="How this control's labels are read.",
)
_THRESHOLD: Final = Attribute(
    # The second spelling is other backends' fallback, which projects may hold.
    names=("model_score_threshold", "score_threshold"),
    variable="MODEL_SCORE_THRESHOLD",
    field="threshold_01",
    read=_number(_JUST_ABOVE_0, 1),
    expects="a number between 0 and 1, for example 0.5",
    help="Background score of pixels; lower paints more. (In Label Studio's yolo "
    "example the same name is the confidence of a detection.)",
)
_PRESENCE_THRESHOLD: Final = Attribute(
    names=("model_presence_threshold",),
    variable="PRESENCE_THRESHOLD",
    field="presence_threshold_01",
    read=_number(0, _JUST_ABOVE_1),
    expects="a probability from 0 to 1, such as 0.5",
    help="How probable it must be that a label is in the picture; 0 draws every label.",
)
_SKIP: Final = Attribute(
    names=("model_skip",),
    expects="true, or false to have a tool for clicks drawn as well",
    help="Leave this control, tool or label to the annotators.",
)

# Of controls, and of the tools beside a <Labels>; in the documents' order.
CONTROL_ATTRIBUTES: Final = (
    _MODE,
    _THRESHOLD,
    _PRESENCE_THRESHOLD,
    Attribute(
        names=("model_boundaries",),
        variable="BOUNDARIES",
        field="boundaries",
        read=_one_of("off", "guided"),
        expects="off or guided",
        help="`guided` lets the edges of masks follow the edges of the image.",
    ),
    Attribute(
        names=("model_overlap",),
        variable="OVERLAP",
        field="overlap",
        read=_one_of("exclusive", "independent"),
        expects="exclusive or independent",
        help="Each pixel to its best label, or labels of this control may overlap.",
    ),
    Attribute(
        names=("model_regions",),
        variable="REGIONS",
        field="regions",
        read=_one_of("label", "part"),
        expects="label or part",
        help="One region a label, or one a connected part (brush, bitmask).",
    ),
    Attribute(
        names=("model_min_area",),
        variable="MIN_AREA",
        field="min_area_01",
        read=_number(0, 1),
        expects="a share of the image from 0 to 1, for example 0.001",
        help="Smaller parts are dropped, and smaller holes filled.",
    ),
    Attribute(
        names=("model_max_regions",),
        variable="MAX_REGIONS",
        field="max_regions",
        read=_count,
        expects="a whole number above 0",
        help="At most so many regions of this control on an image; the largest stay.",
    ),
    Attribute(
        names=("model_polygon_tolerance",),
        variable="POLYGON_TOLERANCE",
        field="polygon_tolerance_01",
        read=_number(1e-6, 1),
        expects="a share of the image's diagonal between 0 and 1, for example 0.002",
        help="How far a polygon may be from the outline of its mask.",
    ),
    _SKIP,
)

LABEL_ATTRIBUTES: Final = (
    Attribute(
        names=("model_prompt",),
        expects="a text",
        help='The one text to look for instead of the value. `""` looks for no text: '
        "the label is [learned from corrections](feedback.md) alone.",
    ),
    Attribute(
        names=("predicted_values",),
        expects="texts with commas between",
        help="Several texts to look for; what any of them finds is the label's.",
    ),
    Attribute(
        names=("alias",),
        expects="a text",
        help="What regions answer with, as Label Studio expects; the value is still "
        "the prompt.",
    ),
    _THRESHOLD,
    _PRESENCE_THRESHOLD,
    _SKIP,
)

# Read by other backends, whose projects hold them; and what there is here instead.
_NOTHING_LIKE_IT: Final = "nothing here does the same"
_FOREIGN_ATTRIBUTES: Final[Mapping[str, str]] = {
    "model_add_bboxes": "add a <RectangleLabels> for boxes",
    "model_conf": "here model_score_threshold and model_presence_threshold decide",
    "model_index": _NOTHING_LIKE_IT,
    "model_iou": _NOTHING_LIKE_IT,
    "model_obb": "boxes are upright here",
    "model_path": "here MODEL chooses the model, for all projects",
    "model_point_threshold": _NOTHING_LIKE_IT,
    "model_tracker": _NOTHING_LIKE_IT,
}


def _bad(attribute: str, value: object, where: str, expects: str) -> BadLabelConfig:
    return refusal(f"has {attribute}={str(value)!r} on {where}; give {expects}")


def _several(value: object) -> list[str]:
    """Texts with commas between; a list of texts in a task's data."""
    if isinstance(value, list):
        return [_text(entry) for entry in value]
    return _text(value).split(",")


def _word(attributes: Mapping[str, Any], name: str) -> str:
    return str(attributes.get(name, "")).strip().lower()


def _text(value: object) -> str:
    """A text or number as text; other kinds, which a task's data may hold, as none."""
    return str(value) if isinstance(value, str | int | float) else ""


def _is_readable(text: str) -> bool:
    return any(character.isprintable() for character in text.strip())
