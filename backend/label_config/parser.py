"""Labeling XML in, controls with their labels and prompts out. Pure.

The label names are the open vocabulary: what a project's annotators see is what
the segmenter is asked for. Which tags belong together is read here, what their
attributes ask for in `attributes.py`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from xml.etree import ElementTree

from label_studio_sdk.label_interface.interface import LabelInterface

from backend.errors import BadLabelConfig, BadTask
from backend.label_config.attributes import (
    EXAMPLE,
    is_skipped,
    read_cut_options,
    read_mode,
    refusal,
    unknown_attributes,
)
from backend.label_config.labels import dynamic_labels, labels_by_control, merge_labels
from backend.label_config.task_data import refers_to_data
from backend.regions import control_tags
from backend.types import Control, ControlDefaults, ImageTag, Label

__all__ = ["EXAMPLE", "LabelConfig", "read_label_config"]

# Label Studio takes a config that starts with one; lxml refuses it in a str.
_XML_DECLARATION: Final = re.compile(r"\A\s*<\?xml\s[^>]*\?>")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelConfig:
    """A project's label config, as far as it is about regions on images.

    Attributes:
        controls: at least one, in the config's order, one per image that its tag
            draws on; the labels are those of the config itself.
        notes: what is left out, and why, one sentence each.
    """

    controls: tuple[Control, ...]
    notes: tuple[str, ...]
    _interface: Any

    @property
    def fingerprint(self) -> str:
        """A hash of everything here that changes a region."""
        content = json.dumps([asdict(control) for control in self.controls])
        return hashlib.sha256(content.encode()).hexdigest()

    def problems(self, prediction: Mapping[str, Any]) -> list[str]:
        """What Label Studio's strict validation says against a prediction."""
        found: list[str] = self._interface.validate_prediction(
            prediction, return_errors=True
        )
        return found

    def for_task(self, data: Mapping[str, Any]) -> tuple[Control, ...]:
        """The controls with the labels that the task's data adds (`value="$key"`).

        Controls that then have no label are left out.

        Args:
            data: the task's data.

        Raises:
            BadTask: if a threshold in the data is no number.
        """
        try:
            controls = [
                replace(
                    control, labels=tuple(dynamic_labels(control.labels_value, data))
                )
                if control.labels_value
                else control
                for control in self.controls
            ]
        except BadLabelConfig as error:
            # One task's data is wrong, not the project's config.
            reason = str(error).partition(". One that works")[0]
            raise BadTask(
                f"The task brings labels of its own; as if it were the label config's: "
                f"{reason}."
            ) from error
        return tuple(control for control in controls if control.labels)


def read_label_config(label_config: str, defaults: ControlDefaults) -> LabelConfig:
    """Find every control that draws regions on an `Image`.

    That is the tags that `regions.control_tags` finds, with labels of their own
    (`BrushLabels`) or beside a `Labels` (`Brush`). Controls of other kinds are left
    alone, and so are those with `model_skip="true"`.

    Args:
        label_config: labeling XML of the project.
        defaults: what holds for what a control does not say.

    Raises:
        BadLabelConfig: if the XML cannot be read, there is nothing to segment, or
            an attribute of ours has an impossible value. The message shows a
            config that works.
    """
    interface, root = parse_xml(label_config)
    reader = _Reader(interface, root, defaults)
    controls = tuple(reader.controls())
    if not controls:
        raise reader.refusal()
    return LabelConfig(
        controls=controls, notes=tuple(reader.notes), _interface=interface
    )


def parse_xml(label_config: str) -> tuple[LabelInterface, ElementTree.Element]:
    """The SDK's view of a config, and its XML.

    Raises:
        BadLabelConfig: if either cannot be had.
    """
    text = _XML_DECLARATION.sub("", label_config, count=1)
    try:
        # The first refuses what a malicious document may hold, so it comes first.
        return LabelInterface(text), ElementTree.fromstring(text)
    # The SDK raises its own, lxml's and pydantic's exceptions here, and KeyError or
    # AttributeError for tags without names; all mean the same to our caller.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise refusal(f"cannot be read ({reason})") from error


class _Reader:
    """Reads one config; gathers notes on the way."""

    def __init__(
        self,
        interface: LabelInterface,
        root: ElementTree.Element,
        defaults: ControlDefaults,
    ) -> None:
        self.notes: list[str] = []
        self._defaults = defaults
        self._label_types = {known.labels_type for known in control_tags().values()}
        # What each tag draws, with labels of its own or for a <Labels>.
        self._shapes = {
            kind: shape
            for shape, known in control_tags().items()
            for kind in (known.labels_type, shape)
        }
        self._labels = labels_by_control(root)
        self._repeated = {
            name
            for repeater in root.iter()
            if _kind(repeater.tag) == "repeater"
            for tag in repeater.iter()
            if (name := tag.get("name"))
        }
        self._images = {
            tag.name: ImageTag(
                name=tag.name,
                value=(tag.value or "").strip(),
                is_list="valueList" in tag.attr,
            )
            for tag in interface.objects
            if _kind(tag.tag) == "image"
        }
        self._controls = [
            tag for tag in interface.controls if set(tag.to_name) & self._images.keys()
        ]

    def controls(self) -> Iterator[Control]:
        """Every control that can be answered, in the config's order."""
        for tag in self._controls:
            kind = _kind(tag.tag)
            if kind not in self._label_types and kind != "labels":
                continue
            if tag.name in self._repeated:
                self._note(tag, "is inside a <Repeater>, which cannot be answered")
            elif is_skipped(tag.attr):
                self._note(tag, "has model_skip")
            else:
                yield from self._controls_of(tag)

    def refusal(self) -> BadLabelConfig:
        """Why there is no control."""
        if not self._images:
            return refusal("has no <Image> tag")
        if self._repeated & self._images.keys():
            return refusal(
                "has its <Image> inside a <Repeater>, whose regions Label Studio "
                'loses; show pages with <Image valueList="$pages"/>'
            )
        reasons = " ".join(self.notes)
        names = _alternatives(
            f"<{known.element}Labels>" for known in control_tags().values()
        )
        return refusal(
            f"has no {names} with a named <Label> whose toName is an <Image>"
            + (f" ({reasons})" if reasons else "")
        )

    def _controls_of(self, tag: Any) -> Iterator[Control]:
        """One control per image that the tag draws on."""
        labels = tuple(self._read_labels(tag))
        labels_value = self._labels_value(tag)
        if not labels and labels_value is None:
            self._note(tag, "has no named label")
            return
        for to_name in tag.to_name:
            image = self._images.get(to_name)
            drawing = self._drawing_tag(tag, to_name) if image else None
            if image is None or drawing is None:
                continue
            if to_name in self._repeated:
                self._note(tag, f"draws on {to_name!r}, which is in a <Repeater>")
                continue
            control = Control(
                from_name=drawing.name,
                image=_checked(image),
                shape=self._shapes[_kind(drawing.tag)],
                labels=labels,
                labels_from_name=None if drawing is tag else tag.name,
                labels_value=labels_value,
                **self._read_attributes(tag, drawing),
            )
            if control.cut.overlap == "exclusive":
                self._note_same_prompts(tag, labels)
            yield control

    def _labels_value(self, tag: Any) -> str | None:
        """Where the labels are in a task's data, None if the config holds them."""
        value = tag.attr.get("value") or ""
        if not refers_to_data(value):
            return None
        if not self._labels.get(tag.name):
            return str(value)
        self._note(
            tag,
            f"has labels of its own, therefore those in {value} of the tasks are not "
            f"used: Label Studio's validation knows the config's alone. Keep all "
            f"labels in one of the two places",
        )
        return None

    def _read_attributes(self, tag: Any, drawing: Any) -> dict[str, Any]:
        """The control's mode and cut; notes what its attributes do in vain."""
        own_labels = [of for tags in self._labels[tag.name].values() for of in tags]
        for name in unknown_attributes([tag.attr, drawing.attr, *own_labels]):
            self._note(tag, f"has an attribute that is not known: {name}")
        where = f"<{drawing.tag} name={drawing.name!r}>"
        attributes = {**tag.attr, **drawing.attr}
        mode = read_mode(attributes, self._defaults.mode, where)
        cut = read_cut_options(attributes, self._defaults.cuts[mode], where)
        return {"mode": mode, "cut": cut}

    def _drawing_tag(self, tag: Any, to_name: str) -> Any:
        """The tag itself, or what draws for a <Labels>; None if nothing does."""
        if _kind(tag.tag) != "labels":
            return tag
        tools = {
            _kind(tool.tag): tool
            for tool in reversed(self._controls)
            if to_name in tool.to_name and not is_skipped(tool.attr)
        }
        for shape in control_tags():
            if shape in tools:
                return tools[shape]
        names = _alternatives(f"<{known.element}>" for known in control_tags().values())
        self._note(tag, f"has no {names} beside it")
        return None

    def _read_labels(self, tag: Any) -> Iterator[Label]:
        for name, tags in self._labels[tag.name].items():
            asked = [attributes for attributes in tags if not is_skipped(attributes)]
            if not asked:
                self._note(tag, f"has model_skip on its label {name!r}")
                continue
            merged = merge_labels(name, asked, f"<Label> {name!r} of {tag.name!r}")
            if merged is None:
                self._note(
                    tag,
                    f"has a label without a name ({name!r}), which is left out; give "
                    f"its <Label> a value",
                )
            else:
                yield merged

    def _note_same_prompts(self, tag: Any, labels: Sequence[Label]) -> None:
        """Labels that can never win a pixel, because another one is asked the same."""
        first: dict[frozenset[str], str] = {}
        for label in labels:
            prompts = frozenset(label.prompts)
            if prompts in first:
                self._note(
                    tag,
                    f"looks for {label.name!r} with the same words as for "
                    f"{first[prompts]!r}, which therefore gets all their pixels; give "
                    f"one of them another model_prompt, or write model_overlap="
                    f'"independent"',
                )
            first.setdefault(prompts, label.name)

    def _note(self, tag: Any, what: str) -> None:
        note = f"<{tag.tag} name={tag.name!r}> {what}."
        if note not in self.notes:
            self.notes.append(note)


def _checked(image: ImageTag) -> ImageTag:
    if refers_to_data(image.value):
        return image
    raise refusal(
        f'has an <Image name="{image.name}"> whose value is {image.value!r}, which '
        f'names no field of the task; write value="$image"'
    )


def _kind(tag: object) -> str:
    # Comments and processing instructions have a function for a tag.
    return tag.lower() if isinstance(tag, str) else ""


def _alternatives(names: Iterable[str]) -> str:
    """As a person lists them: a, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}"
